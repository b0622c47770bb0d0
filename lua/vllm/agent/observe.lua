--- Ready observers: functions for `on_event` of an agent, or of a client.

local misuse = require "vllm.base.misuse"
local spelling = require "vllm.base.spelling"
local portable = require("vllm.request.media").portable_message
local values = require "vllm.base.values"
local vllm_json = require "vllm.json"

local observe = {}

-- Deltas are many and say nothing that the complete events do not.
local DELTA = { text_delta = true, reasoning_delta = true, refusal_delta = true, tool_call_delta = true, tokens = true }

local function without(object, left_out)
  local out = {}
  for key, value in pairs(object) do
    if key ~= left_out then out[key] = value end
  end
  return out
end

-- What of an event can be written. An event refers to results with everything in them, and errors to partial ones; they
-- are left out, since their parts were events themselves.
local function plain(event)
  local out = without(event, "result")
  if type(out.message) == "table" then out.message = portable(out.message) end
  if type(out.error) == "table" then out.error = without(out.error, "partial") end
  local result = event.type == "run_end" and event.result
  if result then
    out.stop, out.text, out.usage, out.steps, out.hints =
      result.stop, result.text, result.usage, #result.steps, vllm_json.array(result.hints)
  end
  return out
end

--- One line of JSON for each event, with the time and the session's id.
---@param write fun(line: string) such as function(line) file:write(line) end
---@param options { deltas: boolean?, clock: (fun(): number)? }? deltas: those, too; clock: seconds since the epoch
---  (default os.time)
---@return fun(event: table, session: table?)
function observe.jsonl(write, options)
  if type(write) ~= "function" then
    misuse.raise("vllm.observe.jsonl: expected a function that writes, got " .. values.shown(write))
  end
  if options ~= nil and type(options) ~= "table" then
    misuse.raise("vllm.observe.jsonl: expected a table of options, got " .. values.shown(options))
  end
  options = options or {}
  local fault = spelling.unknown_key(options, { deltas = true, clock = true })
  if fault then misuse.raise("vllm.observe.jsonl: " .. fault) end
  local clock = options.clock or os.time
  return function(event, session)
    if DELTA[event.type] and not options.deltas then return end
    local line = plain(event)
    line.time, line.session = clock(), session and session.id or nil
    local text, why = vllm_json.encode(line)
    write((text or assert(vllm_json.encode { type = event.type, time = line.time, invalid = why })) .. "\n")
  end
end

local COUNTS = { "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens" }

--- Sums of tokens, model calls and tool calls, over every run it sees.
---@return fun(event: table) observer
---@return { requests: integer, tool_calls: integer, failed_calls: integer, prompt_tokens: integer } totals and the
---  other counts of `usage`; grows as events come
function observe.usage()
  local totals = { requests = 0, tool_calls = 0, failed_calls = 0 }
  for _, name in ipairs(COUNTS) do totals[name] = 0 end
  return function(event)
    if event.type == "usage" then
      for _, name in ipairs(COUNTS) do
        local count = event[name]
        if type(count) == "number" then totals[name] = totals[name] + count end
      end
    elseif event.type == "turn_end" then
      totals.requests = totals.requests + 1
    elseif event.type == "tool_result" then
      totals.tool_calls = totals.tool_calls + 1
      if event.is_error then totals.failed_calls = totals.failed_calls + 1 end
    end
  end, totals
end

--- Each message that joins a transcript, once, in order; for stores that only append.
---@param append fun(message: table, session: table?)
---@return fun(event: table, session: table?)
function observe.transcript(append)
  if type(append) ~= "function" then
    misuse.raise("vllm.observe.transcript: expected a function, got " .. values.shown(append))
  end
  return function(event, session)
    if event.type == "message" then append(event.message, session) end
  end
end

return observe
