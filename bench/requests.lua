-- Building a request: a long transcript, and one that ends in a large tool result.
local cjson = require "cjson"
local clock = require "bench.clock"
local vllm = require "vllm"
local testing = require "vllm.testing"

local client = testing.client({})

local function transcript(turns)
  local messages = { { role = "system", content = "You are helpful." } }
  for i = 1, turns do
    messages[#messages + 1] = { role = "user",
      content = "Question " .. i .. ": what is the weather in Zürich, and why?" }
    messages[#messages + 1] = { role = "assistant", tool_calls = { { id = "call" .. i, type = "function",
      ["function"] = { name = "get_weather", arguments = '{"city": "Zürich"}' } } } }
    messages[#messages + 1] = { role = "tool", tool_call_id = "call" .. i, content = "18 degrees, sunny" }
    messages[#messages + 1] = { role = "assistant",
      content = "It is sunny in Zürich, at 18 degrees, since the foehn blows." }
  end
  return messages
end

local function row(name, us, other)
  print(("  %-34s %8.1f us  %5.1f times the cost of cjson.encode of the same"):format(name, us, us / other))
end

for _, turns in ipairs { 25, 250 } do
  local messages = transcript(turns)
  local count = turns == 25 and 200 or 20
  local ours = clock.best_us(3, count, function(n) for _ = 1, n do assert(client:body { messages = messages }) end end)
  local other = clock.best_us(3, count,
    function(n) for _ = 1, n do cjson.encode { model = "m", messages = messages } end end)
  row(#messages .. " messages", ours, other)
end
assert(vllm)
