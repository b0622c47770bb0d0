--- Tools as an agent holds them: checked once, found by name, and as a request offers them.

local misuse = require "vllm.base.misuse"
local schema = require "vllm.schema"
local spelling = require "vllm.base.spelling"
local values = require "vllm.base.values"

local toolbox = {}

--- A tool. `run` may wait. It returns text, a table (sent as JSON), parts (vllm.image …); or nil and why, which is
--- final; or vllm.retry(why), which asks the model to correct its call. What it raises is a failure, too.
---@class vllm.Tool
---@field name string 1 to 64 of a-z A-Z 0-9 _ -
---@field description string|(fun(): string)|nil asked before each step
---@field parameters table? JSON Schema with type = "object"; a call's arguments are checked against it
---@field run (fun(input: table, call: vllm.agent.Call): any, string?)? nil: the program gives the result by
---  session:answer
---@field approval false|"ask"|(fun(input: table, call: table): string?, string?)|nil the function gives nil, "allow",
---  "ask", or "deny" and why
---@field timeout_s number?
---@field exclusive boolean? runs alone
---@field output_limit integer? bytes of a result that the model is shown; the rest is cut
---@field hidden boolean? not offered, but may be called
---@field validate boolean? false: arguments are not checked
---@field retries integer? how often in a row the model may correct a call
---@field loop_key (fun(input: table): any)? what says that two calls are the same; nil: they never are
---@field strict boolean?
---@field defer_loading boolean?

toolbox.KEYS = {
  name = "string", description = "string or function", parameters = "table", run = "function",
  approval = "boolean or string or function", timeout_s = "number", exclusive = "boolean", output_limit = "number",
  hidden = "boolean", validate = "boolean", retries = "number", loop_key = "function", strict = "boolean",
  defer_loading = "boolean", annotations = "table", metadata = "table", title = "string",
}
local MIN = { timeout_s = 0, output_limit = 1, retries = 0 }

-- The first fault of a member, or nil.
local function member_fault(key, value)
  local kind = toolbox.KEYS[key]
  if not (" " .. kind .. " "):find(" " .. type(value) .. " ", 1, true) then
    return ("%s: expected %s, got %s"):format(key, kind, values.shown(value))
  end
  if MIN[key] and (value < MIN[key] or value ~= value) then
    return ("%s: expected %d or more, got %s"):format(key, MIN[key], values.shown(value))
  end
  if key == "approval" and value ~= false and value ~= "ask" and type(value) ~= "function" then
    return ('approval: expected "ask", false or a function, got %s'):format(values.shown(value))
  end
end

-- A list of properties in place of a schema would let every call pass.
local SCHEMA = {
  "type", "properties", "required", "additionalProperties", "anyOf", "oneOf", "allOf", "$ref", "$schema",
}

local function parameters_fault(parameters)
  if parameters == nil or values.is_raw(parameters) or next(parameters) == nil then return nil end
  for _, key in ipairs(SCHEMA) do
    if parameters[key] ~= nil and (key ~= "type" or type(parameters.type) == "string") then return nil end
  end
  return 'parameters: expected a JSON Schema: { type = "object", properties = { … }, required = { … } }'
end

-- OpenAI's shape with our members beside it is as good.
local function flat(tool)
  local definition = tool["function"]
  if type(definition) ~= "table" then return tool end
  local out = {}
  for key, value in pairs(tool) do
    if key ~= "type" and key ~= "function" then out[key] = value end
  end
  for key, value in pairs(definition) do out[key] = value end
  return out
end

-- A checker of arguments, or false. A schema that cannot be checked is a fault of the tool.
local function checker_of(tool)
  local parameters = tool.parameters
  if tool.validate == false or parameters == nil or next(parameters) == nil then return false end
  return schema.compile(parameters)
end

local function fault_of(tool)
  if type(tool) ~= "table" then
    return "expected a tool (a table with `name` and `run`), got " .. values.shown(tool)
  end
  if rawget(tool, "_given") then return "expected a tool, got an agent: write agent:tool { name = … }" end
  if tool[1] ~= nil then return "expected a tool, got a list: tools are not nested" end
  for _, key in ipairs(values.sorted_keys(tool)) do
    local name = tostring(key)
    local is_private = name:byte() == 95
    if not is_private and not toolbox.KEYS[key] then
      return (spelling.unknown(name, key, "agent_tool", toolbox.KEYS))
    end
    local fault = not is_private and member_fault(key, tool[key])
    if fault then return fault end
  end
  if tool.name == nil or not tool.name:find "^[%w_-]+$" or #tool.name > 64 then
    return "name: expected 1 to 64 of a-z A-Z 0-9 _ -, got " .. values.shown(tool.name)
  end
  return parameters_fault(tool.parameters)
end

---@class vllm.agent.CheckedTool : vllm.Tool
---@field check (fun(value: any): boolean, table?)|false

local known = setmetatable({}, { __mode = "k" }) -- a program's table → what was made of it

--- What is made of a tool, once for each table.
---@param tool vllm.Tool
---@return vllm.agent.CheckedTool? checked
---@return string? why
function toolbox.check(tool)
  local checked = known[tool]
  if checked then return checked end
  local own = type(tool) == "table" and flat(tool) or tool
  local fault = fault_of(own)
  if fault then return nil, fault end
  local check, why = checker_of(own)
  if check == nil then return nil, "parameters: " .. why end
  checked = {}
  for key, value in pairs(own) do checked[key] = value end
  checked.check = check
  known[tool] = checked
  return checked
end

