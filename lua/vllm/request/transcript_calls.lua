--- Tool calls inside transcripts: the wire's shape, `{ id, type = "function", ["function"] = { name, arguments } }`,
-- and the flat one, `{ id, name, arguments | input }`, as results and `tool_call` events have it. Also which call a
-- tool message answers.

local core = require "vllm.core"
local fault = require "vllm.request.fault"
local members = require "vllm.request.members"
local values = require "vllm.base.values"

local calls = {}

local given, raise = values.given, fault.raise

local ARGUMENTS, ID, NAME =
  "unknown key (did you mean `arguments`?)", "unknown key (did you mean `id`?)", "unknown key (did you mean `name`?)"
local RESULT = "a result goes into a message of role tool"
local CALL = {
  keys = {
    id = true, type = true, ["function"] = true, name = true, arguments = true, input = true,
    invalid = true, index = true, choice = true, part = true, metadata = true, extra = true,
  },
  refused = {
    args = ARGUMENTS, params = ARGUMENTS, parameters = ARGUMENTS, tool_call_id = ID, call_id = ID, toolCallId = ID,
    tool_use_id = ID,
    tool_name = NAME, toolName = NAME, result = RESULT, output = RESULT,
  },
  written = { id = true, type = true, ["function"] = true },
}
local FUNCTION = { keys = { name = true, arguments = true }, refused = CALL.refused }

-- Raw text stays as it is; a table is encoded.
local function arguments_text(arguments, where)
  if arguments == nil then return "{}" end
  if type(arguments) == "string" then return arguments end
  if type(arguments) ~= "table" then raise("expected a JSON text or a table, got " .. type(arguments), where) end
  local text, why, inner = members.encode(arguments)
  if not text then raise(why, where .. inner) end
  if text:byte() ~= 123 then raise("not a JSON object", where) end
  return text
end

-- The object that has name and arguments, and its path.
local function definition_of(call)
  local wire = given(call["function"])
  if wire == nil then return call, "" end
  fault.expect("table", wire, ".function")
  return wire, ".function"
end

--- Reads one call of an assistant message. Its name may be anything, even empty: a model made it, and its mistake must
-- not spoil later requests. (The names of tools that are offered are checked where they are offered.)
---@param call any
---@return string id
---@return string name
---@return string arguments raw text
---@return table|false own unknown members (members.of)
---@return table|false inner those of its function
function calls.read(call)
  if type(call) ~= "table" then raise("expected a call (a table), got " .. type(call), "") end
  local from, prefix = definition_of(call)
  local own = members.of(call, CALL)
  local inner = from ~= call and members.of(from, FUNCTION, prefix)
  local kind = call.type
  if kind ~= nil and kind ~= "function" and kind ~= "tool_call" and given(kind) ~= nil then
    raise(("calls of type `%s` cannot be sent, only functions"):format(tostring(kind)), ".type")
  end
  local id, name = call.id, from.name
  if type(id) ~= "string" or id == "" then raise("expected the call's id (a string that is not empty)", ".id") end
  if type(name) ~= "string" then raise("expected the tool's name (a string)", prefix .. ".name") end
  local field, raw = ".arguments", given(from.arguments)
  if raw == nil and given(call.input) ~= nil then prefix, field, raw = "", ".input", call.input end
  return id, name, arguments_text(raw, prefix .. field), own, inner
end

--- The calls of an assistant message and their key; an empty list is the same as none.
---@param message table
---@return table? list
---@return string key
---@return string? why `calls` and `tool_calls` both, or no list
function calls.of(message)
  local short, wire = message.calls, message.tool_calls
  if short == nil and wire == nil then return nil, "tool_calls" end
  short, wire = given(short), given(wire)
  if short ~= nil and wire ~= nil then return nil, "calls", "calls and tool_calls are both given" end
  local key = short ~= nil and "calls" or "tool_calls"
  local list = short
  if list == nil then list = wire end
  if list == nil then return nil, key end
  if type(list) ~= "table" then return nil, key, "expected a list of calls, got " .. type(list) end
  if list.id ~= nil or list.name ~= nil or list["function"] ~= nil then
    return nil, key, "expected a list of calls, got one call: put it in braces"
  end
  if next(list) == nil then return nil, key end
  return list, key
end

--- The id of the call that a tool message (or a tool_result part) answers: `tool_call_id`, `call_id`, or `call` (a call
--- or its id).
---@param message table
---@return string? id
---@return string where its key, as a path
function calls.answered(message)
  local id, where = message.tool_call_id, ".tool_call_id"
  if type(id) == "string" and id ~= "" then return id, where end
  if id == nil or given(id) == nil then id, where = given(message.call_id), ".call_id" end
  if id == nil then
    id, where = given(message.call), ".call"
    if type(id) == "table" then id, where = given(id.id), ".call.id" end
  end
  if type(id) ~= "string" or id == "" then return nil, id == nil and ".tool_call_id" or where end
  return id, where
end

--- Appends the ids of the calls in a list of wire messages, which may be anything.
---@param messages any
---@param ids string[]
---@return string[] ids
function calls.ids_of(messages, ids)
  for _, message in ipairs(type(messages) == "table" and messages or {}) do
    local list = type(message) == "table" and message.tool_calls
    for _, call in ipairs(type(list) == "table" and list or {}) do
      if type(call) == "table" and type(call.id) == "string" then ids[#ids + 1] = call.id end
    end
  end
  return ids
end

--- Would this raw text go out as it is? Blank arguments mean `{}`.
---@param text string
---@return boolean
function calls.is_object(text)
  if not text:find("[^ \t\r\n]") then return true end
  return text:find("^[ \t\r\n]*{") ~= nil and core.json_check(text) == true
end

return calls
