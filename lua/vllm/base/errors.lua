--- Errors: the closed list of kinds, how a status, a body or a broken transport becomes one, and the words for people.
-- A kind comes from the HTTP status and the body's `code`, never from the body's `type` (vLLM spells that three ways).
-- Sources: RFC 9110 section 15; what servers were recorded to send (spec/fixtures).

local advice = require "vllm.base.advice"
local error_body = require "vllm.base.error_body"
local excerpt = require "vllm.base.excerpt"

local errors = {}

local MAX_DETAIL_BYTES = 2000
local MAX_NUMBER_BYTES = 32 -- of a header
local MAX_BODY_SEARCHED = 4096

--- An error value. `tostring` gives `message`, which begins with the kind.
---@class vllm.Error
---@field kind string one of `errors.kinds`
---@field message string "<kind>: <sentence>", for people; holds no key and no header value
---@field retryable boolean the same request may succeed later
---@field status integer? HTTP status
---@field code string|integer? the body's own code
---@field type string? the body's own type
---@field param string? the field at fault, as a path into the request
---@field body string? the server's answer, or what was not understood of it, cut at limits.max_error_bytes
---@field body_cut boolean? there was more
---@field proxy_status integer? with which a proxy refused the way to the server
---@field retry_after_s number? what the server asked for
---@field should_retry boolean? what the server said in x-should-retry
---@field attempts table[]? of a turn: one { status, request_id, kind, message, after_s } for each attempt
---@field request_id string? the answer's x-request-id
---@field context vllm.ContextNumbers? only with kind `context_length`
---@field partial table? the result so far, where an answer had begun

--- What a server said about the length of a context, in tokens; absent where it did not say.
---@class vllm.ContextNumbers
---@field limit integer?
---@field requested integer? prompt and completion together
---@field completion integer?
---@field prompt integer?
---@field prompt_is_lower_bound boolean? vLLM stops counting where the prompt no longer fits

--- Every kind, and whether the same request may succeed later.
errors.kinds = {
  config = false, connect = true, tls = false, timeout = true, auth = false, not_found = false, invalid_request = false,
  context_length = false, role_order = false, rate_limited = true, overloaded = true, server = true, stream = false,
  protocol = false, truncated = false, limit = false, cancelled = false, no_output = false, busy = false, closed = true,
}

local KIND_OF_STATUS = {
  [401] = "auth", [403] = "auth", [404] = "not_found", [405] = "not_found", [407] = "auth", [408] = "timeout", [409] = "server",
  [410] = "not_found", [429] = "rate_limited", [500] = "server", [501] = "invalid_request", [502] = "overloaded",
  [503] = "overloaded", [504] = "overloaded", [505] = "protocol", [529] = "overloaded",
}

-- Codes spelled as words: vLLM's Rust front end, gateways.
local KIND_OF_CODE = {
  invalid_request_error = "invalid_request", json_parse_error = "invalid_request", model_not_found = "not_found",
  server_error = "server", context_length_exceeded = "context_length", rate_limit_exceeded = "rate_limited",
  insufficient_quota = "rate_limited", invalid_api_key = "auth",
}

-- Wordings of vLLM by version, SGLang, llama.cpp, OpenAI and LiteLLM; plain texts, looked for in lower case. In a pair the second stands
-- somewhere behind the first.
local CONTEXT_WORDS = {
  "maximum context length", "context length is only", "longer than the maximum model length",
  "longer than the model's context length", "exceeds the model's maximum context", "exceeds the available context",
  "exceeds the maximum context", "exceed_context_size_error", "context_length_exceeded", "contextwindowexceeded",
  "prompt is too long", { "max_tokens", "cannot be greater than" }, { "max_completion_tokens", "cannot be greater than" },
  "tokens is too large:", "tokens' is too large:",
}
local CONTEXT_PARAMS = { input_tokens = true, input_text = true }

-- What chat templates raise.
local ROLE_ORDER_WORDS = {
  "must alternate", "unexpected role '", "only user and assistant roles", "system role not supported",
  "system message must be", "expected last role",
}

