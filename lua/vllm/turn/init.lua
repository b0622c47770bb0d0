--- One model call: attempts until one is answered, its events and its finished message. Owns the clocks and the waiting.
--
-- A turn goes through the phases new → queued → asking (→ waiting → asking)* → ended; `_err` set means failed, for good. The decoder is
-- asked first, the transport only when the decoder has nothing: so a clock can fire only after a read found nothing, and stands still
-- while the consumer does something else. Pure Lua, and no pcall around a wait: Lua 5.1 cannot yield through one.

local attempt = require "vllm.turn.attempt"
local clocks = require "vllm.turn.clocks"
local configuration = require "vllm.request.config"
local core = require "vllm.core"
local ending = require "vllm.turn.ending"
local errors = require "vllm.base.errors"
local guard = require "vllm.base.guard"
local hosts = require "vllm.hosts"
local inputs = require "vllm.turn.inputs"
local retry = require "vllm.turn.retry"
local values = require "vllm.base.values"
local waiter = require "vllm.hosts.waiter"

---@class vllm.Turn
---@field status integer? HTTP status of the latest attempt, once its head is in
---@field headers table? the answer's headers, lower-case name → value
local Turn = {}
Turn.__index = Turn
Turn.__name = "vllm.turn"

-- What each event needs is a local function: a method costs a look into the turn first.
local running = coroutine.running
local advance, heard, earlier = attempt.advance, clocks.heard, clocks.earlier
local BUSY = "another coroutine waits for this turn"

--- Made by client:turn; sends nothing. `built` is what request.build returned, or nil with `err` for a turn born failed.
function Turn._new(client, built, err)
  local config = client.config
  local timeout = built and built.timeout or config.timeout
  local self = setmetatable({
    _client = client, _built = built, _phase = "new", _err = err,
    _queue_s = timeout.queue_s, _first_event_s = timeout.first_event_s, _idle_s = timeout.idle_s, _finish_s = timeout.finish_s,
    _total_s = timeout.total_s, _settles = inputs.concern(config), _attempts = {},
    _seen = 0, _weighed = 0, _seems_whole = false, _finished_choices = 0,
    -- What each event asks for is a member from the beginning: an absent one costs more.
    _on_event = config.on_event or false, _host = config.host or false, _peeked = false, _interrupt = false, _tap = false, _waiter = false,
    _late_from = false,
  }, Turn)
  return self
end

-- See ending.lua.
Turn._fail = ending.fail

-- Attempts ---------------------------------------------------------------------------------------------------------

function Turn:_on_task_cancelled()
  return self:_fail(errors.new("cancelled", "the task was cancelled"))
end

-- Phase new → queued, in which only a client with max_concurrent keeps it.
function Turn:_begin()
  local config, client = self._client.config, self._client
  if waiter.is_cancelled() then return self:_on_task_cancelled() end
  self._began_at, self._phase = core.now(), "queued"
  self._total_deadline = self._total_s and self._began_at + self._total_s
  if not config.interrupt then return true end
  local trap, failure = client.transport:interrupt()
  if not trap then return self:_fail(guard.transport(failure)) end
  self._interrupt = trap
  return true
end

-- Waits where no attempt is under way: in the queue, and between two attempts.
function Turn:_own_waiter()
  local config = self._client.config
  self._pause = self._pause or waiter.new(config.host, config.interrupt ~= nil)
  return self._pause
end

function Turn:_own_place(gate)
  self._place = self._place or gate:place(self:_own_waiter(), function()
    return #self._attempts, self._attempt and self._attempt.decoder:state() or 0
  end)
  return self._place
end

function Turn:_enter(limit)
  local gate = self._client._gate
  if not gate then return self:_send() end
  clocks.look_at_queue(self, gate, core.now())
  local entered, failure = self:_own_place(gate):enter(limit, earlier(self._total_deadline, self._queue_deadline))
  if self._err then return errors.give(self._err) end
  if entered then return self:_send() end
  local ok, message, err = self:_check_interrupt()
  if not ok then return nil, message, err end
  if failure then return self:_fail(guard.transport(failure)) end
  local now = core.now()
  clocks.look_at_queue(self, gate, now)
  if clocks.fired(self, now) or limit and limit < now then return self:_on_silence(0, now) end
  return true
end

function Turn:_send()
  self._silence_left_s, self._seen, self._weighed, self._seems_whole = self._first_event_s, 0, 0, false
  self.status, self.headers = nil, nil
  local made, err = attempt.open(self._client, self._built, self)
  self._phase = "asking" -- had the transport raised, the turn would stand where it stood
  if not made then return self:_on_failure(err) end
  if self._err then return ending.drop(self, made) end -- cancelled meanwhile: nginx lets others go on
  self._attempt = made
  return true
