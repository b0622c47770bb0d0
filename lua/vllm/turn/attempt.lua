--- One attempt of a turn: one request over a transport, until its decoder has the whole answer or it has failed.
--
-- It goes through the phases head → stream (→ rest), body, sniff or refused (→ models) → drained. It is given values
-- and
-- a sink, and knows no clock. What follows a failure is decided in effort.lua. Failures are error values.

local core = require "vllm.core"
local body = require "vllm.turn.body"
local errors = require "vllm.base.errors"
local explain = require "vllm.turn.explain"
local guard = require "vllm.base.guard"
local refusal = require "vllm.turn.refusal"

---@class vllm.Attempt
---@field decoder userdata of core.decoder
---@field sink (fun(bytes: string): vllm.Error?)|false also given the bytes of a body; its error ends the attempt
---@field phase string see above
---@field status integer? once the head is in
---@field headers table? lower-case name → value
---@field is_refused boolean? its status is not 2xx
---@field was_left_open boolean? the answer was taken as whole, though the connection did not end
---@field broken table? the transport's failure after a part of the answer
---@field is_whole boolean? the body was one JSON value
local Attempt = {}
Attempt.__index = Attempt

local OF_BODY = { body = true, sniff = true, refused = true } -- phases
local attempt = {}

--- Sends the request; does not wait.
---@param transport table
---@param built vllm.Built
---@param sink (fun(bytes: string): vllm.Error?)|false see the field
---@return vllm.Attempt?
---@return vllm.Error? err
function attempt.open(transport, built, sink)
  local stream, failure = transport:open(built.transport_request)
  if not stream then return nil, guard.transport(failure) end
  return setmetatable({
    decoder = core.decoder(built.decoder_options), sink = sink, phase = "head", _transport = transport,
    _built = built, _stream = stream, _body = false, _body_bytes = 0,
  }, Attempt)
end

-- A sink that raises is not asked again: after the bytes that it lost nothing is passed on.
local function pass_on(self, bytes)
  local sink = self.sink
  if not sink then return nil end
  self.sink = false
  local err = sink(bytes)
  self.sink = sink
  return err
end

-- The decoder has the bytes before the sink can raise, so that the turn stays whole.
local function on_stream_bytes(self, bytes)
  local ok, failure = self.decoder:feed(bytes)
  local err = self.sink and pass_on(self, bytes)
  if err then return nil, err end
  if not ok then return nil, self:decoder_error(failure) end
  return true
end

--- Asks the transport once.
---@param self vllm.Attempt
---@param deadline number? absolute, seconds of core.now()
---@return boolean? happened true: something did; false: the deadline passed
---@return vllm.Error? err
function attempt.advance(self, deadline)
  local phase = self.phase
  local got, more
  if phase == "models" then return self._refusal:step(deadline) end
  if phase ~= "head" then got, more = self._stream:read(deadline) else got, more = self._stream:head(deadline) end
  if got and phase == "stream" and self._stream then return on_stream_bytes(self, got) end
  if not self._stream then return true end -- closed meanwhile: the one that closed it knows why
  if got == false then return false end
  if phase == "rest" then return self:_on_rest(got) end
  if got == nil and more then return guard.taking(self, self._on_broken, more) end
  if phase == "head" then return guard.taking(self, self._on_head, got, more) end
  if got == nil then return self:_on_end() end
  return self:_on_body_bytes(got)
end

function Attempt:_on_head(status, headers)
  self.status, self.headers = status, self._built.redactor:headers(headers)
  local phase, why = body.announced(status, headers)
  if not phase then return nil, errors.new("protocol", why, { status = status }) end
  self.phase = phase
  if phase == "sniff" then self._body = body.new() end
  if phase ~= "refused" then return true end
  self._refusal, self.is_refused = refusal.new(self._built, self), true
  self._body = self._refusal.body
  if why then return self:_on_refused(true) end
  return true
end

function Attempt:_on_body_bytes(bytes)
  local own, limits = self._body, self._built.limits
  own:add(bytes)
  self._body_bytes = own.bytes
  if self.phase == "refused" then
    if self._refusal:is_full() then return self:_on_refused(true) end
    return true
  elseif own.bytes > limits.max_event_bytes then
    return nil, errors.new("limit", ("the answer exceeds limits.max_event_bytes (%d)"):format(limits.max_event_bytes))
  elseif self.phase == "sniff" then
    if not own:can_be_told() then return true end
    bytes = own:text()
    self.phase = body.is_event_stream(bytes) and "stream" or "body"
    if self.phase == "stream" then return on_stream_bytes(self, bytes) end
  end
  local err = pass_on(self, bytes)
  return not err or nil, err
end

-- What still comes after the decoder gave up: for the sink alone.
function Attempt:_on_rest(bytes)
  self._body_bytes = self._body_bytes + #(bytes or "")
  if not bytes or self._body_bytes > self._built.limits.max_event_bytes then self.phase = "drained" end
  local err = bytes and pass_on(self, bytes)
  return not err or nil, err
