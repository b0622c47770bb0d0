--- A session: a transcript that grows by turns. The transcript is a list of plain message tables, which survive JSON.

local config = require "vllm.request.config"
local continuation = require "vllm.request.continuation"
local errors = require "vllm.base.errors"
local misuse = require "vllm.base.misuse"
local repair = require "vllm.request.repair"
local values = require "vllm.base.values"

---@class vllm.Session
---@field id string? sent as `user` and `session_id` with every request
local Session = {}
Session.__index = Session
Session.__name = "vllm.session"
misuse.tell_members(Session, "session", "session")

local WEAK = { __mode = "v" } -- a turn that the program has dropped is over

local function copy(list)
  local out = {}
  for i, message in ipairs(list) do out[i] = message end
  return out
end

-- A list of messages as tables; misuse throws.
local function messages_of(list, name)
  local length = values.list_length(list)
  if not length then misuse.raise(("%s: messages must be a list, got %s"):format(name, values.shown(list))) end
  local out = {}
  for i = 1, length do
    local message = list[i]
    if type(message) == "string" then message = { role = "user", content = message } end
    if type(message) == "table" and message[1] ~= nil and message.role == nil and message.kind == nil then
      misuse.raise(("%s: message %d is a list: give its messages one by one"):format(name, i))
    end
    if type(message) ~= "table" then
      misuse.raise(("%s: message %d must be a table or a string, got %s"):format(name, i, values.shown(message)))
    end
    out[i] = message
  end
  return out
end

local OWN = { id = true, messages = true }

-- The options that are defaults of the turns; misuse throws.
local function defaults_of(options)
  local defaults = {}
  for _, key in ipairs(values.sorted_keys(options)) do
    local why = not OWN[key] and config.name_fault("session", key)
    if why then misuse.raise("client:session: " .. why) end
    if not OWN[key] then defaults[key] = options[key] end
  end
  return defaults
end

-- vLLM's scheduler and routers go by `session_id`; `user` is what others read. A call's own word for them wins, and so
-- does a session's.
local function name_session(request, defaults, id)
  for _, name in ipairs { "user", "session_id" } do
    local is_given = false
    for _, given in ipairs { request, defaults } do
      local extra = type(given.extra_body) == "table" and given.extra_body or {}
      is_given = is_given or given[name] ~= nil or extra[name] ~= nil
    end
    if not is_given and id ~= "" then request[name] = id end
  end
end

local sessions = { Session = Session }

--- Made by client:session.
---@param client vllm.Client
---@param options table
---@param clients { derive: function, turn: function } what makes clients and turns
---@return vllm.Session
function sessions.new(client, options, clients)
  if type(options) ~= "table" then
    misuse.raise("client:session: expected a table of options, got " .. values.shown(options))
  end
  local defaults = defaults_of(options)
  if options.id ~= nil and type(options.id) ~= "string" then
    misuse.raise("client:session: id must be a string, got " .. values.shown(options.id))
  end
  local messages = messages_of(options.messages or {}, "client:session")
  if next(defaults) ~= nil then client = clients.derive(client, defaults, "client:session") end
  return setmetatable({
    id = options.id, _client = client, _clients = clients, _messages = messages, _defaults = defaults,
    _last = setmetatable({}, WEAK),
  }, Session)
end

