--- Compactors: functions that make a transcript shorter, `compactor(messages, context)` → a new list, or nil where
--- there is nothing to do. They keep every call with its result. A program may write its own.

local misuse = require "vllm.base.misuse"
local spelling = require "vllm.base.spelling"
local values = require "vllm.base.values"

local compact = misuse.tell_members({}, "vllm.compact", "compact")

local function check_count(name, count)
  if type(count) == "number" and count >= 1 and count % 1 == 0 then return end
  misuse.raise(("vllm.compact.%s: expected a whole number, 1 or more, got %s"):format(name, values.shown(count)))
end

-- Options that may be left out; misuse throws.
local function options_of(name, given, known)
  if given == nil then return {} end
  if type(given) ~= "table" then
    misuse.raise(("vllm.compact.%s: expected a table of options, got %s"):format(name, values.shown(given)))
  end
  local fault = spelling.unknown_key(given, known)
  if fault then misuse.raise(("vllm.compact.%s: %s"):format(name, fault)) end
  return given
end

local function role_of(message)
  return type(message) == "table" and (message.role or message.kind) or "user"
end

local LEADING = { system = true, developer = true, context = true }

-- How many messages stand before the conversation begins.
local function leading(messages)
  local count = 0
  while messages[count + 1] ~= nil and LEADING[role_of(messages[count + 1])] do count = count + 1 end
  return count
end

