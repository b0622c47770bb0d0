--- Error values: the closed list of kinds, how a value is made, and how a call returns one.
-- What a server said becomes one in server_errors.lua.

local excerpt = require "vllm.base.excerpt"

local errors = {}

local MAX_DETAIL_BYTES = 2000

--- An error value. `tostring` gives `message`, which begins with the kind.
---@class vllm.Error
---@field kind string one of `errors.kinds`
---@field message string "<kind>: <sentence>", for people; contains no key and no header value
---@field retryable boolean the same request may succeed later
---@field status integer? HTTP status
---@field code string|integer? the body's own code
---@field type string? the body's own type
---@field param string? the field at fault, as a path into the request
---@field body string? the server's answer, or the part of it that was not understood, cut at limits.max_error_bytes
---@field body_cut boolean? there was more
---@field proxy_status integer? the status with which a proxy refused to connect
---@field retry_after_s number? how long the server asked to wait
---@field should_retry boolean? the server's x-should-retry
---@field attempts table[]? of a turn: one { status, request_id, kind, message, after_s } for each attempt
---@field request_id string? the answer's x-request-id
---@field context vllm.ContextNumbers? only with kind `context_length`
---@field partial table? the result so far, if an answer had begun
---@field resumable boolean? with `partial`: the answer can be continued
---@field clock string? with kind `timeout`: the member of `timeout` that ran out
---@field limit_s number? how long that clock was
---@field clean boolean? with kind `truncated`: the connection was closed cleanly
---@field curl_code integer? libcurl's error code

--- What a server said about the length of a context, in tokens. Fields that it did not mention are absent.
---@class vllm.ContextNumbers
---@field limit integer?
---@field requested integer? prompt and completion together
---@field completion integer?
---@field prompt integer?
---@field prompt_is_lower_bound boolean? vLLM stops counting once the prompt no longer fits

--- Every kind, and whether the same request may succeed later.
errors.kinds = {
  config = false, connect = true, tls = false, timeout = true, auth = false, not_found = false, invalid_request = false,
  context_length = false, role_order = false, rate_limited = true, overloaded = true, server = true, stream = false,
  protocol = false, truncated = false, limit = false, cancelled = false, no_output = false, busy = false, closed = true,
}

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

--- A server's text, made fit for a message.
---@param text string
---@return string
function errors.shown(text)
  return excerpt.of(text, MAX_DETAIL_BYTES)
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
