--- Wire fields that are tables of a fixed shape: what each may hold, and how it is sent. vLLM silently ignores unknown
-- keys in them, so they are refused here; extra_body sends a field as it is. Sources: vLLM's StructuredOutputsParams,
-- RepetitionDetectionParams, JsonSchemaResponseFormat.

local core = require "vllm.core"
local schema = require "vllm.request.schema"
local spelling = require "vllm.base.spelling"
local values = require "vllm.base.values"

local formats = {}

local CONSTRAINTS = { "choice", "grammar", "json", "json_object", "regex", "structural_tag" }
local STRUCTURED_KEYS = {
  choice = true, grammar = true, json = true, json_object = true, regex = true, structural_tag = true,
  disable_any_whitespace = true, disable_additional_properties = true, whitespace_pattern = true,
}
local REPETITION_KEYS = { max_pattern_size = true, min_pattern_size = true, min_count = true }
local FORMAT_KEYS = {
  text = { type = true }, json_object = { type = true }, json_schema = { type = true, json_schema = true },
}
local SCHEMA_KEYS = { name = true, description = true, schema = true, strict = true }
local SCHEMA_TYPES = {
  object = true, array = true, string = true, number = true, integer = true, boolean = true, null = true,
}
local SCHEMA_FORM = 'write { type = "json_schema", json_schema = { name = "…", schema = { … } } }'
local DEFAULT_NAME = "response"

local given, is_raw = values.given, values.is_raw

local function unknown_key(map, known, prefix)
  local why = spelling.unknown_key(map, known, prefix)
  return why and (": " .. why .. "; vLLM would ignore it (extra_body sends any)")
end

local function constraint_fault(value)
  local choice, inner = given(value.choice), schema.fault(value.json, true)
  if choice ~= nil and type(choice) ~= "table" then
    return ".choice: expected a list of strings, got " .. type(choice)
  end
  for _, key in ipairs { "grammar", "regex" } do
    local text = given(value[key])
    if text ~= nil and type(text) ~= "string" then return (".%s: expected a string, got %s"):format(key, type(text)) end
  end
  return inner and ".json" .. inner
end

--- What is wrong with the value of `structured_outputs`, to follow its name in a message; nil: nothing.
---@param value table
---@return string?
function formats.structured_outputs(value)
  if SCHEMA_TYPES[value.type] then return ": this is a bare JSON Schema; write { json = { … } }" end
  local why = unknown_key(value, STRUCTURED_KEYS) or constraint_fault(value)
  if why then return why end
  local found = {}
  for _, key in ipairs(CONSTRAINTS) do
    if given(value[key]) ~= nil then found[#found + 1] = "`" .. key .. "`" end
  end
  if #found == 1 then return nil end
  return ": expected exactly one of " .. table.concat(CONSTRAINTS, ", ")
    .. (#found > 1 and ", got " .. table.concat(found, " and ") or ", got none")
end

--- The same for `repetition_detection`.
---@param value table
---@return string?
function formats.repetition_detection(value)
  local why = unknown_key(value, REPETITION_KEYS)
  if why then return why end
  for key in pairs(REPETITION_KEYS) do
    local number, low = given(value[key]), key == "min_count" and 2 or 0
    if number ~= nil and (type(number) ~= "number" or number ~= math.floor(number) or number < low) then
      return (".%s: expected an integer of at least %d"):format(key, low)
    end
  end
end

local function schema_fault(inner)
  if is_raw(inner) then return nil end
  if type(inner) ~= "table" then return ".json_schema: expected a table with a `schema`; " .. SCHEMA_FORM end
  if type(given(inner.schema)) ~= "table" then
    return ".json_schema.schema: expected the JSON Schema (a table); " .. SCHEMA_FORM
  end
  local name = given(inner.name)
  if name ~= nil and (type(name) ~= "string" or name == "") then
    return ".json_schema.name: expected a non-empty string"
  end
  local why = unknown_key(inner, SCHEMA_KEYS, "json_schema.")
  if why then return why end
  why = schema.fault(inner.schema, true)
  return why and ".json_schema.schema" .. why
end

--- The same for `response_format`. A structural tag's members are the server's to judge.
---@param value table has a `type`
---@return string?
function formats.response_format(value)
  if SCHEMA_TYPES[value.type] then return (": this is a bare JSON Schema; %s"):format(SCHEMA_FORM) end
  if value.type == "json" then return '.type: write "json_object", or for a schema "json_schema"' end
  local why = value.type == "json_schema" and schema_fault(given(value.json_schema))
  if why then return why end
  if value.type == "json_object" and given(value.schema) ~= nil then
    return ".schema would be ignored by vLLM; " .. SCHEMA_FORM
  end
  return FORMAT_KEYS[value.type] and unknown_key(value, FORMAT_KEYS[value.type])
end

--- What to write instead of a value that is not a `response_format`.
---@return string
function formats.response_format_advice()
  return 'write { type = "json_object" }, or for a schema ' .. SCHEMA_FORM:sub(7)
end

local function with(map, key, value)
  local out = {}
  for name, item in pairs(map) do out[name] = item end
  out[key] = value
  return out
end

local WIRE = {}

-- Servers demand a name and do not use it.
function WIRE.response_format(value)
  local inner = value.type == "json_schema" and value.json_schema
  if not inner or is_raw(inner) or given(inner.name) ~= nil then return value end
  return with(value, "json_schema", with(inner, "name", DEFAULT_NAME))
end

-- The one constraint that vLLM takes as a JSON text only.
function WIRE.structured_outputs(value)
  local tag = value.structural_tag
  if type(tag) ~= "table" then return value end
  local text, why, path = core.raw_text(tag), nil, nil
  if not text then text, why, path = core.json_encode(tag) end
  if text then return with(value, "structural_tag", text) end
  local param = "structured_outputs.structural_tag" .. (path and path ~= "" and "." .. path or "")
  return nil, param .. ": " .. why, param
end

--- A checked value as it goes out.
---@param name string the field
---@param value any
---@return any? wire
---@return string? message
---@return string? param
function formats.to_wire(name, value)
  local convert = WIRE[name]
  if not convert or type(value) ~= "table" or is_raw(value) then return value end
  return convert(value)
end

return formats
