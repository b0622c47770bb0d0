--- The host that is cqueues: each coroutine waits for a condition of its own.
--
-- A controller in which coroutines of ours wait has a pump: a coroutine that polls the engine's descriptor. It ends a moment after the
-- last of them, so that the controller's loop ends, too, and starts again with the next wait. Programs may have many controllers, one
-- within another, and close them; so what belongs to one is known by weak keys.

local auxlib = require "cqueues.auxlib"
local condition = require "cqueues.condition"
local cqueues = require "cqueues"

local MOMENT_S = 0.1

---@class vllm.hosts.cqueues : vllm.Host
local host = { name = "cqueues" }

local function weak_keys() return setmetatable({}, { __mode = "k" }) end

local loops = weak_keys() -- controller → { parked = coroutine that waits → true, waits = begun so far, pumps = watched → true, changed }
local loop_of = weak_keys() -- coroutine that waits → its loop
local conditions = weak_keys() -- coroutine → what it waits for
local spawned = weak_keys() -- our own coroutines, which one of the controller's resumes
local watching = {} -- list of { source, is_closed }

-- Coroutines -----------------------------------------------------------------------------------------------------------

function host.running()
  return cqueues.running() ~= nil
end

--- A generator inside a coroutine of the controller would yield to its consumer.
function host.current()
  local controller, is_its_own = cqueues.running()
  local co = coroutine.running()
  if controller and (is_its_own or spawned[co]) then return co end
end

function host.block()
  error("a coroutine inside a coroutine of cqueues cannot wait: its yield would reach the one that resumed it; wait in the outer one, " ..
    "or give this one to controller:wrap", 0)
end

-- Runs fn in a coroutine in which it may use cqueues.poll, too. Errors are caught here, as Lua 5.1 cannot yield through a pcall.
local function supervise(fn, failed)
  local co = coroutine.create(fn)
  spawned[co] = true
  local ok, value = auxlib.resume(co)
  while ok and coroutine.status(co) ~= "dead" do -- a bare coroutine.yield(): the others first
    cqueues.poll(0)
    ok, value = auxlib.resume(co)
  end
  if ok then return end
  local traceback = debug.traceback(co)
  if failed then return failed(value, traceback) end
  error(tostring(value) .. "\n" .. traceback, 0)
end

function host.spawn(fn, failed)
  cqueues.running():wrap(supervise, fn, failed)
end

--- The controller's step, loop or errors gives it to the program, as any error in a coroutine.
function host.report(message)
  local controller = cqueues.running()
  if not controller then error(message, 0) end
  controller:wrap(function() error(message, 0) end)
end

-- Pumps ----------------------------------------------------------------------------------------------------------------

local function loop_here()
  local controller = cqueues.running()
  local loop = loops[controller]
  if not loop then
    loop = { parked = weak_keys(), waits = 0, pumps = {}, changed = condition.new() }
    loops[controller] = loop
  end
  return loop
end

-- When nobody has waited for a moment: nil, as long as somebody does or has begun to since the last look.
local function idle_end(loop, ends_at, waits_seen)
  if next(loop.parked) ~= nil then return nil end
  return ends_at and waits_seen == loop.waits and ends_at or cqueues.monotime() + MOMENT_S
end

local function pump(loop, watched)
  local descriptor = { pollfd = watched.source.fd, events = "r" }
  local ends_at, waits_seen
  while not watched.is_closed do
    ends_at, waits_seen = idle_end(loop, ends_at, waits_seen), loop.waits
    local seconds = ends_at and ends_at - cqueues.monotime()
    if seconds and seconds <= 0 then break end
    local ready, other = cqueues.poll(descriptor, loop.changed, seconds)
    if ready == descriptor or other == descriptor then watched.source.on_readable() end
  end
  loop.pumps[watched] = nil
  cqueues.cancel(descriptor.pollfd) -- it may be closed now, and its number be another's
end

local function start_pumps(loop)
  for _, watched in ipairs(watching) do
    if not loop.pumps[watched] then
      loop.pumps[watched] = true
      cqueues.running():wrap(pump, loop, watched)
    end
  end
end

-- The pump looks at who still waits.
local function unpark(co)
  local loop = loop_of[co]
  loop_of[co], loop.parked[co] = nil, nil
  if next(loop.parked) == nil then loop.changed:signal() end
end

function host.park(co, seconds)
  local loop = loop_here()
  start_pumps(loop)
  conditions[co] = conditions[co] or condition.new()
  loop_of[co], loop.parked[co], loop.waits = loop, true, loop.waits + 1
  local is_woken = conditions[co]:wait(seconds)
  if loop_of[co] then unpark(co) end
  return is_woken
end

function host.wake(co)
  if not loop_of[co] then return end
  unpark(co)
  conditions[co]:signal()
end

local Watcher = {}
Watcher.__index = Watcher

function Watcher:close()
  local watched = self.watched
  watched.is_closed = true
  for i, other in ipairs(watching) do
    if other == watched then table.remove(watching, i) break end
  end
  for _, loop in pairs(loops) do
    if loop.pumps[watched] then loop.changed:signal() end
  end
end

function Watcher.hold() end -- a pump lives no longer than those who wait

function host.watch(source)
  local watched = { source = source }
  watching[#watching + 1] = watched
  return setmetatable({ watched = watched }, Watcher)
end

return host