end

-- Its end ----------------------------------------------------------------------------------------------------------

-- A body that is not a stream. `is_new`: it was not passed on yet.
function Attempt:_on_whole_body(text, is_new)
  if not text:find("%S") then
    return nil, errors.new("protocol", body.EMPTY:format(self.status), { status = self.status })
  end
  self.is_whole = true
  local ok, failure = body.decode(self.decoder, text)
  local err = is_new and pass_on(self, text)
  if err then return nil, err end
  if not ok then return nil, self:decoder_error(failure) end
  return true
end

function Attempt:_on_end()
  local phase = self.phase
  if phase == "refused" then return self:_on_refused(false) end
  self.phase = "drained"
  if phase ~= "stream" then
    local text = self._body:text()
    self._body = body.new()
    if phase == "body" or not body.is_event_stream(text) then return self:_on_whole_body(text, phase == "sniff") end
    local taken, err = on_stream_bytes(self, text)
    if not taken then return nil, err end
  end
  local ok, failure = self.decoder:finish()
  if not ok then return nil, self:decoder_error(failure) end
  return true
end

-- What had come may be an answer, or say why there is none: a connection that breaks after the answer's finish has cost
-- nothing, and an error keeps its status. Before that it is a failed connection.
function Attempt:_on_broken(failure)
  local kind = type(failure) == "table" and failure.kind
  if kind ~= "cancelled" and self.phase == "refused" then return self:_on_refused(true) end
  if kind == "closed" and self.phase == "stream" and self:has_body() then
    self.broken = failure
    return self:_on_end()
  end
  local err = explain.transport(failure, self.status)
  if self._body_bytes > 0 then err.body, err.body_cut = explain.excerpt(self._built, self._body:text()), true end
  return nil, err
end

--- Is there nothing left to come but usage and a mark of the end? Of a body that is not a stream this is a guess.
---@param finished integer how many choices have ended
---@return boolean
function Attempt:seems_whole(finished)
  if self.phase == "stream" then return finished >= self._built.asked.choices end
  return OF_BODY[self.phase] and self._body:seems_whole() or false
end

--- The server has been silent after an answer that seemed to be whole.
---@return boolean? is_whole false: it is not
---@return vllm.Error? err
function Attempt:take_as_whole()
  local _, _, finished = attempt.progress(self)
  if not self:seems_whole(finished) or self.phase ~= "stream" and not self._body:is_json() then return false end
  self.was_left_open = true
  return self:_on_end()
end

local function let_go(self, drain)
  local stream, problems = self._stream, {}
  if not stream then return end
  self._stream, self._body = nil, nil
  self._info = guard.try(problems, "asking about the connection", stream.info, stream)
  guard.try(problems, "closing the connection", stream.close, stream, drain and not self.was_left_open)
  self._problem = problems[1]
end

--- Ends it; may be called again. Raises nothing.
---@param drain boolean the answer is complete: let the connection live
---@return table info what is known of the connection; a fresh table
---@return string? problem what a transport of the program's own raised
function Attempt:close(drain)
  self._is_closed = true
  if self._refusal then self._refusal:close() end
  let_go(self, drain)
  local info = {}
  for name, value in pairs(type(self._info) == "table" and self._info or {}) do info[name] = value end
  return info, self._problem
end

-- No more of its body is read. An unknown model's error names those that there are, if the server tells in time.
function Attempt:_on_refused(is_cut)
  local own = self._refusal
  own:stop(is_cut)
  let_go(self, not is_cut)
  self.phase = own:ask_models(self._transport) and "models" or "drained"
  if self._is_closed then own:close() end -- meanwhile
  if self.phase == "models" then return true end
  return nil, own:error()
end

--- The error of what the decoder refuses.
---@param failure table of core.decoder
---@return vllm.Error
function Attempt:decoder_error(failure)
  return explain.decoder(self._built, self, failure)
end

--- The error that is known already, where only its words, a help for people, or a relay's bytes are still waited for.
---@return vllm.Error?
function Attempt:known_error()
  local phase = self.phase
  if phase == "stream" then return explain.silence(self._built, self) end
  if phase == "rest" then return self:decoder_error((select(2, self.decoder:next()))) end
  return (phase == "models" or phase == "refused") and self._refusal:error() or nil
end

--- How far the answer is.
---@param self vllm.Attempt
---@return integer seen grows with each event, and with each byte of a body that is not a stream
---@return boolean started has the model begun to answer?
---@return integer finished how many choices have ended
function attempt.progress(self)
  local _, events, _, _, started, finished = self.decoder:state()
  return events + self._body_bytes, started, finished
end

--- Has a byte of the answer's body come?
---@return boolean
function Attempt:has_body()
  return self.decoder:state() > 0 or self._body_bytes > 0
end

--- The decoder gave up, and the sink is given what still comes.
---@return boolean true: ask the transport for it
function Attempt:passes_rest()
  if not self.sink or not self._stream or self.phase == "drained" then return false end
  self.phase = "rest"
  return true
end

return attempt
