--- For the specs of agents: replies of a scripted server, and short tools.

local testing = require "vllm.testing"
local vllm = require "vllm"

local agents = {}

--- An agent over a script, and the transport with what it was asked.
function agents.new(replies, options, transport_options)
  local client, transport = testing.client(replies, transport_options)
  local all = { client = client }
  for key, value in pairs(options or {}) do all[key] = value end
  return vllm.agent(all), transport
end

--- A reply that calls tools: `calls("a", { x = 1 }, "b", {})`.
function agents.calls(...)
  local list = {}
  for i = 1, select("#", ...), 2 do
    list[#list + 1] = { name = select(i, ...), arguments = select(i + 1, ...) or {} }
  end
  return { tool_calls = list }
end

--- A tool without parameters.
function agents.tool(name, run, more)
  local tool = { name = name, run = run }
  for key, value in pairs(more or {}) do tool[key] = value end
  return tool
end

--- The contents of the tool messages of a session, in order.
function agents.results(session)
  local list = {}
  for _, message in ipairs(session:messages()) do
    if message.role == "tool" then list[#list + 1] = message.content end
  end
  return list
end

--- The roles of a session's messages, as one text.
function agents.roles(session)
  local list = {}
  for i, message in ipairs(session:messages()) do list[i] = message.role end
  return table.concat(list, " ")
end

--- All events of a run.
function agents.events(run)
  local list = {}
  run:each(function(event) list[#list + 1] = event end)
  return list
end

--- The types of events, without those of the turns.
function agents.own_types(events)
  local OWN = {
    step_start = true, step_end = true, tool_start = true, tool_progress = true, tool_result = true, message = true,
    approval_required = true, compaction = true, warning = true, run_end = true,
  }
  local list = {}
  for _, event in ipairs(events) do
    if OWN[event.type] then list[#list + 1] = event.type end
  end
  return table.concat(list, " ")
end

return agents
