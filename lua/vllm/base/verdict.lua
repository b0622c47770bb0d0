--- A server's verdict on a request: the kind of error that its status, its code and its words stand for.
-- The kind comes from the HTTP status and the body's `code`, never from its `type`, which vLLM spells in three ways.
-- Sources: RFC 9110 section 15; what servers were recorded to send (spec/fixtures).

local errors = require "vllm.base.errors"

local verdict = {}

local MAX_BODY_SEARCHED = 4096

local KIND_OF_STATUS = {
  [401] = "auth", [403] = "auth", [404] = "not_found", [405] = "not_found", [407] = "auth", [408] = "timeout",
  [409] = "server", [410] = "not_found", [429] = "rate_limited", [500] = "server", [501] = "invalid_request",
  [502] = "overloaded", [503] = "overloaded", [504] = "overloaded", [505] = "protocol", [529] = "overloaded",
}

-- Codes spelled as words: vLLM's Rust front end, gateways.
local KIND_OF_CODE = {
  invalid_request_error = "invalid_request", json_parse_error = "invalid_request", model_not_found = "not_found",
  server_error = "server", context_length_exceeded = "context_length", rate_limit_exceeded = "rate_limited",
  insufficient_quota = "rate_limited", invalid_api_key = "auth",
}

-- Wordings of vLLM's versions, SGLang, llama.cpp, OpenAI and LiteLLM: plain texts in lower case. Of a pair, the second
-- must follow the first.
local CONTEXT_WORDS = {
  "maximum context length", "context length is only", "longer than the maximum model length",
  "longer than the model's context length", "exceeds the model's maximum context", "exceeds the available context",
  "exceeds the maximum context", "exceed_context_size_error", "context_length_exceeded", "contextwindowexceeded",
  "prompt is too long", "tokens is too large:", "tokens' is too large:",
  { "max_tokens", "cannot be greater than" }, { "max_completion_tokens", "cannot be greater than" },
}
local CONTEXT_PARAMS = { input_tokens = true, input_text = true }

-- What chat templates raise.
local ROLE_ORDER_WORDS = {
  "must alternate", "unexpected role '", "only user and assistant roles", "system role not supported",
  "system message must be", "expected last role",
}

-- Patterns over a server's text. Each takes linear time on any text, since what precedes a run of digits or spaces
-- fixes where the run begins (%f[%d]: its first digit).
local CONTEXT_NUMBERS = {
  { "limit", "maximum context length is (%d+)" }, { "limit", "context length is only (%d+)" },
  { "limit", "maximum model length of (%d+)" }, { "limit", "max_model_len%s*=%s*(%d+)" },
  { "limit", "maximum context length %((%d+)%)" }, { "limit", "model's context length %((%d+)" },
  { "limit", '"n_ctx"%s*:%s*(%d+)' },
  { "prompt", "prompt contains at least (%d+) input" }, { "prompt", "%((%d+) in the messages" },
  { "prompt", "passed (%d+) input tokens" }, { "prompt", "request has (%d+) input" },
  { "prompt", "input length %((%d+)%)" }, { "prompt", "prompt %(length (%d+)%)" },
  { "prompt", '"n_prompt_tokens"%s*:%s*(%d+)' },
  { "completion", "requested (%d+) output tokens" }, { "completion", "%f[%d](%d+) in the completion" },
  { "completion", "is too large: (%d+)" }, { "completion", "max_completion_tokens%s*=%s*(%d+)" },
  { "completion", "max_tokens%s*=%s*(%d+)" },
  { "requested", "total of at least (%d+)" }, { "requested", "you requested (%d+) tokens" },
}
local MAX_DIGITS = 15 -- a longer number is not a count, nor exact on every Lua

local function contains(text, words)
  if type(words) == "string" then return text:find(words, 1, true) ~= nil end
  local _, stop = text:find(words[1], 1, true)
  return stop ~= nil and text:find(words[2], stop + 1, true) ~= nil
end

local function contains_any(text, list)
  for _, words in ipairs(list) do
    if contains(text, words) then return true end
  end
  return false
end

--- The numbers in a refusal of kind `context_length`.
---@param message string? what the server said
---@param body string?
---@return vllm.ContextNumbers
function verdict.context_numbers(message, body)
  local text = ((message or ""):sub(1, MAX_BODY_SEARCHED) .. " " .. (body or ""):sub(1, MAX_BODY_SEARCHED)):lower()
  local numbers = {}
  for _, rule in ipairs(CONTEXT_NUMBERS) do
    local digits = not numbers[rule[1]] and text:match(rule[2])
    if digits and #digits <= MAX_DIGITS then numbers[rule[1]] = tonumber(digits) end
  end
  if text:find("at least %d+ input") then numbers.prompt_is_lower_bound = true end
  return numbers
end

-- What the server itself says, in lower case. A request that it echoes (`input` in vLLM's own sentence and in FastAPI's
-- entries) is cut off, and only the members that can hold a verdict count.
local function words_of(parts, body)
  local text = parts.is_understood and parts.message or (body or ""):sub(1, MAX_BODY_SEARCHED)
  text = text:lower()
  local echo = text:find("'input': ", 1, true) or text:find('"input": ', 1, true)
  if echo then text = text:sub(1, echo - 1) end
  return table.concat({ text, tostring(parts.code), tostring(parts.type) }, "\n")
end

local CLIENT_FAULT = { [401] = false, [403] = false, [429] = false, [500] = true }

local function is_client_fault(number)
  if not number then return true end
  if CLIENT_FAULT[number] ~= nil then return CLIENT_FAULT[number] end
  return number >= 400 and number < 500
end

-- `number`: the status or, in an answer that began with 200, the body's code.
local function kind_of_words(number, parts, body)
  local is_fault, text = is_client_fault(number), words_of(parts, body)
  -- Some gateways report a prompt that is too long as 429; waiting would not help.
  if is_fault or number == 429 then
    if CONTEXT_PARAMS[parts.param or ""] or contains_any(text, CONTEXT_WORDS) then return "context_length" end
  end
  return is_fault and contains_any(text, ROLE_ORDER_WORDS) and "role_order" or nil
end

local KIND_OF_CLASS = { [3] = "protocol", [4] = "invalid_request", [5] = "server" }

--- The kind of error that an answer stands for.
---@param status integer 200: an error inside an answer
---@param parts vllm.ErrorBody
---@param body string?
---@return string
function verdict.kind(status, parts, body)
  local is_200, code = status == 200, parts.code
  local number = is_200 and tonumber(code) or not is_200 and status or nil
  local kind = kind_of_words(number, parts, body)
  if kind then return kind end
  if not is_200 and status ~= 500 and KIND_OF_STATUS[status] then return KIND_OF_STATUS[status] end
  if KIND_OF_CODE[code] then return KIND_OF_CODE[code] end
  if not number then return "stream" end
  return KIND_OF_STATUS[number] or KIND_OF_CLASS[math.floor(number / 100)] or is_200 and "stream" or "protocol"
end

--- May the same request succeed later?
---@param kind string
---@param status integer?
---@param code string|number? the body's
---@return boolean
function verdict.is_retryable(kind, status, code)
  if status == 501 or status == 505 or code == "insufficient_quota" then return false end
  return errors.kinds[kind]
end

return verdict
