--- Tools as users write them, in the wire's shape: `{ name, description, parameters, strict, defer_loading }` becomes
-- `{ type = "function", function = { … } }`. Names are what every server accepts, and no name is given twice.

local core = require "vllm.core"
local excerpt = require "vllm.base.excerpt"
local schemas = require "vllm.request.schema"
local spelling = require "vllm.base.spelling"
local values = require "vllm.base.values"

local tools = {}

local SHORT = { name = true, description = true, parameters = true, strict = true, defer_loading = true }

--- Can this be the name of a tool?
---@param name any
---@return boolean
function tools.is_name(name)
  return type(name) == "string" and #name <= 64 and name:find("^[a-zA-Z0-9_-]+$") ~= nil
end

local function fault(where, name, expected, value)
  local param = where .. "." .. name
  return nil, ("%s: expected %s, got %s"):format(param, expected, values.shown(value)), param
end

-- A tool may carry more for an agent's own use (`run`, …), but not what looks like a misspelling.
local function check_extra_keys(tool, where)
  for _, key in ipairs(values.sorted_keys(tool)) do
    if type(key) == "string" and not SHORT[key] then
      local meant = require("vllm.base.foreign").advice("tool", key) or spelling.nearest(key, SHORT)
      if meant then
        local param = where .. "." .. key
        return nil, ("%s: unknown key (did you mean `%s`?)"):format(param, meant), param
      end
    end
  end
  return true
end

local COMBINED = { "$ref", "anyOf", "oneOf", "allOf" }

-- Why these parameters are not the schema of an object, or nil. A schema composed of others is left to the server.
local function parameters_fault(parameters)
  local kind = parameters.type
  if next(parameters) == nil or values.is_raw(parameters) or kind == "object" then return nil end
  if #parameters > 0 then return "this is a list" end
  if type(kind) == "string" then return "arguments are always an object" end
  for _, name in ipairs(COMBINED) do
    if parameters[name] ~= nil then return nil end
  end
  if parameters.properties ~= nil then return "it is missing" end
  local first = excerpt.of(tostring(values.sorted_keys(parameters)[1]), 40)
  return ("write { type = \"object\", properties = { %s = … } }"):format(first)
end

local function check_definition(definition, where)
  if not tools.is_name(definition.name) then
    return fault(where, "name", "1 to 64 of a-z A-Z 0-9 _ -", definition.name)
  end
  local description, parameters, strict = definition.description, definition.parameters, definition.strict
  if description ~= nil and type(description) ~= "string" then
    return fault(where, "description", "a string", description)
  end
  if parameters ~= nil and type(parameters) ~= "table" then
    return fault(where, "parameters", "a JSON Schema (a table)", parameters)
  end
  local why = parameters ~= nil and parameters_fault(parameters)
  if why then
    local param = where .. ".parameters"
    return nil, ('%s: expected a JSON Schema with type = "object": %s'):format(param, why), param
  end
  why = schemas.fault(parameters)
  if why then return nil, where .. ".parameters" .. why, where .. ".parameters" end
  if strict ~= nil and type(strict) ~= "boolean" then return fault(where, "strict", "true or false", strict) end
  local deferred = definition.defer_loading
  if deferred ~= nil and type(deferred) ~= "boolean" then
    return fault(where, "defer_loading", "true or false", deferred)
  end
  return true
end

-- Chat templates walk `parameters.properties`, so a tool without parameters says so.
local function schema(parameters)
  if parameters == nil or (next(parameters) == nil and not values.is_raw(parameters)) then
    return { type = "object", properties = {} }
  end
  return parameters
end

local function of_short_form(tool, where)
  local ok, message, param = check_extra_keys(tool, where)
  if ok then ok, message, param = check_definition(tool, where) end
  if not ok then return nil, message, param end
  return { type = "function", ["function"] = {
    name = tool.name, description = tool.description, parameters = schema(tool.parameters), strict = tool.strict,
    defer_loading = tool.defer_loading,
  } }
end

local function copy(map)
  local out = {}
  for key, value in pairs(map) do out[key] = value end
  return out
end

local function of_wire_form(tool, where)
  if tool.type ~= nil and tool.type ~= "function" then return fault(where, "type", '"function"', tool.type) end
  local definition = tool["function"]
  if type(definition) ~= "table" then return fault(where, "function", "a table", definition) end
  if values.is_raw(definition) then
    return fault(where, "function", "a table (make the whole list raw instead)", definition)
  end
  local ok, message, param = check_definition(definition, where .. ".function")
  if not ok then return nil, message, param end
  local wire = copy(tool)
  wire.type, wire["function"] = "function", copy(definition)
  wire["function"].parameters = schema(definition.parameters)
  return wire
end

local function of_any_form(tool, where)
  if type(tool) ~= "table" or values.is_raw(tool) then
    return nil, ("%s: expected a tool (a table with a `name`), got %s"):format(where, values.shown(tool)), where
  end
  if tool["function"] ~= nil then return of_wire_form(tool, where) end
  return of_short_form(tool, where)
end

--- Checks a list of tools and puts it into the wire's shape. The input stays as it is.
---@param list table short or wire forms, mixed; or vllm.raw, which is taken as it is
---@return table? wire nil with no message: there are none, leave `tools` out (servers refuse an empty list)
---@return string|table? names set of the tools' names, absent for raw; or the message
---@return string? param `tools[2].name`
function tools.to_wire(list)
  if values.is_raw(list) then return list end
  local length = values.list_length(list)
  if not length then return nil, "tools: expected a list of tools, got " .. values.shown(list), "tools" end
  if length == 0 then return nil end
  local wire, names = setmetatable({}, core.array_mt), {}
  for i = 1, length do
    local where = ("tools[%d]"):format(i)
    local tool, message, param = of_any_form(list[i], where)
    if not tool then return nil, message, param end
    local name = tool["function"].name
    if names[name] then
      param = list[i]["function"] and where .. ".function.name" or where .. ".name"
      return nil, ("%s: the name %s is given twice"):format(param, values.shown(name)), param
    end
    wire[i], names[name] = tool, true
  end
  return wire, names
end

local LITERAL = { none = true, auto = true, required = true }

local function listed(names)
  local list = values.sorted_keys(names)
  for i, name in ipairs(list) do list[i] = "`" .. name .. "`" end
  return table.concat(list, ", ")
end

--- A tool_choice in the wire's shape: the name of a tool becomes the object that names it.
---@param choice any checked by fields.wire.tool_choice
---@param names table? set of the offered tools; nil where they are raw
---@return any wire
---@return string? message
---@return string? param
function tools.choice_to_wire(choice, names)
  if LITERAL[choice] then return choice end
  local name, param = choice, "tool_choice"
  if type(choice) == "table" then
    if values.is_raw(choice) then return choice end
    if choice.type ~= "function" then
      local why = 'tool_choice.type: expected "function", got %s; to narrow the choice, offer only those tools '
        .. "(extra_body sends any)"
      return nil, why:format(values.shown(choice.type)), "tool_choice.type"
    end
    name, param = type(choice["function"]) == "table" and choice["function"].name, "tool_choice.function.name"
    if type(name) ~= "string" then
      return nil, param .. ": expected the name of a tool, got " .. values.shown(name or nil), param
    end
  end
  if names and not names[name] then
    local advice = name == "any" and '; "required" makes the model call one of them' or ""
    local why = ("%s: there is no tool %s; the tools are %s"):format(param, values.shown(name), listed(names))
    return nil, why .. advice, param
  end
  return type(choice) == "table" and choice or { type = "function", ["function"] = { name = name } }
end

return tools
