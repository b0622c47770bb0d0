--- JSON for requests, tool arguments and structured answers: exact, and written the same way in every process. Reading
-- keeps 64-bit integers where Lua has them and marks arrays, so that `[]` goes back as `[]`. Writing sorts members by
-- the bytes of their names. lua-cjson's, Neovim's and nginx's nulls and array marks are understood when written.
--
-- If lua-cjson is found and has an array mark, we use that mark, so that lua-cjson writes `[]` for a `[]` that was read
-- here. This is decided once, when this file is loaded, so that all arrays have the same mark. A lua-cjson that is
-- found later keeps its own.

local core = require "vllm.core"

local json = {}

local function mark_of(library)
  local mark = type(library) == "table" and rawget(library, "array_mt")
  return type(mark) == "table" and mark or nil
end

-- From lua-cjson, or from the one built into Neovim.
local function shared_mark()
  local found, cjson = pcall(require, "cjson")
  local vim = rawget(_G, "vim")
  return found and mark_of(cjson) or type(vim) == "table" and mark_of(rawget(vim, "json")) or nil
end

local mark = shared_mark()
if mark then core.use_array_mt(mark) end

--- Represents null, since nil cannot be stored in a table. The same value as lua-cjson's and nginx's null; in Neovim,
-- vim.NIL.
json.null = core.null

local ENCODE_OPTIONS = { indent = true, request = true }
local DECODE_OPTIONS = { null = true, drop_nulls = true, array_mt = true, max_depth = true }

local function check_options(name, options, known)
  if options == nil then return end
  if type(options) ~= "table" then error(name .. ": expected a table of options, got " .. type(options), 3) end
  local unknown_key = require("vllm.base.spelling").unknown_key(options, known)
  if unknown_key then error(("%s: %s"):format(name, unknown_key), 3) end
end

local INSTEAD = {
  ["vllm.session"] = "a session is not a JSON value: encode session:messages()",
  ["vllm.turn"] = "a turn is not a JSON value: encode what turn:result() returns",
}

-- What to encode in place of an object of ours; nil if the value is not one.
local function instead_of(value)
  local metatable = type(value) == "table" and getmetatable(value)
  return type(metatable) == "table" and INSTEAD[metatable.__name] or nil
end

--- Writes a value as JSON. A table with exactly the keys 1..n is an array, one with only string keys an object,
-- anything else an error. `{}` is an object, `json.array {}` an array. A field `__jsonorder`, a list of names, says
-- which members come first; `properties` follow the order of the `required` next to them. Integral floats below 2^53
-- are written as integers.
---@param value any nil is written as null
---@param options { indent: integer?, request: boolean? }? indent: spaces a level, 0 to 16 (0, the default, is compact);
---  request: an empty table is an array where a request's schema expects one (`stop`, `required`, `tools`, …)
---@return string? text
---@return string? message what cannot be written, after its path: `tools[1].function.parameters: …`
---@return string? path the path alone
function json.encode(value, options)
  check_options("vllm.json.encode", options, ENCODE_OPTIONS)
  local text, message, path = core.json_encode(value, options)
  if text then return text end
  local instead = instead_of(value)
  if instead then return nil, instead, "" end
  return nil, path == "" and message or path .. ": " .. message, path
end

--- Reads one JSON text. If a member is repeated, the last one counts. 64-bit integers are exact on Lua 5.3 and 5.4;
--- elsewhere numbers are doubles. Invalid UTF-8 is replaced by U+FFFD.
---@param text string
---@param options { null: any, drop_nulls: boolean?, array_mt: boolean?, max_depth: integer? }? null: the value for null
---  (default `json.null`); drop_nulls: leave out members that are null; array_mt: mark arrays with a metatable (default
---  true); max_depth: 1 to 128 (the default)
---@return any value nil if the text is not JSON, otherwise never nil
---@return string? message what is wrong, and where
---@return integer? position the byte at fault, from 1
function json.decode(text, options)
  if type(text) ~= "string" then error("vllm.json.decode: expected a string, got " .. type(text), 2) end
  check_options("vllm.json.decode", options, DECODE_OPTIONS)
  return core.json_decode(text, options)
end

--- Marks a table as an array, so that it is written as one even if it is empty. Returns the same table.
---@generic T
---@param list? T[] default: a new table
---@return T[]
function json.array(list)
  if list ~= nil and type(list) ~= "table" then error("vllm.array: expected a table, got " .. type(list), 2) end
  return setmetatable(list or {}, core.array_mt)
end

--- Would this table be written as an array? It would if it is marked, or if its keys are exactly 1..n with n at least
--- 1.
---@param value any
---@return boolean
function json.is_array(value)
  if type(value) ~= "table" then return false end
  if core.is_marked_array(value) then return true end
  local count, length = 0, #value
  for key in next, value do
    if type(key) ~= "number" or key < 1 or key > length or key % 1 ~= 0 then return false end
    count = count + 1
  end
  return count > 0 and count == length
end

--- Wraps a JSON text that is to be written as it is, for full control of a schema. It is checked here, once.
-- In a table constructor, wrap the call in `assert`: a nil there would silently leave out the field.
---@param text string
---@return table? raw
---@return string? message
---@return integer? position the byte at fault, from 1
function json.raw(text)
  if type(text) ~= "string" then error("vllm.raw: expected a string, got " .. type(text), 2) end
  return core.raw(text)
end

return json
