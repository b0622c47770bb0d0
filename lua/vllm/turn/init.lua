--- One model call, as a program holds it. effort.lua is what it does, reading.lua how it is read.

local configuration = require "vllm.request.config"
local core = require "vllm.core"
local errors = require "vllm.base.errors"
local hosts = require "vllm.hosts"
local misuse = require "vllm.base.misuse"
local reading = require "vllm.turn.reading"
local efforts = require "vllm.turn.effort"
local values = require "vllm.base.values"

---@class vllm.Turn
---@field status integer? HTTP status of the latest attempt, once its head is in
---@field headers table? the answer's headers, lower-case name → value
local Turn = {}
Turn.__index = Turn
Turn.__name = "vllm.turn"

local turns = { Turn = Turn }

--- Made by client:turn; sends nothing.
---@param config table a checked configuration
---@param ... any see efforts.new
---@return vllm.Turn
function turns.new(config, ...)
  local turn = { _on_event = config.on_event or false }
  turn._effort = efforts.new(turn, config, ...)
  return setmetatable(turn, Turn)
end

-- What each event needs is a local function: a method costs a look into the class first.
local take, complete, EVENTS, TEXTS = reading.take, reading.deliver, reading.EVENTS, reading.TEXTS

local function check_self(turn, name)
  misuse.check_colon(type(turn) == "table" and turn._effort, "turn", name)
end

local function deliver(turn, limit)
  local own = turn._effort
  local event, message, err = take(own, EVENTS, limit)
  local kind = event and event.type
  if kind == "turn_end" or kind == "tool_call" then complete(own, event) end
  if event and turn._on_event then turn._on_event(event, turn) end
  return event, message, err
end

--- Waits for the response head. `turn.status` and `turn.headers` are set; a status that is not 2xx is an error.
---@return true?
---@return string? message
---@return vllm.Error? err kinds: any but stream, truncated, no_output
function Turn:open()
  check_self(self, "open")
  return reading.head(self._effort)
end

--- The next event.
---@param timeout_s number? how long to wait at the most, in seconds; nil: as long as the clocks allow
---@return table|false|nil event an event · false at the timeout · nil at the end
---@return string? message with nil: the turn failed
---@return vllm.Error? err
function Turn:next(timeout_s)
  if timeout_s ~= nil and (type(timeout_s) ~= "number" or timeout_s ~= timeout_s) then
    misuse.raise("turn:next: expected a number of seconds, got " .. values.shown(timeout_s))
  end
  return deliver(self, timeout_s and core.now() + timeout_s)
end

--- The next event without waiting.
---@return table|false|nil event an event · false: nothing yet · nil at the end
---@return string? message
---@return vllm.Error? err
function Turn:poll()
  return self:next(0)
end

-- Lua 5.1 calls an iterator through C, so what it waits for cannot suspend the coroutine.
local FOR_CANNOT_WAIT = _VERSION == "Lua 5.1" and not rawget(_G, "jit")

local function check_for(turn, name, surplus)
  check_self(turn, name) -- `in turn.events do` would call this forever
  if surplus ~= nil then
    misuse.raise(("turn:%s: gives an iterator and takes nothing, got %s; turn:each(fn) calls a function")
      :format(name, values.shown(surplus)))
  end
  if not FOR_CANNOT_WAIT then return end
  local host, token = hosts.here(turn._effort.config.host)
  if token == nil then return end
  misuse.raise(("turn:%s: Lua 5.1 cannot wait inside `for … in` in a coroutine (%s); use turn:each(fn), "
    .. "or turn:next() in a while loop"):format(name, hosts.name_of(host)))
end

--- An iterator over all events. A failure raises its message; `turn:error()` is the object. Leaving cancels nothing.
---@param surplus nil takes nothing: turn:each(fn) calls a function
---@return fun(): table?
function Turn:events(surplus)
  check_for(self, "events", surplus)
  return function()
    local event, message = deliver(self)
    if message then error(message, 0) end
    return event
  end
end

--- An iterator over the text of choice 0 as it comes; cheaper than events(). Raises as events() does.
---@param surplus nil as in events
---@return fun(): string?
function Turn:text_deltas(surplus)
  check_for(self, "text_deltas", surplus)
  local own = self._effort
  if self._on_event then
    return function()
      while true do
        local event, message = deliver(self)
        if message then error(message, 0) end
        if not event then return nil end
        if event.type == "text_delta" and event.choice == 0 then return event.text end
      end
    end
  end
  return function()
    local text, message = take(own, TEXTS)
    if message then error(message, 0) end
    return text
  end
