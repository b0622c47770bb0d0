-- Streamed chunks, one a read: table events and text only, beside what decoding the same chunks with lua-cjson costs
-- (without any framing).
local cjson = require "cjson"
local clock = require "bench.clock"
local core = require "vllm.core"
local fixtures = require "spec.support.fixtures"

local ROUNDS, COUNT, DISTINCT = 10, 10000, 500
local WORDS = { " the", " Grüße", " lighthouse", " 世界", " said \\\"yes\\\"", " and", "\\n\\n", " 🚀" }
local FRAGMENTS = { "{\\\"", "city", "\\\": \\\"", "Zürich", "\\\", ", "\\\"days", "\\\": 12", "}" }
local CHUNK = '{"id":"chatcmpl-aed86c496774025a","object":"chat.completion.chunk","created":1795379335,'
  .. '"model":"Qwen/Qwen3-8B",'
  .. '"choices":[{"index":0,"delta":{%s},"logprobs":null,"finish_reason":null,"token_ids":null}]%s}'

local function chunks_of(body)
  local chunks = {}
  for i = 1, DISTINCT do chunks[i] = CHUNK:format(body(i)) end
  return chunks
end

local function text_of(i) return '"content":"' .. WORDS[i % #WORDS + 1] .. '"' end

local streams = {
  { "text", chunks_of(function(i) return text_of(i), "" end) },
  { "text, usage in each chunk", chunks_of(function(i)
    return text_of(i), (',"usage":{"prompt_tokens":24,"total_tokens":%d,"completion_tokens":%d}'):format(24 + i, i)
  end) },
  { "a call's arguments", chunks_of(function(i)
    local first = i == 1 and '"id":"chatcmpl-tool-1","type":"function",' or ""
    local name = i == 1 and '"name":"get_weather",' or ""
    return ('"tool_calls":[{%s"index":0,"function":{%s"arguments":"%s"}}]')
      :format(first, name, FRAGMENTS[i % #FRAGMENTS + 1]), ""
  end) },
  { "recorded from vLLM", {} },
}
for data in fixtures.load("vllm/text-long").body:gmatch "data: ({.-)\r?\n" do table.insert(streams[4][2], data) end

local function decode_each(chunks)
  local decode, distinct = cjson.decode, #chunks
  return function(n)
    local chunk
    for i = 1, n do chunk = decode(chunks[i % distinct + 1]) end
    assert(chunk.choices)
  end
end

local function pull_each(chunks, method)
  local events, distinct = {}, #chunks
  for i, chunk in ipairs(chunks) do events[i] = "data: " .. chunk .. "\n\n" end
  return function(n)
    local decoder = core.decoder {}
    local feed, pull = decoder.feed, decoder[method]
    for i = 1, n do
      feed(decoder, events[i % distinct + 1])
      while pull(decoder) do end
    end
    assert(select(2, decoder:state()) == n)
  end
end

-- The three take turns, so that what else the machine does meets them alike.
local function measure(name, chunks)
  local bytes, best = 0, {}
  for _, chunk in ipairs(chunks) do bytes = bytes + #chunk / #chunks end
  local ways = { decode_each(chunks), pull_each(chunks, "next"), pull_each(chunks, "next_text") }
  for _ = 1, ROUNDS do
    for i, way in ipairs(ways) do best[i] = math.min(best[i] or math.huge, clock.best_us(1, COUNT, way)) end
  end
  local by_cjson, by_events, by_text = best[1], best[2], best[3]
  print(("  %-26s %5.0f %9.3f %9.3f %6.1f %9.3f %6.1f")
    :format(name, bytes, by_cjson, by_events, by_cjson / by_events, by_text, by_cjson / by_text))
end

print "                               mean   cjson's       table   times    text    times"
print "  us per chunk                bytes    decode      events cheaper    only  cheaper"
for _, stream in ipairs(streams) do measure(stream[1], stream[2]) end
