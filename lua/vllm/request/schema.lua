--- Slips in the JSON Schema of an object: at the top, where people write by hand. A server passes them to the model without a word, or
-- fails at them with a sentence about its grammar.

local excerpt = require "vllm.base.excerpt"
local values = require "vllm.base.values"

local schema = {}

local function is_plain(value)
  return type(value) == "table" and not values.is_raw(value)
end

local function property_fault(name, property, is_enforced)
  local where = ".properties." .. excerpt.of(name, 40)
  if type(property) == "string" or type(property) == "number" then
    return ('%s must be a schema such as { type = "string" }, got %s'):format(where, type(property))
  end
  if is_enforced and is_plain(property) and type(property.required) == "boolean" then
    return ('%s.required: write required = { "%s" } beside properties'):format(where, excerpt.of(name, 40))
  end
end

--- What is wrong, to be put behind the schema's name; nil: nothing that shows here.
---@param value table
---@param is_enforced boolean? an answer is held to it, so that what a grammar passes over counts; tools may be a stranger's
---@return string?
function schema.fault(value, is_enforced)
  if not is_plain(value) then return nil end
  local required, properties = value.required, value.properties
  if values.given(required) ~= nil and type(required) ~= "table" then
    return ".required must be a list of names, got " .. type(required)
  end
  if not is_plain(properties) then return nil end
  if properties[1] ~= nil then return '.properties must be a table such as { city = { type = "string" } }, got a list' end
  for _, name in ipairs(values.sorted_keys(properties)) do
    local why = type(name) == "string" and property_fault(name, properties[name], is_enforced)
    if why then return why end
  end
end

return schema
