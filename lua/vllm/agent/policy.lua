--- May a call run? Several policies are asked; deny wins, then ask, then allow. Where none has an opinion it may.

local policy = {}

local RANK = { allow = 1, ask = 2, deny = 3 }

local function check(decision, who)
  if decision == nil or RANK[decision] then return decision end
  error(('%s: expected nil, "allow", "ask" or "deny", got %s'):format(who, tostring(decision)), 0)
end

-- What the tool itself says: false and nil have no opinion.
local function of_tool(tool, call)
  local approval = tool.approval
  if type(approval) == "function" then return approval(call.input, call) end
  return approval or nil
end

--- Is there anything to ask at all?
---@param policies function[]
---@param tool vllm.agent.CheckedTool
---@return boolean
function policy.concerns(policies, tool)
  return #policies > 0 or (tool.approval or false) ~= false
end

--- May wait and may raise, as policies may.
---@param policies (fun(call: table, session: vllm.agent.Session): string?, string?)[]
---@param tool vllm.agent.CheckedTool
---@param record vllm.agent.Record
---@param session vllm.agent.Session
---@return "allow"|"ask"|"deny" decision
---@return string? why
function policy.decide(policies, tool, record, session)
  local call = { id = record.id, name = record.name, arguments = record.arguments, input = record.input }
  local decision, why = of_tool(tool, call)
  decision = check(decision, "approval of " .. record.name) or "allow"
  for _, fn in ipairs(policies) do
    local said, reason = fn(call, session)
    said = check(said, "a policy")
    if said and RANK[said] > RANK[decision] then decision, why = said, reason end
  end
  return decision, why
end

return policy
