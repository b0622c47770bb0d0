--- Turns for programs made of callbacks: turn:start and turn:on_ready, each a task of the host in charge.

local hosts = require "vllm.hosts"
local tasks = require "vllm.hosts.tasks"

local callbacks = {}

local function check(name, argument, fn, level)
  if type(fn) ~= "function" then error(("turn:%s: %s must be a function, got %s"):format(name, argument, type(fn)), level + 1) end
end

local function host_of(name, turn, level)
  local host = hosts.here(turn._host or nil)
  if not host then error(("turn:%s: no event loop runs here; call it inside vllm.run(function() … end)"):format(name), level + 1) end
  return host
end

-- Calls what may run a function of the user's, but never waits: true and its first value, or false and the error with its traceback.
local function call(fn, a, b, c)
  return xpcall(function() return fn(a, b, c) end, tasks.traced)
end

-- Gives every event to on_event. What that raises, or the client's own on_event, is returned.
local function drive(turn, on_event)
  while true do
    turn:_await_event()
    local ok, value = call(turn.poll, turn)
    if ok and not value then return end
    if ok and on_event then ok, value = call(on_event, value) end
    if not ok then return value end
    if value == false then return turn:cancel() end
  end
end

-- In a task: `wait`, then `go_on` with what that returned. What a function of the user's raises within the wait (on_retry) ends the task,
-- since Lua 5.1 cannot yield through a pcall; so another one goes on, with the error and its traceback.
local function after(host, wait, go_on)
  local has_waited = false
  tasks.spawn_in(host, function()
    local problem = wait()
    has_waited = true
    go_on(problem)
  end, function(_, traced)
    if has_waited then return false end
    tasks.spawn_in(host, function() go_on(traced) end)
    return true
  end)
end

-- Calls fn; then the host shows the problem, and what fn raised.
local function call_and_report(host, problem, fn, ...)
  local ok, second = call(fn, ...)
  host.report(ok and problem or problem .. "\n" .. second)
end

--- See Turn:start.
---@param turn vllm.Turn
---@param on_event (fun(event: table): boolean?)?
---@param on_done fun(result: table?, message: string?, err: vllm.Error?)
function callbacks.start(turn, on_event, on_done)
  if on_event ~= nil then check("start", "on_event", on_event, 3) end
  check("start", "on_done", on_done, 3)
  local host = host_of("start", turn, 3)
  after(host, function() return drive(turn, on_event) end, function(problem)
    if not problem then return on_done(turn:_outcome()) end
    turn:_cancel "a callback raised an error"
    call_and_report(host, problem, on_done, turn:_outcome())
  end)
end

--- See Turn:on_ready.
---@param turn vllm.Turn
---@param fn fun()
function callbacks.on_ready(turn, fn)
  check("on_ready", "fn", fn, 3)
  local host = host_of("on_ready", turn, 3)
  after(host, function() turn:_await_event() end, function(problem)
    if not problem then return fn() end
    call_and_report(host, problem, fn)
  end)
end

return callbacks
