--- A client's max_concurrent: so many turns are open at once, the others stand in a queue, first come, first served.
--
-- A turn that was forgotten, inside or in the queue, gives its place back when it is collected. Nothing tells of that, so those who wait
-- look again from time to time, and lend the collector a hand: the first of them every second, the one at place n, as all before it may
-- be forgotten, every n seconds. Where a host can tell that nobody but those who wait here could go on (our own loop can), one of them is
-- told so instead of waiting for ever; elsewhere timeout.queue_s ends it.

local core = require "vllm.core"
local hosts = require "vllm.hosts"

---@class vllm.Gate
local Gate = {}
Gate.__index = Gate

local gate = {}

local LOOK_S = 1
local COLLECTED_KB = 1024 -- in a look: as much work as for a program that makes so much garbage in that time
local MAX_SHARE = 0.01 -- of the time for whole collections
local HAS_GENERATIONS = _VERSION == "Lua 5.4" -- its interpreter's mode: a step leaves alone what is old
local WEAK = { __mode = "v" }

---@param max integer
---@return vllm.Gate
function gate.new(max)
  return setmetatable({ _max = max, _taken = 0, _inside = setmetatable({}, { __mode = "k" }), _queue = {}, _first = 1, _last = 0,
    _left = 0, _collect_at = 0 }, Gate)
end

function Gate:_is_full()
  if self._taken < self._max then return false end
  self._taken = 0
  for _ in pairs(self._inside) do self._taken = self._taken + 1 end
  return self._taken >= self._max
end

-- `by`: the coroutine that asked for it, if that is known.
function Gate:_take(turn, by)
  self._inside[turn], self._taken, turn._taken_by = true, self._taken + 1, by or false
end

-- Those before it were forgotten, or are only polled.
function Gate:_first_waiting()
  for i = self._first, self._last do
    local turn = self._queue[i].turn
    if turn and hosts.is_waiting(turn) then return turn end
  end
end

function Gate:_admit()
  local first = self._first
  while self._first <= self._last do
    local place = self._queue[self._first]
    local turn = place.turn
    if turn and self:_is_full() then break end
    self._queue[self._first], self._first = nil, self._first + 1
    if turn then
      turn._place = nil
      self:_take(turn, place.waits_in)
      hosts.wake(turn)
    end
  end
  local following = self._first > first and self:_first_waiting()
  if following then hosts.wake(following) end -- from now on it looks more often
end

local function stand_in_line(self, turn)
  if turn._place then return end
  self._last = self._last + 1
  local place = setmetatable({ turn = turn, number = self._last }, WEAK)
  self._queue[self._last], turn._place = place, place
end

local function busy(self, why)
  return { kind = "busy", detail = ("max_concurrent: %d turns of this client are open, and %s"):format(self._max, why) }
end

-- Where nothing is in charge, nobody ends meanwhile: only a forgotten turn may give way.
local function collect(self, turn)
  collectgarbage()
  self:_admit()
  if not self._inside[turn] then return busy(self, "only this thread could end one") end
end

-- Who waits in vain: one whose own coroutine holds a place, else the last to come, who may have been sent by one that does.
function Gate:_in_vain(this)
  local holders, last = {}, this
  for turn in pairs(self._inside) do holders[turn._taken_by] = true end
  for i = self._first, self._last do
    local place = self._queue[i]
    local turn = place.turn
    if turn and place.waits_in and (turn == this or hosts.is_waiting(turn)) then
      if holders[place.waits_in] then return turn end
      last = turn
    end
  end
  return last
end

local IN_VAIN = "every task waits for a place: read a turn to its end, or cancel it, before the next one is asked for"

-- All tasks wait, here and for each other. One of them is told, unless a forgotten turn gives way.
function Gate:_break_up(turn)
  collectgarbage()
  collectgarbage()
  self:_admit()
  if not turn._place then return nil end
  local chosen = self:_in_vain(turn)
  if chosen == turn then return busy(self, IN_VAIN) end
  chosen._place.is_in_vain = true
  hosts.wake(chosen)
