-- :Agent {task} lets the model edit this buffer; it asks before each edit. :AgentApprove, :AgentDeny [why] decide,
-- :AgentStop ends the task.

local function command(name, options, call)
  vim.api.nvim_create_user_command(name, function(given)
    local found, module = pcall(require, "ask.agent")
    if not found then return vim.notify("Agent: " .. module, vim.log.levels.ERROR) end
    call(module, given.args)
  end, options)
end

command("Agent", { nargs = "+", desc = "Give the agent a task in this buffer" }, function(agent, text)
  agent.run(text)
end)
command("AgentApprove", { desc = "Make the agent's edit" }, function(agent) agent.approve() end)
command("AgentDeny", { nargs = "*", desc = "Refuse the agent's edit" }, function(agent, why)
  agent.deny(why ~= "" and why or nil)
end)
command("AgentStop", { desc = "End the agent's task" }, function(agent) agent.stop() end)