end

-- Behind the first thing that was delivered nothing is sent again: the request, perhaps the largest text of the program, may go.
local function set_delivered(self)
  self._delivered, self._built.body = true, nil
end

-- Hands bytes to the relay's write. A write that raises leaves no tap behind: behind the bytes that it lost nothing is passed on.
function Turn:_pass_on(bytes)
  local tap = self._tap
  self._tap = false
  set_delivered(self)
  if tap(bytes) == false then self:cancel() end
  if self._err then return self._err end
  self._tap = tap
end

-- How long to wait for the next attempt, `made` were made; nil: there is none, and the error says why.
local function wait_after(self, err, made)
  local policy = self._client.config.retry
  if self._delivered or made > policy.max or not retry.is_retried(policy, err) then return nil end
  local wait_s = retry.wait_s(policy, err, made)
  if not wait_s then
    err.message = ("%s; the server asks for a wait of %g s, more than retry.cap_s (%g)")
      :format(err.message, err.retry_after_s, policy.cap_s)
  elseif self._total_deadline and core.now() + wait_s >= self._total_deadline then
    err.message = err.message .. "; timeout.total_s leaves no time for another attempt"
    return nil
  end
  return wait_s
end

-- An attempt failed: the turn has, too, or it waits for the next one.
function Turn:_on_failure(err)
  if self._err then return errors.give(self._err) end
  local problems, made, on_retry = {}, #self._attempts + 1, self._client.config.retry.on_retry
  local wait_s = guard.try(problems, "deciding about another attempt", wait_after, self, err, made)
  if not wait_s then return self:_fail(err, problems, true) end
  ending.fail_attempt(self, err, problems).after_s = wait_s
  self._phase, self._retry_at = "waiting", core.now() + wait_s
  self._peeked = { type = "retry", attempt = made + 1, after_s = wait_s, kind = err.kind, message = err.message }
  if on_retry then on_retry(self._peeked) end
  return true
end

-- Between two attempts. true: the next one is under way · false: `limit` passed · nil, message, err.
function Turn:_await_retry(limit)
  local now = core.now()
  if waiter.is_cancelled() then return self:_on_task_cancelled() end
  if now >= self._retry_at then return self:_send() end
  local deadline = earlier(limit, self._retry_at)
  if deadline <= now then return false end
  local _, failure = self:_own_waiter():wait(deadline)
  if self._err then return errors.give(self._err) end
  local ok, message, err = self:_check_interrupt()
  if not ok then return nil, message, err end
  if failure then return self:_fail(guard.transport(failure)) end
  return true
end

-- Clocks -----------------------------------------------------------------------------------------------------------

function Turn:_on_silence(waited_s, now)
  if self._silence_left_s then self._silence_left_s = self._silence_left_s - waited_s end
  if clocks.is_finished(self, now) then
    self._seems_whole = false
    local is_whole, err = self._attempt:take_as_whole()
    if is_whole then return true end
    if err then return self:_on_failure(err) end
  end
  return self:_on_clock(now)
end

function Turn:_on_clock(now)
  local which, limit_s = clocks.fired(self, now)
  if not which then return false end
  local known = self._attempt and self._attempt:known_error()
  if known then return self:_on_failure(known) end
  local detail = ("timeout.%s: %g s passed"):format(which, limit_s)
  if which == "queue_s" then
    detail = ("%s in the queue of max_concurrent, and none of the %d turns before it went on")
      :format(detail, self._client.config.max_concurrent)
  else
    local bytes, events = 0, 0
    if self._attempt then bytes, events = self._attempt.decoder:state() end
    detail = ("%s; %d bytes and %d events had come"):format(detail, bytes, events)
  end
  return self:_fail(errors.new("timeout", detail, { clock = which, limit_s = limit_s, status = self.status }))
end

local MAIN = {} -- stands for the main thread, for which coroutine.running() has no value before Lua 5.2

-- One coroutine at a time waits for a turn. One that died while it waited, or the main thread after its wait raised, waits no more.
local function is_waiting(other)
  if other == MAIN then return waiter.is_blocked() end
  return coroutine.status(other) ~= "dead"
end

-- Ctrl-C, where it is trapped.
function Turn:_check_interrupt()
  if not self._interrupt or not self._interrupt:caught() then return true end
  self:cancel()
  return errors.give(self._err)
end

