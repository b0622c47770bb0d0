--- The host of plain Lua: tasks in one thread, run by vllm.run. Nothing of it is alive before that and after it.
--
-- A task is a coroutine, and its own token. Ready tasks stand in a queue; timers in a binary heap; when nothing is ready, one wait for all
-- descriptors and the first timer. With one descriptor, which is the rule, its source waits itself: one system call less.

local core = require "vllm.core"

---@class vllm.hosts.scheduler : vllm.Host
local scheduler = { name = "scheduler" }

local active -- the task that runs now
local looping = false
local parked = {} -- task → its timer, or true
local failed_of = setmetatable({}, { __mode = "k" }) -- task → who hears what it raises
local sources = {}

-- Ready tasks ----------------------------------------------------------------------------------------------------------

local ready, first, last = {}, 1, 0
local reasons = {} -- ready task → what its park returns

local function make_ready(task, reason)
  last = last + 1
  ready[last], reasons[task] = task, reason
end

-- Timers: a heap by time, so that a thousand sleepers cost log n each. A timer whose task was woken stays until its time, empty.

local timers = {}

local function add_timer(at, task)
  local timer, i = { at = at, task = task }, #timers + 1
  while i > 1 do
    local parent = (i - i % 2) / 2
    if timers[parent].at <= at then break end
    timers[i], i = timers[parent], parent
  end
  timers[i] = timer
  return timer
end

local function pop_timer()
  local top, moved, count = timers[1], timers[#timers], #timers - 1
  timers[count + 1] = nil
  local i = 1
  while count > 0 do
    local child = i * 2
    if child < count and timers[child + 1].at < timers[child].at then child = child + 1 end
    if child > count or moved.at <= timers[child].at then break end
    timers[i], i = timers[child], child
  end
  if count > 0 then timers[i] = moved end
  return top
end

local function fire_timers(now)
  while timers[1] and (timers[1].at <= now or not timers[1].task) do
    local task = pop_timer().task
    if task then
      parked[task] = nil
      make_ready(task, false)
    end
  end
end

-- The contract of a host -----------------------------------------------------------------------------------------------

function scheduler.running()
  return active ~= nil
end

function scheduler.current()
  return coroutine.running() == active and active or nil
end

function scheduler.park(task, seconds)
  parked[task] = seconds and add_timer(core.now() + seconds, task) or true
  return coroutine.yield()
end

function scheduler.wake(task)
  local timer = parked[task]
  if not timer then return end
  parked[task] = nil
  if timer ~= true then timer.task = nil end
  make_ready(task, true)
end

function scheduler.spawn(fn, failed)
  local task = coroutine.create(fn)
  failed_of[task] = failed
  make_ready(task)
end

function scheduler.report(message)
  error(message, 0) -- ends the loop
end

local Watcher = {}
Watcher.__index = Watcher

function Watcher:close()
  for i, source in ipairs(sources) do
    if source == self.source then table.remove(sources, i) break end
  end
end

function Watcher.hold() end -- the loop lives as long as its tasks

function scheduler.watch(source)
  sources[#sources + 1] = source
  return setmetatable({ source = source }, Watcher)
end

function scheduler.block()
  error("a coroutine inside a task of vllm.run cannot wait: its yield would reach the task; wait in the task itself, or vllm.spawn one", 0)
end

-- The loop -------------------------------------------------------------------------------------------------------------

local function on_error(task, value)
  local traceback = debug.traceback(task)
  if failed_of[task] then return failed_of[task](value, traceback) end
  scheduler.report(tostring(value) .. "\n" .. traceback)
end

local function resume(task)
  local reason = reasons[task]
  reasons[task] = nil
  active = task
  local ok, value = coroutine.resume(task, reason)
  active = nil
  if not ok then return on_error(task, value) end
  if not parked[task] and coroutine.status(task) ~= "dead" then make_ready(task) end -- a bare coroutine.yield(): the others first
end

local function run_ready()
  local stop = last
  while first <= stop do
    local task = ready[first]
    ready[first], first = nil, first + 1
    resume(task)
  end
  if first > last then first, last = 1, 0 end
end

local function wait_for_sources(seconds)
  if #sources == 1 then return sources[1].wait(seconds) end
  if #sources == 0 then return core.sleep(seconds) end
  local fds = {}
  for i, source in ipairs(sources) do fds[i] = source.fd end
  local _, readable = core.poll(fds, seconds)
  for i = #sources, 1, -1 do -- a source may close itself
    local source = sources[i]
    if source and readable[source.fd] then source.on_readable() end
  end
end

local function seconds_to_wait(now)
  if first <= last then return 0 end
  return timers[1] and math.max(timers[1].at - now, 0) or nil
end

local function turn_the_loop(is_done)
  while true do
    run_ready()
    fire_timers(core.now())
    if is_done() then return end
    local seconds = seconds_to_wait(core.now())
    if not seconds and #sources == 0 then error("vllm.run: every task waits for another one", 0) end
    wait_for_sources(seconds)
  end
end

--- Runs tasks until `is_done()`.
---@param is_done fun(): boolean
---@return boolean ok false: a wait was broken off by an error (a signal's handler, tasks that wait for each other); may be called again
---@return any error
function scheduler.loop(is_done)
  if looping then error("the scheduler runs already", 2) end
  looping = true
  local ok, message = pcall(turn_the_loop, is_done)
  looping, active = false, nil
  return ok, message
end

return scheduler
