--- One model call: from the request's bytes to events and a finished message. Owns the clocks and the waiting.
--
-- A turn goes through the phases new → head → stream or body → ended; `_err` set means failed, for good. The decoder is
-- asked first, the transport only when the decoder has nothing: so a clock can fire only after a read found nothing, and
-- stands still while the consumer does something else. Pure Lua, and no pcall around a wait: Lua 5.1 cannot yield through one.

local core = require "vllm.core"
local errors = require "vllm.errors"
local hints = require "vllm.hints"
local hosts = require "vllm.hosts"

---@class vllm.Turn
---@field status integer? HTTP status, once the head is in
---@field headers table? the answer's headers, lower-case name → value
local Turn = {}
Turn.__index = Turn
Turn.__name = "vllm.turn"

local SNIFF_BYTES = 64
local BUSY = "another coroutine waits for this turn"

--- Made by client:turn; sends nothing. `built` is what request.build returned, or nil with `err` for a turn born failed.
function Turn._new(client, built, err)
  local config = client.config
  local self = setmetatable({
    _client = client, _built = built, _phase = "new", _err = err,
    _first_event_s = config.timeout.first_event_s, _idle_s = config.timeout.idle_s,
    _events_seen = 0, _fallback_decode = config.decode,
  }, Turn)
  return self
end

-- Failing and ending -----------------------------------------------------------------------------------------------

-- The turn is over: its place in the client's max_concurrent is free.
function Turn:_leave()
  local gate = self._client._gate
  if gate then gate:leave(self) end
end

function Turn:_release(drain)
  local stream = self._stream
  self._stream = nil
  if self._interrupt then
    self._interrupt:release()
    self._interrupt = nil
  end
  if stream then
    self._info = stream:info()
    stream:close(drain)
  end
end

function Turn:_fail(err)
  if self._decoder then
    local partial = self._decoder:result()
    if partial and #partial.choices > 0 then
      self:_decode_inputs(partial)
      err.partial = partial
    end
  end
  self:_release(false)
  self._body, self._whole_body = nil, nil
  self._err = self._client:_scrub(err, self._built)
  self:_leave()
  return errors.give(err)
end

local function timing(self)
  local info = self._info or {}
  info.first_delta_s = self._first_delta_at and self._first_delta_at - self._began_at
  info.total_s = core.now() - self._began_at
  return info
end

-- A user's own `decode` replaces ours for the input of calls; what it refuses makes the call invalid.
function Turn:_decode_inputs(result)
  local decode = self._fallback_decode
  if not decode then return end
  for _, choice in ipairs(result.choices) do
    for _, call in ipairs(choice.tool_calls or {}) do self:_decode_input(call) end
  end
end

function Turn:_decode_input(call)
  if call.invalid then return end
  local ok, value = pcall(self._fallback_decode, call.arguments)
  if ok and value ~= nil then
    call.input = value
  else
    call.input, call.invalid = nil, "refused by the configured decode: " .. tostring(value)
  end
end

function Turn:_finish(result)
  self:_decode_inputs(result)
  self:_release(true)
  self._body, self._whole_body = nil, nil
  result.status, result.headers = self.status, self.headers
  result.timing = timing(self)
  result.attempts = { { status = self.status, request_id = self.headers["x-request-id"] } }
  result.hints = hints.of(result, self._built.asked)
  self._result, self._phase = result, "ended"
  self:_leave()
  if self._on_result then self._on_result(result) end
end

-- Bytes ------------------------------------------------------------------------------------------------------------

local function earlier(a, b)
  if a and b then return a < b and a or b end
  return a or b
end

-- Phase new → queued, which only a client with max_concurrent knows.
function Turn:_begin()
  if hosts.cancelled() then return self:_fail(errors.new("cancelled", "the task was cancelled")) end
  local total_s = self._client.config.timeout.total_s
  self._began_at = core.now()
  self._total_deadline = total_s and self._began_at + total_s
  self._phase = "queued"
  return true
end

function Turn:_enter(limit)
  local gate = self._client._gate
  if not gate then return self:_send() end
  local entered, failure = gate:enter(self, self._client.config.host, earlier(limit, self._total_deadline))
  if self._err then return errors.give(self._err) end
  if entered then return self:_send() end
  if failure then return self:_fail(errors.from_transport(failure)) end
  return self:_on_silence(0, core.now())
