--- JSON values that cross into the user's program and out of it: the input of tool calls, the answers of other endpoints, what tools
-- return. They may go through a JSON library of his own (the option `json`); the wire never does.

local calls = require "vllm.calls"
local core = require "vllm.core"
local fields = require "vllm.fields"
local spelling = require "vllm.spelling"

local values = {}

local EXPECTED = 'json must be "cjson", or a table with encode and decode (such as require "dkjson"), got '
local FUNCTIONS = { encode = true, decode = true }

local function fault_of_functions(library)
  local encode, decode = library.encode, library.decode
  if encode == nil and decode == nil then return "json has neither encode nor decode" end
  for name in pairs(FUNCTIONS) do
    local value = library[name]
    if value ~= nil and type(value) ~= "function" then return ("json.%s must be a function, got %s"):format(name, fields.shown(value)) end
  end
  if encode and decode then return nil end -- a library may have more
  return spelling.unknown_key(library, FUNCTIONS, "json.")
end

--- The functions of the option `json`.
---@param option any
---@return { encode: function?, decode: function? }?
---@return string? why
function values.functions(option)
  local library = option
  if option == "cjson" then
    local found
    found, library = pcall(require, "cjson")
    if not found then return nil, 'json = "cjson": lua-cjson is not found (luarocks install lua-cjson; Debian: lua-cjson)' end
  end
  if type(library) ~= "table" then return nil, EXPECTED .. fields.shown(option) end
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
  return nil, ("%s: %s"):format(name, type(reason) == "string" and reason or fields.shown(reason))
end

--- Decodes a text for the user.
---@param functions table? of values.functions; nil: ours
---@param text string
---@return any value
---@return string? why where value is nil
function values.decode(functions, text)
  if functions and functions.decode then return asked("json.decode", functions.decode, text) end
  return core.json_decode(text)
end

--- A value of the user's as a text that the model reads.
---@param functions table? of values.functions; nil: ours
---@param value any
---@param options table? of core.json_encode, for ours
---@return string? text
---@return string? why
---@return string? where inside the value
function values.encode(functions, value, options)
  if not (functions and functions.encode) then return calls.encode(value, options) end
  local text, why = asked("json.encode", functions.encode, value)
  if type(text) == "string" then return text end
  return nil, why or ("json.encode gave %s, not a text"):format(fields.shown(text)), ""
end

-- Calls ---------------------------------------------------------------------------------------------------------------------

-- Is the call whole and only its argument text at fault? One that was cut, or names no tool, is nobody's to mend.
local function is_of_arguments(invalid)
  return invalid:find("^the arguments ") ~= nil
end

local function is_object_text(text)
  return text:find("^[ \t\r\n]*{") ~= nil and core.json_check(text) == true
end

-- The object's text inside a JSON string, or nil.
local function unwrapped(text)
  local inner = text:find('^[ \t\r\n]*"') and core.json_decode(text)
  return type(inner) == "string" and is_object_text(inner) and inner or nil
end

--- Are these arguments what `unwrap_arguments` is for?
---@param text string
---@return boolean
function values.is_wrapped(text)
  return unwrapped(text) ~= nil
end

local function refuse(call, why)
  call.input, call.invalid = nil, call.invalid or why
end

-- Arguments that only the user's decode understood go back to the server as what it made of them.
local function show_model(call)
  if is_object_text(call.arguments) then return end
  local text = core.json_encode(call.input)
  if text and text:byte() == 123 then call.arguments = text end
end

local function ask_decode(decode, call)
  local input, why = asked("json.decode", decode, call.arguments)
  if input == nil then return refuse(call, why) end
  if type(input) ~= "table" then return refuse(call, ("json.decode gave %s, not a table"):format(fields.shown(input))) end
  if rawget(input, 1) ~= nil then return refuse(call, "json.decode gave a list, not an object") end
  call.input, call.invalid = input, nil
  show_model(call)
end

--- Do calls need `settle` under this configuration?
---@param config table
---@return boolean
function values.concern(config)
  return config.unwrap_arguments == true or (config.json ~= nil and config.json.decode ~= nil)
end

--- Gives a call the input that the options `json` and `unwrap_arguments` ask for, in place; what cannot be had makes it invalid.
---@param config table
---@param call table with arguments, and input or invalid
function values.settle(config, call)
  if not call.arguments or (call.invalid and not is_of_arguments(call.invalid)) then return end
  local inner = call.invalid and config.unwrap_arguments and unwrapped(call.arguments)
  if inner then
    call.arguments, call.invalid, call.input = inner, nil, core.json_decode(inner, { drop_nulls = true })
  end
  local decode = config.json and config.json.decode
  if decode then ask_decode(decode, call) end
end

--- The same for all calls of a result, and for its messages.
---@param config table
---@param result table
function values.settle_all(config, result)
  for _, choice in ipairs(result.choices) do
    local wire = choice.message.tool_calls
    for i, call in ipairs(choice.tool_calls or {}) do
      values.settle(config, call)
      if wire and wire[i] then wire[i]["function"].arguments = call.arguments end
    end
  end
end

return values
