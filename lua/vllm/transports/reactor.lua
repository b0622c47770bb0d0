--- One engine's readiness, shared by all the streams that wait on it, in whatever host each of them waits.
--
-- A host watches the engine's one descriptor. When it can be read, one step does the work that is due, and those whose
-- requests something happened to are woken. Deadlines are the engine's, too: its alarm is set to the earliest, and is
-- not set back when that one goes on early, so that a stream's usual event costs no timer.

local core = require "vllm.core"
local hosts = require "vllm.hosts"
local interrupt = require "vllm.hosts.interrupt"

local MAX_BLOCK_S = 1 -- between two looks: a signal that comes just before a wait begins is noticed this late at most

---@class vllm.transports.Reactor : vllm.WaiterSource
local Reactor = {}
Reactor.__index = Reactor

-- All of this Lua state: clearing package.loaded does not reach them here. vllm/init.lua uses the name.
local reactors = debug.getregistry()["vllm.reactors"] or setmetatable({}, { __mode = "k" })
debug.getregistry()["vllm.reactors"] = reactors

local FORKED = "this client belongs to another process: make a new one after the fork"

local function config(detail)
  return { kind = "config", detail = detail }
end

-- Waking -----------------------------------------------------------------------------------------------------------

-- The alarm rang: wakes the late, and sets it to the earliest of the others.
function Reactor:_on_alarm(now)
  local earliest
  for _, waiter in pairs(self._waiters) do
    local deadline = waiter:is_waiting() and waiter.deadline
    if deadline and deadline <= now then
      waiter:wake()
    elseif deadline and (not earliest or deadline < earliest) then
      earliest = deadline
    end
  end
  self._alarm_at = earliest
  self._engine:alarm(earliest)
end

function Reactor:_dispatch()
  local engine, waiters = self._engine, self._waiters
  local request = engine:ready()
  while request do
    local waiter = waiters[request]
    if waiter then waiter:wake() end
    request = engine:ready()
  end
  if self._alarm_at then
    local now = core.now()
    if now >= self._alarm_at then self:_on_alarm(now) end
  end
  if engine:live() == 0 then self:_on_idle() end
end

-- Watching ---------------------------------------------------------------------------------------------------------

-- In a forked child the parent's engine does nothing.
function Reactor:_serve(seconds)
  local _, why = self._engine:step(seconds)
  if why == "forked" then
    self._is_forked = true
    for _, waiter in pairs(self._waiters) do waiter:wake() end
  end
end

function Reactor:_start_watch(host)
  local fd = self._engine:fd()
  if not fd then
    self._is_forked = true
    return nil
  end
  local watch = { waiting = 0 } -- how many are parked in this host
  watch.watcher = host.watch {
    fd = fd,
    on_readable = function()
      self:_serve(0)
      self:_dispatch()
    end,
    wait = function(seconds)
      self:_serve(math.min(seconds or MAX_BLOCK_S, MAX_BLOCK_S))
      interrupt.look()
      self:_dispatch()
    end,
  }
  watch.watcher:hold(false)
  self._watches[host] = watch
  return watch
end

function Reactor:_unwatch()
  for host, watch in pairs(self._watches) do
    self._watches[host], watch.is_closed = nil, true
    watch.watcher:close()
  end
end

-- A source of waiters ----------------------------------------------------------------------------------------------

--- Wakes those who wait, from now on, while the host's loop runs.
---@param host vllm.Host
---@return table? watch
---@return table? failure { kind = "config", detail }
function Reactor:attend(host)
  local watch = self._watches[host]
  if not watch then
    if not host.watch then
      return nil, config(("libcurl would hold up %s, which cannot watch a descriptor (in nginx, leave `transport` out)")
        :format(hosts.name_of(host)))
    end
    watch = self:_start_watch(host)
  end
  if not watch or self._is_forked then return nil, config(FORKED) end
  return watch
end

--- Parks the running coroutine. While it is parked, it keeps its host's loop alive.
---@param host vllm.Host
---@param token any
---@param deadline number? absolute, seconds of core.now()
---@return true?
---@return table? failure { kind = "config", detail }
function Reactor:park(host, token, deadline)
  local watch, failure = self._watches[host], nil
  if not watch or self._is_forked then watch, failure = self:attend(host) end
  if not watch then return nil, failure end
  local alarm_at, waiting = self._alarm_at, watch.waiting + 1
  if deadline and not (alarm_at and alarm_at <= deadline) then
    self._alarm_at = deadline
    self._engine:alarm(deadline)
  end
  watch.waiting = waiting
  if waiting == 1 then watch.watcher:hold(true) end
  host.park(token)
  waiting = watch.waiting - 1
  watch.waiting = waiting
  if waiting == 0 and not watch.is_closed then watch.watcher:hold(false) end
  return true
end

--- The thread waits in the engine. Others that are parked are woken meanwhile, and run later.
---@param seconds number 0: does what is due
---@return true?
---@return table? failure { kind, detail }: config (a forked child), cancelled
function Reactor:step(seconds)
  local ok, why = self._engine:step(seconds)
  if why == "forked" then return nil, config(FORKED) end
  self:_dispatch()
  if not ok and self._curl.sigint_pending() then return nil, interrupt.failure() end
  return true -- another signal: the host's own handler ran, or runs as soon as we are back in Lua
end

-- Requests ---------------------------------------------------------------------------------------------------------

--- Starts a request.
---@param options table as engine:add takes it
---@param waiter vllm.Waiter who waits for it; must not be kept by this alone
---@return userdata? request
---@return string? status forked, memory, invalid
---@return string? name the option at fault
function Reactor:add(options, waiter)
  local request, status, name = self._engine:add(options)
  if request then self._waiters[request] = waiter end
  return request, status, name
end

--- The request was closed: whoever waits for it goes on.
---@param request userdata
function Reactor:on_closed(request)
  local waiter = self._waiters[request]
  self._waiters[request] = nil
  if waiter then waiter:wake() end
  if self._engine:live() == 0 then self:_on_idle() end
end

--- Can it take another request? Not after a fork, nor when it was retired.
---@return boolean
function Reactor:is_usable()
  return not self._is_retired and self._engine:fd() ~= nil
end

---@return boolean
function Reactor:is_retired()
  return self._is_retired
end

-- No request is open.
function Reactor:_on_idle()
  self:_unwatch()
  if not self._is_retired then return end
  reactors[self] = nil
  self._engine:close()
end

--- Takes no more requests; its thread and descriptors are released when none is left.
function Reactor:retire()
  self._is_retired = true
  if self._engine:live() == 0 then self:_on_idle() end
end

local reactor = { FORKED = FORKED }

--- A reactor around a new engine.
---@param curl table vllm.curl
---@param settings table as curl.engine takes it
---@return vllm.transports.Reactor?
---@return string? message
function reactor.new(curl, settings)
  local engine, why = curl.engine(settings)
  if not engine then return nil, why end
  local made = setmetatable({
    _curl = curl, _engine = engine, _waiters = setmetatable({}, { __mode = "kv" }), _watches = {},
    _is_forked = false, _is_retired = false,
  }, Reactor)
  reactors[made] = true
  return made
end

return reactor
