--- What a turn gives at its end: the error or the result, completed. Nothing here waits, and nothing that raises here
-- keeps a turn open: what was raised stands in the error's message, or among the result's hints.

local continuation = require "vllm.request.continuation"
local core = require "vllm.core"
local guard = require "vllm.base.guard"
local hints = require "vllm.turn.hints"
local inputs = require "vllm.turn.inputs"

local try = guard.try

local ending = {}

local LEFT_OPEN = "the server neither said that its answer was over nor closed the connection: "
  .. "timeout.finish_s (%g s) passed"

--- An entry of `attempts`.
---@param status integer?
---@param headers table?
---@param err vllm.Error? nil: it was answered
---@return { status: integer?, request_id: string?, kind: string?, message: string?, after_s: number? }
function ending.attempt(status, headers, err)
  local entry = { status = status, request_id = headers and headers["x-request-id"] }
  if err then entry.kind, entry.message = err.kind, err.message end
  return entry
end

-- With what was said before the server was asked to continue.
local function continued(built, result)
  return built.continued and continuation.join(built.continued, result) or result
end

local function settle(config, result)
  if inputs.concern(config) then inputs.settle_all(config, result) end
end

-- What a decoder of the program's own makes is the program's: the texts are redacted before. Where nothing came, the
-- text to be continued is still there: a server that was killed is away for a while, and the text is to survive each
-- failure meanwhile.
local function partial_of(config, built, decoder)
  local partial = decoder and decoder:result()
  if not partial or #partial.choices == 0 then return built.continued end
  built.redactor:value(partial, true)
  settle(config, partial)
  return continued(built, partial)
end

-- Ends that say nothing against asking again, although they are not retried.
local CUT_SHORT = { cancelled = true, truncated = true }

-- Can the server write on? A request that it refused for good, without a word of an answer, would be refused again.
local function is_resumable(built, err)
  if err.partial == built.continued and not err.retryable and not CUT_SHORT[err.kind] then return false end
  return continuation.is_possible(err.partial)
end

--- Gives an error what had come until then.
---@param err vllm.Error
---@param config table
---@param built vllm.Built
---@param decoder userdata? of the attempt that failed
---@param problems string[] what raises here is added
function ending.add_partial(err, config, built, decoder, problems)
  err.partial = err.partial or try(problems, "reading what had come", partial_of, config, built, decoder)
  if err.partial then
    err.resumable = try(problems, "looking whether it can be continued", is_resumable, built, err) or false
  end
end

--- The last touch to an error: from here on it may be seen.
---@param err vllm.Error
---@param redactor vllm.Redactor
---@param problems string[]
function ending.show(err, redactor, problems)
  for _, problem in ipairs(problems) do err.message = err.message .. "; also, " .. problem end
  redactor:error(err)
end

-- An answer's words are given as they are. What stands around them is shown in logs.
local function redact_extras(redactor, result)
  if result.extra then redactor:value(result.extra, true) end
  for _, choice in ipairs(result.choices) do
    if choice.extra then redactor:value(choice.extra, true) end
  end
end

local function complete(config, built, result)
  settle(config, continued(built, result))
end

--- Completes the decoder's result in place.
---@param result table
---@param config table
---@param built vllm.Built
---@param problems string[] what raises here is added
function ending.complete(result, config, built, problems)
  try(problems, "completing the answer", complete, config, built, result)
  try(problems, "redacting the answer's extras", redact_extras, built.redactor, result)
end

--- The times of a turn that has ended.
---@param info table of the connection; taken
---@param clocks vllm.Clocks
---@param metrics any the server's own
---@return table
function ending.timing(info, clocks, metrics)
  info.server = type(metrics) == "table" and metrics or nil
  info.first_delta_s = clocks.first_delta_at and clocks.first_delta_at - clocks.began_at or nil
  info.total_s = core.now() - clocks.began_at
  return info
end

--- Gives a result its hints.
---@param result table
---@param built vllm.Built
---@param left_open_s number|false the limit after which an answer that was left open was taken as whole
---@param problems string[] what raises here is added
function ending.add_hints(result, built, left_open_s, problems)
  local list = try(problems, "looking for hints", hints.of, result, built.asked) or setmetatable({}, core.array_mt)
  if left_open_s then list[#list + 1] = LEFT_OPEN:format(left_open_s) end
  result.hints = list
end

return ending
