--- The input of tool calls, as the options `json` and `unwrap_arguments` ask for it.

local core = require "vllm.core"
local json_library = require "vllm.request.json_library"
local values = require "vllm.base.values"

local inputs = {}

-- Is the call whole and only its argument text at fault? One that was cut, or names no tool, cannot be mended.
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
function inputs.is_wrapped(text)
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

local function ask_decode(library, call)
  local input, why = json_library.decode(library, call.arguments)
  if input == nil then return refuse(call, why) end
  if type(input) ~= "table" then return refuse(call, "json.decode gave " .. values.shown(input) .. ", not a table") end
  if rawget(input, 1) ~= nil then return refuse(call, "json.decode gave a list, not an object") end
  call.input, call.invalid = input, nil
  show_model(call)
end

--- Do calls need `settle` under this configuration?
---@param config table
---@return boolean
function inputs.concern(config)
  return config.unwrap_arguments == true or (config.json ~= nil and config.json.decode ~= nil)
end

--- Gives a call the input that the options `json` and `unwrap_arguments` ask for, in place; what cannot be had makes it
--- invalid.
---@param config table
---@param call table with arguments, and input or invalid
function inputs.settle(config, call)
  if not call.arguments or (call.invalid and not is_of_arguments(call.invalid)) then return end
  local inner = call.invalid and config.unwrap_arguments and unwrapped(call.arguments)
  if inner then
    call.arguments, call.invalid, call.input = inner, nil, core.json_decode(inner, { drop_nulls = true })
  end
  local library = config.json
  if library and library.decode then ask_decode(library, call) end
end

--- The same for all calls of a result, and for its messages.
---@param config table
---@param result table
function inputs.settle_all(config, result)
  for _, choice in ipairs(result.choices) do
    local wire = choice.message.tool_calls
    for i, call in ipairs(choice.tool_calls or {}) do
      inputs.settle(config, call)
      if wire and wire[i] then wire[i]["function"].arguments = call.arguments end
    end
  end
end

return inputs
