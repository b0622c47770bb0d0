--- Continues an interrupted answer: client:turn { …, continue = err.partial }, by vLLM's continue_final_message.
-- The text so far is sent as the last assistant message, the server continues it, and the result has both as one
-- message.

local finish = require "vllm.base.finish"
local values = require "vllm.base.values"

local continuation = {}

-- Why an answer cannot be continued, or nil. Text can be continued in the middle; a call or a refusal cannot.
local function obstacle(partial)
  local choice = partial.choices[1]
  if #partial.choices ~= 1 then return "it has " .. #partial.choices .. " choices" end
  if type(choice) ~= "table" then return "its choice is not a table" end
  if choice.finish_reason ~= nil and not finish.is_broken_off(choice.finish_reason) then return "it is complete" end
  if type(choice.tool_calls) == "table" and #choice.tool_calls > 0 then return "it holds a tool call" end
  if choice.refusal then return "it is a refusal" end
  if type(choice.text) ~= "string" or choice.text == "" then return "it has no text yet" end
  if choice.reasoning ~= nil and type(choice.reasoning) ~= "string" then return "its reasoning is not a string" end
end

--- Can `client:turn { continue = partial }` continue it?
---@param partial table? a result, or err.partial
---@return boolean
function continuation.is_possible(partial)
  return partial ~= nil and obstacle(partial) == nil
end

--- Is the answer to continue already the last message? A result cut by length is, if it was appended like any other.
---@param messages table[]
---@param partial table a result
---@return boolean
function continuation.is_last(messages, partial)
  local last = messages[#messages]
  return type(last) == "table" and last.role == "assistant"
    and (last == partial.message or last.content == partial.choices[1].text)
end

local TAKEN = { "body", "continue_final_message", "add_generation_prompt" }

--- The call that continues the answer, without `continue`.
---@param call vllm.Request
---@return vllm.Request?
---@return string? message
---@return string? param
function continuation.call(call)
  local partial, out = call["continue"], {}
  if type(partial) ~= "table" or type(partial.choices) ~= "table" then
    return nil, "continue: expected err.partial or a result, got " .. values.shown(partial), "continue"
  end
  local why = obstacle(partial)
  if why then return nil, "continue: this answer cannot be continued: " .. why, "continue" end
  for _, name in ipairs(TAKEN) do
    if call[name] ~= nil then return nil, ("`%s` cannot be given together with `continue`"):format(name), name end
  end
  for name, value in pairs(call) do out[name] = value end
  local messages = call.messages
  if call.text ~= nil and messages == nil then messages, out.text = call.text, nil end
  if type(messages) == "string" then messages = { messages } end
  if not values.list_length(messages) or values.is_raw(messages) then
    return nil, "continue needs the `messages` (a list) or the `text` of the interrupted call", "messages"
  end
  out["continue"], out.messages = nil, {}
  for i, message in ipairs(messages) do out.messages[i] = message end
  local at = continuation.is_last(messages, partial) and #messages or #messages + 1
  out.messages[at] = { role = "assistant", content = partial.choices[1].text }
  out.continue_final_message, out.add_generation_prompt = true, false
  return out
end

local function join_into(target, earlier)
  target.text = earlier.text .. (target.text or "")
  target.reasoning = earlier.reasoning and earlier.reasoning .. (target.reasoning or "") or target.reasoning
end

--- Puts the text so far before a result's own, in place.
---@param partial table the answer that was continued
---@param result table
---@return table result
function continuation.join(partial, result)
  local earlier, choice = partial.choices[1], result.choices[1]
  if not choice then return partial end
  join_into(choice, earlier)
  result.text, result.reasoning = choice.text, choice.reasoning
  local message = choice.message
  if message then message.extra = message.extra or (earlier.message or {}).extra end
  if message and (message.content == nil or type(message.content) == "string") then
    message.content, message.reasoning = choice.text, choice.reasoning
  end
  return result
end

return continuation
