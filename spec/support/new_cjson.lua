-- A stand-in for the lua-cjson of OpenResty in what it says of arrays and null: lua_cjson.c, json_append_data and
-- json_parse_array_context. Members are written in order of their names, so that texts can be compared.

local core = require "vllm.core"

local M = {}

---@param null any  what it takes for null
---@return table cjson
function M.new(null)
  local cjson = { null = null, array_mt = {}, empty_array_mt = {}, empty_array = core.sse(), _VERSION = "2.1.0.17" }
  local marks_arrays = false

  local function encode(value)
    if value == null then return "null" end
    if value == cjson.empty_array then return "[]" end
    if type(value) ~= "table" then return assert(core.json_encode(value)) end
    local mark, parts = getmetatable(value), {}
    local is_array = mark == cjson.array_mt or #value > 0 or (mark == cjson.empty_array_mt and next(value) == nil)
    if is_array then
      for i = 1, #value do parts[i] = encode(value[i]) end
      return "[" .. table.concat(parts, ",") .. "]"
    end
    local names = {}
    for name in pairs(value) do names[#names + 1] = name end
    table.sort(names)
    for i, name in ipairs(names) do parts[i] = encode(name) .. ":" .. encode(value[name]) end
    return "{" .. table.concat(parts, ",") .. "}"
  end
  cjson.encode = encode

  local function marked(value)
    if type(value) ~= "table" then return value end
    local is_array = getmetatable(value) == core.array_mt
    setmetatable(value, is_array and marks_arrays and cjson.array_mt or nil)
    for _, member in pairs(value) do marked(member) end
    return value
  end

  function cjson.decode(text)
    return marked(assert(core.json_decode(text)))
  end

  function cjson.decode_array_with_array_mt(on)
    marks_arrays = on
  end

  return cjson
end

return M