-- A server that never pauses must not keep a clock from firing: behind its end only as much is taken as may have been there before.
local function is_overrun(self)
  local bytes = self._attempt.decoder:state()
  self._late_from = self._late_from or bytes
  return bytes - self._late_from > self._client.config.limits.max_buffer_bytes
end

local function ask(self, limit)
  heard(self)
  local current, asked_at, silence_left_s = self._attempt, core.now(), self._silence_left_s
  local deadline = silence_left_s and asked_at + silence_left_s
  local total = self._total_deadline
  if self._finished_choices > 0 or not current:is_stream() then total = earlier(total, clocks.finish_deadline(self, asked_at)) end
  if limit or total then deadline = earlier(deadline, earlier(limit, total)) end
  local is_late = silence_left_s and silence_left_s <= 0 or total and total <= asked_at
  if not is_late then
    self._late_from = false
  elseif is_overrun(self) then
    return self:_on_silence(0, asked_at)
  end
  local happened, err = advance(current, deadline)
  if self._err then return errors.give(self._err) end -- cancelled from elsewhere meanwhile
  if not self.status then self.status, self.headers = current.status, current.headers end
  if self._interrupt then
    local ok, message, interrupted = self:_check_interrupt()
    if not ok then return nil, message, interrupted end
  end
  if happened == false then
    local at = core.now()
    return self:_on_silence(at - asked_at, at)
  end
  if silence_left_s then self._silence_left_s = silence_left_s - (core.now() - asked_at) end
  if not happened then return self:_on_failure(err) end
  return true
end

-- One thing more happens. true: it did · false: `limit` passed · nil, message, err.
local function fill(self, limit)
  if self._phase == "new" then return self:_begin() end
  local here, is_main = running()
  local other = self._waiter
  if is_main or not here then here = MAIN end
  if other and other ~= here and is_waiting(other) then
    if limit and limit <= core.now() then return false end
    return errors.give(errors.new("busy", BUSY))
  end
  self._waiter = here
  local phase, filled, message, err = self._phase
  if phase == "asking" then
    filled, message, err = ask(self, limit)
  elseif phase == "queued" then
    filled, message, err = self:_enter(limit)
  else
    filled, message, err = self:_await_retry(limit)
  end
  self._waiter = false
  return filled, message, err
end

-- Events -----------------------------------------------------------------------------------------------------------

local function deliver(self, event)
  local kind, on_event = event.type, self._on_event
  if kind == "tool_call" and self._settles then inputs.settle(self._client.config, event) end
  if kind == "turn_end" then ending.finish(self, event.result) end
  if on_event then on_event(event, self) end
  return event
end

-- One step of the loop that `next` and `text_deltas` share: the decoder first, then the transport.
local function step(self, pull, limit)
  while true do
    local give_way = hosts.give_way
    if give_way and (not limit or limit > core.now()) then give_way(self._host or nil) end
    if self._err then return errors.give(self._err) end
    if self._phase == "ended" then return nil end
    local got, failure = pull(self)
    if got then
      if not self._first_delta_at and self._attempt then heard(self) end
      return got
    end
    if got == nil and failure and not self._attempt:passes_rest() then
      local failed, message, err = self:_on_failure(self._attempt:decoder_error(failure))
      if not failed then return nil, message, err end
    elseif got == nil and not failure then
      if self._phase ~= "ended" then ending.finish(self, self._attempt.decoder:result()) end
      return nil
    end
    local filled, message, err = fill(self, limit)
    if filled == nil then return nil, message, err end
    if filled == false then return false end
  end
end

-- The next event of the decoder: false: it has none yet; nil: the end; nil, failure.
local function pull_event(turn)
  local peeked, current = turn._peeked, turn._attempt
  if peeked then
    turn._peeked = false
    return peeked
  end
  if not current then return false end
  local event, failure = current.decoder:next()
  if event and not turn._delivered then set_delivered(turn) end
  return event, failure
end

local function pull_text(turn)
  local peeked, current = turn._peeked, turn._attempt
  turn._peeked = false
  if peeked and peeked.type == "text_delta" and peeked.choice == 0 then return peeked.text end
  if not current then return false end
  local text, failure = current.decoder:next_text()
  if text and not turn._delivered then set_delivered(turn) end
  return text, failure
end

local function check_self(turn, name, level)
  if type(turn) == "table" and turn._client then return end
  error(("turn:%s: written with a dot; write turn:%s()"):format(name, name), level or 3)
end

-- Waits until `poll` has something to say.
function Turn:_await_event()
  if not self._peeked then self._peeked = step(self, pull_event) or false end
end