end

function Turn:_send()
  local client, built = self._client, self._built
  local config = client.config
  self._silence_left_s = self._first_event_s
  local limits = config.limits
  self._decoder = core.decoder {
    max_event_bytes = limits.max_event_bytes, max_message_bytes = limits.max_message_bytes, max_tool_calls = limits.max_tool_calls,
    max_choices = limits.max_choices, max_depth = limits.max_depth, chunks = built.chunks,
  }
  local stream, failure = client.transport:open(client:_transport_request("POST", built.url, built.headers, built.body))
  if not stream then return self:_fail(errors.from_transport(failure)) end
  self._stream, self._phase = stream, "head"
  if config.interrupt then
    self._interrupt, failure = client.transport:interrupt()
    if not self._interrupt then return self:_fail(errors.from_transport(failure)) end
  end
  return true
end

local function looks_like_events(bytes)
  local text = bytes:gsub("^\239\187\191", "")
  return text:find("^data:") or text:find("^event:") or text:find("^:") or text:find("^id:") or text:find("^retry:")
end

function Turn:_on_head(status, headers)
  self.status, self.headers = status, headers
  local kind = (headers["content-type"] or ""):lower()
  if status < 200 or status > 299 then
    self._phase = "error_body"
  elseif kind:find("text/event-stream", 1, true) then
    self._phase = "stream"
  elseif kind:find("json", 1, true) then
    self._phase = "body"
  else
    self._phase = "sniff"
  end
  self._body, self._body_bytes = {}, 0
  return true
end

-- Hands bytes to the relay's write. A write that raises leaves no tap behind: behind the bytes that it lost nothing is passed on.
function Turn:_pass_on(bytes)
  local tap = self._tap
  if not tap then return true end
  self._tap = nil
  if tap(bytes) == false then self:cancel() end
  if self._err then return errors.give(self._err) end
  self._tap = tap
  return true
end

-- The decoder has the bytes before `write` can raise, so that the turn stays whole.
function Turn:_on_stream_bytes(bytes)
  local ok, failure = self._decoder:feed(bytes)
  local passed, message, err = self:_pass_on(bytes)
  if not passed then return nil, message, err end
  if not ok then return self:_fail(errors.from_decoder(failure, self._client:_error_context(self._built.url))) end
  return true
end

