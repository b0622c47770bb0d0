--- The clocks of a turn: which of them has run out. Times are absolute, in seconds of core.now(); the silence is in
-- seconds left, and is only counted down while the turn's consumer waits. After an answer that seems to be whole
-- another
-- clock runs, from the first time that the consumer asks for more: usage and [DONE] follow at once where they come at
-- all, and a server that sends neither and keeps the connection (proxies do) has nothing to add. When it has run out,
-- or
-- any other clock has, the answer is taken as whole. Nothing here reads the time, sends or waits.

---@class vllm.Clocks
---@field queue_s number? limits, from `timeout`; nil: none
---@field first_event_s number?
---@field idle_s number?
---@field finish_s number?
---@field total_s number?
---@field began_at number|false
---@field total_deadline number|false
---@field queue_deadline number|false
---@field first_delta_at number|false when the model's answer began
---@field silence_left_s number|false false: it is not limited
---@field finished integer how many choices have ended
---@field seen integer see Attempt:progress
---@field weighed integer what had been seen when `weigh` was told of it last
---@field seems_whole boolean
local Clocks = {}
Clocks.__index = Clocks

local clocks = {}

--- The earlier of two times, either of which may be absent.
---@param a number|false|nil
---@param b number|false|nil
---@return number|false|nil
function clocks.earlier(a, b)
  if a and b then return a < b and a or b end
  return a or b
end
local earlier = clocks.earlier

--- Clocks that have not begun.
---@param timeout { queue_s: number?, first_event_s: number?, idle_s: number?, finish_s: number?, total_s: number? }
---@return vllm.Clocks
function clocks.new(timeout)
  return setmetatable({
    queue_s = timeout.queue_s, first_event_s = timeout.first_event_s, idle_s = timeout.idle_s,
    finish_s = timeout.finish_s, total_s = timeout.total_s,
    -- What each event asks for is a member from the beginning: an absent one costs more.
    began_at = false, total_deadline = false, queue_deadline = false, first_delta_at = false, silence_left_s = false,
    finished = 0, seems_whole = false, seen = 0, weighed = 0, _is_queued = false, _quiet_from = 0,
  }, Clocks)
end

--- The turn begins, and stands in the queue.
---@param now number
function Clocks:begin(now)
  self.began_at, self._is_queued = now, true
  self.total_deadline = self.total_s and now + self.total_s or false
end

--- Must the queue's progress be looked at? Its clock begins again whenever a turn before this one goes on.
---@param now number
---@return boolean
function Clocks:looks_at_queue(now)
  return self.queue_s ~= nil and not (self.queue_deadline and now < self.queue_deadline)
end

---@param progress any of the queue; differs whenever a turn before this one has gone on
---@param now number
function Clocks:note_queue(progress, now)
  if progress == self._queue_progress then return end
  self._queue_progress, self.queue_deadline = progress, now + self.queue_s
end

--- An attempt begins.
function Clocks:ask()
  self._is_queued, self.silence_left_s = false, self.first_event_s or false
  self.seen, self.weighed, self.seems_whole = 0, 0, false
end

--- What has come. It ends the silence: before the answer's start only that start does, afterwards any event, but no
--- comment.
---@param self vllm.Clocks
---@param seen integer see Attempt:progress
---@param started boolean
---@param finished integer
---@param now number
function clocks.heard(self, seen, started, finished, now)
  self.finished = finished
  if started and not self.first_delta_at then
    self.first_delta_at, self.silence_left_s = now, self.idle_s or false
  elseif started and seen > self.seen then
    self.silence_left_s = self.idle_s or false
  end
  if seen ~= self.seen then self.seen, self.seems_whole = seen, false end
end

--- Where `seen` is not `weighed`: does the answer seem to be whole by now? Not asked while it cannot be.
---@param seems_whole boolean
---@param now number
function Clocks:weigh(seems_whole, now)
  self.weighed, self._quiet_from, self.seems_whole = self.seen, now, self.finish_s ~= nil and seems_whole
end

--- Until when to wait for more.
---@param self vllm.Clocks
---@param now number
---@param limit number? the caller's
---@return number? deadline
---@return boolean is_late a clock had run out already
function clocks.deadline(self, now, limit)
  local left_s, last = self.silence_left_s, self.total_deadline
  if self.seems_whole then last = earlier(last, self._quiet_from + self.finish_s) end
  local deadline = left_s and now + left_s or nil
  if last and not (deadline and deadline < last) then deadline = last end
  if limit and not (deadline and deadline < limit) then deadline = limit end
  return deadline, left_s and left_s <= 0 or last and last <= now or false
end

--- The consumer has waited.
---@param seconds number
function Clocks:waited(seconds)
  if self.silence_left_s then self.silence_left_s = self.silence_left_s - seconds end
end

--- Has the turn listened long enough after an answer that seems to be whole?
---@param now number
---@return boolean
function Clocks:is_finished(now)
  if not self.seems_whole then return false end
  return now >= self._quiet_from + self.finish_s or self:fired(now) ~= nil
end

--- The clock that has run out.
---@param now number
---@return string? name nil: none has
---@return number? limit_s
function Clocks:fired(now)
  if self.total_deadline and now >= self.total_deadline then return "total_s", self.total_s end
  if self._is_queued then
    if self.queue_deadline and now >= self.queue_deadline then return "queue_s", self.queue_s end
    return nil
  end
  if not self.silence_left_s or self.silence_left_s > 0 then return nil end
  if self.first_delta_at then return "idle_s", self.idle_s end
  return "first_event_s", self.first_event_s
end

return clocks
