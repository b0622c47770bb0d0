--- What a user writes as `messages` → the JSON text of wire messages.
--
-- A list of messages, all forms mixed freely:
--   "text"                                                        a user message
--   { role = "user", text = "…" }                                 also content = "…", or a list of strings and parts
--   { role = "assistant", text =, calls = { { id =, name =, arguments = } } }
--                                                                 arguments: raw JSON (kept byte for byte) or a table
--   { role = "tool", call = call, result = value, is_error = }    call: a call or its id; value: text, or anything
--                                                                 that JSON can hold
--   OpenAI's wire messages (role, content, tool_calls, tool_call_id, name), and result.message, as they are
-- The parts of a content: parts.lua.
-- Roles (`kind` is a synonym): system, context (goes out as system), developer, user, notification (goes out as a user
-- message in <system-reminder> lines), assistant, tool; any other is sent as it is, for the server's template, unless
-- it looks like a misspelling. What each becomes on the wire, and how messages merge: the top of src/core/messages.c.
--
-- Null and nil are the same. Keys that begin with "_" and the keys in `NOT_SENT` stay here. Unknown members are sent
-- (members.lua), and so are those in `extra`, where results keep what a server sent besides the rest.
-- A failed tool's text begins with "Error: ". A call of the last assistant message needs its result before anything
-- else may follow. A call whose arguments are not a JSON object is sent as {} once it has a result. Ids are never
-- changed.
-- Reasoning is kept apart from content; it is replayed under `reasoning_field` by `reasoning_replay`: "never",
-- "always", or "tool_turns" (messages that have calls; no later message can change that, so the prefix stays the same).

local calls = require "vllm.request.transcript_calls"
local core = require "vllm.core"
local fault = require "vllm.request.fault"
local json_library = require "vllm.request.json_library"
local members = require "vllm.request.members"
local mistaken = require "vllm.request.mistaken"
local parts = require "vllm.request.parts"
local tools = require "vllm.request.tools"
local values = require "vllm.base.values"

local messages = {}

local is_content = require("vllm.request.content").is_content

local given, raise, expect = values.given, fault.raise, fault.expect
local KINDS = parts.kinds
local ASSISTANT, TOOL = KINDS.assistant, KINDS.tool

-- Keys of results and of other programs' transcripts that mean nothing to a server.
local NOT_SENT = {
  id = true, metadata = true, usage = true, created_at = true, model = true, finish_reason = true, stop_reason = true,
  annotations = true,
}

local KEYS_OF_ROLE = {
  assistant = { "calls", "tool_calls", "reasoning", "reasoning_content", "refusal", "audio" },
  tool = { "tool_call_id", "call_id", "call", "result", "is_error" },
}
local WRITTEN = { role = true, content = true, name = true, tool_calls = true, tool_call_id = true }

-- Other programs' words, and the keys of other roles: all of them would be silently lost.
local MEDIA = "media go into content: { \"…\", vllm.image{ … } }"
local REFUSED = { parts = "unknown key (did you mean `content`?)" }
for _, key in ipairs { "images", "image", "image_url", "files", "attachments", "experimental_attachments" } do
  REFUSED[key] = MEDIA
end
for _, key in ipairs { "toolCalls", "toolInvocations", "function_call", "tool_call" } do
  REFUSED[key] = "unknown key (did you mean `tool_calls`?)"
end
for _, key in ipairs { "toolCallId", "tool_use_id" } do REFUSED[key] = "unknown key (did you mean `tool_call_id`?)" end

-- Tools for the developer role (vLLM), in either form.
local function convert_tools(value, where)
  if type(value) ~= "table" then return value end
  local wire, why, param = tools.to_wire(value)
  if param then raise((why:gsub("^[^ ]+ ", "", 1)), where .. param:gsub("^tools", "", 1)) end
  return wire or value
end

local function known_of(role)
  local keys, refused = { role = true, kind = true, content = true, text = true, name = true, extra = true }, {}
  for key in pairs(NOT_SENT) do keys[key] = true end
  for key, why in pairs(REFUSED) do refused[key] = why end
  for other, own in pairs(KEYS_OF_ROLE) do
    for _, key in ipairs(own) do
      keys[key] = other == role or keys[key]
      if other ~= role then refused[key] = "unknown key: it belongs to a message of role " .. other end
    end
  end
  return { keys = keys, refused = refused, written = WRITTEN, not_sent = NOT_SENT, convert = { tools = convert_tools } }
