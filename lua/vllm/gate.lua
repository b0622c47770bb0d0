--- A client's max_concurrent: so many turns are open at once, the others stand in a queue, first come, first served.
--
-- A turn that was forgotten, inside or in the queue, gives its place back when it is collected. Nothing tells of that, so those who wait
-- look again from time to time, and lend the collector a hand: the first of them every second, the one at place n, as all before it may
-- be forgotten, every n seconds.

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
    _collect_at = 0 }, Gate)
end

function Gate:_is_full()
  if self._taken < self._max then return false end
  self._taken = 0
  for _ in pairs(self._inside) do self._taken = self._taken + 1 end
  return self._taken >= self._max
end

function Gate:_take(turn)
  self._inside[turn], self._taken = true, self._taken + 1
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
      self:_take(turn)
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

local function busy(self)
  return { kind = "busy", detail = ("max_concurrent: %d turns of this client are open, and only this thread could end one")
    :format(self._max) }
end

-- Where nothing is in charge, nobody ends meanwhile: only a forgotten turn may give way.
local function collect(self, turn)
  collectgarbage()
  self:_admit()
  if not self._inside[turn] then return busy(self) end
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

-- One wait of a turn in the queue. Returns a failure, or nil.
local function wait(self, turn, wanted, seconds, is_patient)
  if hosts.cancelled() then return { kind = "cancelled", detail = "the task was cancelled" } end
  local host, token = hosts.here(wanted)
  if is_patient and (host == nil or token == nil and not host.block) then return collect(self, turn) end
  local look_s, began_at = self:_look_s(turn._place.number), core.now()
  local why = hosts.wait(turn, wanted, math.min(seconds or look_s, look_s), function() return turn._place == nil end)
  if why == "interrupted" then return { kind = "cancelled", detail = "interrupted by Ctrl-C" } end
  if turn._place and core.now() - began_at >= look_s then self:_collect_some() end
end

--- Waits for a place, once.
---@param turn vllm.Turn
---@param wanted string|vllm.Host|nil
---@param limit number? absolute, seconds of core.now(): the caller looks again then
---@param total_deadline number? the turn fails then
---@return boolean? entered false: not yet; the turn keeps its place in the queue
---@return table? failure { kind, detail }: busy, cancelled
function Gate:enter(turn, wanted, limit, total_deadline)
  if not turn._place and not self._inside[turn] and self._first > self._last and not self:_is_full() then self:_take(turn) end
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
    self._inside[turn], self._taken = nil, self._taken - 1
  end
  self:_admit()
end

return gate
