--- What a tool returned → the message that answers its call. It is fit to be sent: text is UTF-8 and cut to its limit,
-- tables are JSON texts already, parts have been tried in a request.

local core = require "vllm.core"
local errors = require "vllm.base.errors"
local guard = require "vllm.base.guard"
local json = require "vllm.json"
local misuse = require "vllm.base.misuse"
local stored = require "vllm.agent.stored"
local values = require "vllm.base.values"
local text_of = require("vllm.text").text

local is_content = require("vllm.request.content").is_content

local outputs = {}

outputs.INTERRUPTED = "the call was interrupted before it had a result"
outputs.LIMIT = 65536 -- bytes that the model is shown, unless a tool says otherwise
local NOTHING = "(no output)"
local TRY_AGAIN = "\nFix the errors and try again."

local retry_mt = { __name = "vllm.retry" }

--- For a tool: asks the model to correct its call. To be returned or raised.
---@param why string what is wrong, for the model
---@return table
function outputs.retry(why)
  if type(why) ~= "string" then misuse.raise("vllm.retry: expected a text that says why, got " .. values.shown(why)) end
  return setmetatable({ why = why }, retry_mt)
end

--- Is this what vllm.retry made?
---@param value any
---@return boolean
function outputs.is_retry(value)
  return getmetatable(value) == retry_mt
end

--- Whatever a program gave as the reason of a failure, as the model reads it: no addresses of tables.
---@param why any
---@return string
function outputs.words(why)
  if errors.is(why) then return why.message end
  local meta = type(why) == "table" and getmetatable(why) or nil
  if type(why) ~= "table" or type(meta) == "table" and meta.__tostring then return guard.words(why) end
  return json.encode(why) or "an error of type table"
end

--- The event that tells of a call's result.
---@param record vllm.agent.Record
---@param took_s number
---@return table
function outputs.event(record, took_s)
  local result = record.message
  return {
    id = record.id, name = record.name, message = result, is_error = result.is_error or false,
    failure = result.metadata and result.metadata.failure, took_s = took_s,
  }
end

local READ_ON = '; %s { "id": "%s", "offset": %d } reads on'

-- The beginning of a text, as whole code points; and where the rest can be read, if it was kept.
local function cut(text, limit, kept_as)
  if #text <= limit then return text end
  local slice, _, last = stored.slice(text, 0, limit)
  local more = kept_as and READ_ON:format(stored.TOOL, kept_as, last) or ""
  return ("%s\n[cut here: %d of %d bytes are shown%s]"):format(slice, last, #text, more)
end

-- Why these parts cannot be sent, or nil.
local function parts_fault(client, parts)
  local call = { id = "call", name = "tool", arguments = "{}" }
  local body, message = client:body {
    messages = { "?", { role = "assistant", tool_calls = { call } }, { role = "tool", call = call, content = parts } },
  }
  return not body and message or nil
end

---@param record vllm.agent.Record
---@param content string|table
---@param failure string? "failed", "retry", "unknown", "invalid", "denied", "timeout", "cancelled", "loop"
---@return table message
local function message(record, content, failure)
  return {
    role = "tool", tool_call_id = record.id, name = record.name, content = content, is_error = failure ~= nil or nil,
    metadata = failure and { failure = failure } or nil,
  }
end

--- The answer to a call that failed, or did not run.
---@param record vllm.agent.Record
---@param failure string
---@param why string
---@param limit integer?
---@return table message
function outputs.failure(record, failure, why, limit)
  return message(record, cut(text_of(why), limit or outputs.LIMIT), failure)
end

--- The answer to a call that the model may correct.
---@param record vllm.agent.Record
---@param why string
---@param is_last boolean the tool's corrections are used up
---@return table message
function outputs.correction(record, why, is_last)
  if is_last then return outputs.failure(record, "failed", why) end
  return outputs.failure(record, "retry", why .. TRY_AGAIN)
end

-- A table as the text or the parts that the model reads; or nil and why it cannot be sent.
local function of_table(client, value)
  if core.raw_text(value) or not is_content(value) then return json.encode(value) end
  local parts = value.type and { value } or value
  local fault = parts_fault(client, parts)
  if fault then return nil, fault end
  return parts
end

local TOO_LARGE = "the result has %d bytes, more than the %d that can be shown: ask for less"

-- A text, which may be too long.
local function of_text(record, text, limit, excess, store)
  if #text <= limit or excess == "cut" then return message(record, cut(text, limit)) end
  if excess == "fail" then return outputs.failure(record, "failed", TOO_LARGE:format(#text, limit)) end
  store:put(record.id, text)
  return message(record, cut(text, limit, record.id))
end

--- How many bytes of a result the model is shown, and what becomes of more.
---@param agent vllm.Agent
---@param transcript vllm.agent.Transcript
---@param tool vllm.agent.CheckedTool? its own limits
---@return { limit: integer, excess: "cut"|"fail"|"store", store: vllm.agent.Stored }
function outputs.how(agent, transcript, tool)
  tool = tool or {}
  return {
    limit = tool.output_limit or agent.output_limit, excess = tool.output_excess or agent.output_excess,
    store = transcript.stored,
  }
end

--- The answer that a tool gave.
---@param client vllm.Client
---@param record vllm.agent.Record
---@param value any what it returned
---@param why any and second
---@param how table of outputs.how
---@return table message
---@return string? fault why the value cannot be sent
function outputs.message(client, record, value, why, how)
  local limit = how.limit
  if value == nil and why == nil then return message(record, NOTHING) end
  if value == nil or value == false and why ~= nil then
    return outputs.failure(record, "failed", outputs.words(why), limit)
  end
  if type(value) == "string" then return of_text(record, text_of(value), limit, how.excess, how.store) end
  local ok, content, fault
  if type(value) == "table" then
    ok, content, fault = pcall(of_table, client, value)
  else
    ok, content, fault = pcall(json.encode, value)
  end
  if ok and type(content) == "string" then return of_text(record, content, limit, how.excess, how.store) end
  if ok and content then return message(record, content) end
  local what = guard.words(not ok and content or fault)
  return outputs.failure(record, "failed", "the tool's result cannot be sent: " .. what, limit), what
end

return outputs
