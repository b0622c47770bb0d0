--- Shortens a transcript that is too long: before a request, when a trigger says so; or after the server has refused
--- it. A compactor works on a copy. What it gives must have a result for every call, or it is dropped, with a warning.

local compact = require "vllm.agent.compact"
local transcripts = require "vllm.agent.transcript"
local values = require "vllm.base.values"

local MAX_RECOVERIES = 2 -- of one step

---@class vllm.agent.Shortener
local Shortener = {}
Shortener.__index = Shortener

local shorteners = {}

---@param course table of the loop
---@return vllm.agent.Shortener
function shorteners.new(course)
  return setmetatable({ _course = course, _recoveries = 0 }, Shortener)
end

local function copy(messages)
  local out = {}
  for i, message in ipairs(messages) do out[i] = message end
  return out
end

-- What a compactor gives, if it can be used; or nil and why not; or nil: it had nothing to do.
local function try(compactor, messages, context)
  local list = compactor(copy(messages), context)
  if list == nil then return nil end
  if not values.list_length(list) then return nil, "it gave " .. values.shown(list) .. ", not a list of messages" end
  local fault = transcripts.pair_fault(list)
  if fault then return nil, fault end
  return list
end

function Shortener:_warn(why)
  self._course.drive:warn("a compactor was left out: " .. why)
end

function Shortener:_context(why)
  local course = self._course
  return {
    why = why, client = course.agent.client, session = course.drive.session, usage = course.transcript.last_usage,
  }
end

-- Runs in a task: compactors may wait, and what one raises ends the others too.
function Shortener:_run(compactors, why)
  local transcript, context = self._course.transcript, self:_context(why)
  local before = transcript.messages
  local messages, is_changed = before, false
  for _, compactor in ipairs(compactors) do
    local list, fault = try(compactor, messages, context)
    if fault then self:_warn(fault) end
    if list then messages, is_changed = list, true end
  end
  if not is_changed or self._course.drive.cancelled then return false end
  transcript.messages = messages
  self._course.drive:emit("compaction", { why = why, before = #before, after = #messages })
  return true
end

-- Which trigger says that it is time, or nil.
function Shortener:_reason()
  local options, transcript = self._course.agent.compact, self._course.transcript
  if not options then return nil end
  local messages, usage = transcript.messages, transcript.last_usage
  local tokens = usage and usage.prompt_tokens
  if options.messages and #messages > options.messages then return "messages" end
  if options.prompt_tokens and tokens and tokens > options.prompt_tokens then return "prompt_tokens" end
  local ok, is_due = true, nil
  if options.when then ok, is_due = self._course:call(options.when, messages, usage) end
  if not ok then self:_warn(is_due) end
  return ok and is_due and "when" or nil
end

-- May wait. What a compactor raises leaves the transcript as it was.
function Shortener:_shorten(compactors, why)
  local ok, is_shorter = self._course:call(self._run, self, compactors, why)
  if not ok then self:_warn(is_shorter) end
  return ok and is_shorter and not self._course.drive.cancelled
end

--- Before each request.
function Shortener:before_request()
  local why = self:_reason()
  if not why or self._course.drive.cancelled then return end
  self._course.transcript.last_usage = nil -- it tells of the transcript as it was
  self:_shorten(self._course.agent.compact, why)
end

--- After the server has refused a request as too long: is another one, with a shorter transcript, worth a try?
---@param err vllm.Error
---@return boolean
function Shortener:recover(err)
  local course = self._course
  if err.kind ~= "context_length" or course.agent.compact == false or self._recoveries >= MAX_RECOVERIES then
    return false
  end
  self._recoveries = self._recoveries + 1
  return self:_shorten(course.agent.compact or compact.CAREFUL, "context_length")
end

--- A step begins.
function Shortener:begin_step()
  self._recoveries = 0
end

return shorteners
