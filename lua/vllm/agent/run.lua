--- A run: one task of an agent, with a turn's verbs. It is lazy, as a turn is: nothing happens but in its verbs.

local core = require "vllm.core"
local drives = require "vllm.agent.drive"
local errors = require "vllm.base.errors"
local hosts = require "vllm.hosts"
local misuse = require "vllm.base.misuse"
local outcome = require "vllm.agent.outcome"
local tasks = require "vllm.hosts.tasks"
local values = require "vllm.base.values"

---@class vllm.agent.Run
---@field session vllm.agent.Session
local Run = {}
Run.__index = Run
Run.__name = "vllm.run"
misuse.tell_members(Run, "run", "run")

local runs = { Run = Run }

--- Made by session:run.
---@param session vllm.agent.Session
---@param parts table as for drives.new
---@param err vllm.Error? why it cannot begin
---@return vllm.agent.Run
---@return vllm.agent.Drive drive which its tools hold, too
function runs.new(session, parts, err)
  local drive = drives.new(session, parts, err)
  return setmetatable({ session = session, _own = drive }, Run), drive
end

local function check_self(run, name)
  misuse.check_colon(type(run) == "table" and rawget(run, "_own"), "run", name)
end

--- The next event.
---@param timeout_s number? how long to wait at the most, in seconds
---@return table|false|nil event an event · false at the timeout · nil at the end
---@return string? message with nil: the run failed
---@return vllm.Error? err
function Run:next(timeout_s)
  check_self(self, "next")
  if timeout_s ~= nil and (type(timeout_s) ~= "number" or timeout_s ~= timeout_s) then
    misuse.raise("run:next: expected a number of seconds, got " .. values.shown(timeout_s))
  end
  local own = self._own
  local event, err = own:take(timeout_s and core.now() + timeout_s)
  if event then own:deliver(event) end
  err = err or event == nil and own.err or nil
  if err then return errors.give(err) end
  return event
end

--- The next event without waiting.
---@return table|false|nil event an event · false: nothing yet · nil at the end
---@return string? message
---@return vllm.Error? err
function Run:poll()
  return self:next(0)
end

-- Lua 5.1 calls an iterator through C, so what it waits for cannot suspend the coroutine.
local FOR_CANNOT_WAIT = _VERSION == "Lua 5.1" and not rawget(_G, "jit")

--- An iterator over all events. A failure raises its message; `run:error()` is the object. Leaving cancels nothing.
---@param surplus nil takes nothing: run:each(fn) calls a function
---@return fun(): table?
function Run:events(surplus)
  check_self(self, "events")
  if surplus ~= nil then
    misuse.raise("run:events: gives an iterator and takes nothing, got " .. values.shown(surplus)
      .. "; run:each(fn) calls a function")
  end
  if FOR_CANNOT_WAIT and select(2, hosts.here(self._own.agent.client.config.host)) ~= nil then
    misuse.raise "run:events: Lua 5.1 cannot wait inside `for … in` in a coroutine; use run:each(fn), or run:next()"
  end
  return function()
    local event, message = self:next()
    if message then error(message, 0) end
    return event
  end
end

--- Calls `fn` with every event. When it returns false, the run is cancelled.
---@param fn fun(event: table): boolean?
---@return table? result
---@return string? message
---@return vllm.Error? err
function Run:each(fn)
  check_self(self, "each")
  if type(fn) ~= "function" then misuse.raise("run:each: expected a function, got " .. type(fn)) end
  while true do
    local event, message, err = self:next()
    if message then return nil, message, err end
    if not event then return self._own.result end
    if fn(event) == false then self:cancel() end
  end
end

--- Waits for the end. May be called any number of times.
---@return table? result see docs/agents.md
---@return string? message
---@return vllm.Error? err
function Run:result()
  check_self(self, "result")
  local event, message, err
  repeat
    self._own:skip_turn()
    event, message, err = self:next()
  until not event
  if message then return nil, message, err end
  return self._own.result
end

--- Waits for the end and gives the answer's text. No text is an error of kind `no_output`, which says how it stopped.
---@return string? text
---@return string? message
---@return vllm.Error? err
function Run:text()
  check_self(self, "text")
  local result, message, err = self:result()
  if not result then return nil, message, err end
  if result.text and result.text ~= "" then return result.text end
  return errors.give(errors.new("no_output", outcome.why_no_text(result), { partial = result }))
end

local function host_of(run, name)
  local host = hosts.here(run._own.agent.client.config.host)
  if host then return host end
  misuse.raise(("run:%s: no event loop runs here; call it inside vllm.run(function() … end)"):format(name))
end

local function check_function(name, argument, fn)
  if type(fn) == "function" then return end
  misuse.raise(("run:%s: expected a function as %s, got %s"):format(name, argument, type(fn)))
end

--- The callback form: returns at once, and a task of the host in charge does the waiting.
---@param on_event (fun(event: table): boolean?)? called with every event; false cancels the run
---@param on_done fun(result: table?, message: string?, err: vllm.Error?) called exactly once
---@return vllm.agent.Run self
function Run:start(on_event, on_done)
  check_self(self, "start")
  if on_event ~= nil then check_function("start", "on_event", on_event) end
  check_function("start", "on_done", on_done)
  local host, result, message, err = host_of(self, "start")
  tasks.after(host, function()
    result, message, err = self:each(on_event or function() end)
  end, function(ok, problem)
    if ok then return on_done(result, message, err) end
    self:cancel "a callback raised an error"
    tasks.after(host, function() on_done(self:result()) end, function(is_done, second)
      host.report(is_done and problem or problem .. "\n" .. second)
    end)
  end)
  return self
end

--- Calls `fn` once, soon, when it is worth calling `poll`.
---@param fn fun()
---@return vllm.agent.Run self
function Run:on_ready(fn)
  check_self(self, "on_ready")
  check_function("on_ready", "fn", fn)
  local own = self._own
  if not (own.is_over or own.turn or own.waits) then own:resume(own) end
  if own.turn and not own:has_events() then
    own.turn:on_ready(fn)
    return self
  end
  tasks.after(host_of(self, "on_ready"), function()
    local waits, ok = own.waits, true
    while ok and waits and own.waits == waits and not waits.is_done() and not own:has_events() do
      ok = own.group:listen()
    end
  end, function() fn() end)
  return self
end

--- Ends the run now. Its result has `stop = "cancelled"`; what the model had said stays in the transcript, marked, and
--- every call has a result. Works from anywhere, also from a tool.
---@param reason string? default: "the run was cancelled"
function Run:cancel(reason)
  check_self(self, "cancel")
  self._own:cancel(type(reason) == "string" and reason or "the run was cancelled")
end

--- Has it ended?
---@return boolean
function Run:is_over()
  return self._own.is_over
end

--- The error of a failed run, else nil.
---@return vllm.Error?
function Run:error()
  return self._own.err
end

Run.__close = Run.cancel

function Run.__call()
  misuse.raise "a run is not an iterator: write run:events()"
end

function Run:__tostring()
  local own = self._own
  local state = own.err and own.err.kind or own.result and own.result.stop or "step " .. own.step
  return ("vllm.run (%s)"):format(state)
end

return runs
