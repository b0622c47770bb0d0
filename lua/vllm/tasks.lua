--- Tasks: vllm.run, spawn, sleep, map, over whatever host is in charge.
--
-- A task belongs to the scope of vllm.run or vllm.map in which it was spawned; a scope ends when all its tasks have ended, and the first
-- error in one cancels the others and is raised by the scope. Outside of a scope (in Neovim, in nginx) an error that nobody waits for is
-- reported where the host reports errors. Cancelling wakes a task from its wait: a turn fails with `cancelled`, a sleep or a join raises.

local core = require "vllm.core"
local hosts = require "vllm.hosts"

local unpack = rawget(_G, "unpack") or table.unpack -- luacheck: ignore 143
local CANCELLED = "cancelled: the task was cancelled"
local INTERRUPTED = "cancelled: interrupted by Ctrl-C"

local tasks = {}

---@class vllm.Task
---@field state "ready"|"running"|"done"|"failed"|"cancelled"
local Task = {}
Task.__index = Task
Task.__name = "vllm.task"

local task_of = setmetatable({}, { __mode = "k" }) -- coroutine → task

local function this_task()
  local running = coroutine.running()
  return running and task_of[running]
end

function hosts.cancelled()
  local task = this_task()
  return task ~= nil and task._cancelled
end

-- The end of a task ------------------------------------------------------------------------------------------------

local function pack(...)
  return { n = select("#", ...), ... }
end

local function end_of(task, state, results)
  task.state, task._results = state, results
  local scope = task._scope
  if scope then scope.count, scope.tasks[task] = scope.count - 1, nil end
  for waiter in pairs(task._waiters) do waiter.host.wake(waiter.token) end
  if scope and scope.count == 0 and scope.waiter then scope.waiter.host.wake(scope.waiter.token) end
  if task._on_end then task._on_end(task) end
end

local function cancel_all(scope)
  for task in pairs(scope.tasks) do task:cancel() end
end

local function fail_scope(scope, value)
  if scope.error then return end
  scope.error = { value = value }
  cancel_all(scope)
end

local function failed(task, value, traceback)
  local message = tostring(value)
  if task._cancelled and message:find("cancelled: ", 1, true) == 1 then
    return end_of(task, "cancelled", { n = 2, nil, CANCELLED })
  end
  local had_waiter = next(task._waiters) ~= nil
  end_of(task, "failed", { n = 2, nil, message })
  if task._contained then return end
  local scope = task._scope
  if not scope then
    if not had_waiter then task._host.report(message .. "\n" .. traceback) end
  else
    fail_scope(scope, type(value) == "string" and value .. "\n" .. traceback or value)
  end
end

-- Spawning and joining ---------------------------------------------------------------------------------------------

local function start(task, fn, ...)
  local arguments = pack(...)
  if task._scope then
    task._scope.count = task._scope.count + 1
    task._scope.tasks[task] = true
  end
  task._host.spawn(function()
    task_of[coroutine.running()] = task
    if task._cancelled then return end_of(task, "cancelled", { n = 2, nil, CANCELLED }) end
    task.state, task._token = "running", task._host.current()
    end_of(task, "done", pack(fn(unpack(arguments, 1, arguments.n))))
  end, function(value, traceback) failed(task, value, traceback) end)
  return task
end

local function new_task(host, scope)
  return setmetatable({ state = "ready", _host = host, _scope = scope, _waiters = {} }, Task)
end

local function check_function(name, fn)
  if type(fn) ~= "function" then error(("vllm.%s: a function is needed, got %s"):format(name, type(fn)), 3) end
end

--- Starts a task in the host that is in charge: in plain Lua inside vllm.run, in Neovim and nginx anywhere a coroutine may wait.
---@param fn function
---@param ... any its arguments
---@return vllm.Task
function tasks.spawn(fn, ...)
  check_function("spawn", fn)
  local host = hosts.here()
  if not host then error("vllm.spawn: no event loop runs here; call it inside vllm.run(function() … end)", 2) end
  local parent = this_task()
  return start(new_task(host, parent and parent._scope), fn, ...)
end

--- The same in a host that was found already.
---@param host vllm.Host
---@param fn function
---@return vllm.Task
function tasks.spawn_in(host, fn)
  local parent = this_task()
  return start(new_task(host, parent and parent._scope), fn)
end

-- Waits in the host until `is_over()`; false: `deadline` (seconds of core.now()) passed. Raises when this task was cancelled.
local function wait_until(is_over, deadline, on_park)
  while not is_over() do
    if hosts.cancelled() then error(CANCELLED, 0) end
    local seconds = deadline and deadline - core.now()
    if seconds and seconds <= 0 then return false end
    local host, token = hosts.here()
    if token ~= nil then
      if on_park then on_park(host, token) end
      host.park(token, seconds)
    elseif host and host.block then
      local _, why = host.block(is_over, seconds)
      if why == "interrupted" then error(INTERRUPTED, 0) end
    elseif seconds then
      core.sleep(seconds)
    else
      error("vllm: nothing here can wait for a task; call this inside vllm.run(function() … end)", 0)
    end
  end
  if hosts.cancelled() then error(CANCELLED, 0) end
  return true
end

