--- Takes events and texts out of an effort. The decoder is asked first, the transport only when the decoder has
--- nothing: so a clock can fire only after a read found nothing, and stands still while the consumer does something
--- else. No pcall stands around a wait: Lua 5.1 cannot yield through one.

local attempt = require "vllm.turn.attempt"
local clocks = require "vllm.turn.clocks"
local core = require "vllm.core"
local errors = require "vllm.base.errors"
local hosts = require "vllm.hosts"
local inputs = require "vllm.turn.inputs"
local waiter = require "vllm.hosts.waiter"

local reading = {}

-- What each event needs is a local function: a method costs a look into the class first.
local running, advance, progress = coroutine.running, attempt.advance, attempt.progress
local heard, deadline_of = clocks.heard, clocks.deadline
local BUSY = "another coroutine waits for this turn"

-- The transport ----------------------------------------------------------------------------------------------------

-- A server that never pauses must not keep a clock from firing: after its end only as much is taken as may have been
-- there before.
local function is_overrun(self)
  local bytes = self.attempt.decoder:state()
  self.late_from = self.late_from or bytes
  return bytes - self.late_from > self.config.limits.max_buffer_bytes
end

local function hear(self, current, now)
  local seen, started, finished = progress(current)
  self.has_started = started
  heard(self.clocks, seen, started, finished, now)
end

local function ask(self, limit)
  local current, own, asked_at = self.attempt, self.clocks, core.now()
  hear(self, current, asked_at)
  if own.seen ~= own.weighed and (own.finished > 0 or current.phase ~= "stream") then
    own:weigh(current:seems_whole(own.finished), asked_at)
  end
  local deadline, is_late = deadline_of(own, asked_at, limit)
  if not is_late then
    if self.late_from then self.late_from = false end
  elseif is_overrun(self) then
    return self:on_silence(0, asked_at)
  end
  local happened, err = advance(current, deadline)
  if self.err then return errors.give(self.err) end -- cancelled from elsewhere meanwhile
  local head = self.head
  if not head.status then head.status, head.headers = current.status, current.headers end
  local own_pause = self.pause
  if own_pause and own_pause:is_interrupted() then
    self:cancel "the turn was cancelled"
    return errors.give(self.err)
  end
  if happened == false then
    local at = core.now()
    return self:on_silence(at - asked_at, at)
  end
  local left_s = own.silence_left_s
  if left_s then own.silence_left_s = left_s - (core.now() - asked_at) end
  if not happened then return self:on_failure(err) end
  return true
end

local MAIN = {} -- stands for the main thread, for which coroutine.running() has no value before Lua 5.2

-- One coroutine at a time waits for a turn. One that died while it waited, or the main thread after its wait raised,
-- waits no more.
local function is_reading(other)
  if other == MAIN then return waiter.is_blocked() end
  return coroutine.status(other) ~= "dead"
end

-- One thing more happens. true: it did · false: `limit` passed · nil, message, err.
local function fill(self, limit)
  if self.phase == "new" then return self:begin() end
  local here, is_main = running()
  local other = self.reader
  if is_main or not here then here = MAIN end
  if other and other ~= here and is_reading(other) then
    if limit and limit <= core.now() then return false end
    return errors.give(errors.new("busy", BUSY))
  end
  self.reader = here
  local phase = self.phase
  local filled, message, err
  if phase == "asking" then
    filled, message, err = ask(self, limit)
  elseif phase == "queued" then
    filled, message, err = self:enter(limit)
  else
    filled, message, err = self:await_retry(limit)
  end
  self.reader = false
  return filled, message, err
end

-- Events -----------------------------------------------------------------------------------------------------------

-- The same for the caller's limit. Returns the bytes that had come when it passed; false: no more are taken.
local function take_late(self, late_from, limit)
  local current = self.attempt
  if not current or limit > core.now() then return nil end
  local bytes = current.decoder:state()
  late_from = late_from or bytes
  return bytes - late_from <= self.config.limits.max_buffer_bytes and late_from
end

-- One step of the loop that events and texts share: the decoder first, then the transport.
local function step(self, pull, limit)
  local late_from
  while true do
    local give_way = hosts.give_way
    if give_way and (not limit or limit > core.now()) then give_way(self.config.host) end
    if self.err then return errors.give(self.err) end
    if self.phase == "ended" then return nil end
    local got, failure = pull(self)
    if got then
      if not self.has_started and self.attempt then hear(self, self.attempt, core.now()) end
      return got
    end
    if got == nil and failure and not self.attempt:passes_rest() then
      local failed, message, err = self:on_failure(self.attempt:decoder_error(failure))
      if not failed then return nil, message, err end
    elseif got == nil and not failure then
      if self.phase ~= "ended" then self:finish(self.attempt.decoder:result()) end
      return nil
    else
      if limit then late_from = take_late(self, late_from, limit) end
      if late_from == false then return false end
      local filled, message, err = fill(self, limit)
      if filled == nil then return nil, message, err end
      if filled == false then return false end
    end
  end
end

-- The next event of the decoder: false: it has none yet; nil: the end; nil, failure.
local function pull_event(self)
  local peeked, current = self.peeked, self.attempt
  if peeked then
    self.peeked = false
    return peeked
  end
  if not current then return false end
  local event, failure = current.decoder:next()
  if event and not self.is_delivered then self:set_delivered() end
  return event, failure
end

local function pull_text(self)
  local peeked, current = self.peeked, self.attempt
  self.peeked = false
  if peeked and peeked.type == "text_delta" and peeked.choice == 0 then return peeked.text end
  if not current then return false end
  local text, failure = current.decoder:next_text()
  if text and not self.is_delivered then self:set_delivered() end
  return text, failure
end

--- What `take` is to pull: events; or the texts of choice 0, which passes over everything else.
reading.EVENTS, reading.TEXTS = pull_event, pull_text

--- The next one. An event is to be given to `deliver` then.
---@type fun(self: vllm.Effort, pull: function, limit: number?): table|string|false|nil, string?, vllm.Error? false:
---  `limit` (absolute) passed; nil: the end, or with a message: the turn has failed
reading.take = step

--- Completes an event that needs it, a `tool_call` or the `turn_end`: the program is about to see it.
---@param self vllm.Effort
---@param event table
function reading.deliver(self, event)
  if event.type == "turn_end" then return self:finish(event.result) end
  if inputs.concern(self.config) then inputs.settle(self.config, event) end
end

--- Waits until an event, the end or an error is there, and leaves it there.
---@param self vllm.Effort
function reading.await_event(self)
  if not self.peeked then self.peeked = step(self, pull_event) or false end
end

--- Waits until the head is in.
---@param self vllm.Effort
---@return true?
---@return string? message
---@return vllm.Error? err
function reading.head(self)
  while not (self.result or self.attempt and self.attempt.status and not self.attempt.is_refused) do
    if self.err then return errors.give(self.err) end
    local filled, message, err = fill(self, nil)
    if filled == nil then return nil, message, err end
  end
  return true
end

--- The result, or what keeps it from coming. Does not wait.
---@param self vllm.Effort
---@return table? result
---@return string? message
---@return vllm.Error? err
function reading.outcome(self)
  if self.result then return self.result end
  return errors.give(self.err or errors.new("busy", BUSY))
end

return reading
