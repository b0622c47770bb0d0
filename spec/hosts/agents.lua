-- Agents in every cell of the matrix (cell.lua runs it): tools that wait, a cancel inside a tool, an approval that is
-- given in another session.

local probe = require "spec.hosts.probe"
local vllm = require "vllm"

local expect, expect_equal = probe.expect, probe.expect_equal

local agents = { checks = {} }

local function check(name, fn)
  agents.checks[#agents.checks + 1] = { name = name, fn = fn }
end

local function weather(run, more)
  local tool = {
    name = "weather", description = "The weather of a city", run = run,
    parameters = { type = "object", required = { "city" }, properties = { city = { type = "string" } } },
  }
  for key, value in pairs(more or {}) do tool[key] = value end
  return tool
end

local function agent_of(name, tool, more)
  local options = { client = probe.new_client(name, "/v1"), tools = { tool } }
  for key, value in pairs(more or {}) do options[key] = value end
  return vllm.agent(options)
end

local QUESTION = "What is the weather in Paris?"

check("agent_tools", function(name)
  local seen, progress
  local agent = agent_of(name, weather(function(input, call)
    vllm.sleep(0.01)
    call:progress "looking"
    vllm.sleep(0.01)
    seen = input.city
    return { celsius = 18 }
  end))
  local run = agent:run(QUESTION)
  local result = assert(run:each(function(event) if event.type == "tool_progress" then progress = event.text end end))
  expect_equal("completed", result.stop)
  expect_equal("Paris", seen)
  expect_equal("looking", progress)
  expect(result.text:find("18", 1, true), "the answer does not use the result: %s", result.text)
  expect_equal(2, #result.steps)
end)

check("agent_next", function(name)
  local may_end = false
  local run = agent_of(name, weather(function()
    repeat vllm.sleep(0.001) until may_end
    return "18"
  end)):run(QUESTION)
  local event
  repeat event = run:next() until event.type == "tool_start"
  expect_equal(false, run:poll())
  expect_equal(false, run:next(0.001)) -- with the tool's end it would never return
  may_end = true
  assert(run:text())
end)

check("agent_cancelled", function(name)
  local run, ended
  local agent = agent_of(name, weather(function()
    vllm.sleep(0.001)
    run:cancel()
    vllm.sleep(60)
    ended = true
  end))
  local session = agent:session()
  run = session:run(QUESTION)
  expect_equal("cancelled", assert(run:result()).stop)
  expect(not ended, "the tool went on")
  expect_equal("the call was interrupted before it had a result", session:messages()[3].content)
  expect(session:ask "thanks", "the next run failed")
end)

check("agent_approval", function(name)
  local count = 0
  local agent = agent_of(name, weather(function()
    count = count + 1
    return { celsius = 18 }
  end, { approval = "ask" }))
  local session = agent:session()
  local result = assert(session:run(QUESTION):result())
  expect_equal("awaiting_approval", result.stop)
  local state = assert(vllm.json.decode(assert(vllm.json.encode(session:state()))))
  local other = agent:session { state = state }
  assert(other:approve(result.pending[1].id))
  local text = assert(other:ask())
  expect(text:find("18", 1, true), "the answer does not use the result: %s", text)
  expect_equal(1, count)
end)

check("agent_failed", function(name)
  local agent = vllm.agent { client = probe.new_client(name, "/fault/status/503") }
  local session = agent:session()
  local _, _, err = session:run("x"):result()
  expect_equal("overloaded", err and err.kind)
  expect_equal(1, #session:messages())
end)

return agents
