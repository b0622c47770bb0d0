--- JSON values that enter or leave the user's program: the input of tool calls, the answers of other endpoints, what
-- tools return. They may go through a JSON library of the user's (the option `json`); the wire never does.

local core = require "vllm.core"
local members = require "vllm.request.members"
local spelling = require "vllm.base.spelling"
local values = require "vllm.base.values"

local json_library = {}

local EXPECTED = 'json: expected "cjson", or a table with encode and decode (such as require "dkjson"), got '
local FUNCTIONS = { encode = true, decode = true }

local function fault_of_functions(library)
  local encode, decode = library.encode, library.decode
  if encode == nil and decode == nil then return "json has neither encode nor decode" end
  for name in pairs(FUNCTIONS) do
    local value = library[name]
    if value ~= nil and type(value) ~= "function" then
      return ("json.%s: expected a function, got %s"):format(name, values.shown(value))
    end
  end
  if encode and decode then return nil end -- a library may have more
  return spelling.unknown_key(library, FUNCTIONS, "json.")
end

--- The functions of the option `json`.
---@param option any
---@return { encode: function?, decode: function? }?
---@return string? why
function json_library.functions(option)
  local library = option
  if option == "cjson" then
    local found
    found, library = pcall(require, "cjson")
    if not found then
      return nil, 'json = "cjson": lua-cjson was not found (luarocks install lua-cjson; Debian: lua-cjson)'
    end
  end
  if type(library) ~= "table" then return nil, EXPECTED .. values.shown(option) end
  local why = fault_of_functions(library)
  if why then return nil, why end
  return { encode = library.encode, decode = library.decode }
end

-- What a function of the user's gave: its first value, or nil and what it said instead.
local function asked(name, fn, argument)
  local ok, value, why = pcall(fn, argument)
  if ok and value ~= nil then return value end
  local reason = not ok and value or why
  if reason == nil then return nil, name .. (ok and " gave nil" or " failed") end
  return nil, ("%s: %s"):format(name, type(reason) == "string" and reason or values.shown(reason))
end

--- Decodes a text for the user.
---@param functions table? of json_library.functions; nil: ours
---@param text string
---@return any value
---@return string? why where value is nil
function json_library.decode(functions, text)
  if functions and functions.decode then return asked("json.decode", functions.decode, text) end
  return core.json_decode(text)
end

--- A value of the user's as a text that the model reads.
---@param functions table? of json_library.functions; nil: ours
---@param value any
---@param options table? of core.json_encode, for ours
---@return string? text
---@return string? why
---@return string? where inside the value
function json_library.encode(functions, value, options)
  if not (functions and functions.encode) then return members.encode(value, options) end
  local text, why = asked("json.encode", functions.encode, value)
  if type(text) == "string" then return text end
  return nil, why or ("json.encode gave %s, not a text"):format(values.shown(text)), ""
end

return json_library
