--- A session as a plain table, and back. What is read may have been written by others, so each part of it is checked.

local calls = require "vllm.request.transcript_calls"
local inboxes = require "vllm.agent.inbox"
local json = require "vllm.json"
local outputs = require "vllm.agent.outputs"
local portable = require("vllm.request.media").portable_message
local repair = require("vllm.request.repair").repair
local stored = require "vllm.agent.stored"
local transcripts = require "vllm.agent.transcript"
local values = require "vllm.base.values"

local saved = {}

local VERSION = 1

local RECORD = {
  id = "string", name = "string", arguments = "string", status = "string", input = "table", invalid = "string",
  reason = "string", message = "table", decision = "string",
}
local NEEDED = { "id", "name", "arguments", "status" }
local STATUS = { new = true, asking = true, approved = true, running = true, external = true, done = true }

local function plain_record(record)
  local out = {}
  for key in pairs(RECORD) do out[key] = values.given(record[key]) end
  return out
end

-- A tool or a policy may have changed the input that it was given. Only an approved one does not follow from the
-- arguments.
local function record_to_write(record)
  local out = plain_record(record)
  if record.status ~= "approved" then out.input = nil end
  out.message = record.message and portable(record.message)
  return out
end

local function plain_list(list, fn)
  local out = json.array()
  for i, item in ipairs(list) do out[i] = fn(item) end
  return out
end

--- Everything that a session is.
---@param id string?
---@param transcript vllm.agent.Transcript
---@param inbox vllm.agent.Inbox
---@return table
function saved.state(id, transcript, inbox)
  local function plain_input(input) return { id = input.id, message = portable(input.message) } end
  return {
    version = VERSION, id = id, messages = plain_list(transcript.messages, portable),
    calls = transcript.open and plain_list(transcript.open, record_to_write) or nil,
    later = plain_list(transcript.later, portable),
    stored = plain_list(transcript.stored.list, function(entry) return entry end),
    usage = transcripts.copy_usage(transcript.usage),
    steered = plain_list(inbox.steered, plain_input), queued = plain_list(inbox.queued, plain_input),
  }
end

local function record_fault(record, call)
  for key, kind in pairs(RECORD) do
    if record[key] ~= nil and type(record[key]) ~= kind then
      return ("%s: expected %s, got %s"):format(key, kind, values.shown(record[key]))
    end
  end
  for _, key in ipairs(NEEDED) do
    if record[key] == nil then return key .. " is missing" end
  end
  if not STATUS[record.status] then return "status: unknown, " .. values.shown(record.status) end
  if record.status == "done" and record.message == nil then return "message is missing" end
  local message = record.message
  if message and (message.role ~= "tool" or message.tool_call_id ~= record.id) then
    return "message is not the result of this call"
  end
  call = type(call) == "table" and call or {}
  local definition = type(call["function"]) == "table" and call["function"] or call
  for _, key in ipairs { "name", "arguments" } do
    if definition[key] ~= record[key] then return key .. " is not that of the call in the last message" end
  end
  if call.id ~= record.id then return "id is not that of the call in the last message" end
end

-- What is asked about is what the call says: only an approval may have put another input in its place.
local function read_input(record)
  if record.invalid or record.status == "approved" and record.input then return end
  record.input = calls.is_object(record.arguments) and json.decode(record.arguments, { drop_nulls = true }) or nil
  if not record.input then record.invalid = "the arguments are not a JSON object" end
end

local function calls_of(message)
  local is_assistant = type(message) == "table" and (message.role or message.kind) == "assistant"
  return is_assistant and calls.of(message) or {}
end

