--- Shortens a transcript that is too long: before a request, when a trigger says so; or after the server has refused
--- it. A compactor works on a copy. What it gives must have a result for every call, or it is dropped, with a warning.

local compact = require "vllm.agent.compact"
local prompts = require "vllm.agent.prompt"
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
  return setmetatable({ _course = course, _recoveries = 0, _next = 1 }, Shortener)
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

-- What compactors make of a list of messages: all of them, or from `first` on until `excess` bytes are gone; and which
-- comes next.
function Shortener:_apply(compactors, before, context, first, excess)
  local messages, is_enough, at = before, false, first
  while compactors[at] and not is_enough do
    local list, fault = try(compactors[at], messages, context)
    if fault then self:_warn(fault) end
    messages, at = list or messages, at + 1
    is_enough = list and excess and prompts.size_of(before) - prompts.size_of(list) >= excess
  end
  return messages, at
end

-- Runs in a task: compactors may wait, and what one raises ends the others too.
function Shortener:_run(compactors, why, excess)
  local transcript, context = self._course.transcript, self:_context(why)
  local before, first = transcript.messages, excess and self._next or 1
  self._next = excess and #compactors + 1 or 1 -- one that raises is not tried again
  local messages, following = self:_apply(compactors, before, context, first, excess)
  if excess then self._next = following end
  if messages == before or self._course.drive.cancelled then return false end
  transcript.messages, transcript.is_compacted = messages, true
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
function Shortener:_shorten(compactors, why, excess)
  local ok, is_shorter = self._course:call(function() return self:_run(compactors, why, excess) end)
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

--- The request is too long: compactors run that have not in this step, one by one, until so many bytes are gone.
---@param excess number
---@return boolean is_shorter
function Shortener:shorten_by(excess)
  local compactors = self._course.agent.compact
  if compactors == nil then compactors = compact.CAREFUL end
  return compactors and self:_shorten(compactors, "context", excess) or false
end

--- A step begins.
function Shortener:begin_step()
  self._recoveries, self._next = 0, 1
end

return shorteners
