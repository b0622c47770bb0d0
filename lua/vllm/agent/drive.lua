--- What moves a run: the loop's coroutine, the events that wait for a reader, and the waiting itself.
--
-- loop.lua says what it waits for: a turn, or tasks (tools, hooks). Whoever reads the run does the waiting here, so a
-- run that was dropped costs nothing. The loop's coroutine runs no code of the program's own and never waits itself. So
-- it can be resumed from anywhere, and cancelling leaves a valid transcript at once.

local core = require "vllm.core"
local errors = require "vllm.base.errors"
local excerpt = require "vllm.base.excerpt"
local groups = require "vllm.hosts.group"
local guard = require "vllm.base.guard"
local interrupt = require "vllm.hosts.interrupt"
local loop = require "vllm.agent.loop"
local waiter = require "vllm.hosts.waiter"

---@class vllm.agent.Drive
---@field session vllm.agent.Session
---@field agent vllm.Agent
---@field transcript vllm.agent.Transcript
---@field inbox vllm.agent.Inbox
---@field appended table[] the messages that this run has added
---@field steps number it stops after so many
---@field group vllm.Group its tools and hooks
---@field step integer of the model call that is under way, or was the last
---@field hints string[] of the result
---@field turn vllm.Turn|false what the loop waits for
---@field waits { is_done: (fun(): boolean), cancel: fun(reason: string) }|false or this
---@field cancelled string|false why it was cancelled
---@field _trap vllm.Trap|false|nil
---@field is_over boolean
---@field result table|false
---@field err vllm.Error|nil
local Drive = {}
Drive.__index = Drive

local drives = {}

local MAX_HINTS = 100
local MAX_WARNING = 1000 -- bytes: what a tool raised may be long, and may be another's text
local MAX_QUEUED = 1000 -- events that wait, before those that only tell of progress are dropped

---@param session vllm.agent.Session
---@param parts table agent, transcript, inbox, appended, steps: members of the same names
---@param err vllm.Error? why it cannot begin
---@return vllm.agent.Drive
function drives.new(session, parts, err)
  local agent = parts.agent
  local config = agent.client.config
  return setmetatable({
    session = session, agent = agent, transcript = parts.transcript, inbox = parts.inbox, appended = parts.appended,
    steps = parts.steps or math.huge,
    group = groups.new(config.host, config.interrupt), step = 0, turn = false,
    waits = false, cancelled = false, is_over = err ~= nil, result = false, err = err,
    hints = {}, _is_going = false, _is_telling = false, _has_told_all = false, _reader = false,
    _observers = agent.observers,
    _queue = {}, _first = 1, _last = 0, _loop = coroutine.create(loop.run),
  }, Drive)
end

--- A sentence for the user, once.
---@param hint string
function Drive:add_hint(hint)
  for _, known in ipairs(self.hints) do
    if known == hint then return end
  end
  if #self.hints < MAX_HINTS then self.hints[#self.hints + 1] = hint end
end

--- Something that the program should know: an event, and a hint for those who read none.
---@param message string
function Drive:warn(message)
  if self.is_over then return end
  message = excerpt.of(message, MAX_WARNING)
  self:add_hint(message)
  self:emit("warning", { message = message })
end

--- For the loop and its tools: an event, for whoever reads the run.
---@param kind string
---@param event table? its members
function Drive:emit(kind, event)
  if self.is_over then return end -- of a tool that ended late
  if kind == "tool_progress" and self._last - self._first >= MAX_QUEUED then return end -- nobody reads them
  event = event or {}
  event.type, event.step = kind, self.step
  self._last = self._last + 1
  self._queue[self._last] = event
  self.group:wake()
end

local function finish(self, result, err)
  self.is_over, self.turn, self.waits = true, false, false
  self.result, self.err = result or false, err or nil
  if self._trap then self._trap:release() end
end

-- What the loop waits for is cancelled, and the loop goes on.
local function end_wait(self)
  local turn, waits = self.turn, self.waits
  if turn then
    turn:cancel()
    local err = turn:error() -- none: it had ended
    if self.turn == turn then self:resume(not err and turn:result() or nil, err) end
  elseif waits then
    waits.cancel(self.cancelled)
    if self.waits == waits then self:resume() end
  end
end

--- Lets the loop go on until it waits again, or has ended.
---@param ... any what it waited for
function Drive:resume(...)
  if self.is_over then return end
  self.turn, self.waits, self._is_going = false, false, true
  local ok, what, err = coroutine.resume(self._loop, ...)
  self._is_going = false
  if not ok then
    local detail = "the loop failed: " .. guard.words(what)
    return finish(self, nil, errors.new("config", detail, { traceback = debug.traceback(self._loop) }))
  end
  if coroutine.status(self._loop) == "dead" then return finish(self, what, err) end
  if what.turn then self.turn = what.turn else self.waits = what end
  if self.cancelled then end_wait(self) end
end

--- Is there an event that nothing has to be waited for?
---@return boolean
function Drive:has_events()
  return self._first <= self._last
