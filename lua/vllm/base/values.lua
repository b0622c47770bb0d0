--- Values of a program's own, as tables of options and messages hold them: what counts as null and as a list, and how
--- one is shown.

local core = require "vllm.core"
local excerpt = require "vllm.base.excerpt"

local values = {}

local MAX_SHOWN_BYTES = 40

--- Is this a JSON null of this program, of lua-cjson, nginx or Neovim?
---@param value any
---@return boolean
function values.is_null(value)
  return type(value) == "userdata" and core.is_null(value)
end

--- nil for null and for lua-cjson's [], else the value. Any other userdata, such as an open file, is a mistake for
--- others to tell.
---@param value any
---@return any
function values.given(value)
  if type(value) == "userdata" and (core.is_null(value) or core.is_empty_array(value)) then return nil end
  return value
end

--- Is this a ready JSON text (vllm.raw)? It is written as it is and its value is not checked.
---@param value any
---@return boolean
function values.is_raw(value)
  return type(value) == "table" and core.raw_text(value) ~= nil
end

--- A value as it may stand in a message: short, printable. Not for secrets.
---@param value any
---@return string
function values.shown(value)
  local kind = type(value)
  if kind == "string" then return '"' .. excerpt.of(value, MAX_SHOWN_BYTES):gsub("\n", "?") .. '"' end
  if kind == "number" then return value ~= value and "nan" or ("%.14g"):format(value) end
  if kind == "boolean" or kind == "nil" then return tostring(value) end
  if values.is_null(value) then return "null" end
  return "a " .. kind
end

--- The length of a list: a table whose keys are exactly 1..n (0 for an empty one), or lua-cjson's []. nil: this is not
--- a list.
---@param value any
---@return integer?
function values.list_length(value)
  if type(value) ~= "table" then return type(value) == "userdata" and core.is_empty_array(value) and 0 or nil end
  local count = 0
  for _ in pairs(value) do count = count + 1 end
  for i = 1, count do
    if value[i] == nil then return nil end
  end
  return count
end

--- Does one text come before another by their bytes? `<` asks the locale.
---@param a string
---@param b string
---@return boolean
function values.is_before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

--- The string keys of a table, sorted; then its other keys. For reporting the same fault first on every run.
---@param map table
---@return any[]
function values.sorted_keys(map)
  local keys, others = {}, {}
  for key in pairs(map) do
    local list = type(key) == "string" and keys or others
    list[#list + 1] = key
  end
  table.sort(keys)
  table.sort(others, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(others) do keys[#keys + 1] = key end
  return keys
end

return values
