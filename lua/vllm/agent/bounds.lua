--- What ends a run before its task is done: steps, tokens, time.

local core = require "vllm.core"

local bounds = {}

--- The bound that is used up, asked before each model call.
---@param agent vllm.Agent
---@param steps integer made in this run
---@param usage table of this run
---@param began_at number
---@return "max_steps"|"token_budget"|"time_budget"|nil stop
---@return string? hint
function bounds.reached(agent, steps, usage, began_at)
  local budget = agent.budget
  if budget.total_tokens and (usage.total_tokens or 0) >= budget.total_tokens then
    return "token_budget", ("%d tokens of %d are used up"):format(usage.total_tokens, budget.total_tokens)
  end
  if budget.total_s and core.now() - began_at >= budget.total_s then
    return "time_budget", ("%g s have passed"):format(budget.total_s)
  end
  if steps >= agent.max_steps then
    local hint = agent.is_default_max_steps
      and ("the run was stopped after %d steps; max_steps allows more"):format(steps) or nil
    return "max_steps", hint
  end
end

return bounds
