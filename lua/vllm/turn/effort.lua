--- The effort of a turn: attempts until one is answered.
--
-- It goes through the phases new → queued → asking (→ waiting → asking)* → ended; `err` set means failed, for good. The
-- decoder is asked first, the transport only when the decoder has nothing: so a clock can fire only after a read found
-- nothing, and stands still while the consumer does something else. Pure Lua, and no pcall around a wait: Lua 5.1
-- cannot
-- yield through one.

local attempt = require "vllm.turn.attempt"
local clocks = require "vllm.turn.clocks"
local core = require "vllm.core"
local ending = require "vllm.turn.ending"
local errors = require "vllm.base.errors"
local guard = require "vllm.base.guard"
local pause = require "vllm.turn.pause"
local retry = require "vllm.turn.retry"
local waiter = require "vllm.hosts.waiter"

---@class vllm.Effort
---@field phase "new"|"queued"|"asking"|"waiting"|"ended"
---@field err vllm.Error|false it has failed
---@field result table? it has ended
---@field head { status: integer?, headers: table? } of the latest attempt, as soon as they are known; the turn's
---@field attempts table[] entries of those that have ended
---@field config table
---@field built vllm.Built
---@field clocks vllm.Clocks
---@field attempt vllm.Attempt|false the one under way
---@field peeked table|false an event that is to be delivered before those of the decoder
---@field is_delivered boolean has something of an answer been delivered?
---@field has_started boolean has the answer begun?
---@field pause vllm.Pause|false
---@field reader any the coroutine that waits in it; false: none
---@field late_from integer|false bytes that had come when a clock ran out
local Run = { pause = false, late_from = false, _sink = false } -- members that most turns never have of their own
Run.__index = Run

local efforts = {}

--- Sends nothing yet.
---@param head table is given `status` and `headers`
---@param config table a checked configuration
---@param transport table
---@param gate vllm.Gate? of max_concurrent
---@param built vllm.Built? nil with `err`
---@param err vllm.Error? it has failed before it began
---@param on_result fun(result: table)? called once, when the answer is whole
---@return vllm.Effort
function efforts.new(head, config, transport, gate, built, err, on_result)
  -- At most sixteen members: one more would double the table.
  return setmetatable({
    phase = "new", err = err or false, head = head, attempts = {}, config = config, built = built,
    clocks = clocks.new(built and built.timeout or config.timeout),
    attempt = false, peeked = false, reader = false, is_delivered = false, has_started = false,
    _transport = transport, _gate = gate, _on_result = on_result,
  }, Run)
end

-- The end ----------------------------------------------------------------------------------------------------------