--- A list of tools and toolsets, as vllm.agent has it; misuse throws.
---@param list any
---@param where string of the list, for messages
function toolbox.check_list(list, where)
  local length = values.list_length(list)
  if not length then misuse.raise(("%s: expected a list of tools, got %s"):format(where, values.shown(list))) end
  local names = {}
  for i = 1, length do
    local item = list[i]
    if not (type(item) == "table" and type(item.tools) == "function") then
      local checked, why = toolbox.check(item)
      if not checked then misuse.raise(("%s[%d]: %s"):format(where, i, why)) end
      if names[checked.name] then
        misuse.raise(("%s[%d].name: there is a second tool %s"):format(where, i, values.shown(checked.name)))
      end
      names[checked.name] = true
    end
  end
end

--- What is wrong with a list of names, or nil.
---@param value any
---@return string?
function toolbox.names_fault(value)
  if not values.list_length(value) then return "expected a list of names" end
  for _, name in ipairs(value) do
    if type(name) ~= "string" then return "expected names in the list" end
  end
end

--- A tool of the list itself, not of a toolset.
---@param list table[]
---@param name string
---@return vllm.agent.CheckedTool?
function toolbox.find(list, name)
  for _, item in ipairs(list) do
    local checked = type(item.tools) ~= "function" and toolbox.check(item)
    if checked and checked.name == name then return checked end
  end
end

---@class vllm.agent.Toolbox
---@field by_name table<string, vllm.agent.CheckedTool>
---@field offered table[] as client:turn takes them, in a fixed order
---@field warnings string[]

local OFFERED = { "name", "parameters", "strict", "defer_loading" }

local function offer_of(tool)
  local out, description = {}, tool.description
  if type(description) == "function" then description = description() end
  out.description = description
  for _, key in ipairs(OFFERED) do out[key] = tool[key] end
  return out
end

-- The first tool of a name wins.
local function add(box, tool, active)
  local checked, why = toolbox.check(tool)
  if not checked then
    box.warnings[#box.warnings + 1] = "a tool of a toolset is left out: " .. why
  elseif box.by_name[checked.name] then
    box.warnings[#box.warnings + 1] = ("a second tool `%s` is left out"):format(checked.name)
  else
    box.by_name[checked.name] = checked
    local is_offered = not checked.hidden
    if active then is_offered = active[checked.name] end
    if is_offered then box.offered[#box.offered + 1] = offer_of(checked) end
  end
end

local function set_of(names)
  local set = {}
  for _, name in ipairs(names) do set[name] = true end
  return set
end

--- What to say of a name that no tool has.
---@param box vllm.agent.Toolbox
---@param name string
---@return string
local function no_such(box, name)
  local nearest = spelling.nearest(name, box.by_name)
  return ("there is no tool `%s`%s"):format(name, nearest and (" (did you mean `%s`?)"):format(nearest) or "")
end

local function listed_by(toolset, i)
  local list = toolset:tools()
  if values.list_length(list) then return list end
  error(("tools[%d].tools: expected a list of tools, got %s"):format(i, values.shown(list)), 0)
end

--- The tools of one step. Asks toolsets and descriptions, so it may wait and may raise.
---@param list table[] checked by check_list
---@param active string[]? names of those that are offered
---@return vllm.agent.Toolbox
function toolbox.collect(list, active)
  local box = { by_name = {}, offered = {}, warnings = {} }
  local wanted = active and set_of(active)
  for i, item in ipairs(list) do
    if type(item.tools) == "function" then
      for _, tool in ipairs(listed_by(item, i)) do add(box, tool, wanted) end
    else
      add(box, item, wanted)
    end
  end
  for _, name in ipairs(active or {}) do
    if not box.by_name[name] then box.warnings[#box.warnings + 1] = "to be offered: " .. no_such(box, name) end
  end
  return box
end

--- What is wrong with a name that is to be offered, where only the list's own tools can be meant; or nil.
---@param list table[] checked by check_list
---@param active string[]
---@return string?
function toolbox.unknown_active(list, active)
  local box = { by_name = {} }
  for _, item in ipairs(list) do
    if type(item.tools) == "function" then return nil end
    local checked = toolbox.check(item)
    box.by_name[checked.name] = checked
  end
  for _, name in ipairs(active) do
    if not box.by_name[name] then return no_such(box, name) end
  end
end

--- What the model reads that called a tool which is not there.
---@param box vllm.agent.Toolbox
---@param name string
---@return string
function toolbox.unknown(box, name)
  local names = {}
  for _, tool in ipairs(box.offered) do names[#names + 1] = tool.name end
  if #names == 0 then return ("there is no tool `%s`: there are no tools now"):format(name) end
  return ("%s; the tools are %s"):format(no_such(box, name), table.concat(names, ", "))
end

--- The offered names, as one text.
---@param box vllm.agent.Toolbox
---@return string
function toolbox.names(box)
  local names = {}
  for i, tool in ipairs(box.offered) do names[i] = tool.name end
  return table.concat(names, ",")
end

local MAX_FAULTS = 5

--- What is wrong with a call's arguments, as sentences for the model; nil: nothing.
---@param tool vllm.agent.CheckedTool
---@param input table
---@return string?
function toolbox.faults(tool, input)
  if not tool.check then return nil end
  local ok, faults = tool.check(input, MAX_FAULTS)
  if ok then return nil end
  local lines = { ("the arguments do not fit the schema of `%s`:"):format(tool.name) }
  for _, fault in ipairs(faults) do lines[#lines + 1] = "- " .. fault.message end
  return table.concat(lines, "\n")
end

return toolbox
