--- Turns with callbacks: turn:start and turn:on_ready, each a task of the host in charge.

local hosts = require "vllm.hosts"
local misuse = require "vllm.base.misuse"
local reading = require "vllm.turn.reading"
local tasks = require "vllm.hosts.tasks"

local callbacks = {}

local function check(name, argument, fn)
  if type(fn) ~= "function" then
    misuse.raise(("turn:%s: expected a function as %s, got %s"):format(name, argument, type(fn)))
  end
end

local function host_of(name, effort)
  local host = hosts.here(effort.config.host)
  if not host then
    misuse.raise(("turn:%s: no event loop runs here; call it inside vllm.run(function() … end)"):format(name))
  end
  return host
end

-- Calls what may run the user's code, but never waits: true and its first value, or false and the error with its
-- traceback.
local function call(fn, a, b, c)
  return xpcall(function() return fn(a, b, c) end, tasks.traced)
end

-- Gives every event to on_event. What that raises, or the client's own on_event, is returned.
local function drive(turn, effort, on_event)
  while true do
    reading.await_event(effort)
    local ok, value = call(turn.poll, turn)
    if ok and not value then return end
    if ok and on_event then ok, value = call(on_event, value) end
    if not ok then return value end
    if value == false then return turn:cancel() end
  end
end

-- Calls fn; then the host shows the problem, and what fn raised.
local function call_and_report(host, problem, fn, ...)
  local ok, second = call(fn, ...)
  host.report(ok and problem or problem .. "\n" .. second)
end

--- See Turn:start.
---@param turn vllm.Turn
---@param effort vllm.Effort its own
---@param on_event (fun(event: table): boolean?)?
---@param on_done fun(result: table?, message: string?, err: vllm.Error?)
function callbacks.start(turn, effort, on_event, on_done)
  if on_event ~= nil then check("start", "on_event", on_event) end
  check("start", "on_done", on_done)
  local host = host_of("start", effort)
  tasks.after(host, function() return drive(turn, effort, on_event) end, function(_, problem)
    if not problem then return on_done(reading.outcome(effort)) end
    effort:cancel "a callback raised an error"
    call_and_report(host, problem, on_done, reading.outcome(effort))
  end)
end

--- See Turn:on_ready.
---@param effort vllm.Effort of the turn
---@param fn fun()
function callbacks.on_ready(effort, fn)
  check("on_ready", "fn", fn)
  local host = host_of("on_ready", effort)
  tasks.after(host, function() reading.await_event(effort) end, function(ok, problem)
    if ok then return fn() end
    call_and_report(host, problem, fn)
  end)
end

return callbacks
