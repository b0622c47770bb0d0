--- Turns for programs made of callbacks: turn:start and turn:on_ready, each a task of the host in charge.

local hosts = require "vllm.hosts"
local tasks = require "vllm.tasks"

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
  return xpcall(function() return fn(a, b, c) end, debug.traceback)
end

-- Gives every event to on_event. What that raises, or the client's own on_event, cancels the turn and is returned.
local function drive(turn, on_event)
  while true do
    turn:_await_event()
    local ok, value = call(turn.poll, turn)
    if ok and not value then return end
    if ok and on_event then ok, value = call(on_event, value) end
    if not ok or value == false then
      turn:cancel()
      return not ok and value or nil
    end
  end
end

--- See Turn:start.
---@param turn vllm.Turn
---@param on_event (fun(event: table): boolean?)?
---@param on_done fun(result: table?, message: string?, err: vllm.Error?)
function callbacks.start(turn, on_event, on_done)
  if on_event ~= nil then check("start", "on_event", on_event, 3) end
  check("start", "on_done", on_done, 3)
  local host = host_of("start", turn, 3)
  tasks.spawn_in(host, function()
    local problem = drive(turn, on_event)
    if not problem then return on_done(turn:_outcome()) end
    local ok, second = call(on_done, turn:_outcome())
    host.report(ok and problem or problem .. "\n" .. second)
  end)
end

--- See Turn:on_ready.
---@param turn vllm.Turn
---@param fn fun()
function callbacks.on_ready(turn, fn)
  check("on_ready", "fn", fn, 3)
  local host = host_of("on_ready", turn, 3)
  tasks.spawn_in(host, function()
    turn:_await_event()
    fn()
  end)
end

return callbacks