-- Patterns over a server's text. Each takes linear time on any text: a run of digits or spaces has something before it that
-- fixes where it begins (%f[%d]: the first digit of a run).
local CONTEXT_NUMBERS = {
  { "limit", "maximum context length is (%d+)" }, { "limit", "context length is only (%d+)" },
  { "limit", "maximum model length of (%d+)" }, { "limit", "max_model_len%s*=%s*(%d+)" },
  { "limit", "maximum context length %((%d+)%)" }, { "limit", "model's context length %((%d+)" },
  { "limit", '"n_ctx"%s*:%s*(%d+)' },
  { "prompt", "prompt contains at least (%d+) input" }, { "prompt", "%((%d+) in the messages" },
  { "prompt", "passed (%d+) input tokens" }, { "prompt", "request has (%d+) input" },
  { "prompt", "input length %((%d+)%)" }, { "prompt", "prompt %(length (%d+)%)" }, { "prompt", '"n_prompt_tokens"%s*:%s*(%d+)' },
  { "completion", "requested (%d+) output tokens" }, { "completion", "%f[%d](%d+) in the completion" },
  { "completion", "is too large: (%d+)" }, { "completion", "max_completion_tokens%s*=%s*(%d+)" },
  { "completion", "max_tokens%s*=%s*(%d+)" },
  { "requested", "total of at least (%d+)" }, { "requested", "you requested (%d+) tokens" },
}
local MAX_DIGITS = 15 -- a longer number is no count, and not exact on every Lua

local metatable = { __name = "vllm.error", __tostring = function(err) return err.message end }

--- Makes an error value.
---@param kind string one of `errors.kinds`
---@param detail string a sentence for people
---@param fields table? further fields of vllm.Error
---@return vllm.Error
function errors.new(kind, detail, fields)
  local err = { kind = kind, message = kind .. ": " .. detail, retryable = errors.kinds[kind] }
  for name, value in pairs(fields or {}) do err[name] = value end
  return setmetatable(err, metatable)
end

--- Is this an error value of this module?
---@param value any
---@return boolean
function errors.is(value)
  return getmetatable(value) == metatable
end

--- nil, message, err: what every failing call returns. The second is a string so that `assert` prints it on every Lua.
---@param err vllm.Error
---@return nil, string, vllm.Error
function errors.give(err)
  return nil, err.message, err
end

--- A server's text as it may stand in a message.
---@param text string
---@return string
function errors.shown(text)
  return excerpt.of(text, MAX_DETAIL_BYTES)
end

local function stands_in(text, words)
  if type(words) == "string" then return text:find(words, 1, true) ~= nil end
  local _, stop = text:find(words[1], 1, true)
  return stop ~= nil and text:find(words[2], stop + 1, true) ~= nil
end

local function any_word(text, list)
  for _, words in ipairs(list) do
    if stands_in(text, words) then return true end
  end
  return false
end

local function context_numbers(message, body)
  local text = ((message or ""):sub(1, MAX_BODY_SEARCHED) .. " " .. (body or ""):sub(1, MAX_BODY_SEARCHED)):lower()
  local numbers = {}
  for _, rule in ipairs(CONTEXT_NUMBERS) do
    local digits = not numbers[rule[1]] and text:match(rule[2])
    if digits and #digits <= MAX_DIGITS then numbers[rule[1]] = tonumber(digits) end
  end
  if text:find("at least %d+ input") then numbers.prompt_is_lower_bound = true end
  return numbers
end

local MONTHS = { Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10, Nov = 11, Dec = 12 }

-- The preferred form, that of RFC 850, and that of asctime (RFC 9110 section 5.6.7). A year of two digits is not far in the future.
local function parts_of_http_date(text, now_unix)
  local day, month, year, time = text:match "^%a%a%a, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d:%d%d:%d%d) GMT$"
  if day then return day, month, tonumber(year), time end
  day, month, year, time = text:match "^%a+, (%d%d)%-(%a%a%a)%-(%d%d) (%d%d:%d%d:%d%d) GMT$"
  if day then
    local this_year = 1970 + math.floor(now_unix / 31556952)
    local ahead = (tonumber(year) - this_year) % 100
    return day, month, this_year + (ahead > 50 and ahead - 100 or ahead), time
  end
  month, day, time, year = text:match "^%a%a%a (%a%a%a) ([ %d]%d) (%d%d:%d%d:%d%d) (%d%d%d%d)$"
  return day, month, tonumber(year), time
end

