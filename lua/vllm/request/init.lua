--- Builds a request: from a table to the exact bytes of a body. The call's values go over the client's defaults, each
-- wire field is checked, tools and messages take the wire's shape, and the body is one JSON object with its keys in
-- byte order. The table is never changed.

local built = require "vllm.request.built"
local calls = require "vllm.request.transcript_calls"
local configuration = require "vllm.request.config"
local continuation = require "vllm.request.continuation"
local core = require "vllm.core"
local fields = require "vllm.request.fields"
local formats = require "vllm.request.formats"
local headers = require "vllm.request.headers"
local messages = require "vllm.request.messages"
local misuse = require "vllm.base.misuse"
local redact = require "vllm.base.redact"
local tools = require "vllm.request.tools"
local values = require "vllm.base.values"

local request = {}

local CALL_ONLY = configuration.call_only

-- Names --------------------------------------------------------------------------------------------------------------

local function fault_of_value(key, value)
  local check = fields.wire[key] or fields.own[key]
  if not check or values.is_null(value) then return nil end
  local fault = fields.fault(check, key, value)
  if not fault and key == "timeout" then fault = configuration.timeout_fault(value) end
  return fault, key
end

-- The first fault in a call's names and plain values, by the order of the names.
local function first_fault(call)
  local keys = values.sorted_keys(call)
  for _, key in ipairs(keys) do
    local why = configuration.name_fault("call", key)
    if why then return why, type(key) == "string" and key or "messages" end
  end
  for _, key in ipairs(keys) do
    local message, param = fault_of_value(key, call[key])
    if message then return message, param end
  end
end

-- A call's own option over the client's; null gives what the client would have without it.
local function option(call, name, default)
  local value = call[name]
  if value == nil then return default end
  if values.is_null(value) then return nil end
  return value
end

-- Members ------------------------------------------------------------------------------------------------------------

local RESERVED = { stream = true }

-- What is sent as it is, nulls included: the call's extra_body over the client's, without what the call gives
-- directly. A field that the call gives both ways is an error.
local function extra_of(config, call)
  local out, extra = {}, call.extra_body
  if extra ~= nil and values.is_null(extra) then return out end
  for key, value in pairs(config.extra_body or {}) do
    if call[key] == nil then out[key] = value end
  end
  for _, key in ipairs(values.sorted_keys(extra or {})) do
    local param = "extra_body." .. tostring(key)
    if type(key) ~= "string" then return nil, "extra_body: expected names as keys", "extra_body" end
    if RESERVED[key] then return nil, ("%s: give `%s` itself"):format(param, key), param end
    if call[key] ~= nil then return nil, ("%s: `%s` is also given directly"):format(param, key), param end
    out[key] = extra[key]
  end
  return out
end

-- The client's wire fields under the call's; not what `extra` replaces.
local function joined(config, call, extra)
  local members = { model = config.model }
  for key, value in pairs(config.fields) do members[key] = value end
  for key, value in pairs(call) do
    if fields.wire[key] then
      if values.is_null(value) then value = nil end
      members[key] = value
    end
  end
  for key in pairs(extra) do members[key] = nil end
  return members
end

local function streams(config, call)
  local stream, streaming = option(call, "stream"), option(call, "streaming")
  if stream ~= nil and streaming ~= nil and stream ~= streaming then
    return nil, "stream and streaming are the same option and differ", "stream"
  end
  if stream == nil then stream = streaming end
  if stream == nil then stream = config.streaming end
  return stream
end

-- `include_usage` under the user's own stream_options; servers refuse the field when they do not stream.
local function add_stream(members, config, call)
  local stream, message, param = streams(config, call)
  if stream == nil then return nil, message, param end
  members.stream = stream
  if not stream then
    if option(call, "stream_options") then
      return nil, "stream_options needs a request that streams", "stream_options"
    end
    members.stream_options = nil
  elseif option(call, "include_usage", config.include_usage) ~= false then
    local options = { include_usage = true }
    for key, value in pairs(members.stream_options or {}) do options[key] = value end
    members.stream_options = options
  end
  return true
