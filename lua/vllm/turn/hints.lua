--- What a person should know about an answer that is complete and yet not what was meant. Sentences, most telling
--- first.
-- Each rule was seen on a real server: see spec/fixtures (reasoning-only, tool-auto-cut, tool-required of llama-server,
-- …).

local core = require "vllm.core"
local finish = require "vllm.base.finish"
local inputs = require "vllm.turn.inputs"
local values = require "vllm.base.values"

local hints = {}

local function blank(text)
  return not text or not text:find("%S")
end

local function add(list, sentence)
  list[#list + 1] = sentence
end

-- Only where the model itself ended its answer the server's parsers may be to blame.
local function ended_ordinarily(choice)
  return choice.finish_reason == nil or finish.is_whole(choice.finish_reason)
end

local function stop_string(choice)
  return type(choice.stop_reason) == "string" and values.shown(choice.stop_reason) or nil
end

local function about_reasoning_alone(list, choice, asked)
  local stop = stop_string(choice)
  if finish.is_length(choice.finish_reason) then
    add(list, "the answer ended by length while the model was still reasoning: raise max_completion_tokens")
  elseif stop then
    add(list, ("the stop string %s came within the reasoning and ended the answer there: choose another"):format(stop))
  elseif not ended_ordinarily(choice) then
    add(list, ("the answer ended by %s while the model was still reasoning"):format(values.shown(choice.finish_reason)))
  else
    add(list, "the whole answer came as reasoning: " .. (asked.stop and "a stop string came within it, " or "")
      .. "the server's --reasoning-parser does not fit this model, or the model wrote no end of thinking")
  end
end

local function about_nothing_shown(list, choice, tokens, asked)
  local spent = tokens and (tokens .. " tokens were spent") or "tokens were spent"
  local stop = stop_string(choice)
  if not blank(choice.reasoning) then
    about_reasoning_alone(list, choice, asked)
  elseif finish.is_length(choice.finish_reason) then
    add(list, "the answer ended by length with nothing to show (" .. spent .. "): raise max_completion_tokens")
  elseif stop then
    add(list, ("the stop string %s ended the answer before anything was shown"):format(stop))
  elseif not ended_ordinarily(choice) then
    add(list, ("the answer ended by %s before anything was shown"):format(values.shown(choice.finish_reason)))
  elseif tokens and tokens > 1 then
    add(list, spent .. " and nothing came: the server's parsers or a stop string took the text away")
  end
end

-- How models write calls and thoughts, and how they close them.
local CALLS = { { "<tool_call>", "</tool_call>" }, { "<|tool_call", "<|tool_call_end|>" }, { "[TOOL_CALLS]" } }
local THOUGHTS = { { "<think>", "</think>" } }

-- Does one stand in the text; and is one open at its end?
local function find_marker(text, markers)
  for _, marker in ipairs(markers) do
    local at = text:find(marker[1], 1, true)
    if at then return true, not (marker[2] and text:find(marker[2], at, true)) end
  end
  return false
end

-- A server's parser leaves what was cut as it is: it may have one all the same.
local function about_markers(list, choice, asked)
  local text, cut = choice.text or "", finish.is_length(choice.finish_reason)
  local called, is_open = find_marker(text, CALLS)
  if called and is_open and cut then
    add(list, "the answer ended by length within a tool call: raise max_completion_tokens")
  elseif called then
    add(list, asked.tools
      and "the text has a raw tool call: the server needs --enable-auto-tool-choice and this model's --tool-call-parser"
      or "the text has a raw tool call, and the request offered no tools")
  end
  local thought, unfinished = find_marker(text, THOUGHTS)
  if thought and unfinished and cut then
    add(list, "the answer ended by length while the model was still thinking: raise max_completion_tokens")
  elseif thought or text:find("</think>", 1, true) then
    add(list, "the text has raw thinking: the server needs the --reasoning-parser of this model")
  end
end

-- Did the server spend all tokens that were allowed, and say something else about the end? (vLLM does, where calls are
-- parsed.)
local function is_at_limit(result, asked)
  local tokens, max = result.usage and result.usage.completion_tokens, asked.max_completion_tokens
  return tokens ~= nil and max ~= nil and tokens >= max and #result.choices == 1
end

local function about_calls(list, choice, asked, at_limit)
  local count = #(choice.tool_calls or {})
  if asked.call_demanded and count == 0 and ended_ordinarily(choice) then
    add(list, "tool_choice demanded a call and none came: this server ignores tool_choice, or has no tool parser")
  end
  for _, call in ipairs(choice.tool_calls or {}) do
    if call.invalid and not finish.is_length(choice.finish_reason) and inputs.is_wrapped(call.arguments or "") then
      add(list, "the arguments of a call are JSON in a JSON string: the option unwrap_arguments = true takes them out")
      break
    end
  end
  if choice.finish_reason == "tool_calls" and count == 0 then
    add(list, "the finish reason speaks of tool calls and none came")
  end
  if finish.is_length(choice.finish_reason) and count > 0 then
    add(list, "the answer ended by length within its tool calls: they must not be run; raise max_completion_tokens")
  elseif at_limit and count > 0 then
    add(list, "the answer has as many tokens as were allowed: do not run its tool calls; raise max_completion_tokens")
  end
end

-- Foundry Local counted the chunks where the choices are counted: each piece was the whole of a choice.
local function about_choices(list, count, asked)
  if asked.choices and count > asked.choices then
    add(list, ("asked for %d %s, got %d: the server numbers them wrongly, and `text` is the first alone"):format(
      asked.choices, asked.choices == 1 and "choice" or "choices", count))
  end
end

--- The hints for a result.
---@param result table as core.decoder:result() gives it
---@param asked { tools: boolean?, stop: boolean?, call_demanded: boolean?, max_completion_tokens: integer?,
---  choices: integer? } requested
---@return string[] empty when there is nothing to say
function hints.of(result, asked)
  local list = setmetatable({}, core.array_mt)
  local tokens = result.usage and result.usage.completion_tokens
  about_choices(list, #(result.choices or {}), asked)
  for _, choice in ipairs(result.choices or {}) do
    if blank(choice.text) and blank(choice.refusal) and #(choice.tool_calls or {}) == 0 then
      about_nothing_shown(list, choice, tokens, asked)
    end
    about_markers(list, choice, asked)
    about_calls(list, choice, asked, is_at_limit(result, asked))
  end
  return list
end

return hints
