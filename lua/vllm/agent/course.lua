--- One run of the loop: what it knows beside the transcript, how it waits, and how the transcript grows.

local contexts = require "vllm.agent.context"
local core = require "vllm.core"
local guard = require "vllm.base.guard"
local outputs = require "vllm.agent.outputs"
local repeats = require "vllm.agent.repeats"
local shorteners = require "vllm.agent.shortener"

---@class vllm.agent.Course
---@field drive vllm.agent.Drive
---@field agent vllm.Agent
---@field transcript vllm.agent.Transcript
---@field inbox vllm.agent.Inbox
---@field appended table[] the messages that this run has added
---@field steps table[] as in the result
---@field usage table summed
---@field hints string[]
---@field seen vllm.agent.Repeats
---@field shortener vllm.agent.Shortener
---@field context vllm.agent.Context
---@field box vllm.agent.Toolbox the tools of this step
---@field is_last string|nil why this step is the last
local Course = {}
Course.__index = Course

-- Waiting ----------------------------------------------------------------------------------------------------------

--- Waits for a turn.
---@param turn vllm.Turn
---@return table? result
---@return vllm.Error? err
function Course.await_turn(turn)
  return coroutine.yield { turn = turn }
end

--- Waits for tasks.
---@param waits { is_done: (fun(): boolean), cancel: fun(reason: string) }
function Course.await(waits)
  if not waits.is_done() then coroutine.yield(waits) end
end

--- Waits until all that was told has been read: who hears of an approval that is required may give it at once.
function Course:await_reader()
  if #self.transcript:waiting "asking" + #self.transcript:waiting "external" == 0 then return end
  local drive = self.drive
  self.await { is_done = function() return not drive:has_events() end, cancel = function() end }
end

--- Calls what may wait and may raise, in a task.
---@return boolean ok
---@return any value or the error's text
function Course:call(fn, ...)
  local arguments, state = { ... }, nil
  local task = self.drive.group:start(function()
    return fn(arguments[1], arguments[2], arguments[3])
  end, function(ok, value, raised, was_cancelled)
    if was_cancelled then self.drive:cancel "the task was cancelled" end
    if not ok then value = guard.words(raised) end
    state = state or { ok, value }
  end)
  self.await {
    is_done = function() return state ~= nil end,
    cancel = function(why)
      state = state or { false, why }
      task:cancel()
    end,
  }
  return state[1], state[2]
end

-- The transcript ---------------------------------------------------------------------------------------------------

-- A message has joined the transcript.
function Course:note(message)
  self.appended[#self.appended + 1] = message
  self.drive:emit("message", { message = message })
end

--- A message joins the transcript.
---@param message table
function Course:append(message)
  self.transcript:append(message)
  self:note(message)
end

--- All open calls have results, which join the transcript.
function Course:close_calls()
  for _, message in ipairs(self.transcript:close_calls()) do self:note(message) end
end

--- Messages that were steered in join the transcript.
---@return boolean is_any
function Course:take_steered()
  local is_any = false
  local message = self.inbox:take("steered", self.drive.step + 1)
  while message do
    self:append(message)
    is_any = true
    message = self.inbox:take("steered", self.drive.step + 1)
  end
  return is_any
end

-- Ends -------------------------------------------------------------------------------------------------------------

--- What the model had said before it was interrupted stays, marked.
---@param partial table?
function Course:keep_partial(partial)
  local message, tool_calls = partial and partial.message, partial and partial.tool_calls or {}
  if not message or (#tool_calls == 0 and (partial.text or "") == "") then return end
  message.metadata = { interrupted = true }
  self:append(message)
  if #tool_calls > 0 then self.transcript:open_calls(tool_calls) end
end

--- Each open call gets a result, which says why it has none of its own.
---@param failure string
---@param why string
function Course:refuse_calls(failure, why)
  if not self.transcript.open then return end
  for _, record in ipairs(self.transcript.open) do
    record.message = record.message or outputs.failure(record, failure, why)
    record.status = "done"
  end
  self:close_calls()
end

function Course:_tell_decision(record)
  if record.decision ~= "answered" then
    self.drive:emit("approval_resolved", {
      id = record.id, name = record.name, is_approved = record.decision == "approved", reason = record.reason,
      input = record.input,
    })
  end
  if record.message then self.drive:emit("tool_result", outputs.event(record, 0)) end
end

--- Tells of what was decided since the last run: approvals, and results from outside.
function Course:tell_decisions()
  for _, record in ipairs(self.transcript.open) do
    if record.decision then self:_tell_decision(record) end
    record.decision = nil
  end
end

local courses = {}

---@param drive vllm.agent.Drive
---@return vllm.agent.Course
function courses.new(drive)
  local course = setmetatable({
    drive = drive, agent = drive.agent, transcript = drive.transcript, inbox = drive.inbox, appended = drive.appended,
    steps = {}, usage = {}, hints = drive.hints, complaints = 0, began_at = core.now(), is_last = nil,
    seen = repeats.new(drive.agent.loop_guard),
  }, Course)
  course.shortener, course.context = shorteners.new(course), contexts.new(course)
  return course
end

return courses
