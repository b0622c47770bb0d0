--- The host of plain Lua: tasks in one thread, run by vllm.run. It does nothing before that or after it.
--
-- A task is a coroutine, and its own token. Ready tasks are in a queue, timers in a binary heap. When nothing is ready,
-- one wait covers all descriptors and the first timer. If there is one descriptor, the usual case, its source does the
-- waiting itself, which saves a system call. In the stand-alone lua, Ctrl-C raises from a debug hook between any two
-- instructions of the loop. So a task enters its new place before it leaves the old one, and the loop may be called
-- again.

local core = require "vllm.core"

local running, resume, status, yield = coroutine.running, coroutine.resume, coroutine.status, coroutine.yield

---@class vllm.hosts.scheduler : vllm.Host
local scheduler = { name = "scheduler" }

local active -- the task that runs now
local parked = {} -- task → its timer, or true
local failed_of = setmetatable({}, { __mode = "k" }) -- task → what is told of an error in it
local watchers = {}

-- Ready tasks ---------------------------------------------------------------------------------------------------------

local ready, first, last = {}, 1, 0
local is_late = {} -- ready task → true: its time is over

local function make_ready(task)
  ready[last + 1] = task
  last = last + 1
end

-- Timers: a heap ordered by time, so with a thousand sleepers each costs log n. The timer of a task that was woken
-- stays, empty, until its time comes or until half of the timers are empty.

local timers, empty = {}, 0
local MIN_SWEPT = 64
local MAX_POLL_S = 1 -- a signal that comes just before a wait is noticed this late at most

local function sift_down(timer, i)
  local count = #timers
  while true do
    local child = i * 2
    if child < count and timers[child + 1].at < timers[child].at then child = child + 1 end
    if child > count or timer.at <= timers[child].at then break end
    timers[i], i = timers[child], child
  end
  timers[i] = timer
end

local function add_timer(at, task, is_look)
  local timer, i = { at = at, task = task, is_look = is_look }, #timers + 1
  while i > 1 do
    local parent = (i - i % 2) / 2
    if timers[parent].at <= at then break end
    timers[i], i = timers[parent], parent
  end
  timers[i] = timer
  return timer
end

local function drop_first_timer()
  local count = #timers
  local moved = timers[count]
  timers[count] = nil
  if count > 1 then sift_down(moved, 1) end
end

