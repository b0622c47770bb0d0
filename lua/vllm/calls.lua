--- Tool calls inside transcripts: the wire's shape, `{ id, type = "function", ["function"] = { name, arguments } }`, and the flat one,
-- `{ id, name, arguments | input }`, as results and `tool_call` events have it. Also which call a tool message answers.

local core = require "vllm.core"
local spelling = require "vllm.spelling"

local calls = {}

local CALL_KEYS = {
  id = true, type = true, ["function"] = true, name = true, arguments = true, input = true,
  invalid = true, index = true, choice = true, part = true, metadata = true,
}
local FUNCTION_KEYS = { name = true, arguments = true }

--- nil for everything that stands for null (core.null, cjson.null, vim.NIL, ngx.null are all userdata).
---@param value any
---@return any
function calls.value(value)
  if type(value) == "userdata" then return nil end
  return value
end
local given = calls.value

--- Looks for a key that would be lost on the way without a word. Keys that begin with "_" are the caller's own notes.
---@param object table
---@param known table<string, true>
---@return boolean? ok
---@return string? why
---@return string? where the key as a path
function calls.check_keys(object, known)
  for key, value in pairs(object) do
    if not known[key] and type(value) ~= "userdata" then
      if type(key) ~= "string" then return nil, "unknown key", "[" .. tostring(key) .. "]" end
      if key:byte() ~= 95 then
        local nearest = spelling.nearest(key, known)
        return nil, nearest and ("unknown key; did you mean `%s`?"):format(nearest) or "unknown key", "." .. key
      end
    end
  end
  return true
end

--- A value as JSON; the path of a fault begins with "." or "[" (or is empty), to be put behind where the value stands.
---@param value any
---@param options table? of core.json_encode
---@return string? text
---@return string? why
---@return string? where
function calls.encode(value, options)
  local text, why, path = core.json_encode(value, options)
  if text then return text end
  path = path or ""
  return nil, why, (path == "" or path:find("^%[")) and path or "." .. path
end

-- Raw text stays as it is; a table is encoded.
local function arguments_text(arguments)
  if arguments == nil then return "{}" end
  if type(arguments) == "string" then return arguments end
  if type(arguments) ~= "table" then return nil, "expected a JSON text or a table, got " .. type(arguments), "" end
  local text, why, where = calls.encode(arguments)
  if not text then return nil, why, where end
  if text:byte() ~= 123 then return nil, "not a JSON object", "" end
  return text
end

--- Reads one call of an assistant message. Its name may be anything, even empty: a model made it, and what it said must not spoil the
-- requests that follow. (The names of tools that are offered are checked where they are offered.)
---@param call any
---@return string? id
---@return string name or why it cannot be sent
---@return string arguments raw text, or the path of the fault inside the call
function calls.read(call)
  if type(call) ~= "table" then return nil, "expected a call (a table), got " .. type(call), "" end
  local ok, why, where = calls.check_keys(call, CALL_KEYS)
  if not ok then return nil, why, where end
  local kind = call.type
  if kind ~= nil and kind ~= "function" and kind ~= "tool_call" and given(kind) ~= nil then
    return nil, ("calls of type `%s` cannot be sent, only functions"):format(tostring(kind)), ".type"
  end
  local from, prefix = call, ""
  local wire = given(call["function"])
  if wire ~= nil then
    if type(wire) ~= "table" then return nil, "expected a table, got " .. type(wire), ".function" end
    ok, why, where = calls.check_keys(wire, FUNCTION_KEYS)
    if not ok then return nil, why, ".function" .. where end
    from, prefix = wire, ".function"
  end
  local id, name = call.id, from.name
  if type(id) ~= "string" or id == "" then return nil, "expected the call's id (a string that is not empty)", ".id" end
  if type(name) ~= "string" then return nil, "expected the tool's name (a string)", prefix .. ".name" end
  local field, raw = ".arguments", given(from.arguments)
  if raw == nil and given(call.input) ~= nil then prefix, field, raw = "", ".input", call.input end
  local text
  text, why, where = arguments_text(raw)
  if not text then return nil, why, prefix .. field .. where end
  return id, name, text
end

--- The calls of an assistant message and the key they stand under; an empty list is none.
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

--- The id of the call that a tool message (or a tool_result part) answers: `tool_call_id`, `call_id`, or `call` (a call or its id).
---@param message table
---@return string? id
---@return string where the key it stands under, as a path
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

--- Would this raw text go out as it is? Blank arguments mean `{}`.
---@param text string
---@return boolean
function calls.is_object(text)
  if not text:find("[^ \t\r\n]") then return true end
  return text:find("^[ \t\r\n]*{") ~= nil and core.json_check(text) == true
end

return calls
