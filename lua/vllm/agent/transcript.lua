--- What a conversation has said, and the calls that still lack a result. Plain tables, which survive JSON.

local repair = require("vllm.request.repair").repair
local stored = require "vllm.agent.stored"
local values = require "vllm.base.values"

--- A call of the last assistant message, from then until all of its calls have results.
---@class vllm.agent.Record
---@field id string
---@field name string
---@field arguments string as the model wrote them
---@field input table? decoded, or what an approval put in their place
---@field invalid string? why it cannot run
---@field status "new"|"asking"|"approved"|"running"|"external"|"done"
---@field reason string? why it needs an approval
---@field message table? the result, once it is done
---@field is_asked boolean? the policies have seen this input, in this process: none of them denied it
---@field decision "approved"|"denied"|nil which the next run has to tell of

---@class vllm.agent.Transcript
---@field messages table[]
---@field open vllm.agent.Record[]|false
---@field stored vllm.agent.Stored
---@field later table[] messages that came while calls were open: they join after the results
---@field usage table summed
---@field last_usage table|nil of the last answer; nil where the transcript has been shortened since
---@field prompt vllm.agent.Prompt|nil of the last request that was answered
---@field is_compacted boolean|nil since then
---@field retries table<string, integer> tool → corrections in a row that were asked for
local Transcript = {}
Transcript.__index = Transcript

local transcripts = {}

---@param messages table[]
---@param open vllm.agent.Record[]?
---@param later table[]?
---@param usage table?
---@return vllm.agent.Transcript
function transcripts.new(messages, open, later, usage)
  return setmetatable({
    messages = messages, open = open or false, later = later or {}, usage = usage or {}, retries = {},
    stored = stored.new(),
  }, Transcript)
end

-- Seconds since the epoch, in milliseconds: what others keep with a message. It is not sent.
local function stamp(message)
  message.created_at = message.created_at or os.time() * 1000
  return message
end

---@param message table
function Transcript:append(message)
  self.messages[#self.messages + 1] = stamp(message)
end

--- A program's input: at once, or after the results of the open calls.
---@param message table stays as it is
---@return table message the transcript's own
function Transcript:take_input(message)
  local own, list = {}, self.open and self.later or self.messages
  for key, value in pairs(message) do own[key] = value end
  list[#list + 1] = stamp(own)
  return own
end

--- The assistant's message with calls was appended: each of them needs a result.
---@param calls table[] as a turn's result has them
function Transcript:open_calls(calls)
  local open = {}
  for i, call in ipairs(calls) do
    open[i] = {
      id = call.id, name = call.name, arguments = call.arguments, input = call.input, invalid = call.invalid,
      status = "new",
    }
  end
  self.open = open
end

--- Do all calls have results?
---@return boolean
function Transcript:is_settled()
  for _, record in ipairs(self.open or {}) do
    if record.status ~= "done" then return false end
  end
  return true
end

--- All calls have their results, which join the messages together, in the order of the calls.
---@return table[] messages those that joined, and what came later
function Transcript:close_calls()
  local joined = {}
  for i, record in ipairs(self.open or {}) do joined[i] = record.message end
  for _, message in ipairs(self.later) do joined[#joined + 1] = message end
  for _, message in ipairs(joined) do self:append(message) end
  self.open, self.later = false, {}
  return joined
end

---@param id any
---@return vllm.agent.Record?
function Transcript:find(id)
  for _, record in ipairs(self.open or {}) do
    if record.id == id then return record end
  end
end

--- The open calls of one status.
---@param status string
---@return vllm.agent.Record[]
function Transcript:waiting(status)
  local list = {}
  for _, record in ipairs(self.open or {}) do
    if record.status == status then list[#list + 1] = record end
  end
  return list
end

local COUNTS = { "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens" }

--- Adds the tokens of one answer to a sum.
---@param sum table
---@param usage table?
function transcripts.add_usage(sum, usage)
  for _, name in ipairs(COUNTS) do
    local count = usage and values.given(usage[name])
    if type(count) == "number" then sum[name] = (sum[name] or 0) + count end
  end
end

--- Only counts, as a fresh table.
---@param usage table
---@return table
function transcripts.copy_usage(usage)
  local sum = {}
  transcripts.add_usage(sum, usage)
  return sum
end

local function is_result(message)
  return type(message) == "table" and (message.role or message.kind) == "tool"
end

--- Why a list of messages could not be sent: a call without its result directly after it, or a result without a call.
---@param messages table[]
---@return string? fault nil: every call has its result, and every result its call
function transcripts.pair_fault(messages)
  local mended, at = repair(messages), 0 -- where all is well it is the same
  for i = 1, math.max(#messages, #mended) do
    local message, is_tool = messages[i], is_result(messages[i])
    if mended[i] ~= message then
      return is_tool and ("message %d answers no call of the message before it"):format(i)
        or ("message %d has a call without a result"):format(at)
    end
    if not is_tool then at = i end
  end
end

return transcripts
