--- What moves a run: the loop's coroutine, the events that wait for a reader, and the waiting itself.
--
-- loop.lua says what it waits for: a turn, or tasks (tools, hooks). Whoever reads the run does the waiting here, so a
-- run that was dropped costs nothing. The loop's coroutine runs no code of the program's own and never waits itself. So
-- it can be resumed from anywhere, and cancelling leaves a valid transcript at once.

local core = require "vllm.core"
local errors = require "vllm.base.errors"
local groups = require "vllm.hosts.group"
local guard = require "vllm.base.guard"
local loop = require "vllm.agent.loop"

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
---@field is_over boolean
---@field result table|false
---@field err vllm.Error|nil
local Drive = {}
Drive.__index = Drive

local drives = {}

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
    hints = {}, _observers = agent.observers, _queue = {}, _first = 1, _last = 0, _loop = coroutine.create(loop.run),
  }, Drive)
end

--- A sentence for the user, once.
---@param hint string
function Drive:add_hint(hint)
  for _, known in ipairs(self.hints) do
    if known == hint then return end
  end
  self.hints[#self.hints + 1] = hint
end

--- Something that the program should know: an event, and a hint for those who read none.
---@param message string
function Drive:warn(message)
  if self.is_over then return end
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
end

--- Lets the loop go on until it waits again, or has ended.
---@param ... any what it waited for
function Drive:resume(...)
  if self.is_over then return end
  self.turn, self.waits = false, false
  local ok, what, err = coroutine.resume(self._loop, ...)
  if not ok then
    local detail = "the loop failed: " .. guard.words(what)
    return finish(self, nil, errors.new("config", detail, { traceback = debug.traceback(self._loop) }))
  end
  if coroutine.status(self._loop) == "dead" then return finish(self, what, err) end
  if what.turn then self.turn = what.turn else self.waits = what end
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

-- The next event of the turn; nil: it has ended, and the loop has gone on.
local function take_of_turn(self, limit)
  local turn = self.turn
  local event, _, err = turn:next(limit and math.max(limit - core.now(), 0))
  if event then event.step = self.step end
  if event ~= nil then return event end
  if self.turn == turn then self:resume(not err and turn:result() or nil, err) end
end

local function wait_for_tasks(self, limit)
  local waits = self.waits
  local _, failure = self.group:wait(limit)
  if failure then self:cancel(failure.detail) end
  if self.waits == waits and waits and waits.is_done() then self:resume() end
end

--- The next event, which is to be given to `deliver` then.
---@param limit number? absolute, seconds of core.now()
---@return table|false|nil event false: the limit has passed; nil: the run is over
function Drive:take(limit)
  local has_waited = false
  while true do
    local event = take_queued(self)
    if event then return event end
    if self.is_over then return nil end
    if self.turn then
      event = take_of_turn(self, limit)
      if event ~= nil then return event end
    elseif not self.waits then
      self:resume(self)
    elseif has_waited and limit and core.now() >= limit then
      return false
    else
      wait_for_tasks(self, limit)
      has_waited = true
    end
  end
end

--- Reads on to the end of the turn that is under way, without its events. Only where nothing observes them.
function Drive:skip_turn()
  local turn = self.turn
  if not turn or self._observers[1] or self:has_events() then return end
  local result, _, err = turn:result()
  if self.turn == turn then self:resume(result, err) end
end

--- Shows an event to the observers. One that fails is told of once, and dropped.
---@param event table
function Drive:deliver(event)
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

--- Ends the run now, with a transcript in which every call has a result. From anywhere but the loop itself.
---@param reason string
function Drive:cancel(reason)
  if self.is_over then return end
  self.cancelled = reason
  if not (self.turn or self.waits) then self:resume(self) end -- it had not begun, and sees that it is over
  local turn, waits = self.turn, self.waits
  if turn then
    turn:cancel()
    if self.turn == turn then self:resume(nil, turn:error()) end
  elseif waits then
    waits.cancel(reason)
    if self.waits == waits then self:resume() end
  end
  self.group:wake()
end

return drives
