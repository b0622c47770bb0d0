--- The window in which the agent shows what it does. Its last line is always in sight.

local pane = {}

local buffer

local function is_loaded() return buffer and vim.api.nvim_buf_is_loaded(buffer) end

--- Opens the window below, if it is not there. The cursor stays where it is.
function pane.open()
  if is_loaded() and #vim.fn.win_findbuf(buffer) > 0 then return end
  local window = vim.api.nvim_get_current_win()
  vim.cmd "botright 12new"
  if is_loaded() then
    vim.api.nvim_win_set_buf(0, buffer)
  else
    buffer = vim.api.nvim_get_current_buf()
    vim.bo[buffer].buftype, vim.bo[buffer].bufhidden, vim.bo[buffer].filetype = "nofile", "hide", "diff"
  end
  vim.api.nvim_set_current_win(window)
end

--- Is it this buffer that the window shows?
function pane.is(other) return other == buffer end

--- Appends text.
function pane.say(text)
  if not is_loaded() then return end
  local row = vim.api.nvim_buf_line_count(buffer) - 1
  local column = #vim.api.nvim_buf_get_lines(buffer, row, row + 1, true)[1]
  vim.api.nvim_buf_set_text(buffer, row, column, row, column, vim.split(text, "\n", { plain = true }))
  local last = vim.api.nvim_buf_line_count(buffer)
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do vim.api.nvim_win_set_cursor(window, { last, 0 }) end
end

--- Appends text on lines of its own.
function pane.tell(text)
  if not is_loaded() then return end
  local is_fresh = vim.api.nvim_buf_get_lines(buffer, -2, -1, true)[1] == ""
  pane.say((is_fresh and "" or "\n") .. text .. "\n")
end

return pane
