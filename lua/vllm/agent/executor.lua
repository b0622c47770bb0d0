--- The calls of one step: each is checked, permitted and run in a task of its own, several at a time. Their results are
--- kept in their records; the loop appends them together, in the order of the calls.

local core = require "vllm.core"
local guard = require "vllm.base.guard"
local json = require "vllm.json"
local misuse = require "vllm.base.misuse"
local outputs = require "vllm.agent.outputs"
local policy = require "vllm.agent.policy"
local repeats = require "vllm.agent.repeats"
local tasks = require "vllm.hosts.tasks"
local toolbox = require "vllm.agent.toolbox"
local values = require "vllm.base.values"

local BLOCKED_S = 0.1 -- a tool that goes on for so long without a wait is told of
local LATE = "`%s` came to an end after its time was over; its result is dropped"

--- What a tool is given beside its input.
---@class vllm.agent.Call
---@field id string
---@field name string
---@field arguments string as the model wrote them
---@field session vllm.agent.Session
local Call = {}
Call.__index = Call
Call.__name = "vllm.call"

local function check_self(call, name)
  misuse.check_colon(type(call) == "table" and rawget(call, "_record"), "call", name)
end

--- Tells whoever reads the run what the tool is doing.
---@param text string
function Call:progress(text)
  check_self(self, "progress")
  if type(text) ~= "string" and type(text) ~= "number" then
    misuse.raise("call:progress: expected a text, got " .. values.shown(text))
  end
  if self:is_cancelled() then return end
  self._drive:emit("tool_progress", { id = self.id, name = self.name, text = tostring(text) })
end

--- Has the run been cancelled, or the tool's time passed? What it returns then is dropped.
---@return boolean
function Call:is_cancelled()
  check_self(self, "is_cancelled")
  return self._record.message ~= nil
end

---@class vllm.agent.Executor
local Executor = {}
Executor.__index = Executor

local executors = {}

--- The open calls of a transcript, ready to run.
---@param drive vllm.agent.Drive
---@param transcript vllm.agent.Transcript
---@param box vllm.agent.Toolbox
---@param seen vllm.agent.Repeats
---@return vllm.agent.Executor
function executors.new(drive, transcript, box, seen)
  return setmetatable({
    _drive = drive, _agent = drive.agent, _transcript = transcript, _box = box, _seen = seen,
    _records = transcript.open, _next = 1, _running = 0, _is_exclusive = false, _tasks = {},
    _judged = {},
  }, Executor)
end

-- The end of a call ------------------------------------------------------------------------------------------------

-- A correctable failure counts against the tool; a success forgives.
function Executor:_correction(record, why)
  local retries, tool = self._transcript.retries, self._box.by_name[record.name]
  local used, allowed = retries[record.name] or 0, tool and tool.retries or self._agent.retries
  retries[record.name] = used + 1
  return outputs.correction(record, why, used >= allowed)
end

function Executor:_settle(record, message)
  if record.message then return end
  record.message, record.status = message, "done"
  if not message.is_error then self._transcript.retries[record.name] = nil end
  local task = self._tasks[record]
  if not task and message.is_error then message.metadata.not_started = true end
  self._tasks[record] = nil
  if task then task.watch:cancel() end
  self._drive:emit("tool_result", outputs.event(record, task and core.now() - task.began_at or 0))
end

function Executor:_fail(record, failure, why)
  self:_settle(record, outputs.failure(record, failure, why))
end

-- What the tool's function gave or raised.
function Executor:_take(record, tool, ok, value, second)
  if record.message then
    if ok then self._drive:warn(LATE:format(record.name)) end
    return
  end
  local raised = not ok and second or value
  if outputs.is_retry(raised) then return self:_settle(record, self:_correction(record, raised.why)) end
  if not ok then
    local why = outputs.words(second)
    self._drive:warn(("`%s` raised an error: %s"):format(record.name, why))
    return self:_fail(record, "failed", "the tool failed: " .. why)
  end
  local how = outputs.how(self._agent, self._transcript, tool)
  local message, fault = outputs.message(self._agent.client, record, value, second, how)
  if fault then self._drive:warn(("what `%s` returned cannot be sent: %s"):format(record.name, fault)) end
  self:_settle(record, self._seen:note(record, message))
end

-- Running ----------------------------------------------------------------------------------------------------------

-- Ends when the tool's time is over, or it is cancelled with it.
function Executor:_watch(record, tool)
  local limit = tool.timeout_s or self._agent.tool_timeout_s
  if not limit then return { cancel = function() end } end
  return self._drive.group:start(function() tasks.sleep(limit) end, function(ok)
    local running = self._tasks[record]
    if not ok or not running then return end
    self:_fail(record, "timeout", ("the tool was ended after %g s"):format(limit))
    running.task:cancel()
    self:_left()
  end)
end

-- Starts right after the tool's task, so it runs when that has waited for the first time, or has ended.
function Executor:_look_for_blocking(record, began_at)
  self._drive.group:start(function()
    local took = core.now() - began_at
    if took < BLOCKED_S then return end
    self._drive:warn(("`%s` held everything up for %.1f s: a tool that works for long must wait now and then")
      :format(record.name, took))
  end, function() end)
