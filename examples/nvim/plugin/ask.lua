-- :Ask {question} asks; with a range, about these lines. :AskStop ends the answer.

-- Shows the sentence alone; require's own error would be followed by a traceback.
local function ask()
  local found, module = pcall(require, "ask")
  if found then return module end
  vim.notify("Ask: " .. module, vim.log.levels.ERROR)
end

vim.api.nvim_create_user_command("Ask", function(command)
  local lines
  if command.range > 0 then lines = vim.api.nvim_buf_get_lines(0, command.line1 - 1, command.line2, false) end
  local module = ask()
  if module then module.ask(command.args, lines) end
end, { nargs = "+", range = true, desc = "Ask the model" })

vim.api.nvim_create_user_command("AskStop", function()
  local module = ask()
  if module then module.stop() end
end, { desc = "Stop the answer" })
