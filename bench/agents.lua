-- A step of an agent beside the same step written by hand over a session: the loop's own cost. And steps over a long
-- transcript: what a step costs besides sending the transcript must not grow with it.
local clock = require "bench.clock"
local testing = require "vllm.testing"
local vllm = require "vllm"

local STEPS = 200
local PARAMETERS = { type = "object", properties = { x = { type = "integer" } }, required = { "x" } }

local function replies(steps)
  local list = {}
  for i = 1, steps - 1 do list[i] = { tool_calls = { { name = "f", arguments = { x = i } } } } end
  list[steps] = "done"
  return list
end

local function run(input) return { x = input.x } end

local tool = { name = "f", description = "A tool", parameters = PARAMETERS, run = run }

-- Requests are not kept: their bodies would be the whole of the memory.
local function client_of(steps)
  local client, transport = testing.client(replies(steps))
  transport.requests = setmetatable({}, { __newindex = function() end })
  return client
end

local function by_agent(steps, messages)
  local agent = vllm.agent { client = client_of(steps), tools = { tool }, max_steps = steps + 1 }
  local session = agent:session { messages = messages }
  assert(session:run("go"):result())
end

local function talk_by_hand(session)
  local input = "go"
  while true do
    local result = assert(session:turn(input):result())
    if #result.tool_calls == 0 then return end
    for _, call in ipairs(result.tool_calls) do
      session:append { role = "tool", call = call, result = run(call.input) }
    end
    input = nil
  end
end

local function by_hand(steps, messages)
  talk_by_hand(client_of(steps):session { messages = messages, tools = { tool } })
end

local function us_of(steps, fn, messages)
  return clock.best_us(3, steps, function(n) fn(n, messages) end)
end

-- Conversations of four steps, where the transcript costs next to nothing, over one client.
local function endless_client()
  local list = {}
  local client, transport = testing.client(list)
  setmetatable(list, { __index = function(_, i)
    return i % 4 == 0 and "done" or { tool_calls = { { name = "f", arguments = { x = i } } } }
  end })
  transport.requests = setmetatable({}, { __newindex = function() end })
  return client
end

local function us_of_short(fn)
  return clock.best_us(3, 4000, function(n) for _ = 1, n / 4 do fn() end end)
end

local short_agent, short_client = vllm.agent { client = endless_client(), tools = { tool } }, endless_client()
local short_us = us_of_short(function() assert(short_agent:run("go"):result()) end)
local short_hand_us = us_of_short(function() talk_by_hand(short_client:session { tools = { tool } }) end)
local agent_us, hand_us = us_of(STEPS, by_agent), us_of(STEPS, by_hand)
local function row(name, agent, hand)
  print(("  %-34s %8.1f us, by hand %.1f: %+.1f %%"):format(name, agent, hand, (agent / hand - 1) * 100))
end
row("one step of 4", short_us, short_hand_us)
row("one step of " .. STEPS, agent_us, hand_us)

-- A megabyte that is there already.
local long = {}
for i = 1, 250 do
  long[#long + 1] = { role = "user", content = ("What is the weather in city number %d? "):format(i):rep(50) }
  long[#long + 1] = { role = "assistant", content = ("It is sunny. "):rep(150) }
end
local long_agent, long_hand = us_of(STEPS, by_agent, long), us_of(STEPS, by_hand, long)
row("one step after a megabyte", long_agent, long_hand)

-- Memory: what a step leaves behind.
collectgarbage()
local function kept_kb(steps)
  local agent = vllm.agent { client = client_of(steps), tools = { tool }, max_steps = steps + 1 }
  local session = agent:session()
  collectgarbage()
  local before = collectgarbage "count"
  assert(session:run("go"):result())
  collectgarbage()
  return (collectgarbage "count" - before) / steps, session
end
kept_kb(100)
local small, large = kept_kb(100), kept_kb(800)
print(("  kept of a step                       %7.2f KB of 800 steps, %.2f of 100: ratio %.2f (must stay below 1.30)")
  :format(large, small, large / small))
