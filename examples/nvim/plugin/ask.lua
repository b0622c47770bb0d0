-- :Ask {question}, with a range: about these lines. :AskStop ends the answer.
vim.api.nvim_create_user_command("Ask", function(command)
  local lines
  if command.range > 0 then lines = vim.api.nvim_buf_get_lines(0, command.line1 - 1, command.line2, false) end
  require("ask").ask(command.args, lines)
end, { nargs = "+", range = true, desc = "Ask the model" })

vim.api.nvim_create_user_command("AskStop", function() require("ask").stop() end, { desc = "Stop the answer" })