end

local function take_queued(self)
  if self._first > self._last then return nil end
  local event = self._queue[self._first]
  self._queue[self._first], self._first = nil, self._first + 1
  if self._first > self._last then self._first, self._last = 1, 0 end
  return event
end

-- The next event of the turn; nil: it has ended, and the loop has gone on; nil, err: another coroutine reads it.
local function take_of_turn(self, limit)
  local turn = self.turn
  local event, _, err = turn:next(limit and math.max(limit - core.now(), 0))
  if event then event.step = self.step end
  if event ~= nil then return event end
  if self.turn ~= turn then return nil end
  if err and turn:error() ~= err then return nil, err end
  self:resume(not err and turn:result() or nil, err)
end

local MAIN = {} -- stands for the main thread, for which coroutine.running() has no value before Lua 5.2
local BUSY = "another coroutine waits for this run"

-- One coroutine at a time waits for a run. One that died while it waited waits no more.
local function is_read_by(self, reader)
  if reader == MAIN then return self.group.is_looping or waiter.is_blocked() end
  return reader and coroutine.status(reader) ~= "dead"
end

-- Ctrl-C, for a client that asked for it: a turn has its own trap, this one is for what runs between two turns.
local function trap_of(self)
  local client = self.agent.client
  if self._trap == nil and client.config.interrupt then self._trap = client.transport:interrupt() or false end
  return self._trap
end

-- Waits for news of the tasks. The failure, if the run is to be cancelled.
local function wait_for_news(self, limit)
  local trap = trap_of(self)
  if trap then limit = math.min(limit or math.huge, core.now() + interrupt.LOOK_S) end
  local _, failure = self.group:wait(limit)
  return trap and trap:caught() and interrupt.failure() or failure
end

-- An error if another coroutine waits.
local function wait_for_tasks(self, limit)
  local here, is_main = coroutine.running()
  if is_main or not here then here = MAIN end
  if self._reader ~= here and is_read_by(self, self._reader) then return errors.new("busy", BUSY) end
  self._reader = here
  local failure = wait_for_news(self, limit)
  self._reader = false
  if failure then self:cancel(failure.detail) end
end

--- The next event, which is to be given to `deliver` then.
---@param limit number? absolute, seconds of core.now()
---@return table|false|nil event false: the limit has passed; nil: the run is over
---@return vllm.Error? err with nil: it is not over, but another coroutine reads it
function Drive:take(limit)
  local has_waited = false
  while true do
    local event = take_queued(self)
    if event then return event end
    if self.is_over then return nil end
    local err
    if self.turn then
      event, err = take_of_turn(self, limit)
      if event ~= nil then return event end
    elseif not self.waits then
      self:resume(self)
    elseif self.waits.is_done() then
      self:resume()
    elseif has_waited and limit and core.now() >= limit then
      return false
    else
      err = wait_for_tasks(self, limit)
      has_waited = true
    end
    if err then
      if limit and core.now() >= limit then return false end
      return nil, err
    end
  end
end

--- Reads on to the end of the turn that is under way, without its events. Only where nothing observes them.
function Drive:skip_turn()
  local turn = self.turn
  if not turn or self._observers[1] or self:has_events() then return end
  local result, _, err = turn:result()
  if self.turn ~= turn or err and turn:error() ~= err then return end
  self:resume(result, err)
end

-- Shows an event to the observers. One that fails is told of once, and dropped.
local function tell(self, event)
  local observers = self._observers
  for i = 1, #observers do
    local ok, why = pcall(observers[i], event, self.session)
    if not ok then
      local kept = {}
      for _, observer in ipairs(self._observers) do
        if observer ~= observers[i] then kept[#kept + 1] = observer end
      end
      self._observers = kept
      self:warn("an observer failed and is told nothing more: " .. guard.words(why))
    end
  end
end

-- Of a run that was cancelled, observers hear the end at once: perhaps it is never read.
local function tell_rest(self)
  if self._is_telling or self._has_told_all or not self.is_over then return end
  self._has_told_all = true
  local rest = {}
  for i = self._first, self._last do rest[#rest + 1] = self._queue[i] end
  for _, event in ipairs(rest) do tell(self, event) end
end

--- A reader takes an event: it is shown to the observers first, unless they know it.
---@param event table
function Drive:deliver(event)
  if self._has_told_all or not self._observers[1] then return end
  self._is_telling = true
  tell(self, event)
  self._is_telling = false
  if self.cancelled then tell_rest(self) end -- by one of them
end

--- Ends the run now, with a transcript in which every call has a result. From anywhere; from within the loop (a host
--- may start a task at once) it takes effect where that waits next.
---@param reason string
function Drive:cancel(reason)
  if self.is_over then return end
  self.cancelled = self.cancelled or reason
  if self._is_going then return end
  if self.turn or self.waits then
    end_wait(self)
  else
    self:resume(self) -- it had not begun, and sees that it is over
  end
  tell_rest(self)
  self.group:wake()
end

return drives
