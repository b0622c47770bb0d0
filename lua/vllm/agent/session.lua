--- A conversation of an agent: its transcript, the calls that wait for an approval, input that came meanwhile. It
--- survives JSON (`state`), so it can go on in another process.

local decisions = require "vllm.agent.decisions"
local errors = require "vllm.base.errors"
local inboxes = require "vllm.agent.inbox"
local misuse = require "vllm.base.misuse"
local outcome = require "vllm.agent.outcome"
local outputs = require "vllm.agent.outputs"
local portable = require("vllm.request.media").portable_message
local runs = require "vllm.agent.run"
local saved = require "vllm.agent.saved"
local transcripts = require "vllm.agent.transcript"
local values = require "vllm.base.values"

---@class vllm.agent.Session
---@field id string? sent as `user` and `session_id` with every request
local Session = {}
Session.__index = Session
Session.__name = "vllm.agent.session"
misuse.tell_members(Session, "session", "agent_session")

local sessions = { Session = Session }

local WEAK = { __mode = "v" } -- a run that the program has dropped is over

local KEYS = { id = true, state = true, messages = true }

--- Made by agent:session.
---@param agent vllm.Agent
---@param options { id: string?, messages: table[]?, state: table? }
---@return vllm.agent.Session
function sessions.new(agent, options)
  if type(options) ~= "table" then
    misuse.raise("agent:session: expected a table of options, got " .. values.shown(options))
  end
  for key in pairs(options) do
    if not KEYS[key] then
      misuse.raise(("agent:session: unknown key `%s`; known are id, messages, state"):format(tostring(key)))
    end
  end
  if options.id ~= nil and type(options.id) ~= "string" then
    misuse.raise("agent:session: id must be a string, got " .. values.shown(options.id))
  end
  local state, why = saved.load(options)
  if not state then misuse.raise("agent:session: " .. why) end
  return setmetatable({
    id = state.id, _agent = agent, _transcript = state.transcript, _inbox = state.inbox, _last = setmetatable({}, WEAK),
  }, Session)
end

local function check_self(self, name)
  misuse.check_colon(type(self) == "table" and rawget(self, "_transcript"), "session", name)
end

-- Options of a call are lost in silence where other clients take them beside the input.
local function check_surplus(surplus, name)
  if surplus == nil then return end
  misuse.raise(("session:%s: takes the input alone, got %s beside it; options are the agent's: agent:with { … }")
    :format(name, values.shown(surplus)))
end

local function running(self)
  local run = self._last.run
  return run and not run:is_over() and run or nil
end

-- A run that the program has dropped may have left tools behind: they do no more.
local function end_dropped(self)
  if running(self) then return end
  local drive = self._last.drive
  if drive then drive:cancel "the run was dropped" end
  for _, record in ipairs(self._transcript:waiting "running") do
    record.message, record.status = outputs.failure(record, "cancelled", outputs.INTERRUPTED), "done"
  end
end

-- Why a run with this input cannot begin. Input that could not be sent would spoil the transcript for good.
local function obstacle(self, input)
  if running(self) then
    return errors.new("busy", "this session's last run has not ended: run:result() finishes it, session:cancel() ends "
      .. "it; session:steer and session:queue add to it")
  end
  local first = #input > 0 and outcome.pending(self._transcript)[1]
  if not first then return inboxes.fault(self._agent.client, input) end
  local how = first.wants == "approval" and "approve or deny it" or "answer it"
  local why = ("the call `%s` of `%s` waits, and comes before new input: %s"):format(first.id, first.name, how)
  return errors.new("busy", why)
end

