--- How a turn ends, and how an attempt of it does: what is given, and what is let go. Nothing here waits, and nothing that raises here
-- keeps a turn open: what was raised stands in the error's message, or among the result's hints.

local continuation = require "vllm.request.continuation"
local core = require "vllm.core"
local errors = require "vllm.base.errors"
local guard = require "vllm.base.guard"
local hints = require "vllm.turn.hints"
local inputs = require "vllm.turn.inputs"

local try = guard.try

local ending = {}

local LEFT_OPEN = "the server neither said that its answer was over nor closed the connection: timeout.finish_s (%g s) passed"

local function log_attempt(turn, err)
  local entry = { status = turn.status, request_id = turn.headers and turn.headers["x-request-id"] }
  if err then entry.kind, entry.message = err.kind, err.message end
  turn._attempts[#turn._attempts + 1] = entry
  return entry
end

-- Ends the attempt that is under way.
local function release(turn, drain, problems)
  local current = turn._attempt
  turn._attempt = nil
  if not current then return end
  current:close(drain)
  problems[#problems + 1] = current.problem
  turn._info = current:info()
end

local function release_interrupt(turn)
  local trap = turn._interrupt
  turn._interrupt = false
  if trap then trap:release() end
end

local function leave_gate(turn)
  if turn._place then turn._place:leave() end
end

local function wake(turn)
  if turn._pause then turn._pause:wake() end
end

-- The turn is over: Ctrl-C is the program's again, the place in the client's max_concurrent is free, and nothing will be sent.
local function leave(turn, problems)
  turn._built.body = nil
  try(problems, "giving Ctrl-C back", release_interrupt, turn)
  try(problems, "leaving max_concurrent", leave_gate, turn)
  try(problems, "waking who waits", wake, turn)
end

-- With what was said before the server was asked to go on.
local function continued(turn, result)
  local before = turn._built.continued
  return before and continuation.join(before, result) or result
end

-- What a decoder of the user's makes is the user's: the texts are redacted before. Where nothing came, what was to be gone on with is
-- still there: a server that was killed is away for a while, and the text shall survive each failure meanwhile.
local function partial_of(turn)
  local partial = turn._attempt and turn._attempt.decoder:result()
  if not partial or #partial.choices == 0 then return turn._built.continued end
  turn._client:_redactor(turn._built):value(partial, true)
  if turn._settles then inputs.settle_all(turn._client.config, partial) end
  return continued(turn, partial)
end

-- Ends that say nothing against asking again, although they are not retried.
local CUT_SHORT = { cancelled = true, truncated = true }

-- Can the server write on? A request that it refused for good, without a word of an answer, would be refused again.
local function is_resumable(turn, err)
  if err.partial == turn._built.continued and not err.retryable and not CUT_SHORT[err.kind] then return false end
  return continuation.is_possible(err.partial)
end

-- The last touch to an error: from here on it may be seen.
local function show(turn, err, problems)
  for _, problem in ipairs(problems) do err.message = err.message .. "; besides, " .. problem end
  turn._client:_redactor(turn._built):error(err)
end

--- The turn has failed, for good.
---@param turn vllm.Turn
---@param err vllm.Error
---@param problems string[]? on the way to it
---@param is_attempt boolean? an attempt has failed so, even if it could not begin
---@return nil, string, vllm.Error
function ending.fail(turn, err, problems, is_attempt)
  problems = problems or {}
  turn._err = err
  err.partial = err.partial or try(problems, "reading what had come", partial_of, turn)
  if err.partial then
    err.resumable = try(problems, "looking whether it can be gone on with", is_resumable, turn, err) or false
  end
  is_attempt = is_attempt or turn._attempt ~= nil
  release(turn, false, problems)
  leave(turn, problems)
  show(turn, err, problems)
  if is_attempt then log_attempt(turn, err) end
  err.attempts = turn._attempts
  if #err.attempts > 1 then err.message = ("%s (after %d attempts)"):format(err.message, #err.attempts) end
  return errors.give(err)
end

--- An attempt has failed, and another one will follow.
---@param turn vllm.Turn
---@param err vllm.Error
---@param problems string[]
---@return table entry of err.attempts
function ending.fail_attempt(turn, err, problems)
  release(turn, false, problems)
  show(turn, err, problems)
  return log_attempt(turn, err)
end

--- An attempt that the turn does not want any more, since it has failed meanwhile.
---@param turn vllm.Turn
---@param made vllm.Attempt
---@return nil, string, vllm.Error
function ending.drop(turn, made)
  log_attempt(turn, turn._err)
  made:close(false)
  return errors.give(turn._err)
end

local function timing(turn, result)
  local info, metrics = turn._info or {}, result.extra.metrics
  info.server = type(metrics) == "table" and metrics or nil
  info.first_delta_s = turn._first_delta_at and turn._first_delta_at - turn._began_at
  info.total_s = core.now() - turn._began_at
  return info
end

-- An answer's words are given as they are. What stands around them is shown in logs.
local function redact_extras(turn, result)
  local redactor = turn._client:_redactor(turn._built)
  if result.extra then redactor:value(result.extra, true) end
  for _, choice in ipairs(result.choices) do
    if choice.extra then redactor:value(choice.extra, true) end
  end
end

local function complete(turn, result)
  local whole = continued(turn, result)
  if turn._settles then inputs.settle_all(turn._client.config, whole) end
end

--- The answer is whole.
---@param turn vllm.Turn
---@param result table of the decoder; completed in place
function ending.finish(turn, result)
  local problems = {}
  try(problems, "completing the answer", complete, turn, result)
  try(problems, "redacting the answer's extras", redact_extras, turn, result)
  log_attempt(turn)
  local was_left_open = turn._attempt and turn._attempt.was_left_open
  release(turn, true, problems)
  result.status, result.headers = turn.status, turn.headers
  result.timing, result.attempts = timing(turn, result), turn._attempts
  result.hints = try(problems, "looking for hints", hints.of, result, turn._built.asked) or setmetatable({}, core.array_mt)
  if was_left_open then result.hints[#result.hints + 1] = LEFT_OPEN:format(turn._finish_s) end
  turn._result, turn._phase = result, "ended"
  leave(turn, problems)
  for _, problem in ipairs(problems) do
    result.hints[#result.hints + 1] = turn._client:_redactor(turn._built):text(problem)
  end
  if turn._on_result then turn._on_result(result) end
end

return ending
