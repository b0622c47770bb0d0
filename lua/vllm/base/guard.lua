--- What stands between a failure and the values that tell of it must not fail itself: it would leave a turn open, or end a loop with all
-- its tasks. An exception there, a fault of ours or of a program's own transport, becomes words. Only around what never waits, since
-- Lua 5.1 cannot yield through a pcall.

local errors = require "vllm.base.errors"

local guard = {}

--- The words of whatever was raised; an error value may refuse to become a string.
---@param value any
---@return string
function guard.words(value)
  local ok, text = pcall(tostring, value)
  return ok and type(text) == "string" and text or "an error that is a " .. type(value)
end

--- Calls fn; what it raises is added to `problems`.
---@param problems string[]
---@param what string what it does, as in "closing the connection"
---@param fn function
---@param ... any
---@return any value the first that fn returned; nil when it raised
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

--- The error that `explain` makes of a failure, or a plain one with the failure's kind.
---@param failure any its kind, if it has one, is kept
---@param fields table? of the plain one
---@param explain fun(...): vllm.Error
---@param ... any
---@return vllm.Error
function guard.explained(failure, fields, explain, ...)
  local ok, err = pcall(explain, ...)
  if ok and errors.is(err) then return err end
  return plain(failure, fields, "; explaining it failed: " .. guard.words(err))
end

--- The error of a transport's failure, whatever a program's own transport gave.
---@param failure any { kind: string, detail: string }
---@return vllm.Error
function guard.transport(failure)
  local is_known = type(failure) == "table" and errors.kinds[failure.kind or ""] ~= nil and type(failure.detail) == "string"
  if not is_known then return plain(failure, nil, " (the transport gave no failure table { kind, detail })") end
  return guard.explained(failure, nil, errors.from_transport, failure)
end

return guard