-- Days from civil date, so that no local time zone comes in.
local function seconds_of_http_date(text, now_unix)
  local day, month, year, time = parts_of_http_date(text, now_unix)
  month, day = month and MONTHS[month], tonumber(day)
  if not month or day < 1 or day > 31 then return nil end
  local hour, minute, second = time:match "(%d%d):(%d%d):(%d%d)"
  hour, minute, second = tonumber(hour), tonumber(minute), tonumber(second)
  if hour > 23 or minute > 59 or second > 60 then return nil end
  local y, m = year, month
  if m <= 2 then y, m = y - 1, m + 12 end
  local days = 365 * y + math.floor(y / 4) - math.floor(y / 100) + math.floor(y / 400) + math.floor((153 * (m - 3) + 2) / 5) + day - 719469
  return ((days * 24 + hour) * 60 + minute) * 60 + second
end

-- In two parts, since Lua 5.1 reads a decimal point as the locale has it.
local function decimal(text)
  if not text or #text > MAX_NUMBER_BYTES then return nil end
  local whole, fraction = text:match("^%s*(%d+)%.?(%d*)%s*$")
  if not whole then return nil end
  return tonumber(whole) + (fraction ~= "" and tonumber(fraction) / 10 ^ #fraction or 0)
end

--- What the server asked a client to wait, from `retry-after-ms` and `retry-after` (seconds or a date).
---@param headers table lower-case name → value
---@param now_unix integer seconds since the epoch
---@return number? seconds, never negative
function errors.retry_after_s(headers, now_unix)
  local ms = decimal(headers["retry-after-ms"])
  if ms then return ms / 1000 end
  local text = headers["retry-after"] or ""
  local seconds = decimal(text)
  if seconds then return seconds end
  local date = seconds_of_http_date(text, now_unix)
  return date and math.max(0, date - now_unix) or nil
end

-- What the server itself says, in lower case: neither the request that it may echo (`input` in vLLM's own sentence, in FastAPI's
-- entries), nor any member but those that hold its verdict.
local function verdict(parts, body)
  local text = parts.is_understood and parts.message or (body or ""):sub(1, MAX_BODY_SEARCHED)
  text = text:lower()
  local echo = text:find("'input': ", 1, true) or text:find('"input": ', 1, true)
  if echo then text = text:sub(1, echo - 1) end
  return table.concat({ text, tostring(parts.code), tostring(parts.type) }, "\n")
end

local CLIENT_FAULT = { [401] = false, [403] = false, [429] = false, [500] = true }

local function is_client_fault(base)
  if not base then return true end
  if CLIENT_FAULT[base] ~= nil then return CLIENT_FAULT[base] end
  return base >= 400 and base < 500
end

local function classify(status, parts, body)
  local code, text = parts.code, verdict(parts, body)
  local base = status ~= 200 and status or tonumber(code)
  local is_fault = is_client_fault(base)
  -- Some gateways dress a prompt that is too long as 429; no wait would make it shorter.
  if (is_fault or base == 429) and (CONTEXT_PARAMS[parts.param or ""] or any_word(text, CONTEXT_WORDS)) then return "context_length" end
  if is_fault and any_word(text, ROLE_ORDER_WORDS) then return "role_order" end
  if status ~= 200 and KIND_OF_STATUS[status] and status ~= 500 then return KIND_OF_STATUS[status] end
  if KIND_OF_CODE[code] then return KIND_OF_CODE[code] end
  if not base then return "stream" end
  if KIND_OF_STATUS[base] then return KIND_OF_STATUS[base] end
  if base >= 300 and base < 400 then return "protocol" end
  if base >= 400 and base < 500 then return "invalid_request" end
  if base >= 500 and base < 600 then return "server" end
  return status == 200 and "stream" or "protocol"
end

local function is_retryable(kind, status, code)
  if status == 501 or status == 505 or code == "insufficient_quota" then return false end
  return errors.kinds[kind]
end

local SHOULD_RETRY = { ["true"] = true, ["false"] = false }

errors.COMPRESSED = "the answer is compressed, though `identity` was asked for, and in a way that cannot be undone here; is a proxy in "
  .. "between?"

--- Is a body less than what it stands for? No coding is ever asked for (RFC 9110 section 8.4); the transport over libcurl undoes gzip.
---@param headers table lower-case name → value
---@return boolean
function errors.is_compressed(headers)
  local coding = headers["content-encoding"]
  return coding ~= nil and coding ~= "" and coding:lower() ~= "identity"
end

--- The error of an HTTP answer that is not a success.
---@param status integer
---@param headers table lower-case name → value
---@param body string? cut by the caller
---@param context { url: string, has_key: boolean, served: string[]?, now_unix: integer, is_of_caller: boolean?, strict: any }
---  is_of_caller: the path is, so it is not base_url's fault; strict: the request's strict_alternating_roles
---@return vllm.Error
function errors.from_status(status, headers, body, context)
  local parts = errors.is_compressed(headers) and { message = errors.COMPRESSED } or error_body.parse(body)
  local kind = classify(status, parts, body)
  local fields = {
    status = status, code = parts.code, type = parts.type, param = parts.param, body = body,
    retry_after_s = errors.retry_after_s(headers, context.now_unix), request_id = headers["x-request-id"],
    retryable = is_retryable(kind, status, parts.code), should_retry = SHOULD_RETRY[headers["x-should-retry"]],
  }
  if kind == "context_length" then
    parts.context = context_numbers(parts.message, body)
    fields.context = parts.context
  end
  context.location = headers.location
  parts.is_json = body ~= nil and body:find('^%s*[{%["]') ~= nil
  local hint = advice.of(kind, status, parts, context, errors.shown)
  local detail = errors.shown(parts.message or "no explanation") .. " (status " .. status .. ")"
    .. (hint and ("; " .. hint) or "")
  return errors.new(kind, detail, fields)
end

local DECODER_DETAIL = {
  protocol = "the server's answer breaks the protocol: ",
  limit = "a bound was reached: ",
}

-- What the decoder refuses, with the beginning of the bytes that it did not understand.
local function of_refused(failure, parts, context)
  local detail = (DECODER_DETAIL[failure.kind] or "") .. failure.detail
  if failure.kind == "protocol" and context.content_type and failure.body then
    detail = "the server's answer is not a completion (" .. errors.shown(context.content_type) .. ")"
  end
  return errors.new(failure.kind, detail .. (parts.message and ": " .. errors.shown(parts.message) or ""))
end

local function place_of(failure, context)
  if failure.kind == "server" then return " (in the answer)" end
  return context.is_whole and " (status 200)" or " (in the stream)"
end

local function of_event(failure, parts, context)
  local kind = classify(200, parts, failure.body)
  if kind == "stream" and failure.kind == "server" then kind = "server" end
  local fields = { status = 200, code = parts.code, type = parts.type, param = parts.param }
  fields.retryable = is_retryable(kind, tonumber(parts.code), parts.code)
  if kind == "context_length" then fields.context = context_numbers(parts.message, failure.body) end
  local hint = advice.of(kind, nil, parts, context, errors.shown)
  return errors.new(kind, errors.shown(parts.message or "the server reported an error without a message")
    .. place_of(failure, context) .. (hint and ("; " .. hint) or ""), fields)
end

-- The decoder says that the server reported an error, or an answer of another kind calls itself one.
local function is_reported(failure, parts)
  return failure.kind == "stream" or failure.kind == "server" and failure.body ~= nil or failure.kind == "protocol" and parts.is_error
end

--- The error of the decoder, or of an error event inside a stream that began with status 200.
---@param failure { kind: string, detail: string, body: string? } from core.decoder
---@param context table as for from_status, with content_type: of an answer of which nothing was understood; is_whole: it was no stream
---@return vllm.Error
function errors.from_decoder(failure, context)
  if failure.kind == "limit" then failure.body = nil end -- what was not understood before it has nothing to do with it
  local parts = error_body.parse(failure.body)
  local err = is_reported(failure, parts) and of_event(failure, parts, context) or of_refused(failure, parts, context)
  err.body = failure.body
  return err
end

local OF_THE_TURN = { kind = true, detail = true, message = true, partial = true, attempts = true, resumable = true }

--- The error of a transport's failure.
---@param failure { kind: string, detail: string } and further fields of vllm.Error
---@return vllm.Error
function errors.from_transport(failure)
  local fields = {}
  for name, value in pairs(failure) do
    if not OF_THE_TURN[name] then fields[name] = value end
  end
  return errors.new(failure.kind, failure.detail, fields)
end

return errors
