--- Waiting: parked by the host in charge, else in the host's loop, else asleep. That is decided here and nowhere else.
--
-- A wait ends when its time is over, when it is woken, when the task in which it runs is cancelled, and at Ctrl-C where
-- that was asked for. It may also end for no reason, so its caller looks again. No pcall stands around a park: Lua 5.1
-- cannot yield through one.

local core = require "vllm.core"
local hosts = require "vllm.hosts"
local interrupt = require "vllm.hosts.interrupt"

local running = coroutine.running
local here = hosts.here

local MAX_SLEEP_S = 1 -- between two looks: a signal that comes just before a sleep is noticed this late at most

---@class vllm.WaiterSource what wakes a waiter besides `wake`, and keeps its deadline: a transport's engine
---@field park fun(self, host: vllm.Host, token: any, deadline: number?): true?, table? parks the coroutine; or nil,
---  failure
---@field attend fun(self, host: vllm.Host): any, table? wakes from now on, as long as the host's loop runs; or nil,
---  failure
---@field step fun(self, seconds: number): true?, table? blocks the thread, for a while; or nil, failure

---@class vllm.Waiter
---@field deadline number|false of a wait that goes on and was left to the source; absolute
local Waiter = {}
Waiter.__index = Waiter

local waiter = {}

-- Cancelling -------------------------------------------------------------------------------------------------------

local cancelled, cancellations = setmetatable({}, { __mode = "k" }), 0

--- The waits of this coroutine fail from now on.
---@param co thread
function waiter.cancel(co)
  if cancelled[co] then return end
  cancelled[co], cancellations = true, cancellations + 1
end

--- The coroutine has ended, or may wait again.
---@param co thread
function waiter.restore(co)
  if not cancelled[co] then return end
  cancelled[co], cancellations = nil, cancellations - 1
end

--- Was the coroutine cancelled in which this runs?
---@return boolean
function waiter.is_cancelled()
  if cancellations == 0 then return false end
  local co = running()
  return co ~= nil and cancelled[co] == true
end

--- Why it must not wait now.
---@return table? failure { kind = "cancelled", detail }
function Waiter:failure()
  if self._is_interrupted then
    self._is_interrupted = false
    return interrupt.failure()
  end
  return waiter.is_cancelled() and { kind = "cancelled", detail = "the task was cancelled" } or nil
end

-- Waiting ----------------------------------------------------------------------------------------------------------

local function park(self, host, token, deadline, is_look)
  local source, ok, failure = self._source, true, nil
  self._host, self._token = host, token
  if source then
    self.deadline = deadline or false
    ok, failure = source:park(host, token, deadline)
  else
    host.park(token, deadline and deadline - core.now(), is_look)
  end
  self._token = false
  return ok, failure
end

local blocked = 0 -- waits of the thread's own stack that are under way, one inside the other

--- Is the main thread in a wait, so that what runs now runs inside it?
---@return boolean
function waiter.is_blocked()
  return blocked > 0
end

-- host.block yields nothing, so this may catch what it raises. A wake means: blocked no longer.
local function block(self, host, deadline)
  if self._source then
    local ok, failure = self._source:attend(host)
    if not ok then return nil, failure end
  end
  self._is_blocked, blocked = true, blocked + 1
  local function is_woken() return not self._is_blocked end
  local ok, ready, why = pcall(host.block, is_woken, deadline and deadline - core.now())
  self._is_blocked, blocked = false, blocked - 1
  if not ok then error(ready, 0) end
  if why == "interrupted" then return nil, interrupt.failure() end
  return true
end

local function sleep(self, deadline)
  local seconds = deadline and math.max(math.min(deadline - core.now(), MAX_SLEEP_S), 0) or MAX_SLEEP_S
  if self._source then return self._source:step(seconds) end
  core.sleep(seconds)
  if self._is_interruptible and interrupt.is_pending() then return nil, interrupt.failure() end
  return true
end

local function until_look(deadline)
  local look_at = core.now() + interrupt.LOOK_S
  return deadline and deadline < look_at and deadline or look_at
end

--- The wait alone, even when cancelled: for the end of what was begun.
---@param deadline number? as in `wait`
---@param is_look boolean?
---@return true?
---@return table? failure
function Waiter:stay(deadline, is_look)
  local host, token = here(self._wanted)
  local is_interruptible = self._is_interruptible
  if is_interruptible then deadline = until_look(deadline) end
  local ok, failure
  if token ~= nil then
    ok, failure = park(self, host, token, deadline, is_look)
  elseif host and host.block then
    ok, failure = block(self, host, deadline)
  else
    return sleep(self, deadline)
  end
  if is_interruptible then interrupt.look() end
  return ok, failure
end

local stay = Waiter.stay

--- Waits once, and lets others run even if the deadline has passed. It may end early; then call it again.
---@param deadline number? absolute, seconds of core.now()
---@param is_look boolean? nothing is due then: a host that knows may end the wait when nothing else could
---@return true?
---@return table? failure { kind, detail }: cancelled, or one of the source
function Waiter:wait(deadline, is_look)
  if self._is_interrupted or cancellations > 0 then
    local failure = self:failure()
    if failure then return nil, failure end
  end
  local ok, failure = stay(self, deadline, is_look)
  if ok and (self._is_interrupted or cancellations > 0) then
    failure = self:failure()
    if failure then return nil, failure end
  end
  return ok, failure
end

--- Ends the wait that is under way, if there is one. From anywhere; nothing is resumed within this call.
function Waiter:wake()
  local token = self._token
  if token then self._host.wake(token) else self._is_blocked = false end
end

--- Is it in a wait that `wake` ends?
---@return boolean
function Waiter:is_waiting()
  return self._token ~= false or self._is_blocked
end

--- Would a wait here stop everything else, so that nothing but time can end it?
---@return boolean
function Waiter:is_alone()
  local host, token = here(self._wanted)
  return token == nil and not (host and host.block)
end

--- Does the host know that all others wait, too, with nothing but looks to end it?
---@return boolean
function Waiter:is_stuck()
  local host = here(self._wanted)
  return host ~= nil and host.is_stuck ~= nil and host.is_stuck()
end

function Waiter:on_interrupt()
  self._is_interrupted = true
  self:wake()
end

--- A waiter, for one wait at a time.
---@param wanted string|vllm.Host|nil the configured host; nil: the one in charge at each wait
---@param is_interruptible boolean? Ctrl-C ends its wait
---@param source vllm.WaiterSource?
---@return vllm.Waiter
function waiter.new(wanted, is_interruptible, source)
  -- What each wait asks for is a member from the beginning: an absent one costs more.
  local made = setmetatable({
    _wanted = wanted, _is_interruptible = is_interruptible or false, _source = source or false,
    _host = false, _token = false, deadline = false, _is_interrupted = false, _is_blocked = false,
  }, Waiter)
  if is_interruptible then interrupt.tell(made) end
  return made
end

return waiter