-- The first message of the last `count` ones or a few before them, so that no result is cut off from its call.
local function start_of_recent(messages, count)
  local start = math.max(#messages - count + 1, 1)
  while start > 1 and role_of(messages[start]) == "tool" do start = start - 1 end
  return start
end

local function slice(messages, first, last, out)
  for i = first, last do out[#out + 1] = messages[i] end
  return out
end

local function changed(message, changes)
  local out = {}
  for key, value in pairs(message) do out[key] = value end
  for key, value in pairs(changes) do out[key] = value or nil end
  return out
end

--- Keeps the last `count` messages, and those at the front that are the system's.
---@param count integer
---@return fun(messages: table[], context: table): table[]?
function compact.keep_recent(count)
  check_count("keep_recent", count)
  return function(messages)
    local head, start = leading(messages), start_of_recent(messages, count)
    if start <= head + 1 then return nil end
    return slice(messages, start, #messages, slice(messages, 1, head, {}))
  end
end

local REASONING_PART = { reasoning = true, thinking = true }

local function without_reasoning(message)
  if role_of(message) ~= "assistant" or type(message) ~= "table" then return message end
  local changes, content = { reasoning = false, reasoning_content = false }, message.content
  local is_changed = message.reasoning ~= nil or message.reasoning_content ~= nil
  if type(content) == "table" then
    changes.content = {}
    for _, part in ipairs(content) do
      local is_thought = type(part) == "table" and REASONING_PART[part.type]
      is_changed = is_changed or is_thought
      if not is_thought then changes.content[#changes.content + 1] = part end
    end
  end
  return is_changed and changed(message, changes) or message
end

-- A new list, with fn applied to each message; nil if that changed none.
local function map(messages, fn)
  local out, is_changed = {}, false
  for i, message in ipairs(messages) do
    out[i] = fn(message, i)
    is_changed = is_changed or out[i] ~= message
  end
  return is_changed and out or nil
end

--- Drops what the model thought. It is kept nowhere else.
---@return fun(messages: table[], context: table): table[]?
function compact.drop_reasoning()
  return function(messages) return map(messages, without_reasoning) end
end

local function id_answered(message)
  local call = message.tool_call_id or message.call_id or message.call
  return type(call) == "table" and call.id or call
end

local function without_calls(message, failed)
  local kept = {}
  local list = message.tool_calls or message.calls
  for _, call in ipairs(list or {}) do
    if not failed[call.id] then kept[#kept + 1] = call end
  end
  if not list or #kept == #list then return message end
  local content = values.given(message.content)
  local is_empty = #kept == 0 and (content == nil or content == "")
  if is_empty then return nil end
  return changed(message, { calls = false, tool_calls = #kept > 0 and kept })
end

-- The ids of failed calls among the results that follow a message. Other messages may use the same ids.
local function failed_after(messages, at)
  local failed, i = {}, at + 1
  while role_of(messages[i]) == "tool" do
    if messages[i].is_error then failed[id_answered(messages[i]) or false] = true end
    i = i + 1
  end
  return failed
end

--- Drops failed results, with their calls.
---@return fun(messages: table[], context: table): table[]?
function compact.drop_failed()
  return function(messages)
    local out, failed, is_any = {}, {}, false
    for i, message in ipairs(messages) do
      local role = role_of(message)
      if role ~= "tool" then failed = failed_after(messages, i) end
      is_any = is_any or next(failed) ~= nil
      if role == "assistant" and type(message) == "table" then
        out[#out + 1] = without_calls(message, failed)
      elseif role ~= "tool" or not failed[id_answered(message)] then
        out[#out + 1] = message
      end
    end
    return is_any and out or nil
  end
end

local CLEARED = "[this result was removed to save space]"

--- Empties old results of tools; calls and results stay.
---@param options { keep: integer?, exclude: string[]? }? keep: so many of the latest (3); exclude: tools whose results
---  stay
---@return fun(messages: table[], context: table): table[]?
function compact.clear_results(options)
  options = options_of("clear_results", options, { keep = true, exclude = true })
  local keep, exclude = options.keep or 3, {}
  for _, name in ipairs(options.exclude or {}) do exclude[name] = true end
  return function(messages)
    local left = 0
    for _, message in ipairs(messages) do
      if role_of(message) == "tool" then left = left + 1 end
    end
    return map(messages, function(message)
      if role_of(message) ~= "tool" then return message end
      left = left - 1
      local is_short = type(message.content) == "string" and #message.content <= #CLEARED
      if left < keep or exclude[message.name] or is_short then return message end
      return changed(message, { content = CLEARED, result = false })
    end)
  end
end

local PROMPT = "Summarise the conversation below for the one who will carry it on: the task, what was decided, what "
  .. "the tools found (names, numbers, paths), what is left to do. Write nothing else."

local function words_of(content)
  if type(content) == "string" then return content end
  local texts = {}
  for _, part in ipairs(type(content) == "table" and content or {}) do
    local text = type(part) == "string" and part or part.text
    texts[#texts + 1] = type(text) == "string" and text or ("[%s]"):format(tostring(part.type))
  end
  return table.concat(texts, "\n")
end

-- A message as the summariser reads it, with calls and results.
local function shown(message)
  if type(message) == "string" then return "user: " .. message end
  local lines = { ("%s: %s"):format(role_of(message), words_of(message.content or message.result)) }
  for _, call in ipairs(message.tool_calls or message.calls or {}) do
    local definition = call["function"] or call
    lines[#lines + 1] = ("  calls %s %s"):format(tostring(definition.name), tostring(definition.arguments))
  end
  return table.concat(lines, "\n")
end

local function ask_for_summary(client, messages, options)
  local lines = {}
  for i, message in ipairs(messages) do lines[i] = shown(message) end
  local text, message = client:ask {
    system = options.prompt or PROMPT, messages = { table.concat(lines, "\n\n") },
    max_completion_tokens = options.max_completion_tokens,
  }
  if not text then error("no summary: " .. message, 0) end
  return text
end

local SUMMARISE = { keep = true, client = true, prompt = true, max_completion_tokens = true }

--- Replaces all but the last messages by a summary, which a model writes.
---@param options { keep: integer?, client: vllm.Client?, prompt: string?, max_completion_tokens: integer? }? keep: 6;
---  client: default the agent's, without its tools
---@return fun(messages: table[], context: table): table[]?
function compact.summarise(options)
  options = options_of("summarise", options, SUMMARISE)
  local keep = options.keep or 6
  check_count("summarise", keep)
  return function(messages, context)
    local head, start = leading(messages), start_of_recent(messages, keep)
    if start <= head + 2 then return nil end
    local text = ask_for_summary(options.client or context.client, slice(messages, head + 1, start - 1, {}), options)
    local out = slice(messages, 1, head, {})
    out[#out + 1] = { role = "user", content = "Summary of the conversation so far:\n" .. text }
    return slice(messages, start, #messages, out)
  end
end

--- What an agent without `compact` does when the server says that its context is too long: it drops what is told again
--- most easily, and no word of the conversation.
compact.CAREFUL = { compact.clear_results(), compact.drop_reasoning() }

return compact
