--- One attempt of a turn: one request over a transport, until its decoder has the whole answer or it has failed.
--
-- It goes through the phases head → stream (→ rest), body, sniff or error_body (→ models) → drained. It knows no clock and does not decide
-- what follows a failure: turn.lua does. Failures are error values.

local core = require "vllm.core"
local errors = require "vllm.base.errors"
local guard = require "vllm.base.guard"
local server_errors = require "vllm.base.server_errors"
local served = require "vllm.turn.served"

---@class vllm.Attempt
---@field decoder userdata of core.decoder
---@field status integer? once the head is in
---@field headers table? lower-case name → value
---@field was_left_open boolean? the answer was taken as whole, though the connection did not end
---@field problem string? of the closing
local Attempt = {}
Attempt.__index = Attempt

local SNIFF_BYTES = 64
local MAX_MARK_BYTES = 24

local attempt = {}

--- Sends the request; does not wait.
---@param client vllm.Client
---@param built table of request.build
---@param turn vllm.Turn if it has a `_tap`, its `_pass_on` is given the bytes of an answer's body; an error from there ends it
---@return vllm.Attempt?
---@return vllm.Error? err
function attempt.open(client, built, turn)
  local limits = client.config.limits
  local stream, failure = client.transport:open(client:_transport_request("POST", built.url, built.headers, built.body, built.timeout))
  if not stream then return nil, guard.transport(failure) end
  local decoder = core.decoder {
    max_event_bytes = limits.max_event_bytes, max_message_bytes = limits.max_message_bytes, max_tool_calls = limits.max_tool_calls,
    max_choices = limits.max_choices, max_depth = limits.max_depth, chunks = built.chunks,
    max_completion_tokens = built.asked.max_completion_tokens, taken_ids = built.asked.taken_ids,
  }
  return setmetatable({ decoder = decoder, _client = client, _built = built, _stream = stream, _turn = turn, _limits = limits,
    _phase = "head", _body = {}, _body_bytes = 0 }, Attempt)
end

--- Ends it; may be called again. Raises nothing: `problem` says what a transport of the program's own raised.
---@param drain boolean the answer is complete: let the connection live
function Attempt:close(drain)
  if self._models then self._models.exchange:close() end
  self._models = nil
  local stream = self._stream
  if not stream then return end
  self._stream, self._body = nil, nil
  local problems = {}
  self._info = guard.try(problems, "asking about the connection", stream.info, stream)
  guard.try(problems, "closing the connection", stream.close, stream, drain and not self.was_left_open)
  self.problem = problems[1]
end

--- What is known of the connection, once it is closed.
---@return table a fresh one
function Attempt:info()
  local info = {}
  for name, value in pairs(type(self._info) == "table" and self._info or {}) do info[name] = value end
  return info
end

--- Has a byte of the answer's body come?
---@return boolean
function Attempt:has_body()
  return self.decoder:state() > 0 or self._body_bytes > 0
end

--- Is it read as a stream of events?
---@return boolean
function Attempt:is_stream()
  return self._phase == "stream"
end

--- Is the head in, and no error?
---@return boolean
function Attempt:is_accepted()
  return self.status ~= nil and self._phase ~= "error_body" and self._phase ~= "models"
end

-- The body ---------------------------------------------------------------------------------------------------------

local function looks_like_events(bytes)
  local text = bytes:gsub("^\239\187\191", "")
  return text:find("^data:") or text:find("^event:") or text:find("^:") or text:find("^id:") or text:find("^retry:")
end

function Attempt:_on_head(status, headers)
  self.status, self.headers = status, self._client:_redactor(self._built):headers(headers)
  local kind = (headers["content-type"] or ""):lower()
  if status < 200 or status > 299 then
    self._phase = "error_body"
    if server_errors.is_compressed(headers) then return self:_on_error_body(true) end
  elseif server_errors.is_compressed(headers) then
    return nil, errors.new("protocol", server_errors.COMPRESSED, { status = status })
  elseif kind:find("text/event-stream", 1, true) then
    self._phase = "stream"
  else
    self._phase = "sniff" -- a stream may be called JSON, and JSON nothing at all
  end
  return true
end

-- The decoder has the bytes before `pass_on` can raise, so that the turn stays whole.
local function on_stream_bytes(self, bytes)
  local ok, failure = self.decoder:feed(bytes)
  local err = self._turn._tap and self._turn:_pass_on(bytes)
  if err then return nil, err end
  if not ok then return nil, self:decoder_error(failure) end
  return true
end

function Attempt:_on_error_bytes()
  local max = self._limits.max_error_bytes
  if self._body_bytes > max then return self:_on_error_body(true) end
  return true
end

