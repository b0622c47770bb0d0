--- `vllm.testing`: a client whose server is a script. For the tests of programs that use this module: no socket, but
--- the real
-- request builder, the real decoder and real server bytes, in the chunks that vLLM would send.

local core = require "vllm.core"
local errors = require "vllm.base.errors"
local misuse = require "vllm.base.misuse"
local spelling = require "vllm.base.spelling"
local values = require "vllm.base.values"

local testing = {}

---@class vllm.testing.Reply
---@field text string?
---@field reasoning string?
---@field refusal string?
---@field tool_calls { id: string?, name: string, arguments: string|table? }[]?
---@field finish_reason string? default: "tool_calls" with calls, else "stop"
---@field usage table? default: counts of 1 token per piece
---@field error table? { message, code }: an error event after what the reply has
---@field cut boolean? the stream ends after what the reply has, without a finish
---@field status integer? an HTTP error instead, with `body` (string or table) and `headers`
---@field bytes string? raw bytes of an event stream instead
---@field fail string? the transport fails with this error kind
---@field detail string? with `fail`: the sentence

local REPLY_KEYS = {
  text = true, reasoning = true, refusal = true, tool_calls = true, finish_reason = true, usage = true, error = true,
  cut = true,
  status = true, body = true, headers = true, bytes = true, fail = true, detail = true,
}

-- A slip in a script would make a test that passes for another reason.
local function fault_of(reply)
  if type(reply) ~= "table" then
    return "expected a string, a table or a function, got " .. values.shown(reply)
  end
  local unknown_key = spelling.unknown_key(reply, REPLY_KEYS)
  if unknown_key then return unknown_key end
  if reply.fail ~= nil and errors.kinds[reply.fail] == nil then
    return "fail: expected a kind of error, got " .. values.shown(reply.fail)
  end
end

local function encode(value)
  return assert(core.json_encode(value))
end

local function arguments_of(call)
  local arguments = call.arguments
  if arguments == nil then return "{}" end
  return type(arguments) == "string" and arguments or encode(arguments)
end

