--- The host that is cqueues: each coroutine waits for a condition of its own.
--
-- A controller in which coroutines of ours wait has a pump (pump.lua), which polls the engine's descriptor. Programs
-- may have many controllers, one within another, and close them; so what belongs to one has weak keys.

local auxlib = require "cqueues.auxlib"
local condition = require "cqueues.condition"
local cqueues = require "cqueues"
local pump = require "vllm.hosts.pump"

---@class vllm.hosts.cqueues : vllm.Host
local host = { name = "cqueues" }

local function weak_keys() return setmetatable({}, { __mode = "k" }) end

local conditions = weak_keys() -- coroutine → what it waits for
local spawned = weak_keys() -- our own coroutines, which one of the controller's resumes

-- Coroutines ----------------------------------------------------------------------------------------------------------

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
  error("a coroutine inside a coroutine of cqueues cannot wait: its yield would reach the one that resumed it; "
    .. "wait in the outer one, or give this one to controller:wrap", 0)
end

-- Runs fn in a coroutine in which it may use cqueues.poll, too. Errors are caught here, as Lua 5.1 cannot yield through
-- a pcall.
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

--- The controller's step, loop or errors gives it to the program, like any error in a coroutine.
function host.report(message)
  local controller = cqueues.running()
  if not controller then error(message, 0) end
  controller:wrap(function() error(message, 0) end)
end

-- Waiting ----------------------------------------------------------------------------------------------------------

local function wrap(fn)
  cqueues.running():wrap(fn)
end

local function start(source)
  local descriptor, ended, is_over = { pollfd = source.fd, events = "r" }, condition.new(), false
  wrap(function()
    repeat
      local ready, other = cqueues.poll(descriptor, ended)
      if not is_over and (ready == descriptor or other == descriptor) then source.on_readable() end
    until is_over
    cqueues.cancel(descriptor.pollfd) -- it may be closed now, and its number in use again
  end)
  return function()
    is_over = true
    ended:signal()
  end
end

local function nap()
  local over = condition.new()
  return function(seconds) over:wait(seconds) end, function() over:signal() end
end

local pumps = pump.new { spawn = wrap, nap = nap, start = start }

function host.park(co, seconds)
  pumps:begin(cqueues.running(), co)
  conditions[co] = conditions[co] or condition.new()
  local is_woken = conditions[co]:wait(seconds)
  pumps:finish(co)
  return is_woken
end

function host.wake(co)
  if pumps:finish(co) then conditions[co]:signal() end
end

function host.watch(source)
  return pumps:watch(source)
end

return host