--- Waits for the response head. `turn.status` and `turn.headers` are set; a status that is not 2xx is an error.
---@return true?
---@return string? message
---@return vllm.Error? err kinds: any but stream, truncated, no_output
function Turn:open()
  check_self(self, "open")
  while not (self._result or self._attempt and self._attempt:is_accepted()) do
    if self._err then return errors.give(self._err) end
    local filled, message, err = fill(self, nil)
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
    error("turn:next: a number of seconds is needed, got " .. values.shown(timeout_s), 2)
  end
  local event, message, err = step(self, pull_event, timeout_s and core.now() + timeout_s)
  if not event then return event, message, err end
  return deliver(self, event)
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

local function check_for(turn, name, surplus)
  check_self(turn, name, 4) -- `in turn.events do` would call this for ever
  if surplus ~= nil then
    error(("turn:%s: gives an iterator and takes nothing, got %s; turn:each(fn) calls a function"):format(name, values.shown(surplus)), 3)
  end
  if not FOR_CANNOT_WAIT then return end
  local host, token = hosts.here(turn._host or nil)
  if token == nil then return end
  error(("turn:%s: Lua 5.1 cannot wait inside `for … in` in a coroutine (%s); use turn:each(fn), or turn:next() in a while loop")
    :format(name, hosts.name_of(host)), 3)
end

--- An iterator over all events; a failure raises its message, and `turn:error()` has the object. Leaving the loop cancels nothing.
---@param surplus nil takes nothing: turn:each(fn) calls a function
---@return fun(): table?
function Turn:events(surplus)
  check_for(self, "events", surplus)
  return function()
    local event, message = self:next()
    if message then error(message, 0) end
    return event
  end
end

--- An iterator over the text of choice 0 as it comes; cheaper than events(). Raises as events() does.
---@param surplus nil as in events
---@return fun(): string?
function Turn:text_deltas(surplus)
  check_for(self, "text_deltas", surplus)
  if self._on_event then
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
    local text, message = step(self, pull_text)
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
  check_self(self, "each")
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
  check_self(self, "start")
  require("vllm.turn.callbacks").start(self, on_event, on_done)
  return self
end

--- Calls `fn` once, soon, when `poll` has something to say: an event, the end, an error. The base for any other way of waiting.
---@param fn fun()
---@return vllm.Turn self
function Turn:on_ready(fn)
  check_self(self, "on_ready")
  require("vllm.turn.callbacks").on_ready(self, fn)
  return self
end

--- Waits for the end. May be called any number of times.
---@return table? result see docs/events.md
---@return string? message
---@return vllm.Error? err
function Turn:result()
  check_self(self, "result")
  while not self._result do
    local _, message, err
    if self._on_event then _, message, err = self:next() else _, message, err = step(self, pull_text) end
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
  check_self(self, "text")
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
  check_self(self, "relay")
  if type(write) ~= "function" then error("turn:relay: a function is needed, got " .. type(write), 2) end
  if self._result or self._attempt and self._attempt:has_body() then
    error("turn:relay: bytes of the answer were taken already", 2)
  end
  self._tap = write
  return self:result()
end

-- `why`: a sentence's part, for the message.
function Turn:_cancel(why)
  if self._err or self._phase == "ended" then return end
  self:_fail(errors.new("cancelled", why))
end

--- Ends the turn now; the server sees the connection close. What had come stays in turn:error().partial. Idempotent, from anywhere.
function Turn:cancel()
  check_self(self, "cancel")
  self:_cancel "the turn was cancelled"
end

--- The error of a failed turn, else nil.
---@return vllm.Error?
function Turn:error()
  return self._err
end

Turn.__close = Turn.cancel

local UNDERSCORE = 95

-- `turn.temperature = 0` would change nothing. Other names are the program's own business.
function Turn:__newindex(name, value)
  if type(name) == "string" and name:byte() == UNDERSCORE then return rawset(self, name, value) end -- our own
  if type(Turn[name]) == "function" then error(("turn.%s is a function of the turn"):format(name), 2) end
  if name ~= "headers" and configuration.is_option(name) then
    local how = configuration.client_only[name] and "client:with { %s = … }:turn(…)" or "client:turn { %s = … }"
    error(("turn.%s: a turn does not change; " .. how .. " makes one with it"):format(name, name), 2)
  end
  rawset(self, name, value)
end

function Turn.__call()
  error("a turn is no iterator: write turn:events() or turn:text_deltas()", 2)
end

function Turn:__tostring()
  return "vllm.turn (" .. (self._err and self._err.kind or self._phase) .. ")"
end

return Turn