-- Pieces of about a token: a word with the space before it.
local function pieces(text)
  local list, at = {}, 1
  while at <= #(text or "") do
    local _, stop = text:find("^%s*%S+", at)
    stop = stop or #text
    list[#list + 1], at = text:sub(at, stop), stop + 1
  end
  return list
end

local function call_id(number, position)
  return ("call%d_%d"):format(number, position)
end

local function finish_reason(reply)
  return reply.finish_reason or (reply.tool_calls and #reply.tool_calls > 0 and "tool_calls" or "stop")
end

local function usage_of(reply)
  local tokens = #pieces(reply.text) + #pieces(reply.reasoning)
  return reply.usage or { prompt_tokens = 1, completion_tokens = tokens, total_tokens = 1 + tokens }
end

-- The event stream of a reply: role chunk, deltas, finish, usage, [DONE].
local function stream_of(reply, number, model)
  local out = {}
  local function send_chunk(choices, usage)
    out[#out + 1] = "data: " .. encode {
      id = "test-" .. number, object = "chat.completion.chunk", created = 0, model = model, choices = choices,
      usage = usage,
    } .. "\n\n"
  end
  local function send(delta, finish)
    send_chunk { { index = 0, delta = delta, finish_reason = finish or core.null } }
  end
  send { role = "assistant", content = "" }
  for _, piece in ipairs(pieces(reply.reasoning)) do send { reasoning = piece } end
  for _, piece in ipairs(pieces(reply.text)) do send { content = piece } end
  if reply.refusal then send { refusal = reply.refusal } end
  for i, call in ipairs(reply.tool_calls or {}) do
    local id, named = call.id or call_id(number, i), { name = call.name }
    send { tool_calls = { { index = i - 1, id = id, type = "function", ["function"] = named } } }
    local arguments = arguments_of(call)
    local half = math.floor(#arguments / 2)
    for _, piece in ipairs { arguments:sub(1, half), arguments:sub(half + 1) } do
      send { tool_calls = { { index = i - 1, ["function"] = { arguments = piece } } } }
    end
  end
  if reply.cut then return table.concat(out) end
  if reply.error then
    out[#out + 1] = "data: " .. encode { error = reply.error } .. "\n\ndata: [DONE]\n\n"
    return table.concat(out)
  end
  send(core.json_decode("{}"), finish_reason(reply))
  send_chunk(setmetatable({}, core.array_mt), usage_of(reply))
  return table.concat(out) .. "data: [DONE]\n\n"
end

local function completion_of(reply, number, model)
  local message = {
    role = "assistant", content = reply.text or core.null, reasoning = reply.reasoning, refusal = reply.refusal,
  }
  for i, call in ipairs(reply.tool_calls or {}) do
    message.tool_calls = message.tool_calls or {}
    message.tool_calls[i] = { id = call.id or call_id(number, i), type = "function",
      ["function"] = { name = call.name, arguments = arguments_of(call) } }
  end
  return encode {
    id = "test-" .. number, object = "chat.completion", created = 0, model = model, usage = usage_of(reply),
    choices = { { index = 0, message = message, finish_reason = finish_reason(reply) } },
  }
end

local Stream = {}
Stream.__index = Stream

function Stream:head()
  return self._status, self._headers
end

function Stream:read()
  if self._closed or self._at > #self._bytes then return nil end
  local from = self._at
  self._at = from + self._split
  return self._bytes:sub(from, self._at - 1)
end

function Stream.info()
  return { reused = false }
end

function Stream:close()
  self._closed = true
end

local function answer(reply, number, asked, split)
  local status, kind, bytes = 200, "text/event-stream; charset=utf-8", reply.bytes
  if reply.status then
    status, kind = reply.status, "application/json"
    bytes = type(reply.body) == "table" and encode(reply.body) or reply.body or ""
  elseif not bytes and asked.stream then
    bytes = stream_of(reply, number, asked.model or "test-model")
  elseif not bytes then
    kind, bytes = "application/json", completion_of(reply, number, asked.model or "test-model")
  end
  local headers = { ["content-type"] = kind }
  for name, value in pairs(reply.headers or {}) do headers[name:lower()] = value end
  split = split or math.max(1, #bytes)
  return setmetatable({ _status = status, _headers = headers, _bytes = bytes, _at = 1, _split = split }, Stream)
end

-- What /tokenize answers, as a reply.
local function count_of(tokens, asked)
  if not tokens then return { status = 404, body = "" } end
  local count, max_model_len = tokens(asked)
  if type(count) ~= "number" then return count end
  local body = { count = count, max_model_len = max_model_len or 4096, tokens = setmetatable({}, core.array_mt) }
  return { status = 200, body = body }
end

-- Misuse throws at the caller of the public function.
local function check_script(replies, split, tokens)
  if type(replies) ~= "table" then
    misuse.raise("vllm.testing: expected a list of replies, got " .. values.shown(replies))
  end
  local key = next(replies)
  if key ~= nil and #replies == 0 then
    misuse.raise(("vllm.testing: expected a list of replies, got a table with the key `%s`: "
      .. "put braces around one reply"):format(tostring(key)))
  end
  if split ~= nil and (type(split) ~= "number" or split < 1 or split % 1 ~= 0) then
    misuse.raise("vllm.testing: split: expected a whole number of bytes, at least 1, got " .. values.shown(split))
  end
  if tokens ~= nil and type(tokens) ~= "function" then
    misuse.raise("vllm.testing: tokens: expected a function, got " .. values.shown(tokens))
  end
  for i, reply in ipairs(replies) do
    local why = type(reply) == "table" and fault_of(reply)
    if why then misuse.raise(("vllm.testing: reply %d: %s"):format(i, why)) end
  end
end

local function over(replies)
  return ("vllm.testing: the script has %d replies, and one more was requested"):format(#replies)
end

local function new_transport(replies, split, tokens)
  local transport = { name = "testing", options = {}, requests = {}, counts = {} }
  local played = 0
  local function next_reply(asked)
    played = played + 1
    local reply = replies[played]
    if reply == nil then return nil, over(replies) end
    if type(reply) == "function" then reply = reply(asked) end
    if type(reply) == "string" then reply = { text = reply } end
    local why = fault_of(reply)
    return reply, why and ("vllm.testing: reply %d: %s"):format(played, why)
  end
  local function next_count(asked)
    local reply = count_of(tokens, asked)
    local why = fault_of(reply)
    return reply, why and "vllm.testing: tokens: " .. why
  end
  function transport:open(request)
    if request.method ~= "POST" then return answer({ status = 404, body = "" }, 0, {}) end
    local asked = core.json_decode(request.body or "{}", { drop_nulls = true })
    local is_count = request.url:gsub("%?.*", ""):find "/tokenize$"
    local list = is_count and self.counts or self.requests
    list[#list + 1] = { method = request.method, url = request.url, headers = request.headers, text = request.body,
      body = asked }
    local reply, why = (is_count and next_count or next_reply)(asked)
    if why then return nil, { kind = "config", detail = why } end
    if reply.fail then return nil, { kind = reply.fail, detail = reply.detail or "as the script says" } end
    return answer(reply, played, asked, split)
  end
  return transport
end

--- A transport that plays `replies` in order, one for each POST but those to /tokenize, and keeps what it was asked.
---@param replies (string|vllm.testing.Reply|fun(asked: table): string|vllm.testing.Reply)[] a string is a text answer;
---  for the rest see docs/turns.md
---@param options { split: integer?, tokens: (fun(asked: table): integer|vllm.testing.Reply, integer?)? }? split: bytes
---  per read (default: all at once); tokens: what /tokenize answers, a count and max_model_len (default 4096), or a
---  reply with `status`; without it, 404
---@return table transport `transport.requests[i]` = { method, url, headers (a list of { name, value }), text,
---  body (decoded) }; `transport.counts[i]`: the same of what /tokenize was asked
function testing.transport(replies, options)
  local split, tokens = options and options.split, options and options.tokens
  check_script(replies, split, tokens)
  return new_transport(replies, split, tokens)
end

--- A client that talks to a script.
---@param replies table as for testing.transport
---@param options table? options of vllm.new (model defaults to "test-model", retry to false), and `split` and `tokens`
---  as for testing.transport
---@return vllm.Client
---@return table transport with `requests`
function testing.client(replies, options)
  local all = {}
  for key, value in pairs(options or {}) do all[key] = value end
  local split, tokens = all.split, all.tokens
  all.split, all.tokens = nil, nil
  all.model = all.model or "test-model"
  if all.retry == nil then all.retry = false end
  check_script(replies, split, tokens)
  all.transport = new_transport(replies, split, tokens)
  local checked = require("vllm.request.config").check(all, 3)
  return require("vllm.client").new(checked), all.transport
end

return testing