end

--- Calls `fn` with every event. When it returns false, the turn is cancelled.
---@param fn fun(event: table): boolean?
---@return table? result
---@return string? message
---@return vllm.Error? err
function Turn:each(fn)
  check_self(self, "each")
  if type(fn) ~= "function" then misuse.raise("turn:each: expected a function, got " .. type(fn)) end
  local own = self._effort
  while true do
    local event, message, err = deliver(self)
    if message then return nil, message, err end
    if not event then return own.result end
    if fn(event) == false and own.phase ~= "ended" then
      self:cancel()
      return errors.give(own.err)
    end
  end
end

--- The callback form, for Neovim and the like: returns at once, and a task of the host in charge does the waiting.
---@param on_event (fun(event: table): boolean?)? called with every event; false cancels the turn. What it raises is
---  reported by the host and cancels the turn
---@param on_done fun(result: table?, message: string?, err: vllm.Error?) called exactly once
---@return vllm.Turn self
function Turn:start(on_event, on_done)
  check_self(self, "start")
  require("vllm.turn.callbacks").start(self, self._effort, on_event, on_done)
  return self
end

--- Calls `fn` once, soon, when `poll` has something to say: an event, the end, an error. Other waits stand on it.
---@param fn fun()
---@return vllm.Turn self
function Turn:on_ready(fn)
  check_self(self, "on_ready")
  require("vllm.turn.callbacks").on_ready(self._effort, fn)
  return self
end

--- Waits for the end. May be called any number of times.
---@return table? result see docs/events.md
---@return string? message
---@return vllm.Error? err
function Turn:result()
  check_self(self, "result")
  local own = self._effort
  while not own.result do
    local _, message, err
    if self._on_event then _, message, err = deliver(self) else _, message, err = take(own, TEXTS) end
    if message then return nil, message, err end
  end
  return own.result
end

local function why_no_text(result)
  local calls = #(result.tool_calls or {})
  if calls > 0 then return ("the model called %d tool%s and wrote no text"):format(calls, calls == 1 and "" or "s") end
  if result.refusal then return "the model refused: " .. result.refusal end
  return "the model returned no text"
end

--- Waits for the end and gives the text of choice 0. No text is an error of kind `no_output`, with the reason if known.
---@return string? text
---@return string? message
---@return vllm.Error? err
function Turn:text()
  check_self(self, "text")
  local result, message, err = self:result()
  if not result then return nil, message, err end
  if result.text and result.text ~= "" then return result.text end
  local why = result.hints[1] or why_no_text(result)
  return errors.give(errors.new("no_output", why, { partial = result, status = result.status }))
end

--- Passes the server's body on, byte for byte, while decoding it. For gateways; open() gives status and headers.
---@param write fun(bytes: string): any returns false to stop, which cancels the turn
---@return table? result
---@return string? message
---@return vllm.Error? err
function Turn:relay(write)
  check_self(self, "relay")
  if type(write) ~= "function" then misuse.raise("turn:relay: expected a function, got " .. type(write)) end
  local own = self._effort
  if own.result or own.attempt and own.attempt:has_body() then
    misuse.raise "turn:relay: bytes of the answer were taken already"
  end
  own:relay(write)
  return self:result()
end

--- Ends the turn now; the server sees the connection close. turn:error().partial has what came. Works from anywhere.
function Turn:cancel()
  check_self(self, "cancel")
  self._effort:cancel "the turn was cancelled"
end

--- The error of a failed turn, else nil.
---@return vllm.Error?
function Turn:error()
  return self._effort.err or nil
end

Turn.__close = Turn.cancel

-- `turn.temperature = 0` would change nothing. Other names are the program's own business.
function Turn:__newindex(name, value)
  if type(Turn[name]) == "function" then misuse.raise(("turn.%s is a function of the turn"):format(name)) end
  if name ~= "headers" and configuration.is_option(name) then
    local how = configuration.client_only[name] and "client:with { %s = … }:turn(…)" or "client:turn { %s = … }"
    misuse.raise(("turn.%s: a turn does not change; " .. how .. " makes one with it"):format(name, name))
  end
  rawset(self, name, value)
end

function Turn.__call()
  misuse.raise "a turn is not an iterator: write turn:events() or turn:text_deltas()"
end

function Turn:__tostring()
  local own = self._effort
  return "vllm.turn (" .. (own.err and own.err.kind or own.phase) .. ")"
end

return turns
