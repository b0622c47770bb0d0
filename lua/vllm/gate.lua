--- A client's max_concurrent: so many turns are open at once, the others stand in a queue, first come, first served.
-- A turn that was forgotten gives its place back when it is collected.

local core = require "vllm.core"
local hosts = require "vllm.hosts"

---@class vllm.Gate
local Gate = {}
Gate.__index = Gate

local gate = {}

---@param max integer
---@return vllm.Gate
function gate.new(max)
  return setmetatable({ _max = max, _taken = 0, _inside = setmetatable({}, { __mode = "k" }), _queue = {}, _first = 1, _last = 0 }, Gate)
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

function Gate:_admit()
  while self._first <= self._last and not self:_is_full() do
    local place = self._queue[self._first]
    self._queue[self._first], self._first = nil, self._first + 1
    local turn = place and place.turn
    if turn then
      turn._place = nil
      self:_take(turn)
      if place.token ~= nil then place.host.wake(place.token) end
    end
  end
end

local function stand_in_line(self, turn)
  if turn._place then return turn._place end
  local place = { turn = turn }
  self._last = self._last + 1
  self._queue[self._last], turn._place = place, place
  return place
end

-- One wait of a turn in the queue. true, or nil, failure.
local function wait(self, place, wanted, seconds)
  local host, token = hosts.here(wanted)
  if token ~= nil then
    place.host, place.token = host, token
    host.park(token, seconds)
    place.token = nil
  elseif host and host.block then
    local _, why = host.block(function() return place.turn == nil or place.turn._place == nil end, seconds)
    if why == "interrupted" then return nil, { kind = "cancelled", detail = "interrupted by Ctrl-C" } end
  else
    return nil, { kind = "busy", detail = ("max_concurrent: %d turns of this client are open, and only this thread could end one")
      :format(self._max) }
  end
  if hosts.cancelled() then return nil, { kind = "cancelled", detail = "the task was cancelled" } end
  return true
end

--- Waits for a place.
---@param turn vllm.Turn
---@param wanted string|vllm.Host|nil
---@param deadline number? absolute, seconds of core.now()
---@return boolean? entered false: the deadline passed; the turn keeps its place in the queue
---@return table? failure { kind, detail }: busy, cancelled
function Gate:enter(turn, wanted, deadline)
  if not turn._place and not self._inside[turn] and self._first > self._last and not self:_is_full() then self:_take(turn) end
  while not self._inside[turn] do
    local place = stand_in_line(self, turn)
    self:_admit() -- a turn in front may have been forgotten
    if self._inside[turn] then break end
    local seconds = deadline and deadline - core.now()
    if seconds and seconds <= 0 then return false end
    local ok, failure = wait(self, place, wanted, seconds)
    if turn:error() then return nil end
    if not ok then return nil, failure end
  end
  return true
end

--- The turn has ended, inside or in the queue; the next one may enter.
---@param turn vllm.Turn
function Gate:leave(turn)
  local place = turn._place
  if place then
    turn._place, place.turn = nil, nil
    if place.token ~= nil then place.host.wake(place.token) end
  elseif self._inside[turn] then
    self._inside[turn], self._taken = nil, self._taken - 1
  end
  self:_admit()
end

return gate