end

function Gate:_collect_some()
  if not HAS_GENERATIONS then return collectgarbage("step", COLLECTED_KB) end
  local now = core.now()
  if now < self._collect_at then return end
  collectgarbage()
  self._collect_at = now + (core.now() - now) / MAX_SHARE
end

-- How long the one at this place waits before it looks.
function Gate:_look_s(number)
  local first = self:_first_waiting()
  if not first or first._place.number >= number then return LOOK_S end
  return LOOK_S * (number - self._first + 1)
end

-- The wait itself. Returns a failure, or nil.
local function park(self, turn, wanted, seconds, is_patient)
  local place, look_s, began_at = turn._place, self:_look_s(turn._place.number), core.now()
  local why = hosts.wait(turn, wanted, math.min(seconds or look_s, look_s), function() return turn._place == nil end, is_patient)
  if why == "interrupted" then return { kind = "cancelled", detail = "interrupted by Ctrl-C" } end
  if not turn._place then return nil end
  if place.is_in_vain then return busy(self, IN_VAIN) end
  local host = is_patient and hosts.here(wanted)
  if host and host.is_stuck and host.is_stuck() then return self:_break_up(turn) end
  if core.now() - began_at >= look_s then self:_collect_some() end
end

-- One wait of a turn in the queue; `is_patient`: its caller set no limit. Returns a failure, or nil.
local function wait(self, turn, wanted, seconds, is_patient)
  if hosts.cancelled() then return { kind = "cancelled", detail = "the task was cancelled" } end
  local host, token = hosts.here(wanted)
  if is_patient and (host == nil or token == nil and not host.block) then return collect(self, turn) end
  local place = turn._place
  place.waits_in = is_patient and coroutine.running() or nil
  local failure = park(self, turn, wanted, seconds, is_patient)
  place.waits_in = nil
  return failure
end

--- Something that changes whenever a turn inside goes on: the bytes and attempts of theirs, and how many have left.
---@return string
function Gate:progress()
  local attempts, bytes = 0, 0
  for turn in pairs(self._inside) do
    attempts = attempts + #turn._attempts
    if turn._attempt then bytes = bytes + turn._attempt.decoder:state() end
  end
  return ("%d %d %d"):format(self._left, attempts, bytes)
end

--- Waits for a place, once.
---@param turn vllm.Turn
---@param wanted string|vllm.Host|nil
---@param limit number? absolute, seconds of core.now(): the caller looks again then
---@param total_deadline number? the turn may fail then
---@return boolean? entered false: not yet; the turn keeps its place in the queue
---@return table? failure { kind, detail }: busy, cancelled
function Gate:enter(turn, wanted, limit, total_deadline)
  if not turn._place and not self._inside[turn] and self._first > self._last and not self:_is_full() then
    self:_take(turn, coroutine.running())
  end
  if self._inside[turn] then return true end
  stand_in_line(self, turn)
  self:_admit() -- a turn in front may have been forgotten
  local deadline = limit and math.min(limit, total_deadline or limit) or total_deadline
  local seconds = deadline and deadline - core.now()
  if self._inside[turn] or seconds and seconds <= 0 then return self._inside[turn] or false end
  local failure = wait(self, turn, wanted, seconds, limit == nil)
  if failure then return nil, failure end
  return self._inside[turn] or false
end

--- The turn has ended, inside or in the queue; the next one may enter.
---@param turn vllm.Turn
function Gate:leave(turn)
  local place = turn._place
  if place then
    turn._place, place.turn = nil, nil
    hosts.wake(turn)
  elseif self._inside[turn] then
    self._inside[turn], self._taken, self._left = nil, self._taken - 1, self._left + 1
    turn._taken_by = false -- a result that is kept must not keep a coroutine
  end
  self:_admit()
end

return gate
