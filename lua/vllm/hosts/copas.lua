--- The host that is Copas, from version 4 on: a thread of Copas waits in copas.pause, and copas.wakeup lets it go on.
--
-- Copas waits for sockets of LuaSocket only, and its loop lives while a thread reads one. So a pump, a thread, reads a socket that is
-- none: it has the engine's descriptor and nothing to read. It ends a moment after the last wait, so that the loop ends, too, and starts
-- again with the next one. A thread that was removed (copas.removethread) never says so; it is missed when it is collected. Copas itself
-- holds those that pause, so that nothing here does.

local copas = require "copas"

local MOMENT_S = 0.1
local FOREVER_S = 1e9 -- copas.pauseforever would do, but there Copas holds a thread weakly, and the collector takes it

---@class vllm.hosts.copas : vllm.Host
local host = { name = "copas" }

local parked = setmetatable({}, { __mode = "k" }) -- thread that waits → true
local waits = 0 -- how often one began to wait, ever
local watching = {} -- list of { source, socket = the one that its pump reads }
local keeper -- the thread that ends the pumps

-- Threads --------------------------------------------------------------------------------------------------------------

local VERSION = tostring(copas._VERSION)
local IS_TOO_OLD = (tonumber(VERSION:match "(%d+)") or 0) < 4
local TOO_OLD = ("%s is too old: Copas 4 or newer is needed; or host = \"block\", where a wait holds up all threads"):format(VERSION)

-- On Lua 5.1 Copas brings coxpcall, whose pcall runs in a coroutine inside that of the thread.
local running = _VERSION == "Lua 5.1" and not rawget(_G, "jit") and not IS_TOO_OLD and require("coxpcall").running or coroutine.running

local function this_thread()
  local co, is_main = running()
  if not is_main then return co end
end

--- An old Copas does not tell whether its loop runs, so it is asked only where it may be.
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

--- Copas' own handler of errors shows it, or the one that the program has set.
function host.report(message)
  copas.addthread(function() error(message, 0) end)
end

-- Pumps ----------------------------------------------------------------------------------------------------------------

-- What Copas and LuaSocket's select ask of a socket. Each second read finds something, since Copas waits between the two.
local Socket = {}
Socket.__index = Socket

function Socket:getfd() return self.fd end

-- Dirty: select gives it back at once. Copas itself wakes only those that read when it is closed, and between a read and the wait that
-- follows it lets others go first now and then.
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

local function pump(watched, socket)
  while copas.receive(socket) do watched.source.on_readable() end
end

local function stop_pump(watched)
  local socket = watched.socket
  watched.socket = nil
  if socket then copas.close(socket) end
end

local function keep_pumps()
  local seen
  repeat
    seen = waits
    copas.pause(MOMENT_S)
  until #watching == 0 or waits == seen and next(parked) == nil
  keeper = nil
  for _, watched in ipairs(watching) do stop_pump(watched) end
end

local function start_pumps()
  if #watching == 0 then return end
  for _, watched in ipairs(watching) do
    if not watched.socket then
      watched.socket = setmetatable({ fd = watched.source.fd }, Socket)
      copas.addthread(pump, watched, watched.socket)
    end
  end
  keeper = keeper or copas.addthread(keep_pumps)
end

function host.park(co, seconds)
  start_pumps()
  waits, parked[co] = waits + 1, true
  copas.pause(seconds or FOREVER_S)
  local is_late = seconds and parked[co]
  parked[co] = nil
  return not is_late
end

function host.wake(co)
  if not parked[co] then return end
  parked[co] = nil
  copas.wakeup(co)
end

local Watcher = {}
Watcher.__index = Watcher

function Watcher:close()
  for i, watched in ipairs(watching) do
    if watched == self.watched then table.remove(watching, i) break end
  end
  stop_pump(self.watched)
  if #watching == 0 and keeper then copas.wakeup(keeper) end
end

function Watcher.hold() end -- a pump lives no longer than those who wait

function host.watch(source)
  local watched = { source = source }
  watching[#watching + 1] = watched
  return setmetatable({ watched = watched }, Watcher)
end

return host