end

-- Without tools there is nothing to choose: a client's default is left out, a call's own choice is a mistake.
local function drop_choice(members, config, call)
  local choice = option(call, "tool_choice")
  local is_empty_list = values.list_length(option(call, "tools", config.fields.tools)) == 0
  if choice ~= nil and not (is_empty_list and (choice == "none" or choice == "auto")) then
    return nil, "tool_choice is given without tools", "tool_choice"
  end
  members.tool_choice = nil
  return true
end

local function add_tools(members, config, call, extra)
  local names, message, param
  if members.tools ~= nil then
    members.tools, names, param = tools.to_wire(members.tools)
    if param then return nil, names, param end
  end
  if members.tool_choice == nil then return true end
  if members.tools == nil and extra.tools == nil then return drop_choice(members, config, call) end
  members.tool_choice, message, param = tools.choice_to_wire(members.tool_choice, names)
  if message then return nil, message, param end
  return true
end

local function drop_empty_stop(members)
  if values.list_length(members.stop) == 0 and not values.is_raw(members.stop) then members.stop = nil end
end

-- Tables of a fixed shape, as servers want them.
local function add_formats(members)
  for _, name in ipairs { "response_format", "structured_outputs" } do
    local message, param
    members[name], message, param = formats.to_wire(name, members[name])
    if message then return nil, message, param end
  end
  return true
end

local function members_of(config, call)
  local extra, message, param = extra_of(config, call)
  if not extra then return nil, message, param end
  local members = joined(config, call, extra)
  for _, add in ipairs { add_stream, add_tools, add_formats } do
    local ok
    ok, message, param = add(members, config, call, extra)
    if not ok then return nil, message, param end
  end
  drop_empty_stop(members)
  for key, value in pairs(extra) do members[key] = value end
  return members
end

-- Text ---------------------------------------------------------------------------------------------------------------

local function begins_with_system(list)
  local first = list[1]
  if type(first) ~= "table" then return false end
  local role = type(first.role) == "string" and first.role or first.kind
  return role == "system" or role == "developer"
end

-- The system message before the messages: the call's own, or the client's if the messages do not begin with one.
-- Messages that are already JSON stay as they are.
local function system_of(config, call, list)
  local own, is_raw = call.system, values.is_raw(list)
  if own == nil then
    if is_raw or begins_with_system(list) then return nil end
    return config.system
  end
  if own == false or values.is_null(own) then return nil end
  if is_raw then return nil, "system cannot be added to messages that are already JSON: put it into them", "system" end
  if begins_with_system(list) then
    return nil, "system is given, but the messages already begin with a system message: give one of them", "system"
  end
  return own
end

local function message_options(config, call)
  return {
    strict_alternating_roles = option(call, "strict_alternating_roles", config.strict_alternating_roles),
    reasoning_replay = option(call, "reasoning_replay", config.reasoning_replay),
    reasoning_field = option(call, "reasoning_field", config.reasoning_field),
    tool_media = option(call, "tool_media", config.tool_media),
    max_body_bytes = config.limits.max_body_bytes, json = config.json,
  }
end

local REQUEST = { request = true }

-- The object with these members, in byte order. `messages` are JSON already, but for those of extra_body.
local function encode(members)
  local text, message, param = core.json_encode(members, REQUEST)
  if text then return text end
  if param:find "^messages" then param = "extra_body." .. param end
  return nil, param .. ": " .. message, param
end

local function encode_messages(list, options)
  local text, message, param = messages.encode(list, options)
  return text and core.raw(text, true), message, param
end

-- The last resort, for a server that wants what we would not send: messages as they are.
local function raw_messages(call)
  local extra = call.extra_body
  return type(extra) == "table" and extra.messages or nil
end

