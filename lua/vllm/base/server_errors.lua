--- What a server says, as an error value: an answer that is not a success, an error event in a stream, bytes that are
-- not an answer.

local advice = require "vllm.base.advice"
local error_body = require "vllm.base.error_body"
local errors = require "vllm.base.errors"
local retry_after = require "vllm.base.retry_after"
local verdict = require "vllm.base.verdict"

local server_errors = {}

--- What is known of a request when its answer is explained.
---@class vllm.ErrorContext
---@field url string
---@field has_key boolean
---@field now_unix integer?
---@field served string[]? the models that the server has
---@field is_of_caller boolean? the caller chose the path, so base_url is not at fault
---@field address_hint string? what to say if the address is not there
---@field strict any the request's strict_alternating_roles
---@field content_type string? of an answer of which nothing was understood
---@field is_whole boolean? the answer was not a stream

server_errors.COMPRESSED = "the answer is compressed although we asked for `identity`, and its coding is not supported "
  .. "here; is there a proxy in between?"

local SHOULD_RETRY = { ["true"] = true, ["false"] = false }

--- Is a body still compressed? We never ask for a coding (RFC 9110 section 8.4); the libcurl transport decodes gzip and
--- deflate.
---@param headers table lower-case name → value
---@return boolean
function server_errors.is_compressed(headers)
  local coding = headers["content-encoding"]
  return coding ~= nil and coding ~= "" and coding:lower() ~= "identity"
end

-- The server's words, where they were said, and what to do about it.
local function sentence(said, place, hint)
  return errors.shown(said) .. place .. (hint and "; " .. hint or "")
end

--- The error of an HTTP answer that is not a success.
---@param status integer
---@param headers table lower-case name → value
---@param body string? cut by the caller
---@param context vllm.ErrorContext
---@return vllm.Error
function server_errors.from_status(status, headers, body, context)
  local is_compressed = server_errors.is_compressed(headers)
  local parts = is_compressed and { message = server_errors.COMPRESSED } or error_body.parse(body)
  local kind = verdict.kind(status, parts, body)
  context.location = headers.location
  parts.is_json = body ~= nil and body:find('^%s*[{%["]') ~= nil
  parts.context = kind == "context_length" and verdict.context_numbers(parts.message, body) or nil
  local hint = advice.of(kind, status, parts, context)
  return errors.new(kind, sentence(parts.message or "no explanation", " (status " .. status .. ")", hint), {
    status = status, code = parts.code, type = parts.type, param = parts.param, body = body, context = parts.context,
    retry_after_s = retry_after.seconds(headers, context.now_unix), request_id = headers["x-request-id"],
    retryable = verdict.is_retryable(kind, status, parts.code), should_retry = SHOULD_RETRY[headers["x-should-retry"]],
  })
end

-- What the decoder refuses, with the beginning of the bytes that it did not understand.
local function of_refused(failure, parts, context)
  local detail = failure.detail
  if failure.kind == "protocol" and context.content_type and failure.body then
    detail = "the server's answer is not a completion (" .. errors.shown(context.content_type) .. ")"
  elseif failure.kind == "protocol" then
    detail = "the server's answer breaks the protocol: " .. detail
  end
  return errors.new(failure.kind, detail .. (parts.message and ": " .. errors.shown(parts.message) or ""))
end

local function place_of(failure, context)
  if failure.kind == "server" then return " (in the answer)" end
  return context.is_whole and " (status 200)" or " (in the stream)"
end

local function of_event(failure, parts, context)
  local kind = verdict.kind(200, parts, failure.body)
  if kind == "stream" and failure.kind == "server" then kind = "server" end
  local said = parts.message or "the server reported an error without a message"
  return errors.new(kind, sentence(said, place_of(failure, context), advice.of(kind, nil, parts, context)), {
    status = 200, code = parts.code, type = parts.type, param = parts.param,
    retryable = verdict.is_retryable(kind, tonumber(parts.code), parts.code),
    context = kind == "context_length" and verdict.context_numbers(parts.message, failure.body) or nil,
  })
end

-- Does the decoder say that the server reported an error, or does an answer of another kind call itself one?
local function is_reported(failure, parts)
  local kind = failure.kind
  return kind == "stream" or kind == "server" and failure.body ~= nil or kind == "protocol" and parts.is_error
end

--- The error of the decoder, or of an error event inside a stream that began with status 200.
---@param failure { kind: string, detail: string, body: string? } from core.decoder
---@param context vllm.ErrorContext
---@return vllm.Error
function server_errors.from_decoder(failure, context)
  -- Bytes that were not understood earlier are not what exceeded a limit.
  if failure.kind == "limit" then failure.body = nil end
  local parts = error_body.parse(failure.body)
  local err = is_reported(failure, parts) and of_event(failure, parts, context) or of_refused(failure, parts, context)
  err.body = failure.body
  return err
end

return server_errors
