--- One tool, as a program writes it: its members, its schema, and what is made of it.

local schema = require "vllm.schema"
local spelling = require "vllm.base.spelling"
local values = require "vllm.base.values"

local checked_tools = {}

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
---@field output_limit integer? bytes of a result that the model is shown
---@field output_excess "cut"|"fail"|"store"|nil what becomes of more
---@field hidden boolean? not offered, but may be called
---@field validate boolean? false: arguments are not checked
---@field retries integer? how often in a row the model may correct a call
---@field loop_key (fun(input: table): any)? what says that two calls are the same; nil: they never are
---@field strict boolean?
---@field defer_loading boolean?

checked_tools.KEYS = {
  name = "string", description = "string or function", parameters = "table", run = "function",
  approval = "boolean or string or function", timeout_s = "number", exclusive = "boolean", output_limit = "number",
  output_excess = "string", hidden = "boolean", validate = "boolean", retries = "number", loop_key = "function",
  strict = "boolean", defer_loading = "boolean", annotations = "table", metadata = "table", title = "string",
}
checked_tools.EXCESS = { cut = true, fail = true, store = true }
local MIN = { timeout_s = 0, output_limit = 1, retries = 0 }

-- The first fault of a member, or nil.
local function member_fault(key, value)
  local kind = checked_tools.KEYS[key]
  if not (" " .. kind .. " "):find(" " .. type(value) .. " ", 1, true) then
    return ("%s: expected %s, got %s"):format(key, kind, values.shown(value))
  end
  if MIN[key] and (value < MIN[key] or value ~= value) then
    return ("%s: expected %d or more, got %s"):format(key, MIN[key], values.shown(value))
  end
  if key == "output_excess" and not checked_tools.EXCESS[value] then
    return ('output_excess: expected "cut", "fail" or "store", got %s'):format(values.shown(value))
  end
  if key == "approval" and value ~= false and value ~= "ask" and type(value) ~= "function" then
    return ('approval: expected "ask", false or a function, got %s'):format(values.shown(value))
  end
end

-- A list of properties in place of a schema would let every call pass.
local SCHEMA = {
  "type", "properties", "required", "additionalProperties", "anyOf", "oneOf", "allOf", "$ref", "$schema",
}

-- Members of a schema for objects that are schemas themselves, besides `properties`.
local SUBSCHEMA = {
  additionalProperties = true, unevaluatedProperties = true, propertyNames = true, ["not"] = true,
  ["if"] = true, ["then"] = true, ["else"] = true,
}

-- A property that stands beside `type`: { type = "object", city = { type = "string" } }.
local function misplaced(parameters)
  if parameters.properties ~= nil then return nil end
  for _, key in ipairs(values.sorted_keys(parameters)) do
    local member = parameters[key]
    if not SUBSCHEMA[key] and type(member) == "table" and type(member.type) == "string" then return tostring(key) end
  end
end

local function parameters_fault(parameters)
  if parameters == nil or values.is_raw(parameters) or next(parameters) == nil then return nil end
  if type(parameters.type) == "string" and parameters.type ~= "object" then
    return 'parameters: expected type = "object", got ' .. values.shown(parameters.type)
  end
  local property = parameters.type == "object" and misplaced(parameters)
  if property then return ("parameters: `%s` belongs into properties = { %s = … }"):format(property, property) end
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
    if not is_private and not checked_tools.KEYS[key] then
      return (spelling.unknown(name, key, "agent_tool", checked_tools.KEYS))
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
function checked_tools.check(tool)
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

return checked_tools
