--- Which models a server has. vLLM's 404 for a model names only the one that is missing; the list is one small request
--- away. It is asked
-- for like any other thing that a turn waits for: never longer than the caller's time, and for WAIT_S at the most.

local core = require "vllm.core"
local exchange = require "vllm.turn.exchange"
local guard = require "vllm.base.guard"

local served = {}

local WAIT_S = 2
local MAX_LIST_BYTES = 1024 * 1024
local MAX_MODELS = 20

--- The names in a decoded answer of /v1/models.
---@param models any
---@return string[] at most 20
function served.names(models)
  local names, data = {}, type(models) == "table" and models.data
  for _, model in ipairs(type(data) == "table" and data or {}) do
    local id = type(model) == "table" and model.id
    if type(id) == "string" and #names < MAX_MODELS then names[#names + 1] = id end
  end
  return names
end

local function names_of(answer)
  return served.names(answer and answer.status == 200 and core.json_decode(answer.body, { drop_nulls = true }))
end

--- Asks for the list; does not wait.
---@param transport table
---@param request table as the transport's `open` takes it
---@return { exchange: vllm.Exchange, deadline: number }? nil: it cannot be asked for
function served.ask(transport, request)
  local begun = exchange.open(transport, request, MAX_LIST_BYTES)
  return begun and { exchange = begun, deadline = core.now() + WAIT_S }
end

--- Goes on with it.
---@param asked table of served.ask
---@param deadline number? absolute; the caller's
---@return string[]|false|nil names false: the caller's time is over, and there may still come some
function served.step(asked, deadline)
  local limit = math.min(deadline or asked.deadline, asked.deadline)
  local answer = asked.exchange:step(limit)
  if answer == false and core.now() < asked.deadline then return false end
  asked.exchange:close()
  return guard.try({}, "reading the list", names_of, answer)
end

return served
