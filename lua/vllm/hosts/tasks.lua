--- Tasks: vllm.run, spawn, sleep, map, over whatever host is in charge.
--
-- A task belongs to the scope of vllm.run or vllm.map in which it was spawned; a scope ends when all its tasks have
-- ended, and the first error in one cancels the others and is raised by the scope. Outside of a scope (in Neovim, in
-- nginx) an error that no join waits for is reported where the host reports errors. Cancelling ends the wait of a task:
-- a turn fails with `cancelled`, a sleep or a join raises. What a function raises is caught where its coroutine is
-- resumed: Lua 5.1 cannot yield through a pcall.

local core = require "vllm.core"
local guard = require "vllm.base.guard"
local hosts = require "vllm.hosts"
local misuse = require "vllm.base.misuse"
local spelling = require "vllm.base.spelling"
local waiter = require "vllm.hosts.waiter"

local unpack = rawget(_G, "unpack") or table.unpack -- luacheck: ignore 143
local CANCELLED = "cancelled: the task was cancelled"
local NO_REASON = "no reason was given" -- of error(nil)
local NOWHERE = "vllm: nothing here can wait for a task; call this inside vllm.run(function() … end)"

local tasks = {}

---@class vllm.Task
---@field state "ready"|"running"|"done"|"failed"|"cancelled"
local Task = {}
Task.__index = Task
Task.__name = "vllm.task"

-- coroutine → task. Both weak: a task refers to its coroutine, so without ephemerons (before Lua 5.2) an entry would
-- keep itself. A running coroutine holds its task.
local task_of = setmetatable({}, { __mode = "kv" })

local function this_task()
  local running = coroutine.running()
  return running and task_of[running]
end

local function check_cancelled()
  if waiter.is_cancelled() then error(CANCELLED, 0) end
end

local function message_of(failure)
  return failure.kind .. ": " .. failure.detail
end

local function wait(own, deadline)
  local ok, failure = own:wait(deadline)
  if not ok then error(message_of(failure), 0) end
end

-- The end of a task ------------------------------------------------------------------------------------------------

local function pack(...)
  return { n = select("#", ...), ... }
end

local function end_of(task, state, results)
  if task._results then return end
  if task._coroutine then waiter.restore(task._coroutine) end
  task.state, task._results, task._token, task._coroutine = state, results, nil, nil
  local scope = task._scope
  if scope then scope.count, scope.tasks[task] = scope.count - 1, nil end
  for joiner in pairs(task._joiners) do joiner:wake() end
  if scope and scope.count == 0 and scope.waiter then scope.waiter:wake() end
end

local function end_cancelled(task)
  end_of(task, "cancelled", { n = 2, nil, CANCELLED })
end

local function cancel_all(scope)
  scope.is_closing = true
  for task in pairs(scope.tasks) do task:cancel() end
end

local function reason_of(value)
  if value == nil then return NO_REASON end
  return value
end

local function fail_scope(scope, value)
  if scope.error then return end
  scope.error = { value = reason_of(value) }
  cancel_all(scope)
end

--- For xpcall: the text of an error value and the traceback. debug.traceback returns other values than strings
--- unchanged (in Lua 5.1, nil too).
---@return string
function tasks.traced(value)
  return debug.traceback(guard.words(reason_of(value)), 2)
end

--- Is this what the stand-alone interpreter raises at Ctrl-C, in whatever runs at that moment?
---@param value any
---@return boolean
function tasks.is_interruption(value)
  return type(value) == "string" and (value == "interrupted!" or value:find ":%d+: interrupted!$" ~= nil)
end

-- That is not a fault of the task: an error object, which ends a program without a traceback.
local function interruption(value)
  if not tasks.is_interruption(value) then return nil end
  return require("vllm.base.errors").new("cancelled", "interrupted by Ctrl-C")
end

local function is_awaited(task)
  for joiner in pairs(task._joiners) do
    if joiner:is_waiting() then return true end
  end
  return false
end

