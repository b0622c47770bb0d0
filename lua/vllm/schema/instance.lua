--- What a checked value is, in the words of JSON, and when two are the same.

local core = require "vllm.core"
local values = require "vllm.base.values"

local instance = {}

local MAX_DEPTH = 200 -- of values that are compared: tables of a program's own may contain themselves
local EMPTY = {}

--- The value as a Lua list, if it is an array: marked as one, or with exactly the keys 1..n, n at least 1.
---@param value any
---@return table?
function instance.list(value)
  if type(value) ~= "table" then return type(value) == "userdata" and core.is_empty_array(value) and EMPTY or nil end
  local mark = getmetatable(value)
  if mark ~= nil and (mark == core.array_mt or core.is_marked_array(value)) then return value end
  return value[1] ~= nil and values.list_length(value) and value or nil
end
local list_of = instance.list

--- Is this an object? Any table is that is not an array.
---@param value any
---@return boolean
function instance.is_object(value)
  if type(value) ~= "table" then return false end
  if value[1] == nil and getmetatable(value) == nil then return true end
  return not list_of(value)
end

--- The JSON type of a value, or its Lua type if it has none.
---@param value any
---@return string
function instance.kind_of(value)
  local kind = type(value)
  if kind == "table" then return list_of(value) and "array" or "object" end
  if kind == "userdata" then return core.is_null(value) and "null" or list_of(value) and "array" or kind end
  return kind
end

--- The types of JSON Schema.
instance.IS_TYPE = {
  array = function(value) return list_of(value) ~= nil end,
  boolean = function(value) return type(value) == "boolean" end,
  integer = function(value) return type(value) == "number" and value % 1 == 0 end, -- 1.0 is one
  null = function(value) return instance.kind_of(value) == "null" end,
  number = function(value) return type(value) == "number" end,
  object = instance.is_object,
  string = function(value) return type(value) == "string" end,
}

local function same_members(a, b, depth)
  for key, value in next, a do
    if b[key] == nil or not instance.equal(value, b[key], depth) then return false end
  end
  for key in next, b do
    if a[key] == nil then return false end
  end
  return true
end

--- Are two values equal as JSON? 1 and 1.0 are.
---@param a any
---@param b any
---@param depth integer? how deep we are
---@return boolean
function instance.equal(a, b, depth)
  if a == b then return true end
  local kind = instance.kind_of(a)
  if kind ~= instance.kind_of(b) then return false end
  if kind == "null" then return true end
  depth = (depth or 0) + 1
  if (kind ~= "array" and kind ~= "object") or depth > MAX_DEPTH then return false end
  return same_members(list_of(a) or a, list_of(b) or b, depth)
end

local to_integer = rawget(math, "tointeger") or function() end -- 5.1 has one type of number

local function text_of_number(value)
  return core.json_encode(to_integer(value) or value) or tostring(value)
end

local append

local function append_members(out, value, depth)
  local list = list_of(value)
  out[#out + 1] = list and "[" or "{"
  for i = 1, list and #list or 0 do append(out, list[i], depth) end
  for _, key in ipairs(list and EMPTY or values.sorted_keys(value)) do
    append(out, tostring(key), depth)
    append(out, value[key], depth)
  end
  out[#out + 1] = "]"
end

function append(out, value, depth)
  local kind = type(value)
  if kind == "string" then
    out[#out + 1] = #value .. ":" .. value
  elseif kind == "number" then
    out[#out + 1] = text_of_number(value) .. ","
  elseif (kind == "table" or list_of(value)) and depth < MAX_DEPTH then
    append_members(out, value, depth + 1)
  else
    out[#out + 1] = instance.kind_of(value) .. tostring(kind == "boolean" and value)
  end
end

--- A key for a table, the same for equal values and for no others.
---@param value any
---@return any
function instance.key(value)
  if type(value) == "userdata" and core.is_null(value) then return core.null end
  if type(value) ~= "table" and not list_of(value) then return value end
  local out = { "\0" } -- not the key of a string
  append(out, value, 0)
  return table.concat(out, "\1")
end

return instance