function Turn:_on_body_bytes(bytes)
  local limits = self._client.config.limits
  local max = self._phase == "error_body" and limits.max_error_bytes or limits.max_event_bytes
  self._body[#self._body + 1] = bytes
  self._body_bytes = self._body_bytes + #bytes
  if self._phase == "error_body" then
    if self._body_bytes > max then return self:_on_error_body(true) end
    return true
  end
  if self._body_bytes > max then
    return self:_fail(errors.new("limit", "a bound was reached: the answer is larger than limits.max_event_bytes (" .. max .. ")"))
  end
  if self._phase == "sniff" then
    if self._body_bytes < SNIFF_BYTES then return true end
    bytes = table.concat(self._body)
    self._phase, self._body = looks_like_events(bytes) and "stream" or "body", { bytes }
    if self._phase == "stream" then return self:_on_stream_bytes(bytes) end
  end
  return self:_pass_on(bytes)
end

function Turn:_on_error_body(cut)
  local body = table.concat(self._body):sub(1, self._client.config.limits.max_error_bytes)
  local context = self._client:_error_context(self._built.url)
  self:_release(not cut)
  if self.status == 404 and body:find("model", 1, true) then context.served = self._client:_served_models() end
  local err = errors.from_status(self.status, self.headers, body, context)
  err.body_cut = cut or nil
  return self:_fail(err)
end

function Turn:_on_end()
  local phase = self._phase
  if phase == "error_body" then return self:_on_error_body(false) end
  local ok, failure
  if phase == "stream" then
    self._phase = "drained"
    ok, failure = self._decoder:finish()
  else
    local body = table.concat(self._body)
    self._phase, self._body = "drained", nil
    if phase == "sniff" and looks_like_events(body) then
      ok = self:_on_stream_bytes(body)
      if not ok then return errors.give(self._err) end
      ok, failure = self._decoder:finish()
    elseif not body:find("%S") then
      return self:_fail(errors.new("protocol", "the server answered with status " .. self.status .. " and an empty body"))
    else
      ok, failure = self._decoder:body(body)
      self._whole_body = body
      if phase == "sniff" and not self:_pass_on(body) then return errors.give(self._err) end
    end
  end
  if not ok then return self:_fail(self:_decoder_error(failure)) end
  return true
end

function Turn:_decoder_error(failure)
  local kind = self.headers and self.headers["content-type"] or "no content type"
  if failure.kind == "protocol" and self._whole_body then
    local parts = errors.parse_body(self._whole_body)
    return errors.new("protocol", "the server's answer is not a completion (" .. kind .. "): " .. (parts.message or failure.detail),
      { status = self.status, body = self._whole_body:sub(1, self._client.config.limits.max_error_bytes) })
  end
  local err = errors.from_decoder(failure, self._client:_error_context(self._built.url))
  err.status = err.status or self.status
  if failure.kind == "truncated" then
    local bytes, events = self._decoder:state()
    err.clean = self._broken == nil
    err.message = err.message .. (self._broken and ("; the connection broke: " .. self._broken.detail) or "; the connection ended cleanly")
        .. (" (%d bytes and %d events had come)"):format(bytes, events)
  end
  return err
end

-- A connection that breaks after the answer's finish has cost nothing; before its start it is a failed connection.
function Turn:_on_broken(failure)
  if self._phase == "stream" and failure.kind == "closed" then
    local _, events = self._decoder:state()
    if events > 0 then
      self._broken = failure
      return self:_on_end()
    end
  end
  return self:_fail(errors.from_transport(failure))
end

-- Clocks -----------------------------------------------------------------------------------------------------------

-- What came resets the silence: before the answer's start only that start does; afterwards any event, but no comment.
function Turn:_heard()
  local _, events, _, _, started = self._decoder:state()
  if started and not self._first_delta_at then
    self._first_delta_at = core.now()
    self._silence_left_s = self._idle_s
  elseif started and events > self._events_seen then
    self._silence_left_s = self._idle_s
  end
  self._events_seen = events
end

function Turn:_on_silence(waited_s, now)
  if self._silence_left_s then self._silence_left_s = self._silence_left_s - waited_s end
  local which, limit_s
  if self._total_deadline and now >= self._total_deadline then
    which, limit_s = "total_s", self._client.config.timeout.total_s
  elseif self._silence_left_s and self._silence_left_s <= 0 then
    which = self._first_delta_at and "idle_s" or "first_event_s"
    limit_s = self._first_delta_at and self._idle_s or self._first_event_s
  else
    return false
  end
  local bytes, events = 0, 0
  if self._decoder then bytes, events = self._decoder:state() end
  local detail = ("timeout.%s: %g s passed; %d bytes and %d events had come"):format(which, limit_s, bytes, events)
  return self:_fail(errors.new("timeout", detail, { clock = which, limit_s = limit_s, status = self.status }))
end

local MAIN = {} -- stands for the main thread, where coroutine.running() has no value before Lua 5.2

-- One coroutine at a time waits for a turn. One that died while it waited waits no more.
function Turn:_claim()
  local here, other = coroutine.running() or MAIN, self._waiter
  if other and other ~= here and (other == MAIN or coroutine.status(other) ~= "dead") then return false end
  self._waiter = here
  return true
end

-- Asks the transport once. true: something happened · false: `limit` passed · nil, message, err.
function Turn:_fill(limit)
  if self._phase == "new" then return self:_begin() end
  if not self:_claim() then
    if limit and limit <= core.now() then return false end
    return errors.give(errors.new("busy", BUSY))
  end
  local filled, message, err
  if self._phase == "queued" then filled, message, err = self:_enter(limit) else filled, message, err = self:_ask(limit) end
  self._waiter = nil
  return filled, message, err
end

function Turn:_ask(limit)
  self:_heard()
  local asked_at = core.now()
  local deadline = earlier(earlier(limit, self._total_deadline), self._silence_left_s and asked_at + self._silence_left_s)
  local got, more
  if self._phase == "head" then
    got, more = self._stream:head(deadline)
  else
    got, more = self._stream:read(deadline)
  end
  if self._err then return errors.give(self._err) end -- cancelled from elsewhere meanwhile
  if self._interrupt and self._interrupt:caught() then
    self:cancel()
    return errors.give(self._err)
  end
  if got == false then
    local now = core.now()
    return self:_on_silence(now - asked_at, now)
  end
  if self._silence_left_s then self._silence_left_s = self._silence_left_s - (core.now() - asked_at) end
  if got == nil and more then return self:_on_broken(more) end
  if self._phase == "head" then return self:_on_head(got, more) end
  if got == nil then return self:_on_end() end
  if self._phase == "stream" then return self:_on_stream_bytes(got) end
  return self:_on_body_bytes(got)
end

-- Events -----------------------------------------------------------------------------------------------------------

function Turn:_deliver(event)
  if event.type == "tool_call" and self._fallback_decode then self:_decode_input(event) end
  if event.type == "turn_end" then self:_finish(event.result) end
  local on_event = self._client.config.on_event
  if on_event then on_event(event, self) end
  return event
end

-- One step of the loop that `next` and `text_deltas` share: the decoder first, then the transport.
function Turn:_step(pull, limit)
  while true do
    if self._err then return errors.give(self._err) end
    if self._phase == "ended" then return nil end
    if self._decoder then
      local got, failure = pull(self)
      if got then
        if not self._first_delta_at then self:_heard() end
        return got
      end
      if got == nil and failure then return self:_fail(self:_decoder_error(failure)) end
      if got == nil then
        if self._phase ~= "ended" then self:_finish(self._decoder:result()) end
        return nil
      end
    end
    local filled, message, err = self:_fill(limit)
    if filled == nil then return nil, message, err end
    if filled == false then return false end
  end
end

local function pull_event(turn)
  local peeked = turn._peeked
  if peeked then
    turn._peeked = nil
    return peeked
  end
  return turn._decoder:next()
end

local function pull_text(turn)
  local peeked = turn._peeked
  turn._peeked = nil
  if peeked and peeked.type == "text_delta" and peeked.choice == 0 then return peeked.text end
  return turn._decoder:next_text()
end

-- Waits until `poll` has something to say.
function Turn:_await_event()
  if not self._peeked then self._peeked = self:_step(pull_event) or nil end
end

--- Waits for the response head. `turn.status` and `turn.headers` are set; a status that is not 2xx is an error.
---@return true?
---@return string? message
---@return vllm.Error? err kinds: any but stream, truncated, no_output
function Turn:open()
  while not self.status or self._phase == "error_body" do
    if self._err then return errors.give(self._err) end
    local filled, message, err = self:_fill(nil)
    if filled == nil then return nil, message, err end
  end
  return true
end

--- The next event.
---@param timeout_s number? how long to wait at the most, in seconds; nil: as long as the clocks allow
---@return table|false|nil event an event · false at the timeout · nil at the end
---@return string? message with nil: the turn failed
---@return vllm.Error? err
function Turn:next(timeout_s)
  if timeout_s ~= nil and (type(timeout_s) ~= "number" or timeout_s ~= timeout_s) then
    error("turn:next: a number of seconds is needed, got " .. tostring(timeout_s), 2)
  end
  local event, message, err = self:_step(pull_event, timeout_s and core.now() + timeout_s)
  if not event then return event, message, err end
  return self:_deliver(event)
end

--- The next event without waiting.
---@return table|false|nil event an event · false: nothing yet · nil at the end
---@return string? message
---@return vllm.Error? err
function Turn:poll()
  return self:next(0)
end

-- Lua 5.1 calls an iterator through C, so what it waits for cannot suspend the coroutine.
local FOR_CANNOT_WAIT = _VERSION == "Lua 5.1" and not rawget(_G, "jit")

local function check_for(turn, name)
  if not FOR_CANNOT_WAIT then return end
  local host, token = hosts.here(turn._client.config.host)
  if token == nil then return end
  error(("turn:%s: Lua 5.1 cannot wait inside `for … in` in a coroutine (%s); use turn:each(fn), or turn:next() in a while loop")
    :format(name, host.name), 3)
end

--- An iterator over all events; a failure raises its message, and `turn:error()` has the object. Leaving the loop cancels nothing.
---@return fun(): table?
function Turn:events()
  check_for(self, "events")
  return function()
    local event, message = self:next()
    if message then error(message, 0) end
    return event
  end
end

--- An iterator over the text of choice 0 as it comes; cheaper than events(). Raises as events() does.
---@return fun(): string?
function Turn:text_deltas()
  check_for(self, "text_deltas")
  if self._client.config.on_event then
    return function()
      while true do
        local event, message = self:next()
        if message then error(message, 0) end
        if not event then return nil end
        if event.type == "text_delta" and event.choice == 0 then return event.text end
      end
    end
  end
  return function()
    local text, message = self:_step(pull_text)
    if message then error(message, 0) end
    return text
  end
end

--- Calls `fn` with every event. When it returns false, the turn is cancelled.
---@param fn fun(event: table): boolean?
---@return table? result
---@return string? message
---@return vllm.Error? err
function Turn:each(fn)
  if type(fn) ~= "function" then error("turn:each: a function is needed, got " .. type(fn), 2) end
  while true do
    local event, message, err = self:next()
    if message then return nil, message, err end
    if not event then return self._result end
    if fn(event) == false and self._phase ~= "ended" then
      self:cancel()
      return errors.give(self._err)
    end
  end
end

--- The callback form, for Neovim and the like: returns at once, and a task of the host in charge does the waiting.
---@param on_event (fun(event: table): boolean?)? called with every event; false cancels the turn. What it raises is reported by the
---  host and cancels the turn
---@param on_done fun(result: table?, message: string?, err: vllm.Error?) called exactly once
---@return vllm.Turn self
function Turn:start(on_event, on_done)
  require("vllm.callbacks").start(self, on_event, on_done)
  return self
end

--- Calls `fn` once, soon, when `poll` has something to say: an event, the end, an error. The base for any other way of waiting.
---@param fn fun()
---@return vllm.Turn self
function Turn:on_ready(fn)
  require("vllm.callbacks").on_ready(self, fn)
  return self
end

--- Waits for the end. May be called any number of times.
---@return table? result see docs/events.md
---@return string? message
---@return vllm.Error? err
function Turn:result()
  while not self._result do
    local _, message, err
    if self._client.config.on_event then _, message, err = self:next() else _, message, err = self:_step(pull_text) end
    if message then return nil, message, err end
  end
  return self._result
end

-- What on_done is told: the result, or what keeps it from coming. Does not wait; `result` would, where another coroutine has the turn.
function Turn:_outcome()
  if self._result then return self._result end
  return errors.give(self._err or errors.new("busy", BUSY))
end

local function why_no_text(result)
  local calls = #(result.tool_calls or {})
  if calls > 0 then return ("the model called %d %s and wrote no text"):format(calls, calls == 1 and "tool" or "tools") end
  if result.refusal then return "the model refused: " .. result.refusal end
  return "the model ended its answer without a word"
end

--- Waits for the end and gives the text of choice 0. No text is an error of kind `no_output`, with the reason if it can be told.
---@return string? text
---@return string? message
---@return vllm.Error? err
function Turn:text()
  local result, message, err = self:result()
  if not result then return nil, message, err end
  if result.text and result.text ~= "" then return result.text end
  local why = result.hints[1] or why_no_text(result)
  return errors.give(errors.new("no_output", why, { partial = result, status = result.status }))
end

--- Passes the server's body on, byte for byte, while decoding it. For gateways: call open() first for status and headers.
---@param write fun(bytes: string): any returns false to stop, which cancels the turn
---@return table? result
---@return string? message
---@return vllm.Error? err
function Turn:relay(write)
  if type(write) ~= "function" then error("turn:relay: a function is needed, got " .. type(write), 2) end
  if self._decoder and (self._decoder:state() > 0 or (self._body_bytes or 0) > 0) then
    error("turn:relay: bytes of the answer were taken already", 2)
  end
  self._tap = write
  return self:result()
end

--- Ends the turn now; the server sees the connection close. What had come stays in turn:error().partial. Idempotent, from anywhere.
function Turn:cancel()
  if self._err or self._phase == "ended" then return end
  self:_fail(errors.new("cancelled", "the turn was cancelled"))
end

--- The error of a failed turn, else nil.
---@return vllm.Error?
function Turn:error()
  return self._err
end

Turn.__close = Turn.cancel

function Turn:__tostring()
  return "vllm.turn (" .. (self._err and self._err.kind or self._phase) .. ")"
end

return Turn