-- The open calls, fit to go on. An approval belongs to one call with its arguments; a call that was running when the
-- state was written may have done its work, so it is never run again.
local function read_records(list, messages)
  if values.given(list) == nil then return nil end
  if not values.list_length(list) then return nil, "calls: expected a list, got " .. values.shown(list) end
  local made, records = calls_of(messages[#messages]), {}
  if #made ~= #list then return nil, ("calls: expected %d, as in the last message, got %d"):format(#made, #list) end
  for i, given in ipairs(list) do
    local record = type(given) == "table" and plain_record(given)
    local fault = not record and "expected a table, got " .. values.shown(given) or record_fault(record, made[i])
    if fault then return nil, ("calls[%d]: %s"):format(i, fault) end
    if record.status == "running" then
      record.status, record.message = "done", outputs.failure(record, "cancelled", outputs.INTERRUPTED)
    end
    if record.status ~= "done" then record.message = nil end
    read_input(record)
    records[i] = record
  end
  return records
end

local function read_inbox(state)
  local inbox = inboxes.new()
  for _, line in ipairs { "steered", "queued" } do
    local list = values.given(state[line]) or {}
    if not values.list_length(list) then return nil, line .. ": expected a list, got " .. values.shown(list) end
    for i, input in ipairs(list) do
      if type(input) ~= "table" or type(input.message) ~= "table" then
        return nil, ("%s[%d].message: expected a message"):format(line, i)
      end
      inbox:put(line, input.message, values.given(input.id))
    end
  end
  return inbox
end

local function read_messages(list, where)
  if not values.list_length(list) then return nil, ("%s: expected a list, got %s"):format(where, values.shown(list)) end
  local out = {}
  for i, message in ipairs(list) do
    if type(message) == "string" then message = { role = "user", content = message } end
    if type(message) ~= "table" then
      return nil, ("%s[%d]: expected a message, got %s"):format(where, i, values.shown(message))
    end
    out[i] = message
  end
  return out
end

local function version_fault(version)
  if type(version) ~= "number" then return "state.version: expected a number, got " .. values.shown(version) end
  if version ~= VERSION then
    return ("state.version: this module reads version %d, got %s: a newer one wrote it")
      :format(VERSION, values.shown(version))
  end
end

-- Every call but the open ones has its result.
local function mended(messages, records)
  local last = records and table.remove(messages)
  messages = repair(messages)
  messages[#messages + 1] = last or nil
  return messages
end

local function id_fault(id)
  return id ~= nil and type(id) ~= "string" and "state.id: expected a string, got " .. values.shown(id) or nil
end

--- The parts of a session, of options { id, messages } or { state }.
---@param options table
---@return { id: string?, transcript: vllm.agent.Transcript, inbox: vllm.agent.Inbox }?
---@return string? why
function saved.load(options)
  local state = options.state
  if state == nil then
    local messages, why = read_messages(options.messages or {}, "messages")
    if not messages then return nil, why end
    return { id = options.id, transcript = transcripts.new(repair(messages)), inbox = inboxes.new() }
  end
  if options.messages ~= nil then return nil, "messages and state are both given" end
  if type(state) ~= "table" then return nil, "state: expected a table, got " .. values.shown(state) end
  local why = version_fault(state.version) or id_fault(values.given(state.id))
  if why then return nil, why end
  local messages, records, inbox, later
  messages, why = read_messages(state.messages, "state.messages")
  if not messages then return nil, why end
  records, why = read_records(state.calls, messages)
  if why then return nil, "state." .. why end
  inbox, why = read_inbox(state)
  if not inbox then return nil, "state." .. why end
  later, why = read_messages(values.given(state.later) or {}, "state.later")
  if not later then return nil, why end
  local kept = values.given(state.stored) or {}
  why = stored.fault(kept)
  if why then return nil, "state.stored: " .. why end
  local usage = values.given(state.usage)
  usage = transcripts.copy_usage(type(usage) == "table" and usage or {})
  messages = mended(messages, records)
  local transcript = transcripts.new(messages, records, records and later, usage)
  for _, message in ipairs(records and {} or later) do transcript:append(message) end
  for _, entry in ipairs(kept) do transcript.stored:put(entry.id, entry.text) end
  return { id = options.id or values.given(state.id), transcript = transcript, inbox = inbox }
end

return saved
