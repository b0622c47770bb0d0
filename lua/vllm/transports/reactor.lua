--- One engine's readiness, shared by all the streams that wait on it, in whatever host each of them waits.
--
-- A host watches the engine's one descriptor. When it can be read, one step does the work that is due, and the streams that something
-- happened to are woken. Deadlines are the engine's, too: its alarm is set to the earliest, and not set back when that stream goes on
-- early, so that a stream's usual event costs no timer. A stream here is a table of the curl transport; the fields that begin with
-- `_wait` are ours.

local core = require "vllm.core"
local hosts = require "vllm.hosts"

local MAX_BLOCK_S = 1 -- between two looks: a signal that comes just before a wait begins is late by this much at the most

---@class vllm.transports.Reactor
local Reactor = {}
Reactor.__index = Reactor

local FORKED = { kind = "config", detail = "this client belongs to another process: make a client of its own after the fork" }
local INTERRUPTED = { kind = "cancelled", detail = "interrupted by Ctrl-C" }
local TASK_CANCELLED = { kind = "cancelled", detail = "the task was cancelled" }

local function copy(failure)
  return { kind = failure.kind, detail = failure.detail }
end

-- Waking -----------------------------------------------------------------------------------------------------------

local function wake(stream)
  local token = stream._wait_token
  if token ~= nil then stream._wait_host.wake(token) else stream._wait_is_over = true end
end

-- The alarm rang: wakes the late, and sets it to the earliest of the others.
function Reactor:_on_alarm(now)
  local earliest
  for _, stream in pairs(self._streams) do
    local deadline = stream._wait_token ~= nil and stream._wait_deadline
    if deadline and deadline <= now then
      wake(stream)
    elseif deadline and (not earliest or deadline < earliest) then
      earliest = deadline
    end
  end
  self._alarm_at = earliest
  self._engine:alarm(earliest)
end

function Reactor:_dispatch()
  local engine, streams = self._engine, self._streams
  local request = engine:ready()
  while request do
    local stream = streams[request]
    if stream then wake(stream) end
    request = engine:ready()
  end
  if self._alarm_at then
    local now = core.now()
    if now >= self._alarm_at then self:_on_alarm(now) end
  end
  if engine:live() == 0 then self:_on_idle() end
end

-- Ctrl-C -----------------------------------------------------------------------------------------------------------

---@class vllm.transports.Trap
local Trap = {}
Trap.__index = Trap

local traps = setmetatable({}, { __mode = "k" })

-- All that there are in this Lua state: clearing package.loaded does not reach them here. init.lua knows the name.
local reactors = debug.getregistry()["vllm.reactors"] or setmetatable({}, { __mode = "k" })
debug.getregistry()["vllm.reactors"] = reactors

-- In a host it ends whatever is under way and asked for that: all of it, at its current or next wait. Taken here, since no step waits
-- before it is.
local function on_interrupt(curl)
  if not curl.sigint_pending() then return end
  local taker = curl.sigint_trap()
  taker:caught()
  taker:release()
  for trap in pairs(traps) do
    trap._is_caught = true
    if trap._on_caught then trap._on_caught() end
  end
  for reactor in pairs(reactors) do reactor:_interrupt_streams() end
end

function Reactor:_interrupt_streams()
  for _, stream in pairs(self._streams) do
    if stream._interruptible then
      stream._wait_interrupted = true
      wake(stream)
    end
  end
end

--- Did Ctrl-C come since the last time? Where no host is in charge, only whoever asks is told.
---@return boolean
function Trap:caught()
  if hosts.here() then on_interrupt(self._curl) end
  local caught = self._is_caught or self._trap:caught()
  self._is_caught = false
  return caught
end

function Trap:release()
  traps[self] = nil
  self._trap:release()
end

-- Watching ---------------------------------------------------------------------------------------------------------

-- In a child, the parent's engine serves nobody.
function Reactor:_serve(seconds)
  local _, why = self._engine:step(seconds)
  if why == "forked" then
    self._is_forked = true
    for _, stream in pairs(self._streams) do wake(stream) end
  end
end