-- Their text is the largest part of a request: it is written and checked once, and goes into the body as it is.
local function messages_of(config, call, ids)
  local list, text = option(call, "messages"), option(call, "text")
  local raw = raw_messages(call)
  if raw ~= nil then
    for _, name in ipairs { "text", "system" } do
      if option(call, name) then
        return nil, ("extra_body.messages: `%s` is given as well"):format(name), "extra_body.messages"
      end
    end
    calls.ids_of(raw, ids)
    return raw
  end
  if text ~= nil then
    if list ~= nil then return nil, "text and messages are both given; text is one user message", "text" end
    if type(text) ~= "string" then return nil, "text: expected a string, got " .. values.shown(text), "text" end
    list = { { role = "user", content = text } }
  end
  if list == nil then
    return nil, "messages are missing (`text` is the short form for one user message)", "messages"
  end
  if type(list) == "string" then list = { { role = "user", content = list } } end
  if type(list) ~= "table" then
    return nil, "messages: expected a list of messages, got " .. values.shown(list), "messages"
  end
  local system, message, param = system_of(config, call, list)
  if message then return nil, message, param end
  if values.is_raw(list) then return list end
  local options = message_options(config, call)
  options.system, options.ids = system, ids
  return encode_messages(list, options)
end

local function within_limit(config, body)
  local max = config.limits.max_body_bytes
  if #body <= max then return body end
  return nil, ("the body has %d bytes, more than limits.max_body_bytes (%d)"):format(#body, max), "body"
end

local MOST_TOKENS = 2 ^ 40

-- As in vLLM, the newer name counts.
local function max_tokens_of(members)
  local max = members.max_completion_tokens
  if type(max) ~= "number" then max = members.max_tokens end
  return type(max) == "number" and max >= 1 and max <= MOST_TOKENS and math.floor(max) or nil
end

-- What the answer is measured against.
local function asked(members, ids)
  local choice = members.tool_choice
  local has_tools = type(members.tools) == "table" and next(members.tools) ~= nil and choice ~= "none"
  local n = members.n
  return {
    tools = has_tools,
    call_demanded = has_tools and (choice == "required" or (type(choice) == "table" and choice.type == "function")),
    choices = type(n) == "number" and n or 1, max_completion_tokens = max_tokens_of(members),
    stop = members.stop ~= nil or nil, taken_ids = ids[1] and table.concat(ids, "\0"),
  }
end

local function finish(config, call, members, ids, body, stream)
  local own, message, param = headers.check(option(call, "headers") or {})
  if not own then return nil, message, param end
  body, message, param = within_limit(config, body)
  if not body then return nil, message, param end
  local secrets = headers.secrets(own)
  return built.new(config, {
    body = body, stream = stream, asked = asked(members, ids), chunks = option(call, "chunks", config.chunks) or false,
    timeout = configuration.timeout_of(config, option(call, "timeout")),
    strict = option(call, "strict_alternating_roles", config.strict_alternating_roles),
  }, {
    url = config.url, headers = headers.of_request(config, stream, own), own_headers = own,
    redactor = #secrets > 0 and redact.new(config.secret_texts, secrets) or config.redactor,
  })
end

-- A ready-made body --------------------------------------------------------------------------------------------------

local BESIDE_BODY = { body = true, set = true, headers = true, chunks = true, timeout = true }

-- One member to set, as it goes out.
local function set_value(config, key, value)
  if key == "messages" and type(value) == "table" and not values.is_raw(value) then
    return encode_messages(value, message_options(config, {}))
  end
  local check = fields.wire[key] or (key == "stream" and fields.own.stream)
  local why = check and not values.is_null(value) and fields.fault(check, key, value)
  if why then return nil, why, key end
  if key == "tools" and not values.is_null(value) then
    local wire, names, param = tools.to_wire(value)
    if not wire then return nil, param and names or "tools: an empty list is refused by servers", param or key end
    value = wire
  end
  return formats.to_wire(key, value)
end

-- Our own options are not members of a body: a server would silently ignore them.
local function fault_of_member(key)
  if type(key) ~= "string" then return "set: expected names as keys", "set" end
  local is_ours = fields.own[key] or CALL_ONLY[key] or configuration.client_only[key]
  if not is_ours or key == "messages" or key == "stream" then return nil end
  local how = (key == "system" or key == "text") and "; write set = { messages = … }" or ""
  return ("set: `%s` is not a member of a body%s"):format(key, how), "set." .. key
end

local function set_text(config, set)
  local members = {}
  for _, key in ipairs(values.sorted_keys(set)) do
    local fault, where = fault_of_member(key)
    if fault then return nil, fault, where end
    local value, message, param = set_value(config, key, set[key])
    if message then return nil, "set: " .. message, "set." .. (param or key) end
    members[key] = value
  end
  local text, message, param = core.json_encode(members, REQUEST)
  if text then return text end
  return nil, ("set: %s: %s"):format(param, message), "set." .. param
end

local function build_ready_made(config, call)
  for _, key in ipairs(values.sorted_keys(call)) do
    if not BESIDE_BODY[key] then
      local where = fields.wire[key] and "put it into `set`" or "the body is sent as it is, but for what `set` replaces"
      return nil, ("`%s` cannot be given together with `body`: %s"):format(key, where), key
    end
  end
  local body, set = call.body, option(call, "set") or {}
  if type(body) ~= "string" then
    return nil, "body: expected the text of a JSON object, got " .. values.shown(body), "body"
  end
  if type(set) ~= "table" then return nil, "set: expected a table, got " .. values.shown(set), "set" end
  local text, message, param = set_text(config, set)
  if not text then return nil, message, param end
  text, message = core.splice(body, text)
  if not text then return nil, "body: " .. message, "body" end
  local members
  members, message = core.json_decode(text, { drop_nulls = true })
  if not members then return nil, "body: " .. message, "body" end
  return finish(config, call, members, calls.ids_of(members.messages, {}), text, members.stream == true)
end

-- Public -------------------------------------------------------------------------------------------------------------

--- What a call takes; every wire field besides (fields.lua lists them). Null unsets a default of the client.
---@class vllm.Request
---@field messages table[]|string|nil see messages.lua; this or `text`
---@field text string? one user message
---@field system string|table|false|nil the text (or the parts) of a system message before them; false: none, not the
---  client's either
---@field stream boolean? or `streaming`
---@field include_usage boolean?
---@field chunks boolean?
---@field strict_alternating_roles boolean|table|nil
---@field reasoning_replay string?
---@field reasoning_field string?
---@field tool_media "parts"|"text"|nil
---@field headers table<string, string|false>?
---@field timeout table<"connect_s"|"queue_s"|"first_event_s"|"idle_s"|"finish_s"|"total_s", number|false>? over the
---  client's, by its keys
---@field extra_body table? flattened into the body
---@field body string? a ready-made JSON object instead of all of this, sent byte for byte
---@field continue table? err.partial, or a result cut by length: the server continues its text (vLLM's
---  continue_final_message)
---@field set table? with `body`: top-level members to replace or add

--- The exact request that a call means.
---@param config table a checked configuration (vllm.config)
---@param call vllm.Request|string a string is one user message
---@return vllm.Built?
---@return string? message what is wrong
---@return string? param the field at fault: `tools[2].name`, `messages[3].content`
function request.build(config, call)
  if type(call) == "string" then call = { text = call } end
  if type(call) ~= "table" then misuse.raise("expected a request (a table or a string), got " .. values.shown(call)) end
  local message, param = first_fault(call)
  if message then return nil, message, param end
  local continued = option(call, "continue")
  if continued ~= nil then
    call, message, param = continuation.call(call)
    if not call then return nil, message, param end
  end
  if option(call, "set") ~= nil and option(call, "body") == nil then return nil, "set is given without body", "set" end
  if option(call, "body") ~= nil then return build_ready_made(config, call) end
  local members, body, whole
  local ids = {}
  members, message, param = members_of(config, call)
  if not members then return nil, message, param end
  members.messages, message, param = messages_of(config, call, ids)
  if message then return nil, message, param end
  body, message, param = encode(members)
  if not body then return nil, message, param end
  whole, message, param = finish(config, call, members, ids, body, members.stream)
  if whole then whole.continued = continued end
  return whole, message, param
end

return request
