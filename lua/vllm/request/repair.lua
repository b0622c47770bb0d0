--- Mends a transcript that was cut short or put together from pieces, so that it can be sent again.
-- The result of each call follows it directly: late results move up, and a call without one gets a synthetic failure.
-- Results without a call are dropped, and so are second results of one call. Nothing else moves, and the input is not
-- changed.

local calls = require "vllm.request.transcript_calls"
local misuse = require "vllm.base.misuse"
local values = require "vllm.base.values"

local repair = {}

local SYNTHETIC = "this call was interrupted and has no result"

local function role_of(message)
  if type(message) ~= "table" then return "user" end
  local role = values.given(message.role)
  if role == nil then role = values.given(message.kind) end
  return role
end

-- The ids of an assistant message's calls, in order; calls without an id cannot be answered; the request will report
-- them.
local function ids_of(message)
  local ids = {}
  local function add(call)
    local id = type(call) == "table" and values.given(call.id)
    if type(id) == "string" and id ~= "" then ids[#ids + 1] = id end
  end
  local content = values.given(message.content)
  for _, part in ipairs(type(content) == "table" and content or {}) do
    if type(part) == "table" and part.type == "tool_call" then add(part) end
  end
  for _, call in ipairs(calls.of(message) or {}) do add(call) end
  return ids
end

local function is_result(part)
  return type(part) == "table" and part.type == "tool_result"
end

-- Splits a tool message into messages of one result each; one that has a single result is returned as it is.
local function results_of(message)
  local content = values.given(message.content)
  if type(content) ~= "table" or not is_result(content[1]) then return { message } end
  local out = {}
  for j, part in ipairs(content) do
    if not is_result(part) then return { message } end
    out[j] = { role = "tool", name = message.name, content = { part } }
  end
  return #content == 1 and { message } or out
end

local function id_of(result)
  local content = values.given(result.content)
  local from = type(content) == "table" and is_result(content[1]) and content[1] or result
  return (calls.answered(from))
end

-- Takes the results that answer `open` (id → how many) out of messages first..last, in order; the others there have no
-- call.
local function take_results(messages, first, last, open, out)
  for i = first, last do
    if role_of(messages[i]) == "tool" then
      for _, result in ipairs(results_of(messages[i])) do
        local id = id_of(result)
        if id and (open[id] or 0) > 0 then
          open[id] = open[id] - 1
          out[#out + 1] = result
        end
      end
    end
  end
end

local function answer(messages, at, last, out)
  local ids, open = ids_of(messages[at]), {}
  for _, id in ipairs(ids) do open[id] = (open[id] or 0) + 1 end
  take_results(messages, at + 1, last, open, out)
  for _, id in ipairs(ids) do
    if open[id] > 0 then
      open[id] = open[id] - 1
      out[#out + 1] = { role = "tool", tool_call_id = id, content = SYNTHETIC, is_error = true }
    end
  end
end

-- Does this message begin another round of calls? An assistant message without calls does not: results may still
-- follow it.
local function has_calls(message)
  return role_of(message) == "assistant" and type(message) == "table" and #ids_of(message) > 0
end

-- Why this is not a list of messages, or nil.
local function fault_of(messages)
  if type(messages) ~= "table" then return type(messages) end
  if messages.role ~= nil then return "one message: put it in braces" end
  if rawget(messages, "_messages") then return "a session: write session:repair()" end
  if messages.messages ~= nil then return "a table with `messages`: give those" end
  if values.list_length(messages) then return nil end
  local key = values.sorted_keys(messages)[1]
  return type(key) == "number" and "one with holes" or ("a table with the key `%s`"):format(tostring(key))
end

--- A transcript in which every call has exactly one result and every result its call.
---@param messages table[] any forms that requests take; not changed
---@return table[] a new list; the messages in it are the same tables, but for the synthetic ones
function repair.repair(messages)
  local fault = fault_of(messages)
  if fault then misuse.raise("vllm.repair: expected a list of messages, got " .. fault) end
  local out, count = {}, #messages
  local next_round = {} -- of each message with calls: where the next such message is
  local last_seen = count + 1
  for i = count, 1, -1 do
    if has_calls(messages[i]) then
      next_round[i], last_seen = last_seen, i
    end
  end
  for i = 1, count do
    if role_of(messages[i]) ~= "tool" then
      out[#out + 1] = messages[i]
      if next_round[i] then answer(messages, i, next_round[i] - 1, out) end
    end
  end
  return out
end

return repair