function Run:_log(err)
  local entry = ending.attempt(self.head.status, self.head.headers, err)
  self.attempts[#self.attempts + 1] = entry
  return entry
end

-- Ends the attempt that is under way. Returns what is known of its connection, and whether it was left open.
function Run:_release(drain, problems)
  local current = self.attempt
  self.attempt = false
  if not current then return {}, false end
  local info, problem = current:close(drain)
  problems[#problems + 1] = problem
  return info, current.was_left_open
end

-- Nothing will be sent, and nothing is waited for.
function Run:_leave(problems)
  self.built.body = nil
  if self.pause then self.pause:close(problems) end
end

--- It has failed, for good.
---@param err vllm.Error
---@param problems string[]? on the way to it
---@param is_attempt boolean? an attempt has failed so, even if it could not begin
---@return nil, string, vllm.Error
function Run:fail(err, problems, is_attempt)
  problems = problems or {}
  self.err = err
  local current = self.attempt
  ending.add_partial(err, self.config, self.built, current and current.decoder, problems)
  self:_release(false, problems)
  self:_leave(problems)
  ending.show(err, self.built.redactor, problems)
  if is_attempt or current then self:_log(err) end
  err.attempts = self.attempts
  if #self.attempts > 1 then err.message = ("%s (after %d attempts)"):format(err.message, #self.attempts) end
  return errors.give(err)
end

--- Ends it now. Idempotent, from anywhere.
---@param why string a sentence's part, for the message
function Run:cancel(why)
  if self.err or self.phase == "ended" then return end
  self:fail(errors.new("cancelled", why))
end

-- The answer is whole; the decoder's `result` is completed in place.
function Run:finish(result)
  local problems, built = {}, self.built
  ending.complete(result, self.config, built, problems)
  self:_log()
  local info, was_left_open = self:_release(true, problems)
  result.status, result.headers = self.head.status, self.head.headers
  result.timing, result.attempts = ending.timing(info, self.clocks, result.extra.metrics), self.attempts
  ending.add_hints(result, built, was_left_open and self.clocks.finish_s, problems)
  self.result, self.phase = result, "ended"
  self:_leave(problems)
  for _, problem in ipairs(problems) do result.hints[#result.hints + 1] = built.redactor:text(problem) end
  if self._on_result then self._on_result(result) end
end

-- Attempts ---------------------------------------------------------------------------------------------------------

function Run:begin()
  if waiter.is_cancelled() then return self:fail(errors.new("cancelled", "the task was cancelled")) end
  self.phase = "queued"
  self.clocks:begin(core.now())
  local config = self.config
  if not (self._gate or config.interrupt) then return true end
  local failure
  self.pause, failure = pause.new(config, self._transport, self._gate, function()
    return #self.attempts, self.attempt and self.attempt.decoder:state() or 0
  end)
  if failure then return self:fail(guard.transport(failure)) end
  return true
end

function Run:enter(limit)
  if not self._gate then return self:_send() end
  local entered, failure = self.pause:enter(self.clocks, limit)
  if self.err then return errors.give(self.err) end
  if entered then return self:_send() end
  if failure then return self:fail(guard.transport(failure)) end
  local at = core.now()
  if self.clocks:fired(at) or limit and limit <= at then return self:on_silence(0, at) end
  return true
end

function Run:_send()
  self.clocks:ask()
  self.head.status, self.head.headers = nil, nil
  local made, err = attempt.open(self._transport, self.built, self._sink)
  self.phase = "asking" -- had the transport raised, the turn would stand where it stood
  if not made then return self:on_failure(err) end
  if self.err then -- cancelled meanwhile: nginx lets others continue
    self:_log(self.err)
    made:close(false)
    return errors.give(self.err)
  end
  self.attempt = made
  return true
end

-- After the first thing that was delivered nothing is sent again: the request, perhaps the largest text of the program,
-- may go.
function Run:set_delivered()
  self.is_delivered, self.built.body = true, nil
end

--- The bytes of the answer's body go to `write`, too, from now on.
---@param write fun(bytes: string): any false cancels
function Run:relay(write)
  self._sink = function(bytes)
    self:set_delivered()
    if write(bytes) == false then self:cancel "the turn was cancelled" end
    return self.err
  end
  if self.attempt then self.attempt.sink = self._sink end
end

-- How long to wait for the next attempt, `made` were made; nil: there is none, and the error says why.
local function wait_after(self, err, made)
  local policy, total_deadline = self.config.retry, self.clocks.total_deadline
  if self.is_delivered or made > policy.max or not retry.is_retried(policy, err) then return nil end
  local wait_s = retry.wait_s(policy, err, made)
  if not wait_s then
    err.message = ("%s; the server asks for a wait of %g s, more than retry.cap_s (%g)")
      :format(err.message, err.retry_after_s, policy.cap_s)
  elseif total_deadline and core.now() + wait_s >= total_deadline then
    err.message = err.message .. "; timeout.total_s leaves no time for another attempt"
    return nil
  end
  return wait_s
end

-- An attempt failed: the turn has, too, or it waits for the next one.
function Run:on_failure(err)
  if self.err then return errors.give(self.err) end
  local problems, made, on_retry = {}, #self.attempts + 1, self.config.retry.on_retry
  local wait_s = guard.try(problems, "deciding about another attempt", wait_after, self, err, made)
  if not wait_s then return self:fail(err, problems, true) end
  self:_release(false, problems)
  ending.show(err, self.built.redactor, problems)
  self:_log(err).after_s = wait_s
  self.phase, self._retry_at = "waiting", core.now() + wait_s
  self.peeked = { type = "retry", attempt = made + 1, after_s = wait_s, kind = err.kind, message = err.message }
  if on_retry then on_retry(self.peeked) end
  return true
end

-- Between two attempts. true: the next one is under way · false: `limit` passed · nil, message, err.
function Run:await_retry(limit)
  if waiter.is_cancelled() then return self:fail(errors.new("cancelled", "the task was cancelled")) end
  local at = core.now()
  if at >= self._retry_at then return self:_send() end
  local deadline = clocks.earlier(limit, self._retry_at)
  if deadline <= at then return false end
  self.pause = self.pause or pause.new(self.config)
  local failure = self.pause:wait(deadline)
  if self.err then return errors.give(self.err) end
  if failure then return self:fail(guard.transport(failure)) end
  return true
end

-- Clocks -----------------------------------------------------------------------------------------------------------

function Run:on_silence(waited_s, at)
  local own = self.clocks
  own:waited(waited_s)
  if own:is_finished(at) then
    own.seems_whole = false
    local is_whole, err = self.attempt:take_as_whole()
    if is_whole then return true end
    if err then return self:on_failure(err) end
    if not own:fired(at) then return true end -- perhaps no limit of the caller's has passed
  end
  local which, limit_s = own:fired(at)
  if not which then return false end
  local current = self.attempt
  local known = current and current:known_error()
  if known then return self:on_failure(known) end
  local detail = ("timeout.%s: %g s passed"):format(which, limit_s)
  if which == "queue_s" then
    detail = ("%s in the queue of max_concurrent, and none of the %d turns before it went on")
      :format(detail, self.config.max_concurrent)
  else
    local bytes, events = 0, 0
    if current then bytes, events = current.decoder:state() end
    detail = ("%s; %d bytes and %d events had come"):format(detail, bytes, events)
  end
  return self:fail(errors.new("timeout", detail, { clock = which, limit_s = limit_s, status = self.head.status }))
end

return efforts
