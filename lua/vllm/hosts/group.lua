--- Tasks that are started now and waited for bit by bit. They run in the host in charge; where there is none, in our
-- own loop, which runs while somebody waits for the group.

local hosts = require "vllm.hosts"
local tasks = require "vllm.hosts.tasks"
local waiter = require "vllm.hosts.waiter"

---@class vllm.Group
---@field is_looping boolean somebody waits for it outside of any host
local Group = {}
Group.__index = Group

local groups = {}

---@param wanted string|vllm.Host|nil the configured host; nil: the one in charge
---@param is_interruptible boolean? Ctrl-C ends its wait
---@return vllm.Group
function groups.new(wanted, is_interruptible)
  return setmetatable({
    _wanted = wanted, _waiter = waiter.new(wanted, is_interruptible), _has_news = false, is_looping = false,
    _listeners = {}, _interruption = nil,
  }, Group)
end

--- Starts `fn()`, which may wait and may raise. Then `done` is called, in a task: it must not raise.
---@param fn fun(): any, any
---@param done fun(ok: boolean, value: any, second: any, was_cancelled: boolean?) true and what fn returned; or false,
---  the error with its traceback, what was raised, and whether the task had been cancelled
---@return vllm.Task
function Group:start(fn, done)
  local host = hosts.here(self._wanted) or require "vllm.hosts.scheduler"
  local task
  task = tasks.after(host, fn, function(ok, value, second)
    if not ok and tasks.is_interruption(second) then self._interruption = second end
    done(ok, value, second, not ok and task and tasks.is_cancelled(task))
    self:wake()
  end)
  return task
end

--- There is news: the wait ends.
function Group:wake()
  self._has_news = true
  self._waiter:wake()
  for listener in pairs(self._listeners) do listener:wake() end
end

--- Waits for news and leaves it to who calls `wait`, which others may do meanwhile. Only in a host.
---@return true?
---@return table? failure
function Group:listen()
  local own = waiter.new(self._wanted)
  self._listeners[own] = true
  local ok, failure = own:wait()
  self._listeners[own] = nil
  return ok, failure
end

-- Nothing runs here but us.
local function run_own_loop(self, deadline)
  local scheduler = require "vllm.hosts.scheduler"
  self.is_looping = true
  local ok, problem = scheduler.loop(nil, function() return self._has_news end, deadline)
  self.is_looping = false
  if not ok then error(problem, 0) end
  return true
end

--- Waits for news, once; it may end early. Others run even if the deadline has passed.
---@param deadline number? absolute, seconds of core.now()
---@return true?
---@return table? failure { kind, detail }: cancelled
function Group:wait(deadline)
  local ok, failure = true, nil
  if not self._has_news then
    if self._waiter:is_alone() then
      ok, failure = run_own_loop(self, deadline)
    else
      ok, failure = self._waiter:wait(deadline)
    end
  end
  self._has_news = false
  local interruption = self._interruption
  self._interruption = nil
  if interruption then error(interruption, 0) end
  return ok, failure
end

return groups
