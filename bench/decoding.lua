-- A streamed chunk of vLLM's shape and size: table events and text only, beside what decoding the same chunk with lua-cjson costs.
local cjson = require "cjson"
local clock = require "bench.clock"
local core = require "vllm.core"

local COUNT = 20000
local WORDS = { " the", " Grüße", " lighthouse", " 世界", " said \\\"yes\\\"", " and", "\\n\\n", " 🚀" }

local chunks, events = {}, {}
for i = 1, COUNT do
  chunks[i] = ('{"id":"chatcmpl-aed86c496774025a","object":"chat.completion.chunk","created":1795379335,"model":"Qwen/Qwen3-8B",'
    .. '"choices":[{"index":0,"delta":{"content":"%s"},"logprobs":null,"finish_reason":null,"token_ids":null}]}')
    :format(WORDS[i % #WORDS + 1])
  events[i] = "data: " .. chunks[i] .. "\n\n"
end
local mean = 0
for _, chunk in ipairs(chunks) do mean = mean + #chunk / COUNT end

local function each_read(pull)
  return function(n)
    local decoder = core.decoder {}
    local count = 0
    for i = 1, n do
      decoder:feed(events[i])
      while pull(decoder) do count = count + 1 end
    end
    assert(count >= n)
  end
end

local by_cjson = clock.best_us(5, COUNT, function(n)
  for i = 1, n do assert(cjson.decode(chunks[i]).choices[1].delta.content) end
end)
local by_events = clock.best_us(5, COUNT, each_read(function(decoder) return decoder:next() end))
local by_text = clock.best_us(5, COUNT, each_read(function(decoder) return decoder:next_text() end))

local function row(name, us)
  print(("  %-34s %8.3f us/chunk  %5.1f times cheaper than cjson.decode"):format(name, us, by_cjson / us))
end
print(("  %d chunks of %.0f bytes on average, one a read"):format(COUNT, mean))
row("cjson.decode, no framing", by_cjson)
row("decoder:next, table events", by_events)
row("decoder:next_text, strings", by_text)