function Attempt:_on_body_bytes(bytes)
  self._body[#self._body + 1] = bytes
  self._body_bytes = self._body_bytes + #bytes
  if self._phase == "error_body" then return self:_on_error_bytes() end
  local max = self._limits.max_event_bytes
  if self._body_bytes > max then
    return nil, errors.new("limit", "the answer exceeds limits.max_event_bytes (" .. max .. ")")
  end
  if self._phase == "sniff" then
    if self._body_bytes < SNIFF_BYTES then return true end
    bytes = table.concat(self._body)
    self._phase, self._body = looks_like_events(bytes) and "stream" or "body", { bytes }
    if self._phase == "stream" then return on_stream_bytes(self, bytes) end
  end
  local err = self._turn._tap and self._turn:_pass_on(bytes)
  if err then return nil, err end
  return true
end

-- The beginning of a body as an error may hold it. A key that is a word stays until it has been understood.
function Attempt:_shown(body)
  return self._client:_redactor(self._built):text(body, true):sub(1, self._limits.max_error_bytes)
end

local function explain_status(self)
  local context = self._client:_error_context(self._built.url, self._built)
  context.served = self._served
  return server_errors.from_status(self.status, self.headers, self._error_text, context)
end

function Attempt:_error_of_status()
  local err = guard.explained(nil, { status = self.status, body = self._error_text }, explain_status, self)
  err.body_cut = self._is_cut or nil
  return err
end

-- An unknown model's error names those that there are, if the server tells in time.
function Attempt:_on_error_body(cut)
  local body = self:_shown(table.concat(self._body))
  self._error_text, self._is_cut = body, cut
  self:close(not cut)
  if self.status == 404 and body:find("model", 1, true) then
    self._phase, self._models = "models", guard.try({}, "asking for the list", served.ask, self._client)
    if self._turn._err and self._models then self:close() end -- cancelled meanwhile
    if self._models then return true end
  end
  self._phase = "drained"
  return nil, self:_error_of_status()
end

function Attempt:_on_models(deadline)
  if not self._models then return true end -- closed: who did it knows why
  local names = served.step(self._models, deadline)
  if names == false then return false end
  self._models, self._phase, self._served = nil, "drained", names
  return nil, self:_error_of_status()
end

-- What a server wrote between the events, or instead of them, is read at their end; one that then keeps silent has none.
function Attempt:_error_of_silence()
  self.decoder:finish()
  local event, failure
  repeat event, failure = self.decoder:next() until not event
  local err = failure and failure.body and self:decoder_error(failure)
  return err and err.kind ~= "protocol" and err.kind ~= "truncated" and err or nil
end

--- The error that is known already, where only its words, a help for people, or a relay's bytes are still waited for.
---@return vllm.Error?
function Attempt:known_error()
  local phase = self._phase
  if phase == "stream" then return self:_error_of_silence() end
  if phase == "rest" then return self:decoder_error((select(2, self.decoder:next()))) end
  if phase == "error_body" then self._error_text, self._is_cut = self:_shown(table.concat(self._body)), true end
  return (phase == "models" or phase == "error_body") and self:_error_of_status() or nil
end

--- The decoder gave up, and a relay passes on all the same what still comes.
---@return boolean true: ask the transport for it
function Attempt:passes_rest()
  if not self._turn._tap or not self._stream or self._phase == "drained" then return false end
  self._phase = "rest"
  return true
end

function Attempt:_on_rest(bytes)
  if bytes then self._body_bytes = self._body_bytes + #bytes end
  if not bytes or self._body_bytes > self._limits.max_event_bytes then self._phase = "drained" end
  local err = bytes and self._turn:_pass_on(bytes)
  if err then return nil, err end
  return true
end

-- A completion with a mark of the end behind it, as in a stream, or with a byte order mark.
local function is_dressed(body)
  return body:find("^\239\187\191") or body:find("data: *%[DONE%]%s*$", -MAX_MARK_BYTES)
end

-- The decoder of streams reads such a one, as it does under text/event-stream.
local function take_body(decoder, body)
  if not is_dressed(body) then return decoder:body(body) end
  local ok, failure = decoder:feed(body)
  if not ok then return ok, failure end
  return decoder:finish()
end

-- A body that is not a stream: `sniffed` bytes were not passed on yet.
function Attempt:_on_whole_body(body, sniffed)
  if not body:find("%S") then
    return nil, errors.new("protocol", "the server answered with status " .. self.status .. " and an empty body", { status = self.status })
  end
  self._is_whole = true
  local ok, failure = take_body(self.decoder, body)
  local err = sniffed and self._turn._tap and self._turn:_pass_on(body)
  if err then return nil, err end
  if not ok then return nil, self:decoder_error(failure) end
  return true
end

function Attempt:_on_stream_end()
  local ok, failure = self.decoder:finish()
  if not ok then return nil, self:decoder_error(failure) end
  return true
end

function Attempt:_on_end()
  local phase = self._phase
  if phase == "error_body" then return self:_on_error_body(false) end
  self._phase = "drained"
  if phase == "stream" then return self:_on_stream_end() end
  local body = table.concat(self._body)
  self._body = {}
  if phase == "sniff" and looks_like_events(body) then
    local ok, err = on_stream_bytes(self, body)
    if not ok then return nil, err end
    return self:_on_stream_end()
  end
  return self:_on_whole_body(body, phase == "sniff")
end

--- Is there nothing left to come but usage and a mark of the end? Of a body that is no stream this is a guess.
---@param finished integer how many choices have ended, as the decoder's `state` says
---@return boolean
function Attempt:seems_whole(finished)
  local phase = self._phase
  if phase == "stream" then return finished >= self._built.asked.choices end
  local last = (phase == "body" or phase == "sniff" or phase == "error_body") and self._body[#self._body]
  return last and last:find("[}%]]%s*$") ~= nil or false
end

--- The server has been silent behind an answer that seemed to be whole.
---@return boolean? is_whole false: it is not
---@return vllm.Error? err
function Attempt:take_as_whole()
  if not self:seems_whole((select(6, self.decoder:state()))) then return false end
  if self._phase ~= "stream" and not core.json_check(table.concat(self._body)) then return false end
  self.was_left_open = true
  return self:_on_end()
end

function Attempt:_of_transport(failure)
  local err = guard.transport(failure)
  err.status = err.status or self.status
  return err
end

local function explain_decoder(self, failure)
  local bytes, events = self.decoder:state()
  local broken = self._broken
  if broken and events == 0 and failure.kind == "truncated" then return self:_of_transport(broken) end
  local context = self._client:_error_context(self._built.url, self._built)
  context.is_whole = self._is_whole
  if #self.decoder:result().choices == 0 then context.content_type = self.headers["content-type"] or "no content type" end
  local err = server_errors.from_decoder(failure, context)
  err.status = self.status
  if failure.kind == "truncated" then
    err.clean = broken == nil
    err.message = err.message .. (broken and ("; the connection broke: " .. broken.detail) or "; the connection ended cleanly")
        .. (" (%d bytes and %d events had come)"):format(bytes, events)
  end
  return err
end

--- The error of what the decoder refuses.
---@param failure table of core.decoder
---@return vllm.Error
function Attempt:decoder_error(failure)
  local body = failure.body
  failure.body = body and self:_shown(body)
  local err = guard.explained(failure, { status = self.status, body = failure.body }, explain_decoder, self, failure)
  err.body_cut = body and #body > self._limits.max_error_bytes or nil
  return err
end

-- What had come may be an answer, or say why there is none: a connection that breaks behind the answer's finish has cost nothing, and an
-- error keeps its status. Before that it is a failed connection.
function Attempt:_on_broken(failure)
  local kind = type(failure) == "table" and failure.kind
  if kind ~= "cancelled" and self._phase == "error_body" then return self:_on_error_body(true) end
  if kind == "closed" and self._phase == "stream" and self:has_body() then
    self._broken = failure
    return self:_on_end()
  end
  local err = self:_of_transport(failure)
  if self._body_bytes > 0 then err.body, err.body_cut = self:_shown(table.concat(self._body)), true end
  return nil, err
end

-- What does not wait must not raise either: nobody but the turn knows that it has to end.
local function without_raising(self, method, ...)
  local ok, happened, err = pcall(method, self, ...)
  if ok then return happened, err end
  return nil, errors.new("protocol", "taking the answer failed: " .. guard.words(happened), { status = self.status })
end

--- Asks the transport once.
---@param self vllm.Attempt
---@param deadline number? absolute, seconds of core.now()
---@return boolean? happened true: something did; false: the deadline passed
---@return vllm.Error? err
function attempt.advance(self, deadline)
  local phase, got, more = self._phase
  if phase == "models" then return self:_on_models(deadline) end
  if phase ~= "head" then got, more = self._stream:read(deadline) else got, more = self._stream:head(deadline) end
  if got and phase == "stream" and self._stream then return on_stream_bytes(self, got) end
  if not self._stream then return true end -- closed meanwhile: who closed it knows why
  if got == false then return false end
  if phase == "rest" then return self:_on_rest(got) end
  if got == nil and more then return without_raising(self, self._on_broken, more) end
  if self._phase == "head" then return without_raising(self, self._on_head, got, more) end
  if got == nil then return self:_on_end() end
  return self:_on_body_bytes(got)
end

return attempt