local function failed(task, value, traceback)
  if task._results then return end -- a wait that could not begin (Lua 5.1, in a pcall) may wake it after its end
  local interrupted = interruption(value) -- LuaJIT may raise it in any coroutine
  if interrupted and task._scope then value, task._on_failure = interrupted, nil end
  value = reason_of(value)
  local message = guard.words(value)
  local is_cancelled = task._cancelled and message:find("cancelled: ", 1, true)
  if is_cancelled then value = CANCELLED end
  if task._on_failure and task._on_failure(value, message .. "\n" .. traceback) then
    return end_of(task, "failed", { n = 2, nil, message })
  end
  if is_cancelled then return end_cancelled(task) end
  local is_heard, scope = is_awaited(task), task._scope
  end_of(task, "failed", { n = type(value) == "table" and 3 or 2, nil, message, value })
  if scope then
    fail_scope(scope, type(value) == "string" and value .. "\n" .. traceback or value)
  elseif not is_heard then
    task._host.report(message .. "\n" .. traceback)
  end
end

-- Spawning and joining ---------------------------------------------------------------------------------------------

local function start(task, fn, arguments)
  local scope = task._scope
  if scope then
    scope.count, scope.tasks[task] = scope.count + 1, true
    if scope.is_closing then task:cancel() end
  end
  task._host.spawn(function()
    if task._cancelled and not task._always_begins then return end_cancelled(task) end
    local co = coroutine.running()
    task_of[co] = task
    task.state, task._coroutine, task._token = "running", co, task._host.current()
    if task._cancelled then waiter.cancel(co) end
    end_of(task, "done", pack(fn(unpack(arguments, 1, arguments.n))))
  end, function(value, traceback) failed(task, value, traceback) end)
  return task
end

-- `on_failure` is told first what the task raises, and returns whether that is enough.
local function new_task(host, scope, on_failure)
  return setmetatable({
    state = "ready", _host = host, _token = nil, _scope = scope, _on_failure = on_failure, _cancelled = false,
    _joiners = {},
  }, Task)
end

-- The scope of the task in which this runs, perhaps in a coroutine of its own.
local function scope_in(host)
  local task = this_task()
  if not task and host.active then task = task_of[host.active()] end
  return task and task._scope
end

local function check_function(name, fn)
  if type(fn) == "function" then return end
  misuse.check_dot(name, fn)
  misuse.raise(("vllm.%s: expected a function, got %s"):format(name, type(fn)))
end

--- Starts a task in the host that is in charge: in plain Lua inside vllm.run, in Neovim and nginx anywhere a coroutine
--- may wait.
---@param fn function
---@param ... any its arguments
---@return vllm.Task
function tasks.spawn(fn, ...)
  check_function("spawn", fn)
  local host = hosts.here()
  if not host then misuse.raise "vllm.spawn: no event loop runs here; call it inside vllm.run(function() … end)" end
  return start(new_task(host, scope_in(host)), fn, pack(...))
end

-- For what must begin even if the task has been cancelled.
local function start_surely(host, fn, on_failure)
  local task = new_task(host, scope_in(host), on_failure)
  task._always_begins = true
  return start(task, fn, { n = 0 })
end

--- A call that may wait and may raise, without a pcall, through which Lua 5.1 cannot yield: fn runs in a task, and
--- `done` is called there with true and the first two values that fn returned; or in another task with false, the error
--- with its traceback, and what was raised. Each begins even if the scope has been cancelled.
---@param host vllm.Host
---@param fn fun(): any, any
---@param done fun(ok: boolean, value: any, second: any) what it raises is an error of its task
---@return vllm.Task of fn
function tasks.after(host, fn, done)
  local has_returned = false
  return start_surely(host, function()
    local value, second = fn()
    has_returned = true
    done(true, value, second)
  end, function(raised, traced)
    if has_returned then return false end
    start_surely(host, function() done(false, traced, raised) end)
    return true
  end)
end

--- Was it asked to end, or its scope?
---@param task vllm.Task
---@return boolean
function tasks.is_cancelled(task)
  return task._cancelled
end

