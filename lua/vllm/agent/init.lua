--- `vllm.agent`: instructions, tools and rules around a client. An agent does not change and holds no conversation, so
--- one serves any number of sessions at once.

local checked_tools = require "vllm.agent.checked_tool"
local misuse = require "vllm.base.misuse"
local options = require "vllm.agent.options"
local outputs = require "vllm.agent.outputs"
local sessions = require "vllm.agent.session"
local values = require "vllm.base.values"

---@class vllm.Agent
---@field client vllm.Client
local Agent = {}
Agent.__name = "vllm.agent"

function Agent.__index(self, name)
  if name == "client" then return rawget(self, "_own").client end
  return Agent[name]
end
misuse.tell_members(Agent, "agent", "agent_method")

local agents = { Agent = Agent, retry = outputs.retry }

--- Makes an agent. Throws on the first unknown key or wrong type, naming the key.
---@param given table see docs/agents.md; `client`, or the options of one, or neither: then the environment names the
---  server
---@return vllm.Agent
function agents.agent(given)
  misuse.check_dot("agent", given)
  if type(given) ~= "table" then
    misuse.raise("vllm.agent: expected a table of options, got " .. values.shown(given))
  end
  if rawget(given, "config") and given.turn then
    misuse.raise "vllm.agent: a client is one of its options: vllm.agent { client = client }"
  end
  return setmetatable({ _own = options.check(given), _given = given }, Agent)
end

--- Checks a tool, for programs that make them before their agents. Throws, naming the member.
---@param tool vllm.Tool
---@return vllm.Tool the same table
function agents.tool(tool)
  misuse.check_dot("tool", tool)
  local checked, why = checked_tools.check(tool)
  if not checked then misuse.raise("vllm.tool: " .. why) end
  return tool
end

local function check_self(self, name)
  misuse.check_colon(type(self) == "table" and rawget(self, "_given"), "agent", name)
end

-- Options of a call are lost in silence where other clients take them beside the input.
local function check_surplus(surplus, name)
  if surplus == nil then return end
  misuse.raise(("agent:%s: takes the input alone, got %s beside it; options are the agent's: agent:with { … }")
    :format(name, values.shown(surplus)))
end

--- A conversation.
---@param given { id: string?, messages: table[]?, state: table? }? state: of another session, session:state()
---@return vllm.agent.Session
function Agent:session(given)
  check_self(self, "session")
  return sessions.new(self._own, given == nil and {} or given)
end

--- A run in a session of its own: run.session.
---@param input string|table a text, a message, or a list of them
---@param surplus nil options are the agent's: agent:with { … }
---@return vllm.agent.Run
function Agent:run(input, surplus)
  check_self(self, "run")
  check_surplus(surplus, "run")
  if input == nil then misuse.raise "agent:run: expected a text or a message, got nil" end
  return self:session():run(input)
end

--- The whole loop, and the text of its answer.
---@param input string|table as for run
---@param surplus nil
---@return string? text
---@return string? message
---@return vllm.Error? err any kind of a turn; `no_output` when the run stopped without text, with `partial.stop`
function Agent:ask(input, surplus)
  check_self(self, "ask")
  check_surplus(surplus, "ask")
  return self:run(input):text()
end

--- Another agent, with some options changed.
---@param changes table
---@return vllm.Agent
function Agent:with(changes)
  check_self(self, "with")
  if type(changes) ~= "table" then
    misuse.raise("agent:with: expected a table of options, got " .. values.shown(changes))
  end
  local all = {}
  for key, value in pairs(self._given) do all[key] = value end
  for key, value in pairs(changes) do all[key] = value end
  return agents.agent(all)
end

local INPUT = {
  type = "object", required = { "task" },
  properties = { task = { type = "string", description = "What to do, with all that has to be known for it" } },
}

--- This agent as a tool of another, with one argument, `task`: each call is a session of its own. Its tokens are not in
--- the other's result, and no approval can wait in it.
---@param given table name, description, and other members of a tool
---@return vllm.Tool
function Agent:tool(given)
  check_self(self, "tool")
  if type(given) ~= "table" then
    misuse.raise("agent:tool: expected a table with `name`, got " .. values.shown(given))
  end
  local tool = { parameters = INPUT }
  for key, value in pairs(given) do tool[key] = value end
  function tool.run(input, call)
    local run = self:run(input.task)
    local result, message = run:each(function(event)
      if event.type == "tool_start" then call:progress(event.name) end
      if call:is_cancelled() then return false end
    end)
    if not result then return nil, message end
    local first = result.pending[1]
    if first then error(("a call of `%s` waits, which an agent as a tool cannot"):format(first.name), 0) end
    local text, why = run:text()
    return text, why
  end
  return agents.tool(tool)
end

function Agent.__newindex(_, name)
  misuse.raise(("agent.%s: an agent does not change; agent:with { %s = … } makes another one"):format(name, name))
end

function Agent:__tostring()
  return ("vllm.agent (%d tools)"):format(#self._own.tools)
end

return agents
