--- Code that turns a failure into values must not fail itself: that would leave a turn open, or end an event loop with
-- all its tasks. An exception there, whether a bug of ours or of a program's own transport, becomes part of the
-- message. Use it only around code that never waits, since Lua 5.1 cannot yield through a pcall.

local errors = require "vllm.base.errors"

local guard = {}

--- Whatever was raised, as text. An error value may refuse to become a string.
---@param value any
---@return string
function guard.words(value)
  local ok, text = pcall(tostring, value)
  return ok and type(text) == "string" and text or "an error of type " .. type(value)
end

--- Calls fn and adds what it raises to `problems`.
---@param problems string[]
---@param what string what fn does, as in "closing the connection"
---@param fn function
---@param ... any
---@return any value the first value that fn returned; nil if it raised
function guard.try(problems, what, fn, ...)
  local ok, value = pcall(fn, ...)
  if ok then return value end
  problems[#problems + 1] = what .. " failed: " .. guard.words(value)
end

local function plain(failure, fields, why)
  local kind, detail
  if type(failure) == "table" then kind, detail = failure.kind, failure.detail else detail = failure end
  if errors.kinds[kind or ""] == nil then kind = "protocol" end
  return errors.new(kind, (type(detail) == "string" and detail or "the request failed") .. why, fields)
end

--- The error that `explain` makes of a failure. If `explain` raises: a plain error with the failure's kind.
---@param failure any its kind is kept, if it has one
---@param fields table? fields of the plain error
---@param explain fun(...): vllm.Error
---@param ... any
---@return vllm.Error
function guard.explained(failure, fields, explain, ...)
  local ok, err = pcall(explain, ...)
  if ok and errors.is(err) then return err end
  return plain(failure, fields, "; explaining it failed: " .. guard.words(err))
end

--- The error of a transport's failure, whatever a program's own transport returned.
---@param failure any { kind: string, detail: string }
---@return vllm.Error
function guard.transport(failure)
  local is_known = type(failure) == "table" and errors.kinds[failure.kind or ""] ~= nil
    and type(failure.detail) == "string"
  if not is_known then return plain(failure, nil, " (the transport returned no failure table { kind, detail })") end
  return guard.explained(failure, nil, errors.from_transport, failure)
end

--- Calls a method that takes a part of an answer and does not wait. Only the turn knows that it has to end, so what is
--- raised becomes an error value.
---@param answer { status: integer? }
---@param method fun(self: any, ...): boolean?, vllm.Error?
---@param ... any
---@return boolean? happened
---@return vllm.Error? err
function guard.taking(answer, method, ...)
  local ok, happened, err = pcall(method, answer, ...)
  if ok then return happened, err end
  return nil, errors.new("protocol", "taking the answer failed: " .. guard.words(happened), { status = answer.status })
end

return guard