--- Waits for the task's end.
---@return any ... what its function returned; or nil, the message, and the error object if there is one, when it failed
---  or was cancelled
function Task:join()
  misuse.check_colon(getmetatable(self) == Task, "task", "join")
  if self == this_task() then misuse.raise "task:join: a task cannot wait for itself" end
  check_cancelled()
  local joiner = waiter.new()
  while not self._results do
    if joiner:is_alone() then error(NOWHERE, 0) end
    self._joiners[joiner] = true
    wait(joiner)
  end
  self._joiners[joiner] = nil
  return unpack(self._results, 1, self._results.n)
end

--- Ends the task at its current or next wait. Idempotent, from anywhere; does not wait for that end (join does).
function Task:cancel()
  misuse.check_colon(getmetatable(self) == Task, "task", "cancel")
  if self._results or self._cancelled then return end
  self._cancelled = true
  if self._coroutine then waiter.cancel(self._coroutine) end
  if self._token ~= nil then self._host.wake(self._token) end
end

function Task:__tostring()
  return "vllm.task (" .. self.state .. ")"
end

--- Waits. In a host others go on meanwhile; without one the thread sleeps.
---@param seconds number 0: the others go first
function tasks.sleep(seconds)
  if type(seconds) ~= "number" or seconds ~= seconds or seconds < 0 then
    misuse.check_dot("sleep", seconds)
    misuse.raise("vllm.sleep: expected a number of seconds, 0 or more, got " .. tostring(seconds))
  end
  local ends_at, own = core.now() + seconds, waiter.new()
  repeat wait(own, ends_at) until core.now() >= ends_at
end

-- Scopes -----------------------------------------------------------------------------------------------------------

-- Without a host that can park us: our own loop. An error that ends it cancels the tasks and is raised after their end;
-- a second one abandons them.
local function run_loop(scope, begin)
  local scheduler = require "vllm.hosts.scheduler"
  local function is_done() return scope.count == 0 end
  local ok, value = scheduler.loop(begin, is_done)
  if ok then return end
  fail_scope(scope, interruption(value) or value)
  if not scheduler.loop(nil, is_done) then scheduler.abandon() end
end

-- In the host that is in charge. Cancelling the task that waits here cancels the whole scope, and takes effect when
-- that has ended.
local function await_scope(scope)
  scope.waiter = waiter.new()
  while scope.count > 0 do
    if waiter.is_cancelled() and not scope.is_closing then cancel_all(scope) end
    local ok, failure = scope.waiter:stay()
    if not ok then fail_scope(scope, message_of(failure)) end
  end
end

-- Its tasks run in the host in charge; with none, in our own loop, for which the caller waits. Raises where waiting is
-- forbidden, before anything has started.
local function new_scope()
  local host, token = hosts.here()
  local own = waiter.new()
  local is_own_loop = own:is_alone()
  if is_own_loop then host = require "vllm.hosts.scheduler" elseif token == nil then own:stay(0) end
  return { host = host, is_own_loop = is_own_loop, tasks = {}, count = 0, is_closing = false }
end

-- From `begin()`, which starts its first tasks, to the end of the last one.
local function run_scope(scope, begin)
  if scope.is_own_loop then
    run_loop(scope, begin)
  else
    begin()
    await_scope(scope)
  end
  if scope.error then error(scope.error.value, 0) end
  check_cancelled()
end

local FOREIGN_LOOPS = { neovim = true, nginx = true }

--- Runs a function and every task that it spawns, many at a time in this one thread, and returns when all have ended.
--- In a task: a scope of its own inside it.
---@param fn function
---@param ... any its arguments
---@return any ... what it returned. The first error of a task cancels the others and is raised here, with its traceback
function tasks.run(fn, ...)
  check_function("run", fn)
  local host = hosts.here()
  if host and FOREIGN_LOOPS[host.name] then
    misuse.raise(("vllm.run: %s has its own loop, which must not be blocked; use vllm.spawn"):format(host.name))
  end
  check_cancelled()
  local scope = new_scope()
  local main, arguments = new_task(scope.host, scope), pack(...)
  run_scope(scope, function() start(main, fn, arguments) end)
  return unpack(main._results, 1, main._results.n)
