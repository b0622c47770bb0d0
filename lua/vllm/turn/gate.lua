--- A client's max_concurrent: so many turns are open at once, and the others stand in a queue, first come, first
-- served. A turn holds its place; the gate refers to it weakly.
--
-- A turn that was forgotten, inside or in the queue, gives its place back when it is collected. The gate is not told,
-- so those that wait look again from time to time, and make the collector work: the first of them every second, the one
-- at place n every n seconds, since all before it may be forgotten. If a host knows that everything waits here (our own
-- loop does), one of them is told so instead of waiting forever; elsewhere timeout.queue_s ends the wait.

local core = require "vllm.core"

---@class vllm.Gate
local Gate = {}
Gate.__index = Gate

---@class vllm.GatePlace
local Place = {}
Place.__index = Place

local gate = {}

local LOOK_S = 1
local COLLECTED_KB = 1024 -- at a look: as much work as a program causes that allocates so much
local MAX_SHARE = 0.01 -- of the time for whole collections
local HAS_GENERATIONS = _VERSION == "Lua 5.4" -- its interpreter's mode: a step leaves alone what is old

---@param max integer
---@return vllm.Gate
function gate.new(max)
  return setmetatable({
    _max = max, _taken = 0, _inside = setmetatable({}, { __mode = "k" }), _left = 0, _collect_at = 0,
    _queue = setmetatable({}, { __mode = "v" }), _first = 1, _last = 0,
  }, Gate)
end

--- A place for one turn, which holds it as long as it lives. It is not in the queue yet.
---@param waiter vllm.Waiter of that turn
---@param progress fun(): integer, integer how many attempts the turn has made, and bytes of the latest
---@return vllm.GatePlace
function Gate:place(waiter, progress)
  return setmetatable({ _gate = self, _waiter = waiter, _progress = progress, _look_at = math.huge }, Place)
end

function Gate:_is_full()
  if self._taken < self._max then return false end
  self._taken = 0
  for _ in pairs(self._inside) do self._taken = self._taken + 1 end
  return self._taken >= self._max
end

-- Those before it were forgotten, or are only polled.
function Gate:_first_waiting()
  for i = self._first, self._last do
    local place = self._queue[i]
    if place and place._waiter:is_waiting() then return place end
  end
end

function Gate:_admit()
  local first = self._first
  while self._first <= self._last do
    local place = self._queue[self._first]
    if place and self:_is_full() then break end
    self._queue[self._first], self._first = nil, self._first + 1
    if place then
      self._inside[place], self._taken, place._number = true, self._taken + 1, nil
      place._waiter:wake()
    end
  end
  local following = self._first > first and self:_first_waiting()
  if following then following._waiter:wake() end -- from now on it looks more often
end

-- How long this one waits before it looks.
function Gate:_look_s(this)
  local first = self:_first_waiting()
  if not first or first._number >= this._number then return LOOK_S end
  return LOOK_S * (this._number - self._first + 1)
end

function Gate:_busy(why)
  return { kind = "busy", detail = ("max_concurrent: %d turns of this client are open, and %s"):format(self._max, why) }
end

-- Which one waits in vain: one whose own coroutine holds a place, else the last to come, whose spawner may hold one.
function Gate:_in_vain(this)
  local holders, last = {}, this
  for place in pairs(self._inside) do holders[place._asked_by or 0] = true end
  for i = self._first, self._last do
    local place = self._queue[i]
    if place and (place == this or place._is_patient and place._waiter:is_waiting()) then
      if holders[place._asked_by] then return place end
      last = place
    end
  end
  return last
end

local ALONE = "only this thread could end one"
local IN_VAIN = "every task waits for a place: read a turn to its end, or cancel it, before the next one is asked for"

-- Nothing else runs, so only a forgotten turn can give its place up. If none does, one of those that wait is told; this
-- one goes on waiting unless it is the one.
function Gate:_break_up(this, why)
  collectgarbage()
  collectgarbage()
  self:_admit()
  if not this._number then return nil end
  local chosen = why == ALONE and this or self:_in_vain(this)
  if chosen == this then return self:_busy(why) end
  chosen._is_in_vain = true
  chosen._waiter:wake()
end

function Gate:_collect_some()
  if not HAS_GENERATIONS then return collectgarbage("step", COLLECTED_KB) end
  local now = core.now()
  if now < self._collect_at then return end
  collectgarbage()
  self._collect_at = now + (core.now() - now) / MAX_SHARE
end

--- A text that changes whenever a turn inside makes progress: their bytes and attempts, and how many have left.
---@return string
function Gate:progress()
  local attempts, bytes = 0, 0
  for place in pairs(self._inside) do
    local made, received = place._progress()
    attempts, bytes = attempts + made, bytes + received
  end
  return ("%d %d %d"):format(self._left, attempts, bytes)
end

-- One wait in the queue; `is_patient`: the caller set no limit. Returns a failure, or nil.
function Place:_wait(deadline, is_patient)
  local own, waiter = self._gate, self._waiter
  if is_patient and waiter:is_alone() then return own:_break_up(self, ALONE) end
  local look_at = math.min(self._look_at, core.now() + own:_look_s(self))
  self._look_at, self._is_patient = look_at, is_patient
  local ok, failure = waiter:wait(math.min(deadline, look_at), is_patient)
  self._is_patient = false
  if not (ok and self._number) then return failure end
  if self._is_in_vain then return own:_busy(IN_VAIN) end
  if is_patient and waiter:is_stuck() then return own:_break_up(self, IN_VAIN) end
  if core.now() < look_at then return nil end
  self._look_at = math.huge
  own:_collect_some()
end

--- Waits for the turn to be inside, once.
---@param limit number? absolute, seconds of core.now(): the caller looks again then
---@param total_deadline number? the turn may fail then
---@return boolean? is_inside false: not yet; it keeps its place in the queue
---@return table? failure { kind, detail }: busy, cancelled
function Place:enter(limit, total_deadline)
  local own = self._gate
  if own._inside[self] then return true end
  if not self._number then
    own._last = own._last + 1
    own._queue[own._last], self._number = self, own._last
  end
  self._asked_by = coroutine.running()
  own:_admit() -- one in front may have been forgotten
  local deadline = math.min(limit or math.huge, total_deadline or math.huge)
  if self._number and deadline > core.now() then
    local failure = self:_wait(deadline, limit == nil)
    if failure then return nil, failure end
  end
  return own._inside[self] or false
end

--- The turn has ended, inside or in the queue; the next one may enter.
function Place:leave()
  local own = self._gate
  if self._number then
    own._queue[self._number], self._number = nil, nil
    self._waiter:wake()
  elseif own._inside[self] then
    own._inside[self], own._taken, own._left = nil, own._taken - 1, own._left + 1
  end
  self._asked_by = nil -- a result must not keep a coroutine alive
  own:_admit()
end

return gate