local function sweep_timers()
  local kept = {}
  for _, timer in ipairs(timers) do
    if timer.task then kept[#kept + 1] = timer end
  end
  timers, empty = kept, 0
  for i = math.floor(#kept / 2), 1, -1 do sift_down(kept[i], i) end
end

local function empty_timer(timer)
  timer.task = nil
  empty = empty + 1
  if empty > MIN_SWEPT and empty * 2 > #timers then sweep_timers() end
end

local function fire_timers(now)
  while timers[1] and (timers[1].at <= now or not timers[1].task) do
    local task = timers[1].task
    if task then
      is_late[task] = true
      make_ready(task)
      parked[task] = nil
    else
      empty = empty - 1
    end
    drop_first_timer()
  end
end

-- The contract of a host ----------------------------------------------------------------------------------------------

function scheduler.running()
  return active ~= nil
end

function scheduler.current()
  local this = running()
  return this == active and this or nil
end

local function forget(task)
  local timer = parked[task]
  parked[task] = nil
  if timer ~= true then empty_timer(timer) end
end

-- `is_look`: nothing happens at that time, the task only looks whether it waits in vain.
function scheduler.park(task, seconds, is_look)
  parked[task] = seconds and add_timer(core.now() + seconds, task, is_look) or true
  yield()
  if parked[task] then forget(task) end -- something else resumed it
  if not is_late[task] then return true end
  is_late[task] = nil
  return false
end

function scheduler.wake(task)
  local timer = parked[task]
  if not timer then return end
  ready[last + 1] = task
  last = last + 1
  parked[task] = nil
  if timer ~= true then empty_timer(timer) end
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
  for i, watcher in ipairs(watchers) do
    if watcher == self then table.remove(watchers, i) break end
  end
end

function Watcher:hold(yes)
  self.holds = yes
end

function scheduler.watch(source)
  local watcher = setmetatable({ source = source, holds = true }, Watcher)
  watchers[#watchers + 1] = watcher
  return watcher
end

function scheduler.block()
  error("a coroutine inside a task of vllm.run cannot wait: its yield would reach the task; wait in the task itself, "
    .. "or vllm.spawn one", 0)
end

--- The task that runs now, even inside a coroutine of its own.
---@return thread?
function scheduler.active()
  return active
end

-- The loop ------------------------------------------------------------------------------------------------------------

local function on_error(task, value)
  local traceback = debug.traceback(task)
  if failed_of[task] then return failed_of[task](value, traceback) end
  scheduler.report(tostring(value) .. "\n" .. traceback)
end

local function run_ready()
  local stop = last
  while first <= stop do
    local task = ready[first]
    active = task
    first = first + 1
    ready[first - 1] = nil
    if task then -- none: the start of the queue was being reset
      local ok, value = resume(task)
      if not ok then
        on_error(task, value)
      elseif not parked[task] and status(task) ~= "dead" then
        make_ready(task) -- a bare coroutine.yield(): the others first
      end
    end
    active = nil
  end
  if first > last then
    first = 1
    last = 0
  end
end

local function wait_for_sources(seconds)
  if #watchers == 1 then return watchers[1].source.wait(seconds) end
  if #watchers == 0 then return core.sleep(seconds) end
  local fds = {}
  for i, watcher in ipairs(watchers) do fds[i] = watcher.source.fd end
  core.poll(fds, math.min(seconds or MAX_POLL_S, MAX_POLL_S))
  for i = #watchers, 1, -1 do watchers[i].source.wait(0) end -- a source may close its watcher
end

local function is_anything_awaited()
  for _, watcher in ipairs(watchers) do
    if watcher.holds then return true end
  end
end

--- Asked by a running task: does everything else wait for what only another task could do? Such tasks would wait
--- forever, but for looks.
---@return boolean
function scheduler.is_stuck()
  if first <= last or is_anything_awaited() then return false end
  for _, timer in ipairs(timers) do
    if timer.task and not timer.is_look then return false end
  end
  return true
end

local function seconds_to_wait(now)
  if first <= last then return 0 end
  if timers[1] and scheduler.is_stuck() then timers[1].at = now end -- the first look comes at once
  if timers[1] then return math.max(timers[1].at - now, 0) end
end

local function turn_the_loop(begin, is_done, deadline)
  if begin then begin() end
  while true do
    run_ready()
    local now = (timers[1] or deadline) and core.now()
    if timers[1] then fire_timers(now) end
    if is_done() then return end
    local seconds = seconds_to_wait(now)
    if deadline then
      seconds = math.max(math.min(seconds or math.huge, deadline - now), 0)
    elseif not seconds and not is_anything_awaited() then
      error("vllm.run: every task waits for another one", 0)
    end
    wait_for_sources(seconds) -- even if there is no time left: who only polls is to see what has come
    if deadline and now >= deadline then return end
  end
end

-- The loop was interrupted: the task that was running goes on, or has failed.
local function take_up(task, message)
  if coroutine.status(task) == "dead" then
    on_error(task, message)
  elseif not parked[task] and ready[first] ~= task then
    make_ready(task)
  end
end

--- Runs tasks until `is_done()`. Not to be called by a task.
---@param begin fun()? spawns the first ones
---@param is_done fun(): boolean
---@param deadline number? absolute, seconds of core.now(): it returns then even if not all is done, after one round
---@return boolean ok false: an error ended it (in a signal's handler, or since all tasks wait for each other); may be
---  called again
---@return any error
function scheduler.loop(begin, is_done, deadline)
  local ok, message = pcall(turn_the_loop, begin, is_done, deadline)
  local task = active
  active = nil
  if task then take_up(task, message) end
  return ok, message
end

--- Forgets all tasks.
function scheduler.abandon()
  ready, first, last, is_late, parked, timers, empty = {}, 1, 0, {}, {}, {}, 0
end

return scheduler
