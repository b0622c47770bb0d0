--- Where a turn waits while no attempt is under way: in the queue of max_concurrent, and between two attempts. It also
--- holds the trap for Ctrl-C of a client with `interrupt`, as long as the turn lasts.

local clocks = require "vllm.turn.clocks"
local core = require "vllm.core"
local guard = require "vllm.base.guard"
local waiter = require "vllm.hosts.waiter"

---@class vllm.Pause
local Pause = {}
Pause.__index = Pause

local pause = {}

--- Sets the trap, if there is one; does not wait.
---@param config table a checked configuration
---@param transport table?
---@param gate vllm.Gate? of max_concurrent
---@param progress (fun(): integer, integer)? see Gate:place
---@return vllm.Pause
---@return table? failure { kind, detail }: the trap cannot be set
function pause.new(config, transport, gate, progress)
  local own = waiter.new(config.host, config.interrupt ~= nil)
  local made = setmetatable({ _waiter = own, _place = gate and gate:place(own, progress), _gate = gate }, Pause)
  if not (transport and config.interrupt) then return made end
  local trap, failure = transport:interrupt()
  made._trap = trap
  return made, failure
end

--- Was Ctrl-C pressed since the last time?
---@return boolean
function Pause:is_interrupted()
  return self._trap ~= nil and self._trap:caught()
end

local INTERRUPTED = "the turn was cancelled"

-- What ends the turn after a wait: Ctrl-C, else what the wait says.
local function failure_of(self, failure)
  if self:is_interrupted() then return { kind = "cancelled", detail = INTERRUPTED } end
  return failure
end

local function look_at_queue(self, own)
  local now = core.now()
  if own:looks_at_queue(now) then own:note_queue(self._gate:progress(), now) end
end

--- Waits in the queue, once.
---@param own vllm.Clocks
---@param limit number? absolute: the caller looks again then
---@return boolean? is_inside false: not yet
---@return table? failure { kind, detail }: busy, cancelled
function Pause:enter(own, limit)
  look_at_queue(self, own)
  local deadline = clocks.earlier(own.total_deadline, own.queue_deadline) or nil
  local is_inside, failure = self._place:enter(limit, deadline)
  if is_inside then return true end
  failure = failure_of(self, failure)
  if failure then return nil, failure end
  look_at_queue(self, own)
  return false
end

--- Waits, once.
---@param deadline number absolute
---@return table? failure { kind, detail }: cancelled
function Pause:wait(deadline)
  local _, failure = self._waiter:wait(deadline)
  return failure_of(self, failure)
end

local function release(self)
  local trap = self._trap
  self._trap = nil
  if trap then trap:release() end
end

local function leave(self)
  if self._place then self._place:leave() end
end

--- The turn is over: Ctrl-C is the program's again, its place is free, and whoever waits here goes on.
---@param problems string[] what raises here is added
function Pause:close(problems)
  guard.try(problems, "giving Ctrl-C back", release, self)
  guard.try(problems, "leaving max_concurrent", leave, self)
  guard.try(problems, "waking the waiting coroutine", self._waiter.wake, self._waiter)
end

return pause