local function add(target, messages)
  for _, message in ipairs(messages) do target[#target + 1] = message end
  return target
end

local function check_self(name, self)
  misuse.check_colon(type(self) == "table" and self._messages, "session", name)
end

local ROLES = { system = true, developer = true, user = true, assistant = true, tool = true }

--- Appends messages: strings (user messages) or tables. All of them, or none when one is neither: then it throws.
---@param ... table|string
---@return vllm.Session self
function Session:append(...)
  check_self("append", self)
  local list = {}
  for i = 1, select("#", ...) do
    list[i] = (select(i, ...))
    if list[i] == nil then
      misuse.raise(("session:append: message %d must be a table or a string, got nil"):format(i))
    end
  end
  if #list == 2 and ROLES[list[1]] and type(list[2]) == "string" then
    misuse.raise(("session:append: a message is one table: { role = %q, content = … }"):format(list[1]))
  end
  add(self._messages, messages_of(list, "session:append"))
  return self
end

--- The transcript: a fresh list of the session's own message tables. It survives JSON: of media that were given as
--- bytes there are copies with base64.
---@return table[]
function Session:messages()
  check_self("messages", self)
  local list, portable = {}, require("vllm.request.media").portable_message
  for i, message in ipairs(self._messages) do list[i] = portable(message) end
  return list
end

-- nil, one message, or a list of them.
local function list_of(input)
  if input == nil then return {} end
  return type(input) == "table" and (input[1] ~= nil or next(input) == nil) and input or { input }
end

local TAKEN = { "messages", "text", "body" }

-- Misuse throws; `name`: of the public function.
local function request_fields(name, request)
  if request ~= nil and type(request) ~= "table" then
    misuse.raise(("session:%s: request must be a table of fields, got %s"):format(name, values.shown(request)))
  end
  local out = {}
  for key, value in pairs(request or {}) do out[key] = value end
  for _, key in ipairs(TAKEN) do
    if out[key] ~= nil then
      misuse.raise(("session:%s: `%s` cannot be given, since the session has the messages"):format(name, key))
    end
  end
  return out
end

local function busy_error(self)
  local running = self._last.turn
  if not running or running:error() then return nil end
  return errors.new("busy", "this session's last turn has not ended: finish or cancel it")
end

-- The turn of a public function `name`.
local function turn_of(self, name, input, request)
  local messages, all = messages_of(list_of(input), "session:" .. name), request_fields(name, request)
  local busy = busy_error(self)
  if busy then return self._clients.turn(self._client, all, nil, busy) end
  all.messages = add(copy(self._messages), messages)
  name_session(all, self._defaults, rawget(self, "id"))
  local begun_at
  local turn = self._clients.turn(self._client, all, function(result)
    self._last.turn = nil
    self._messages[begun_at or #self._messages + 1] = result.message
  end)
  if turn:error() then return turn end
  self._messages, self._last.turn = all.messages, turn
  begun_at = all.continue and continuation.is_last(all.messages, all.continue) and #all.messages
  return turn
end

--- One model call over the transcript. The input joins the transcript at once and stays there if the turn fails, so
--- that `session:turn()` tries again; only an input that was refused before anything was sent is taken back. The
--- assistant's message joins the transcript when the turn is complete. One turn at a time: one that is left early must
--- be cancelled (session:cancel) before the next.
---@param input string|table|nil a string, a message, or a list of messages
---@param request table? further request fields (tools, temperature, …)
---@return vllm.Turn
function Session:turn(input, request)
  check_self("turn", self)
  return turn_of(self, "turn", input, request)
end

--- Asks, and waits for the text: one turn, as above.
---@param input string|table|nil as for turn
---@param request table? as for turn
---@return string? text
---@return string? message
---@return vllm.Error? err any kind; `no_output` when the answer has no text
function Session:ask(input, request)
  check_self("ask", self)
  return turn_of(self, "ask", input, request):text()
end

--- Cancels the turn that is under way, if there is one.
function Session:cancel()
  check_self("cancel", self)
  local running = self._last.turn
  if running then running:cancel() end
end

--- Mends a transcript whose loop stopped early, so that the next turn is accepted: a call without a result gets one
--- that says so, results without a call go, late ones move up to their calls; as vllm.repair does. Nothing else
--- changes.
---@return vllm.Session? self
---@return string? message
---@return vllm.Error? err kind `busy`: a turn is under way
function Session:repair()
  check_self("repair", self)
  local busy = busy_error(self)
  if busy then return errors.give(busy) end
  self._messages = repair.repair(self._messages)
  return self
end

Session.__close = Session.cancel

-- What is wrong with an assignment, or nil: it would change nothing, or take a function away.
local function assignment_fault(name, value)
  if name == "messages" then
    return "is a function; client:session { messages = … } begins another session, session:append(…) adds"
  end
  if type(rawget(Session, name)) == "function" then return "is a function of the session" end
  if name == "id" and value ~= nil and type(value) ~= "string" then
    return "must be a string, got " .. values.shown(value)
  end
  if config.client_only[name] then return ("belongs to the client: client:with { %s = … }:session()"):format(name) end
  if not config.is_option(name) then return nil end
  return (": set when the session is made, client:session { %s = … }, or for one turn, session:turn(input, { %s = … })")
    :format(name, name)
end

function Session:__newindex(name, value)
  local fault = assignment_fault(name, value)
  if fault then misuse.raise(("session.%s%s%s"):format(name, fault:find "^%a" and " " or "", fault)) end
  rawset(self, name, value)
end

function Session:__tostring()
  return ("vllm.session (%s, %d messages)"):format(rawget(self, "id") or "no id", #self._messages)
end

return sessions