end

-- What the workers of one vllm.map share. A worker takes one item after another; one that fails is replaced.
local Map = {}
Map.__index = Map

-- An item has ended: what fn returned, or nil and what it raised. Returning nothing at all is not a failure.
function Map:_note(i, value, message, err)
  local failure
  if value == nil then failure = err or message or nil end
  self.values[i], self.failures[i] = value, failure
  if not self.each then return end
  local ok, why = pcall(self.each, i, value, failure)
  if not ok then fail_scope(self.scope, why) end
end

function Map:_work(worker)
  while self.taken < self.count and not worker._cancelled do
    self.taken = self.taken + 1
    worker._item = self.taken
    self:_note(worker._item, self.fn(self.list[self.taken], self.taken))
  end
end

function Map:_start_worker()
  local worker
  worker = new_task(self.scope.host, self.scope, function(value)
    self:_note(worker._item, nil, value or NO_REASON)
    if self.taken < self.count and not self.scope.is_closing then self:_start_worker() end
    return true
  end)
  start(worker, self._work, { n = 2, self, worker })
end

-- Its length is undefined. A metatable may define it.
local function has_holes(list)
  if getmetatable(list) then return false end
  local count = 0
  for key in pairs(list) do
    if type(key) == "number" then count = count + 1 end
  end
  return count ~= #list
end

local MAP_OPTIONS = { concurrency = true, each = true }
local CONCURRENCY = 64

local function fault_of_list(list)
  if type(list) ~= "table" then return type(list) end
  local key = next(list)
  if key ~= nil and #list == 0 and type(key) ~= "number" then
    return ("a table with the key `%s`"):format(tostring(key))
  end
  return has_holes(list) and "one with holes" or nil
end

-- The first fault of the arguments, or nil.
local function fault_of_map(list, options, fn)
  local fault = fault_of_list(list)
  if fault then return "expected a list, got " .. fault end
  if type(options) ~= "table" then return "expected a table of options, got " .. type(options) end
  if type(fn) ~= "function" then return "expected a function, got " .. type(fn) end
  local unknown_key = spelling.unknown_key(options, MAP_OPTIONS, nil, "map")
  if unknown_key then return unknown_key end
  local concurrency, each = options.concurrency, options.each
  if concurrency ~= nil and (type(concurrency) ~= "number" or concurrency < 1 or concurrency % 1 ~= 0) then
    return "concurrency: expected a whole number, 1 or more, got " .. tostring(concurrency)
  end
  if each ~= nil and type(each) ~= "function" then return "each: expected a function, got " .. type(each) end
end

--- Calls `fn(item, i)` for each item, `concurrency` at a time, and returns when all have ended. Works in every host,
--- and in plain Lua without vllm.run.
---@param list any[]
---@param options { concurrency: integer?, each: (fun(i: integer, value: any, failure: any))? } concurrency: default 64;
---  each: called as each item ends, in the order of their ends; must not wait. They may be left out: vllm.map(list, fn)
---@param fn fun(item: any, i: integer): any, any, any
---@return table values i → the first value that fn returned
---@return table failures i → where fn raised, or returned nil and a reason: the error object, or the message
function tasks.map(list, options, fn)
  if fn == nil and type(options) == "function" then options, fn = {}, options end
  if options == nil then options = {} end
  misuse.check_dot("map", list)
  local fault = fault_of_map(list, options, fn)
  if fault then misuse.raise("vllm.map: " .. fault) end
  check_cancelled()
  local map = setmetatable({
    scope = new_scope(), list = list, count = #list, taken = 0, fn = fn, each = options.each,
    values = {}, failures = {},
  }, Map)
  run_scope(map.scope, function()
    for _ = 1, math.min(options.concurrency or CONCURRENCY, map.count) do map:_start_worker() end
  end)
  return map.values, map.failures
end

return tasks