end

function Executor:_call_tool(record, tool)
  local call = setmetatable({
    id = record.id, name = record.name, arguments = record.arguments, session = self._drive.session,
    _drive = self._drive, _record = record,
  }, Call)
  local running = { began_at = core.now() }
  self._tasks[record], record.status = running, "running"
  self._drive:emit("tool_start", { id = record.id, name = record.name, input = record.input })
  running.watch = self:_watch(record, tool)
  running.task = self._drive.group:start(function()
    running.began_at = core.now()
    return tool.run(record.input, call)
  end, function(ok, value, second, was_cancelled)
    if was_cancelled and not record.message then self:_end_run() end
    local is_late = record.message ~= nil
    self:_take(record, tool, ok, value, second)
    if not is_late then self:_left() end
  end)
  if record.message then running.task:cancel() end -- cancelled by itself, in a host that started it at once
  self:_look_for_blocking(record, running.began_at)
end

-- The scope of our tasks ends: nothing new begins in it.
function Executor:_end_run()
  self._drive:cancel "the task was cancelled"
end

-- A call has ended; others may begin.
function Executor:_left()
  self._running, self._is_exclusive = self._running - 1, false
  self:advance()
end

-- Why a call does not run, as a settled record; true: it may be permitted.
function Executor:_is_runnable(record, tool)
  if record.invalid then
    self:_settle(record, self:_correction(record, "the call was not run: " .. record.invalid))
  elseif not tool then
    self:_settle(record, self:_correction(record, toolbox.unknown(self._box, record.name)))
  else
    local fault = toolbox.faults(tool, record.input)
    if fault then self:_settle(record, self:_correction(record, fault)) end
  end
  return not record.message
end

-- May wait and may raise: policies are the program's. An approval is an answer to "ask", not to "deny".
function Executor:_permit(record, tool)
  local decision, why = policy.decide(self._agent.policies, tool, record, self._drive.session)
  if decision == "ask" and record.status == "approved" then decision = "allow" end
  return decision, why
end

-- An approval given in this process for the model's own input follows what the policies have said of it.
local function is_permitted(record)
  return record.status == "approved" and record.is_asked
end

function Executor:_on_permitted(record, tool, ok, decision, why)
  self._judged[record] = nil
  if record.message then return self:_left() end -- cancelled meanwhile
  if not ok then
    decision, why = "deny", "the policy failed: " .. guard.words(why)
    self._drive:warn(("`%s` was denied: %s"):format(record.name, why))
  end
  if decision == "deny" then
    self:_fail(record, "denied", "the call was denied: " .. (why or "it is not allowed"))
  elseif decision == "ask" then
    record.status, record.reason, record.is_asked = "asking", why, true
    self._drive:emit("approval_required", {
      id = record.id, name = record.name, arguments = record.arguments, input = record.input, reason = why,
    })
  elseif not tool.run then
    record.status = "external"
  elseif self._seen:is_stuck(record, tool) then
    self:_fail(record, "loop", repeats.STUCK)
  elseif not self._drive.cancelled then -- by a loop_key
    return self:_call_tool(record, tool)
  end
  self:_left()
end

function Executor:_start(record, tool)
  self._running, self._is_exclusive = self._running + 1, tool.exclusive or false
  if is_permitted(record) or not policy.concerns(self._agent.policies, tool) then
    return self:_on_permitted(record, tool, true, "allow")
  end
  self._judged[record] = self._drive.group:start(function() return self:_permit(record, tool) end,
    function(ok, decision, why, was_cancelled)
      if was_cancelled then self:_end_run() end
      self:_on_permitted(record, tool, ok, decision, why)
    end)
end

-- Schedule ---------------------------------------------------------------------------------------------------------

local STARTS = { new = true, approved = true }

--- Starts as many calls as may run now, in their order.
function Executor:advance()
  if self._is_advancing then return end -- a call that did not run ends within its start
  self._is_advancing = true
  while self._next <= #self._records and not self._drive.cancelled do
    local record = self._records[self._next]
    local tool = self._box.by_name[record.name]
    if STARTS[record.status] and self:_is_runnable(record, tool) then
      local must_wait = self._is_exclusive or self._running >= self._agent.parallel
      if must_wait or (tool.exclusive and self._running > 0) then break end
      self._next = self._next + 1
      self:_start(record, tool)
    else
      self._next = self._next + 1
    end
  end
  self._is_advancing = false
end

--- Has each call ended, or does it wait for somebody?
---@return boolean
function Executor:is_done()
  return self._running == 0 and self._next > #self._records
end

--- Ends all calls that have no result yet.
---@param why string?
function Executor:cancel(why)
  self._next = #self._records + 1
  for _, record in ipairs(self._records) do
    local running = self._tasks[record]
    if not record.message then self:_fail(record, "cancelled", why or outputs.INTERRUPTED) end
    if running and running.task then running.task:cancel() end
    if self._judged[record] then self._judged[record]:cancel() end
  end
  self._running = 0
end

--- The canonical text of a call's arguments: the same for the same values.
---@param record vllm.agent.Record
---@return string
function executors.canonical(record)
  return record.input and json.encode(record.input) or record.arguments
end

return executors
