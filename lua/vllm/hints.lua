--- What a person should know about an answer that is complete and yet not what was meant. Sentences, most telling first.
-- Each rule was seen on a real server: see spec/fixtures (reasoning-only, tool-auto-cut, tool-required of llama-server, …).

local core = require "vllm.core"
local values = require "vllm.values"

local hints = {}

local function blank(text)
  return not text or not text:find("%S")
end

local function add(list, sentence)
  list[#list + 1] = sentence
end

local function about_nothing_shown(list, choice, tokens)
  local spent = tokens and (tokens .. " tokens were spent") or "tokens were spent"
  if not blank(choice.reasoning) and choice.finish_reason == "length" then
    add(list, "the answer ended by length while the model was still reasoning: raise max_completion_tokens")
  elseif not blank(choice.reasoning) then
    add(list, "the whole answer came as reasoning: the server's --reasoning-parser does not fit this model, "
      .. "or the model wrote no end of thinking")
  elseif choice.finish_reason == "length" then
    add(list, "the answer ended by length with nothing to show (" .. spent .. "): raise max_completion_tokens")
  elseif tokens and tokens > 1 then
    add(list, spent .. " and nothing came: the server's parsers or a stop string took the text away")
  end
end

local function about_markers(list, text, asked)
  if text:find("<tool_call>", 1, true) or text:find("<|tool_call", 1, true) or text:find("[TOOL_CALLS]", 1, true) then
    add(list, asked.tools
      and "a raw tool call stands in the text: the server needs --enable-auto-tool-choice and the --tool-call-parser of this model"
      or "a raw tool call stands in the text, and the request offered no tools")
  end
  if text:find("<think>", 1, true) or text:find("</think>", 1, true) then
    add(list, "raw thinking stands in the text: the server needs the --reasoning-parser of this model")
  end
end

-- Did the server spend all tokens that were allowed, and say something else about the end? (vLLM does, where calls are parsed.)
local function is_at_limit(result, asked)
  local tokens, max = result.usage and result.usage.completion_tokens, asked.max_completion_tokens
  return tokens ~= nil and max ~= nil and tokens >= max and #result.choices == 1
end

local function about_calls(list, choice, asked, at_limit)
  local count = #(choice.tool_calls or {})
  if asked.call_demanded and count == 0 and choice.finish_reason ~= "length" then
    add(list, "tool_choice demanded a call and none came: this server ignores tool_choice, or has no tool parser")
  end
  for _, call in ipairs(choice.tool_calls or {}) do
    if call.invalid and choice.finish_reason ~= "length" and values.is_wrapped(call.arguments or "") then
      add(list, "the arguments of a call are JSON inside a JSON string: the option unwrap_arguments = true takes them out")
      break
    end
  end
  if choice.finish_reason == "tool_calls" and count == 0 then
    add(list, "the finish reason speaks of tool calls and none came")
  end
  if choice.finish_reason == "length" and count > 0 then
    add(list, "the answer ended by length within its tool calls: they must not be run; raise max_completion_tokens")
  elseif at_limit and count > 0 then
    add(list, "the answer has as many tokens as were allowed: its tool calls must not be run; raise max_completion_tokens")
  end
end

--- The hints for a result.
---@param result table as core.decoder:result() gives it
---@param asked { tools: boolean?, call_demanded: boolean?, max_completion_tokens: integer? } what the request wanted
---@return string[] empty when there is nothing to say
function hints.of(result, asked)
  local list = setmetatable({}, core.array_mt)
  local tokens = result.usage and result.usage.completion_tokens
  for _, choice in ipairs(result.choices or {}) do
    if blank(choice.text) and blank(choice.refusal) and #(choice.tool_calls or {}) == 0 then
      about_nothing_shown(list, choice, tokens)
    end
    about_markers(list, choice.text or "", asked)
    about_calls(list, choice, asked, is_at_limit(result, asked))
  end
  return list
end

return hints