end

local PLAIN, ASSISTANT_KNOWN, TOOL_KNOWN = known_of(), known_of "assistant", known_of "tool"
TOOL_KNOWN.refused.output = "unknown key (did you mean `result`?)"
TOOL_KNOWN.refused.error = "unknown key; write result = \"…\", is_error = true"
local OTHER = known_of()
OTHER.refused = REFUSED

local RESULT_KEYS = {
  type = true, tool_call_id = true, call_id = true, call = true, result = true, output = true, content = true,
  is_error = true,
  id = true, metadata = true,
}

-- The state of one encode: `list` and `n` (what core.messages reads), `i` (the message at hand), `calls` (places of
-- its calls in `list`), `open` (call id → how many still lack a result), `open_count`, `open_at` (the message that
-- made them), `open_calls` (their places), `ids` (of all calls), `where` and `item` (the path of the list at hand, and
-- the place in it: what a fault's path continues).

local function begin(s, kind, name, own)
  local list, n = s.list, s.n
  list[n + 1], list[n + 2], list[n + 3] = kind, s.i, name or false
  s.n = n + 3
  if own then parts.members(s, own) end
end

local MEND = "(vllm.repair or session:repair "

-- A path inside what is at hand, from the message on.
local function from_message(s, where)
  if s.where == "" then return where end
  return s.item and ("%s[%d]%s"):format(s.where, s.item, where) or s.where .. where
end

-- Runs `add` for what is at `where`: for each item of a list, or for the thing itself.
local function each(s, where, add, kind, list, thing)
  local outer, outer_item = s.where, s.item
  s.where, s.item = from_message(s, where), false
  if thing ~= nil then add(s, kind, thing) end
  for j = 1, list and #list or 0 do
    s.item = j
    add(s, kind, list[j])
  end
  s.where, s.item = outer, outer_item
end

-- Raises if calls are still open.
local function check_answered(s)
  if s.open_count == 0 then return end
  local list = s.list
  for j, at in ipairs(s.open_calls) do
    local raw, id = list[at + 1], list[at + 3]
    if s.open[id] > 0 then
      local message = s.messages[s.open_at]
      local some, key = calls.of(message)
      local where = some and (".%s[%d]"):format(key, j) or ".content"
      if not calls.is_object(raw) then
        local wire = some and type(some[j]) == "table" and given(some[j]["function"]) ~= nil
        raise("not a JSON object, and no result follows " .. MEND .. "adds one)",
          where .. (wire and ".function.arguments" or ".arguments"), s.open_at)
      end
      raise(("no result follows call `%s` " .. MEND .. "adds one)"):format(id), where, s.open_at)
    end
  end
end

local function name_of(message)
  local name = message.name
  if name == nil or given(name) == nil then return nil end
  if type(name) ~= "string" or name == "" then raise("expected a string that is not empty", ".name") end
  return name
end

-- `content`, or its short form `text`, and which of them.
local function content_of(message)
  local content, text = message.content, message.text
  if content ~= nil then content = given(content) end
  if text == nil or given(text) == nil then return content, ".content" end
  expect("string", text, ".text")
  if content ~= nil and content ~= text then raise("text and content are both given", ".text") end
  return text, ".text"
end

-- Where a list has a hole or a stray key: nil, or why and where. A constructor that failed leaves nil, followed by its
-- message.
local function list_fault(list)
  if values.list_length(list) then return nil end
  local length = 0
  for key in pairs(list) do
    if type(key) ~= "number" then return "expected a list, got a table with keys", "." .. tostring(key) end
    length = math.max(length, key)
  end
  for i = 1, length do
    if list[i] == nil then
      local reason, err = list[i + 1], list[i + 2]
      local told = type(reason) == "string" and type(err) == "table" and err.message == reason
      local why = told and "missing: " .. reason or "missing (a constructor such as vllm.image gives nil when it fails)"
      return why, ("[%d]"):format(i)
    end
  end
  return "expected a list", ""
end

local function add_content(s, kind, content, where)
  if type(content) == "string" then return parts.text(s, kind, content) end
  if type(content) ~= "table" then raise("expected a string or a list of parts, got " .. type(content), where) end
  if content.type ~= nil then return each(s, where, parts.add, kind, nil, content) end
  local why, at = list_fault(content)
  if why and content[1] == nil and at:find "^%." then raise(mistaken.for_content(content), where) end
  if why then raise(why, where .. at) end
  each(s, where, parts.add, kind, content)
end

local function add_plain(s, kind, message)
  local own = members.of(message, PLAIN)
  check_answered(s)
  local name, content, where = name_of(message), content_of(message)
  if content == nil then raise("missing", ".content") end
  begin(s, kind, name, own)
  add_content(s, kind, content, where)
end

-- A message of a role that only the server's template knows. It may lack content.
local function add_other(s, role, message)
  local own = members.of(message, OTHER)
  check_answered(s)
  local name, content, where = name_of(message), content_of(message)
  begin(s, parts.OTHER, name)
  s.n = s.n + 1
  s.list[s.n] = role
  parts.members(s, own)
  if content ~= nil then add_content(s, parts.OTHER, content, where) end
end

-- The first of two names that holds something.
local function reasoning_of(message)
  local text, older = message.reasoning, message.reasoning_content
  if text == nil and older == nil then return "" end
  text, older = given(text), given(older)
  if text ~= nil then expect("string", text, ".reasoning") end
  if older ~= nil then expect("string", older, ".reasoning_content") end
  if text == nil or text == "" then text = older end
  return text or ""
end

-- Speech of the model, which no server accepts back: its words, or a marker so that the message is not empty.
local function add_speech(s, audio)
  if type(audio) ~= "table" or next(audio) == nil then return end
  parts.text(s, ASSISTANT, type(audio.transcript) == "string" and audio.transcript or "[audio]")
end

local function add_calls(s, message)
  local list, key, why = calls.of(message)
  if why then raise(why, "." .. key) end
  if not list then return end
  local reason, at = list_fault(list)
  if reason then raise(reason, "." .. key .. at) end
  each(s, "." .. key, parts.call, ASSISTANT, list)
end

-- Everything an assistant message holds, in the order content, refusal, speech, calls.
local function add_assistant_pieces(s, message)
  parts.reasoning(s, reasoning_of(message))
  local content, where = content_of(message)
  if content ~= nil then add_content(s, ASSISTANT, content, where) end
  local refusal = message.refusal
  if refusal ~= nil and given(refusal) ~= nil then
    expect("string", refusal, ".refusal")
    parts.text(s, ASSISTANT, refusal)
  end
  if content == nil and message.audio ~= nil then add_speech(s, message.audio) end
  add_calls(s, message)
end

local function open_calls(s)
  s.open, s.open_count, s.open_at, s.open_calls = {}, #s.calls, s.i, s.calls
  for _, at in ipairs(s.calls) do
    local id = s.list[at + 3]
    s.open[id] = (s.open[id] or 0) + 1
    s.ids[#s.ids + 1] = id
  end
end

-- What is replayed as reasoning must not be sent twice.
local function without(list, name)
  for i = 1, #(list or {}) do
    if list[i][1] == name then
      table.remove(list, i)
      break
    end
  end
  return list
end

local function add_assistant(s, _, message)
  local own, name, start = members.of(message, ASSISTANT_KNOWN), name_of(message), s.n
  begin(s, ASSISTANT, name, without(own, s.replay ~= "never" and s.reasoning_field))
  local begun = s.n
  s.calls, s.thoughts = nil, nil
  add_assistant_pieces(s, message)
  parts.flush_reasoning(s, s.replay == "always" or (s.replay == "tool_turns" and s.calls ~= nil))
  if s.n == begun then -- nothing to send, so it separates no messages
    for k = start + 1, s.n do s.list[k] = nil end
    s.n = start
    return
  end
  check_answered(s)
  if s.calls then open_calls(s) end
end

local function add_result(s, name, from, result, where, own)
  local id, id_where = calls.answered(from)
  if not id then raise("expected the call's id (a string), or the call", id_where) end
  if not s.open[id] then
    local why = ("no call with id `%s` in the assistant message before it " .. MEND .. "drops such results)"):format(id)
    raise(why, id_where)
  end
  if s.open[id] == 0 then
    raise(("call `%s` already has a result " .. MEND .. "drops such results)"):format(id), id_where)
  end
  local is_error = given(from.is_error)
  if is_error ~= nil then expect("boolean", is_error, ".is_error") end
  s.open[id], s.open_count = s.open[id] - 1, s.open_count - 1
  begin(s, TOOL, name)
  local list, n = s.list, s.n
  list[n + 1], list[n + 2] = id, is_error or false
  s.n = n + 2
  if own then parts.members(s, own) end
  if result == nil then return end
  if type(result) == "string" then return parts.text(s, TOOL, result) end
  if type(result) == "table" and is_content(result) then return add_content(s, TOOL, result, where) end
  if io.type(result) then
    raise('expected a value that JSON can hold, got an open file: read it first, result = file:read "*a"', where)
  end
  local text, why, inner = json_library.encode(s.json, result)
  if not text then raise(why, where .. inner) end
  parts.text(s, TOOL, text)
end

-- Null is not a result; lua-cjson's [] is one.
local function result_of(value)
  if value ~= nil and values.is_null(value) then return nil end
  return value
end

local function is_result_part(part)
  return type(part) == "table" and part.type == "tool_result"
end

local function add_result_part(s, name, part)
  if not is_result_part(part) then raise("expected only parts of type tool_result", "") end
  members.check_keys(part, RESULT_KEYS)
  for _, key in ipairs { "result", "output", "content" } do
    if result_of(part[key]) ~= nil then return add_result(s, name, part, part[key], "." .. key) end
  end
  add_result(s, name, part, nil, "")
end

local function add_tool(s, _, message)
  local own, name, content, where = members.of(message, TOOL_KNOWN), name_of(message), content_of(message)
  local result = result_of(message.result)
  if result ~= nil then
    if content ~= nil then raise("result and content are both given", ".result") end
    return add_result(s, name, message, result, ".result", own)
  end
  if type(content) == "table" and is_result_part(content[1]) then
    return each(s, where, add_result_part, name, content)
  end
  add_result(s, name, message, content, where, own)
end

-- Most messages are a role and a text: a short way for them. False: this is not such a message, and nothing was done.
local function add_simple(s, message)
  local kind, content = KINDS[message.role], message.content
  if not kind or kind == TOOL or type(content) ~= "string" or content == "" or s.open_count > 0 then return false end
  for key in pairs(message) do
    if key ~= "role" and key ~= "content" then return false end
  end
  begin(s, kind)
  parts.text(s, kind, content)
  return true
end

-- What other programs call them. Templates skip roles that they do not know.
local ROLES_ELSEWHERE = {
  human = "user", usr = "user", sys = "system", ai = "assistant", model = "assistant", bot = "assistant",
  tool_result = "tool",
}

local function add_message(s, message)
  local shape = type(message)
  if shape == "string" then
    message = { role = "user", content = message }
  elseif shape ~= "table" then
    raise("expected a message (a table) or a string, got " .. shape, "")
  end
  if add_simple(s, message) then return end
  local role, kind_name = message.role, message.kind
  if role ~= nil then role = given(role) end
  if kind_name ~= nil then kind_name = given(kind_name) end
  if role == nil then role = kind_name end
  if kind_name ~= nil and kind_name ~= role then raise("role and kind are both given, and differ", ".kind") end
  if role == nil then raise(mistaken.for_message(message), ".role") end
  local kind = KINDS[role]
  if not kind then
    if type(role) ~= "string" or role == "" then
      raise("expected a string that is not empty, got " .. type(role), ".role")
    end
    local meant = ROLES_ELSEWHERE[role] or members.nearest(role, KINDS)
    if meant then raise(("unknown role `%s` (did you mean `%s`?)"):format(role, meant), ".role") end
    return add_other(s, role, message)
  end
  local add = kind == ASSISTANT and add_assistant or kind == TOOL and add_tool or add_plain
  return add(s, kind, message)
end

-- Options ------------------------------------------------------------------------------------------------------------

local FILLER = "."

-- What core.messages takes.
local function flags_of(options)
  local strict = options.strict_alternating_roles
  local how = type(strict) == "table" and strict or {}
  return {
    max_body_bytes = options.max_body_bytes, reasoning_field = options.reasoning_field, merge_users = strict and true,
    fold_system = how.system ~= nil, join_assistants = how.assistant ~= nil,
    filler = how.first == "filler" and FILLER or how.first,
  }
end

-- Whole --------------------------------------------------------------------------------------------------------------

local MAX_SEARCH_DEPTH = 8

-- The path of a text inside what the user wrote, and the table that holds it. Each table is looked into once: the
-- user's own notes (keys with "_") may point anywhere.
local function find(value, text, path, depth, seen)
  if depth > MAX_SEARCH_DEPTH or seen[value] then return nil end
  seen[value] = true
  for key, item in pairs(value) do
    local here = type(key) == "string" and path .. "." .. key or ("%s[%s]"):format(path, tostring(key))
    if item == text then return here, value end
    if type(item) == "table" then
      local found, holder = find(item, text, here, depth + 1, seen)
      if found then return found, holder end
    end
  end
end

-- The path of a fault, for people: message 0 is the option `system`.
local function path_of(index, where)
  if index == 0 then return "system" .. where:gsub("^%.content", "") end
  return ("messages[%d]%s"):format(index, where)
end

local function writer_fault(s, why, index, text)
  if not index then return "messages: " .. why, "messages" end
  local message, where, holder = s.messages[index], nil, nil
  if index == 0 then message = s.system end
  if type(message) == "table" then where, holder = find(message, text, "", 1, {}) end
  if holder and holder.type == "file" then
    why = parts.binary_file(holder.mime) .. " (" .. why .. ")"
  elseif why:find("UTF-8", 1, true) then
    why = why .. " (vllm.text(bytes) repairs it)"
  end
  local path = path_of(index, where or "")
  return path .. ": " .. why, path
end

-- All messages, `system` before them. Is there one besides it?
local function add_all(s)
  if s.system then add_message(s, s.system) end
  local list, start = s.messages, s.n
  for i = 1, #list do
    s.i = i
    add_message(s, list[i])
  end
  check_answered(s)
  return s.n > start
end

--- Checked by fields.own.
---@class vllm.MessageOptions
---@field strict_alternating_roles boolean|table|nil true: adjacent user messages merge. { system = "fold",
---  assistant = "join", first = "filler" or a text }: also all system texts move to the front, adjacent assistant
---  messages join, a user message leads
---@field reasoning_replay "never"|"tool_turns"|"always"|nil default `never`
---@field reasoning_field string? default `reasoning`
---@field tool_media "parts"|"text"|nil media in tool results; default `parts`
---@field max_body_bytes integer? default 256 MiB
---@field json { encode: (fun(value: any): string)? }? for results of tools and structured parts
---@field ids string[]? takes the ids of the calls in the messages
---@field system string|table|nil content of a system message before the list

--- The wire messages of a request.
---@param list table|string a list of messages; a string is one user message
---@param options vllm.MessageOptions?
---@return string? json_text
---@return string? message without a kind: `messages[3].content[2].text: expected a string, got number`
---@return string? param `messages[3].content[2].text`
function messages.encode(list, options)
  if type(list) == "string" then list = { list } end
  if type(list) ~= "table" then
    return nil, "messages: expected a list of messages or a string, got " .. type(list), "messages"
  end
  options = options or {}
  members.begin()
  if list.role ~= nil or list.kind ~= nil then
    return nil, "messages: expected a list, got one message: put it in braces", "messages"
  end
  local why, where = list_fault(list)
  if why then return nil, ("messages%s: %s"):format(where, why), "messages" .. where end
  local s = {
    list = {}, n = 0, i = 0, open = {}, open_count = 0, where = "", item = false, messages = list, json = options.json,
    replay = options.reasoning_replay or "never", reasoning_field = options.reasoning_field or "reasoning",
    media_as_text = options.tool_media == "text", ids = options.ids or {},
  }
  if options.system then s.system = { role = "system", content = options.system } end
  local is_any, found = fault.catch(add_all, s)
  if found then
    where = path_of(found.index or s.i, found.index and found.where or from_message(s, found.where))
    return nil, where .. ": " .. found.why, where
  end
  if not is_any then
    return nil, "messages: nothing to send (no message, or only empty ones of the assistant)", "messages"
  end
  local text, reason, faulty, bad = core.messages(s.list, flags_of(options))
  if text then return text end
  return nil, writer_fault(s, reason, faulty, bad)
end

return messages
