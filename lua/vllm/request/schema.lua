--- Mistakes at the top of the JSON Schema of an object, where people write by hand. A server silently passes them to
-- the model, or fails with a message about its grammar.

local excerpt = require "vllm.base.excerpt"
local values = require "vllm.base.values"

local schema = {}

local function is_plain(value)
  return type(value) == "table" and not values.is_raw(value)
end

local function property_fault(name, property, is_enforced)
  local where = ".properties." .. excerpt.of(name, 40)
  if type(property) == "string" or type(property) == "number" then
    return ('%s: expected a schema such as { type = "string" }, got %s'):format(where, type(property))
  end
  if is_enforced and is_plain(property) and type(property.required) == "boolean" then
    return ('%s.required: write required = { "%s" } beside properties'):format(where, excerpt.of(name, 40))
  end
end

--- What is wrong, to follow the schema's name in a message; nil: nothing that shows here.
---@param value table
---@param is_enforced boolean? the answer must follow it, so mistakes that a grammar skips count; tools may be a
---  stranger's
---@return string?
function schema.fault(value, is_enforced)
  if not is_plain(value) then return nil end
  local required, properties = value.required, value.properties
  if values.given(required) ~= nil and type(required) ~= "table" then
    return ".required: expected a list of names, got " .. type(required)
  end
  if not is_plain(properties) then return nil end
  if properties[1] ~= nil then
    return '.properties: expected a table such as { city = { type = "string" } }, got a list'
  end
  for _, name in ipairs(values.sorted_keys(properties)) do
    local why = type(name) == "string" and property_fault(name, properties[name], is_enforced)
    if why then return why end
  end
end

return schema
