--- The host that is Copas, from version 4 on: a thread of Copas waits in copas.pause, and copas.wakeup lets it go on.
--
-- Copas waits for sockets of LuaSocket only, so a pump (pump.lua) reads something that looks like one: it has the
-- engine's descriptor and nothing to read.

local copas = require "copas"
local pump = require "vllm.hosts.pump"

local FOREVER_S = 1e9 -- copas.pauseforever would do, but there Copas holds a thread weakly, and the collector takes it

---@class vllm.hosts.copas : vllm.Host
local host = { name = "copas" }

-- Threads -------------------------------------------------------------------------------------------------------------

local VERSION = tostring(copas._VERSION)
local IS_TOO_OLD = (tonumber(VERSION:match "(%d+)") or 0) < 4
local TOO_OLD = VERSION .. ' is too old: use Copas 4 or newer, or host = "block", where a wait holds up all threads'

-- On Lua 5.1 Copas brings coxpcall, whose pcall runs in a coroutine inside that of the thread.
local HAS_COXPCALL = _VERSION == "Lua 5.1" and not rawget(_G, "jit") and not IS_TOO_OLD
local running = HAS_COXPCALL and require("coxpcall").running or coroutine.running

local function this_thread()
  local co, is_main = running()
  if not is_main then return co end
end

--- An old Copas does not tell whether its loop runs, so the version matters only where it may run.
function host.running()
  if IS_TOO_OLD and this_thread() then error(TOO_OLD, 0) end
  return copas.running == true
end

host.current = this_thread

function host.block()
  error("vllm: a wait here would hold up all threads of Copas: wait in a thread (copas.addthread)", 0)
end

function host.spawn(fn, failed)
  copas.addthread(function()
    if failed then copas.seterrorhandler(function(value, co) failed(value, debug.traceback(co)) end) end
    fn()
  end)
end

--- Shown by the error handler of Copas, or the one that the program has set.
function host.report(message)
  copas.addthread(function() error(message, 0) end)
end

-- Waiting ----------------------------------------------------------------------------------------------------------

-- What Copas and LuaSocket's select expect of a socket. Every second read finds something, since Copas waits between
-- the two.
local Socket = {}
Socket.__index = Socket

function Socket:getfd() return self.fd end

-- Dirty: select returns it at once. On a close, Copas itself wakes only the threads that are reading; between a read
-- and the wait that follows, it sometimes lets others go first.
function Socket:dirty() return self.is_closed end

function Socket:receive()
  if self.is_closed then return nil, "closed" end
  self.has_waited = not self.has_waited
  if self.has_waited then return nil, "timeout" end
  return ""
end

function Socket:close()
  self.is_closed = true
  return 1
end

local function start(source)
  local socket = setmetatable({ fd = source.fd }, Socket)
  copas.addthread(function()
    while copas.receive(socket) do source.on_readable() end
  end)
  return function() copas.close(socket) end
end

local function nap()
  local thread = this_thread()
  return copas.pause, function() copas.wakeup(thread) end
end

local pumps = pump.new { spawn = copas.addthread, nap = nap, start = start }

function host.park(co, seconds)
  pumps:begin(copas, co)
  copas.pause(seconds or FOREVER_S)
  local was_waiting = pumps:finish(co)
  return not (seconds and was_waiting)
end

function host.wake(co)
  if pumps:finish(co) then copas.wakeup(co) end
end

function host.watch(source)
  return pumps:watch(source)
end

return host
