--- Why an attempt failed: the error values for what a transport, a status or the decoder reports. What fails while it
--- is being explained
--- ends as a plain error of the same kind.

local guard = require "vllm.base.guard"
local server_errors = require "vllm.base.server_errors"

local explain = {}

--- The beginning of a body as an error may hold it: without secrets, and at most limits.max_error_bytes. A key that is
--- also a word stays,
--- since the body has not been understood yet.
---@param built vllm.Built
---@param body string
---@return string
function explain.excerpt(built, body)
  return built.redactor:text(body, true):sub(1, built.limits.max_error_bytes)
end

--- The error of a transport's failure.
---@param failure any { kind, detail }
---@param status integer? of the answer that was under way
---@return vllm.Error
function explain.transport(failure, status)
  local err = guard.transport(failure)
  err.status = err.status or status
  return err
end

local function of_status(built, answer, body, served)
  local context = built.context
  context.served = served
  return server_errors.from_status(answer.status, answer.headers, body, context)
end

--- The error of an answer whose status is not 2xx.
---@param built vllm.Built
---@param answer vllm.Attempt its `status` and `headers`
---@param body string of explain.excerpt
---@param is_cut boolean? is that not the whole body?
---@param served string[]? the models that the server has, where that helps
---@return vllm.Error
function explain.status(built, answer, body, is_cut, served)
  local plain = { status = answer.status, body = body }
  local err = guard.explained(nil, plain, of_status, built, answer, body, served)
  err.body_cut = is_cut or nil
  return err
end

local function of_decoder(built, answer, failure)
  local decoder, broken = answer.decoder, answer.broken
  local bytes, events = decoder:state()
  local is_truncated = failure.kind == "truncated"
  if broken and events == 0 and is_truncated then return explain.transport(broken, answer.status) end
  local context = built.context
  context.is_whole = answer.is_whole
  if #decoder:result().choices == 0 then context.content_type = answer.headers["content-type"] or "no content type" end
  local err = server_errors.from_decoder(failure, context)
  err.status = answer.status
  if is_truncated then
    err.clean = broken == nil
    err.message = ("%s; the connection %s (%d bytes and %d events had come)"):format(err.message,
      broken and "broke: " .. broken.detail or "ended cleanly", bytes, events)
  end
  return err
end

--- The error of what the decoder refuses.
---@param built vllm.Built
---@param answer vllm.Attempt its `decoder`, `status`, `headers`, `broken` and `is_whole`
---@param failure table of core.decoder
---@return vllm.Error
function explain.decoder(built, answer, failure)
  local body = failure.body
  failure.body = body and explain.excerpt(built, body)
  local plain = { status = answer.status, body = failure.body }
  local err = guard.explained(failure, plain, of_decoder, built, answer, failure)
  err.body_cut = body and #body > built.limits.max_error_bytes or nil
  return err
end

--- The error of a stream in which the server keeps silent. What it wrote between the events, or instead of them, is
--- read
--- at their end.
---@param built vllm.Built
---@param answer vllm.Attempt as for explain.decoder
---@return vllm.Error? err nil: it wrote none
function explain.silence(built, answer)
  local decoder = answer.decoder
  decoder:finish()
  local event, failure
  repeat event, failure = decoder:next() until not event
  local err = failure and failure.body and explain.decoder(built, answer, failure)
  return err and err.kind ~= "protocol" and err.kind ~= "truncated" and err or nil
end

return explain
