--- When a failed attempt may be made again, and after how long. Decides only; turn.lua waits and sends.
--
-- An attempt is made again only while nothing of its answer was delivered, and only where the server cannot have begun
-- to answer, or says
-- itself that it did not: no connection, a connection that broke before the first event, one of `statuses`, an error
-- event of such a
-- code as the first event. A clock of ours that ran out is no reason: the server may still be at work on the question.
-- The wait is the
-- server's (Retry-After), else full jitter over an exponential: uniform in [0, min(cap_s, base_s · 2^(attempt - 1))].

local core = require "vllm.core"

local retry = {}

--- What `retry = …` takes.
---@class vllm.Retry
---@field max integer? attempts after the first one; default 2; 0: none
---@field base_s number? default 0.5
---@field cap_s number? default 60; a server that asks for a longer wait is not asked again
---@field statuses integer[]? default 408, 409, 429 and every 5xx but 501 and 505
---@field on_retry fun(event: table)? called with the `retry` event, before the wait

local KINDS = { connect = true, closed = true }

local function is_default_status(status)
  if status >= 500 then return status <= 599 and status ~= 501 and status ~= 505 end
  return status == 408 or status == 409 or status == 429
end

local function is_retried_status(policy, status)
  if not policy.statuses then return is_default_status(status) end
  for _, other in ipairs(policy.statuses) do
    if other == status then return true end
  end
  return false
end

-- The status that an error stands for: an error event in a stream has it as its code.
local function status_of(err)
  if err.status and (err.status < 200 or err.status > 299) then return err.status end
  return tonumber(err.code)
end

--- May the attempt that ended so be made again? `x-should-retry` wins; a quota that is used up comes back tomorrow at
--- the earliest.
---@param policy vllm.Retry
---@param err vllm.Error
---@return boolean
function retry.is_retried(policy, err)
  if err.kind == "cancelled" or err.kind == "config" or err.code == "insufficient_quota" then return false end
  if err.should_retry ~= nil then return err.should_retry end
  if err.clock == "connect_s" then return true end
  local status = status_of(err)
  if status then return is_retried_status(policy, status) end
  return KINDS[err.kind] == true and err.retryable ~= false
end

-- A generator of our own: math.random is the program's, which may have seeded it on purpose. Source: Park and Miller,
-- 1988.
local MODULUS, FACTOR = 2147483647, 16807
local state

local function random()
  if not state then
    local address = tonumber(tostring({}):match("0x(%x+)") or "0", 16) % MODULUS
    state = (math.floor(core.now() * 1e6) + address) % (MODULUS - 1) + 1
  end
  state = state * FACTOR % MODULUS
  return state / MODULUS
end

--- How long to wait before the next attempt.
---@param policy vllm.Retry
---@param err vllm.Error of the attempt that failed
---@param attempt integer its number, from 1
---@return number? seconds nil: the server asks for more than cap_s
function retry.wait_s(policy, err, attempt)
  local asked_s = err.retry_after_s
  if asked_s then
    if asked_s > policy.cap_s then return nil end
    return asked_s
  end
  return random() * math.min(policy.cap_s, policy.base_s * 2 ^ math.min(attempt - 1, 62))
end

return retry