function Reactor:_start_watch(host)
  if not self._engine:fd() then
    self._is_forked = true
    return nil
  end
  local watch = { waiting = 0 } -- streams that wait in this host
  watch.watcher = host.watch {
    fd = self._engine:fd(),
    on_readable = function()
      self:_serve(0)
      self:_dispatch()
    end,
    wait = function(seconds)
      self:_serve(math.min(seconds or MAX_BLOCK_S, MAX_BLOCK_S))
      on_interrupt(self._curl)
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

-- Waiting ----------------------------------------------------------------------------------------------------------

-- The deadline of one wait, after which `on_interrupt` looks: event loops do not end a wait for a signal's sake.
local function until_look(deadline)
  local look_at = core.now() + hosts.INTERRUPT_LOOK_S
  return deadline and deadline < look_at and deadline or look_at
end

-- A waiting stream keeps its host's loop alive; one that nobody waits for does not.
local function park(self, stream, host, token, deadline, watch)
  local is_interruptible = stream._interruptible
  if is_interruptible then deadline = until_look(deadline) end
  local alarm_at, waiting = self._alarm_at, watch.waiting + 1
  if deadline and not (alarm_at and alarm_at <= deadline) then
    self._alarm_at = deadline
    self._engine:alarm(deadline)
  end
  stream._wait_host, stream._wait_token, stream._wait_deadline = host, token, deadline
  watch.waiting = waiting
  if waiting == 1 then watch.watcher:hold(true) end
  host.park(token)
  waiting = watch.waiting - 1
  watch.waiting = waiting
  if waiting == 0 and not watch.is_closed then watch.watcher:hold(false) end
  stream._wait_token = nil
  if is_interruptible then on_interrupt(self._curl) end
  return true
end

-- The host's loop runs until something happened.
local function block(self, stream, host, deadline)
  if stream._interruptible then deadline = until_look(deadline) end
  stream._wait_is_over = false
  local _, why = hosts.block(host, function() return stream._wait_is_over end, deadline and deadline - core.now())
  if why == "interrupted" then return nil, copy(INTERRUPTED) end
  if stream._interruptible then on_interrupt(self._curl) end
  return true
end

-- The thread waits in the engine. Others who are parked are served meanwhile, as far as waking them goes.
function Reactor:_step(seconds)
  local ok, why = self._engine:step(seconds)
  if why == "forked" then return nil, copy(FORKED) end
  self:_dispatch()
  if not ok and self._curl.sigint_pending() then return nil, copy(INTERRUPTED) end
  return true -- another signal: the host's own handler ran, or runs as soon as we are back in Lua
end

-- Where nobody can be parked.
function Reactor:_stay(stream, host, deadline)
  if not (host and host.block) then
    local seconds = deadline and deadline - core.now() or MAX_BLOCK_S
    return self:_step(math.min(seconds, MAX_BLOCK_S))
  end
  if not host.watch then
    return nil, { kind = "config", detail = ("libcurl would hold up %s: leave `transport` out"):format(hosts.name_of(host)) }
  end
  if not (self._watches[host] or self:_start_watch(host)) then return nil, copy(FORKED) end
  return block(self, stream, host, deadline)
end

--- Waits until something happened to the stream, once, until `deadline` at the most. May return early, and is then called again.
---@param stream table
---@param deadline number? absolute, seconds of core.now()
---@param is_late boolean the deadline has passed: do what is due and do not wait
---@return true?
---@return table? failure { kind, detail }: config (a forked child), cancelled
function Reactor:wait(stream, deadline, is_late)
  if stream._wait_interrupted then
    stream._wait_interrupted = nil
    return nil, copy(INTERRUPTED)
  end
  if hosts.cancellations > 0 and hosts.cancelled() then return nil, copy(TASK_CANCELLED) end
  if is_late then return self:_step(0) end
  local host, token = hosts.here(stream._host_wanted)
  if token == nil or not host.watch then return self:_stay(stream, host, deadline) end
  local watch = self._watches[host] or self:_start_watch(host)
  if not watch or self._is_forked then return nil, copy(FORKED) end
  return park(self, stream, host, token, deadline, watch)
end

--- Starts a request.
---@param options table as engine:add takes it
---@param stream table
---@return userdata? request
---@return string? status forked, memory, invalid
---@return string? name the option at fault
function Reactor:add(options, stream)
  local request, status, name = self._engine:add(options)
  if request then self._streams[request] = stream end
  return request, status, name
end

--- The stream's request was closed: whoever waits for it goes on.
---@param stream table
---@param request userdata
function Reactor:on_closed(stream, request)
  self._streams[request] = nil
  wake(stream)
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

-- The last turn of a retired one is over.
function Reactor:_on_idle()
  self:_unwatch()
  if not self._is_retired then return end
  reactors[self] = nil
  self._engine:close()
end

--- Takes no more requests; its thread and descriptors go when none is left.
function Reactor:retire()
  self._is_retired = true
  if self._engine:live() == 0 then self:_on_idle() end
end

local reactor = { FORKED = FORKED }

--- A trap for Ctrl-C, until it is released or collected.
---@param curl table vllm.curl
---@param on_caught fun()? wakes the one who will ask; must not wait
---@return vllm.transports.Trap?
---@return string? message
function reactor.trap(curl, on_caught)
  local made, why = curl.sigint_trap()
  if not made then return nil, why end
  local trap = setmetatable({ _trap = made, _curl = curl, _on_caught = on_caught, _is_caught = false }, Trap)
  traps[trap] = true
  return trap
end

--- A reactor around a new engine.
---@param curl table vllm.curl
---@param settings table as curl.engine takes it
---@return vllm.transports.Reactor?
---@return string? message
function reactor.new(curl, settings)
  local engine, why = curl.engine(settings)
  if not engine then return nil, why end
  local made = setmetatable({
    _curl = curl, _engine = engine, _streams = setmetatable({}, { __mode = "kv" }), _watches = {}, _is_forked = false, _is_retired = false,
  }, Reactor)
  reactors[made] = true
  return made
end

return reactor
