--- What one step asks of the model: the transcript, perhaps shortened, with the instructions and the tools. This calls
--- functions of the program's own, so it runs in a task.

local options = require "vllm.agent.options"
local stored = require "vllm.agent.stored"
local toolbox = require "vllm.agent.toolbox"
local transcripts = require "vllm.agent.transcript"
local values = require "vllm.base.values"

local prepare = {}

local LEADING = { system = true, developer = true }

local function with_instructions(agent, messages, session)
  local text = agent.instructions
  local first = messages[1]
  if text == nil or type(first) == "table" and LEADING[first.role or first.kind] then return messages end
  if type(text) == "function" then text = text(session) end
  if text == nil or text == "" then return messages end
  if type(text) ~= "string" then error("instructions: expected a text, got " .. values.shown(text), 0) end
  local out = { { role = "system", content = text } }
  for i, message in ipairs(messages) do out[i + 1] = message end
  return out
end

-- Messages that a program's function gave in place of the transcript's.
local function check_messages(messages, who)
  if not values.list_length(messages) then
    error(who .. ": expected a list of messages, got " .. values.shown(messages), 0)
  end
  local fault = transcripts.pair_fault(messages)
  if fault then error(("%s: %s"):format(who, fault), 0) end
  return messages
end

local function copy(list)
  local out = {}
  for i, item in ipairs(list) do out[i] = item end
  return out
end

local function is_same(list, other)
  for i = 1, math.max(#list, #other) do
    if list[i] ~= other[i] then return false end
  end
  return true
end

-- Names the session, unless the program has said who asks.
local function name_session(fields, client, id)
  if not id or id == "" then return end
  local given, extra = client.config.fields, client.config.extra_body or {}
  for _, name in ipairs { "user", "session_id" } do
    if given[name] == nil and extra[name] == nil then fields[name] = id end
  end
end

-- Does a tool keep what the model is not shown?
local function keeps(agent)
  if agent.output_excess == "store" then return true end
  for _, tool in ipairs(agent.tools) do
    if tool.output_excess == "store" then return true end
  end
  return false
end

-- The agent's tools, and that of ours which reads on. It is there from the beginning: a list that grows would move what
-- the server has cached.
local function all_tools(course)
  local agent, transcript = course.agent, course.transcript
  if not keeps(agent) then return agent.tools end
  transcript.reader = transcript.reader or transcript.stored:tool(agent.output_limit)
  local list = copy(agent.tools)
  list[#list + 1] = transcript.reader
  return list
end

-- Names of tools that are to be offered, and ours with them.
local function active_of(course, names)
  if not names or not keeps(course.agent) then return names end
  local list = copy(names)
  list[#list + 1] = stored.TOOL
  return list
end

-- What prepare_step may change, for this step alone.
local STEP_KEYS = { messages = true, tools = true, number = true, usage = true, steps = true }

local function apply_step(course, step, fields)
  if step.tools ~= nil then
    local fault = toolbox.names_fault(step.tools)
    if fault then error(("prepare_step: tools: %s, got %s"):format(fault, values.shown(step.tools)), 0) end
    course.box = toolbox.collect(all_tools(course), active_of(course, step.tools))
    fields.tools = course.box.offered
  end
  for key, value in pairs(step) do
    if options.CHECKS[key] then
      error(("prepare_step: `%s` is the agent's, not a step's"):format(key), 0)
    end
    if not STEP_KEYS[key] then fields[key] = value end
  end
  return check_messages(step.messages, "prepare_step")
end

--- The tools that are there now. May wait and may raise.
---@param course table of the loop
---@return vllm.agent.Toolbox
function prepare.tools(course)
  return toolbox.collect(all_tools(course), active_of(course, course.agent.active_tools))
end

-- A hook that changes the transcript for good.
local function change_transcript(course, number)
  local hook = course.agent.before_request
  if not hook then return end
  local given = copy(course.transcript.messages)
  local messages = hook(given, number)
  if course.drive.cancelled then return end
  if messages ~= nil then
    course.transcript.messages = copy(check_messages(messages, "before_request"))
  elseif not is_same(given, course.transcript.messages) then
    error("before_request: it changed its list and returned nothing; what it returns is the transcript", 0)
  end
end

local function tool_choice(course, how)
  if how.without_tools then return "none" end
  return how.is_first and course.agent.tool_choice or nil -- a forced call in each step would never end
end

--- May wait and may raise.
---@param course table of the loop
---@param how { is_first: boolean, without_tools: string? }
---@return { fields: table, box: vllm.agent.Toolbox }
function prepare.step(course, how)
  local agent, number = course.agent, course.drive.step
  course.box = prepare.tools(course)
  change_transcript(course, number)
  local fields = { tools = course.box.offered, tool_choice = tool_choice(course, how) }
  local messages = copy(course.transcript.messages)
  if agent.prepare_step then
    local step = {
      number = number, messages = messages, steps = course.steps, usage = course.usage,
      tool_choice = fields.tool_choice,
    }
    local surplus = agent.prepare_step(step)
    if surplus ~= nil then
      error("prepare_step: expected it to change `step` and return nothing, got " .. values.shown(surplus), 0)
    end
    messages = apply_step(course, step, fields)
  end
  if #fields.tools == 0 then fields.tools, fields.tool_choice = nil, nil end
  fields.messages = with_instructions(agent, messages, course.drive.session)
  name_session(fields, agent.client, course.drive.session.id)
  return { fields = fields, box = course.box }
end

return prepare