--- Waits for the task's end.
---@return any ... what its function returned; or nil and the message, when it failed or was cancelled
function Task:join()
  if self == this_task() then error("task:join: a task cannot wait for itself", 2) end
  local waiter
  wait_until(function() return self._results ~= nil end, nil, function(host, token)
    waiter = waiter or { host = host, token = token }
    self._waiters[waiter] = true
  end)
  return unpack(self._results, 1, self._results.n)
end

--- Ends the task at its current or next wait. Idempotent, from anywhere; does not wait for that end (join does).
function Task:cancel()
  if self._results or self._cancelled then return end
  self._cancelled = true
  if self._token ~= nil then self._host.wake(self._token) end
end

function Task:__tostring()
  return "vllm.task (" .. self.state .. ")"
end

--- Waits without work for others: in a host they go on meanwhile; without one the thread sleeps.
---@param seconds number
function tasks.sleep(seconds)
  if type(seconds) ~= "number" or seconds ~= seconds or seconds < 0 then
    error("vllm.sleep: a number of seconds, 0 or more, is needed, got " .. tostring(seconds), 2)
  end
  wait_until(function() return false end, core.now() + seconds)
end

-- Scopes -----------------------------------------------------------------------------------------------------------

-- With no host that can park us: our own loop. What breaks the loop off cancels the tasks, once, and is raised after their end.
local function run_loop(scope)
  local scheduler = require "vllm.hosts.scheduler"
  local function is_done() return scope.count == 0 end
  local ok, value = scheduler.loop(is_done)
  if ok then return end
  fail_scope(scope, value)
  scheduler.loop(is_done)
end

-- In the host that is in charge. Whoever waits here is cancelled with the whole scope, but not before it has ended.
local function await_scope(scope)
  local function is_done() return scope.count == 0 end
  while not is_done() do
    if hosts.cancelled() and not scope.cancelled then
      scope.cancelled = true
      cancel_all(scope)
    end
    local host, token = hosts.here()
    if token ~= nil then
      scope.waiter = { host = host, token = token }
      host.park(token)
    else
      local _, why = host.block(is_done)
      if why == "interrupted" then fail_scope(scope, INTERRUPTED) end
    end
  end
  if hosts.cancelled() then error(CANCELLED, 0) end
end

-- Its tasks run in the host in charge; with none, in our own loop, for which the caller waits.
local function new_scope()
  local host, token = hosts.here()
  if host and token == nil and not host.block then host = nil end
  return { host = host or require "vllm.hosts.scheduler", is_own_loop = host == nil, tasks = {}, count = 0 }
end

local function finish_scope(scope)
  if scope.is_own_loop then run_loop(scope) else await_scope(scope) end
  if scope.error then error(scope.error.value, 0) end
end

local FOREIGN_LOOPS = { neovim = true, nginx = true }

--- Runs a function and every task that it spawns, many at a time in this one thread, and returns when all have ended. In a task: a scope
--- of its own inside it.
---@param fn function
---@param ... any its arguments
---@return any ... what it returned. The first error of a task cancels the others and is raised here, with its traceback
function tasks.run(fn, ...)
  check_function("run", fn)
  local host = hosts.here()
  if host and FOREIGN_LOOPS[host.name] then
    error(("vllm.run: %s has its own loop, which must not be held up; use vllm.spawn"):format(host.name), 2)
  end
  local scope = new_scope()
  local main = start(new_task(scope.host, scope), fn, ...)
  finish_scope(scope)
  return unpack(main._results, 1, main._results.n)
end

-- A failure of fn as a value: what it raised, or its nil, message, err.
local function outcome(task)
  local results = task._results
  if results[1] ~= nil then return results[1] end
  return nil, results[3] or results[2]
end

--- Calls `fn(item, i)` for each item, `concurrency` at a time, and returns when all have ended. Works in every host, and in plain Lua
--- without vllm.run.
---@param list any[]
---@param options { concurrency: integer?, each: (fun(i: integer, value: any, failure: any))? } concurrency: default 64; each: called as
---  each item ends, in the order of their ends; must not wait
---@param fn fun(item: any, i: integer): any, any, any
---@return table values i → the first value that fn returned
---@return table failures i → where fn raised or returned nil: the error object, or the message
function tasks.map(list, options, fn)
  if type(list) ~= "table" then error("vllm.map: a list is needed, got " .. type(list), 2) end
  if type(options) ~= "table" then error("vllm.map: a table of options is needed, got " .. type(options), 2) end
  check_function("map", fn)
  local concurrency = options.concurrency or 64
  if type(concurrency) ~= "number" or concurrency < 1 or concurrency % 1 ~= 0 then
    error("vllm.map: concurrency: a whole number, 1 or more, is needed, got " .. tostring(concurrency), 2)
  end
  local scope, values, failures = new_scope(), {}, {}
  local following = 0
  local function start_next()
    if following >= #list or scope.error or scope.cancelled then return end
    following = following + 1
    local i, task = following, new_task(scope.host, scope)
    task._contained = true
    task._on_end = function()
      values[i], failures[i] = outcome(task)
      start_next()
      local ok, value = true, nil
      if options.each then ok, value = pcall(options.each, i, values[i], failures[i]) end
      if not ok then fail_scope(scope, value) end
    end
    start(task, fn, list[i], i)
  end
  for _ = 1, math.min(concurrency, #list) do start_next() end
  finish_scope(scope)
  return values, failures
end

return tasks