local function run_of(self, input, name, steps)
  local messages = inboxes.messages(input, name)
  end_dropped(self)
  local parts = {
    agent = self._agent, transcript = self._transcript, inbox = self._inbox, appended = {}, steps = steps,
  }
  local err = obstacle(self, messages)
  if err then return runs.new(self, parts, err) end
  for _, message in ipairs(messages) do
    local own = parts.transcript:take_input(message)
    if not parts.transcript.open then parts.appended[#parts.appended + 1] = own end
  end
  local run, drive = runs.new(self, parts)
  self._last.run, self._last.drive = run, drive
  return run
end

--- A run: the input joins the transcript at once, and the loop goes on until the task is done or something stops it.
--- Without input the run goes on where the last one stopped: after an approval, an error, a bound.
---@param input string|table|nil a text, a message, or a list of them
---@param surplus nil options are the agent's: agent:with { … }
---@return vllm.agent.Run
function Session:run(input, surplus)
  check_self(self, "run")
  check_surplus(surplus, "run")
  return run_of(self, input, "run")
end

--- One model call and the tools that it calls: a run that stops there, with `stop = "stepped"` if there is more to do.
--- For programs that drive the loop themselves: `session:step()` again makes the next call.
---@param input string|table|nil as for run
---@param surplus nil
---@return vllm.agent.Run
function Session:step(input, surplus)
  check_self(self, "step")
  check_surplus(surplus, "step")
  return run_of(self, input, "step", 1)
end

--- Runs, and waits for the text.
---@param input string|table|nil as for run
---@param surplus nil
---@return string? text
---@return string? message
---@return vllm.Error? err
function Session:ask(input, surplus)
  check_self(self, "ask")
  check_surplus(surplus, "ask")
  return self:run(input):text()
end

--- Cancels the run that is under way, or else what the last one left: every call that waits gets the result that it was
--- cancelled.
function Session:cancel()
  check_self(self, "cancel")
  end_dropped(self)
  local run = running(self) or self._transcript.open and run_of(self, nil, "cancel")
  if run then run:cancel() end
end

-- Input for a run ---------------------------------------------------------------------------------------------------

local function put(self, line, input, id, name)
  local message = inboxes.message(input, name)
  local err = inboxes.fault(self._agent.client, { message })
  if err then return errors.give(err) end
  return self._inbox:put(line, message, id)
end

--- Input for the run that is under way, or the next: it joins at the next step, and keeps a run going that was about to
--- end.
---@param input string|table
---@param id string? the same id twice is one input
---@return vllm.agent.Input? handle whose `outcome` says what became of it
---@return string? message the input cannot be sent
---@return vllm.Error? err
function Session:steer(input, id)
  check_self(self, "steer")
  return put(self, "steered", input, id, "steer")
end

--- Input for after the task: the run goes on with it then.
---@param input string|table
---@param id string?
---@return vllm.agent.Input? handle
---@return string? message
---@return vllm.Error? err
function Session:queue(input, id)
  check_self(self, "queue")
  return put(self, "queued", input, id, "queue")
end

-- Approvals ---------------------------------------------------------------------------------------------------------

--- A call that waits may run, in the next `run()`. The transcript keeps the call as the model wrote it.
---@param id string of the call: result.pending[i].id
---@param changes { input: table }? arguments in place of the model's
---@return true?
---@return string? message no such call waits, or the arguments break the tool's schema
---@return vllm.Error? err
function Session:approve(id, changes)
  check_self(self, "approve")
  local input = decisions.changed_input(changes)
  local record, message, err = decisions.waiting(self._transcript, "approve", id, "asking", "approval")
  if not record then return nil, message, err end
  local fault = input and decisions.fault_of_input(self._agent.tools, record.name, input)
  if fault then return errors.give(errors.new("invalid_request", fault, { param = "input" })) end
  record.input, record.status, record.decision = input or record.input, "approved", "approved"
  record.is_asked = not input and record.is_asked
  return true
end

--- A call that waits does not run; the model reads why.
---@param id string
---@param why string?
---@return true?
---@return string? message
---@return vllm.Error? err
function Session:deny(id, why)
  decisions.check_reason("deny", why)
  local record, message, err = decisions.waiting(self._transcript, "deny", id, "asking", "approval")
  if not record then return nil, message, err end
  record.message = outputs.failure(record, "denied", "the call was denied" .. (why and ": " .. why or ""))
  record.message.metadata.not_started = true
  record.status, record.decision, record.reason = "done", "denied", why
  return true
end

--- Approves every call that waits.
---@return integer count
function Session:approve_all()
  check_self(self, "approve_all")
  local list = self._transcript:waiting "asking"
  for _, record in ipairs(list) do self:approve(record.id) end
  return #list
end

--- Denies every call that waits.
---@param why string?
---@return integer count
function Session:deny_all(why)
  check_self(self, "deny_all")
  decisions.check_reason("deny_all", why)
  local list = self._transcript:waiting "asking"
  for _, record in ipairs(list) do self:deny(record.id, why) end
  return #list
end

--- The result of a call whose tool has no `run`.
---@param id string
---@param value any as a tool returns it
---@param why string? with nil: why it failed
---@return true?
---@return string? message
---@return vllm.Error? err
function Session:answer(id, value, why)
  check_self(self, "answer")
  local record, message, err = decisions.waiting(self._transcript, "answer", id, "external", "its result")
  if not record then return nil, message, err end
  local how = outputs.how(self._agent, self._transcript)
  record.message = outputs.message(self._agent.client, record, value, why, how)
  record.status, record.decision = "done", "answered"
  return true
end

--- The calls that wait for an approval or a result.
---@return table[] as result.pending
function Session:pending()
  check_self(self, "pending")
  return outcome.pending(self._transcript)
end

-- What it holds -----------------------------------------------------------------------------------------------------

--- The transcript: a fresh list of its messages. It survives JSON, as client:session's does.
---@return table[]
function Session:messages()
  check_self(self, "messages")
  local list = {}
  for i, message in ipairs(self._transcript.messages) do list[i] = portable(message) end
  return list
end

--- The tokens of all its runs.
---@return table
function Session:usage()
  check_self(self, "usage")
  return transcripts.copy_usage(self._transcript.usage)
end

--- Everything, as a plain table that survives JSON: `agent:session { state = … }` goes on with it, in any process. A
--- tool that was running then is not run again: its call gets the result that it was interrupted.
---@return table
function Session:state()
  check_self(self, "state")
  return saved.state(self.id, self._transcript, self._inbox)
end

Session.__close = Session.cancel

function Session:__tostring()
  return ("vllm.agent.session (%s, %d messages)"):format(self.id or "no id", #self._transcript.messages)
end

return sessions
