--- Chats with a model in buffers. The answer streams in while you keep working; the next :Ask in the same buffer
-- continues the conversation. A small plugin to read and copy.
local vllm = require "vllm"

local M = {}

local namespace = vim.api.nvim_create_namespace "ask"
local chats = {} -- buffer → { client, session, turn, mark, tick }
local client

--- Options as for vllm.new; the rest comes from VLLM_MODEL, VLLM_BASE_URL and VLLM_API_KEY. They apply from the next
--- question on.
---@return boolean is_ready false: nothing was changed
function M.setup(options)
  local made, message = vllm.from_env(options)
  if not made then
    vim.notify("Ask: " .. message .. '; or call require("ask").setup { model = "…" }', vim.log.levels.ERROR)
  end
  client = made or client
  return made ~= nil
end

--- The client of setup, else of the environment.
---@return vllm.Client? client nil: why was shown
function M.client()
  if not client then M.setup() end
  return client
end

-- Writing into the buffer ------------------------------------------------------------------------------------------

-- Where the answer continues. The mark moves with every edit, so you may edit above it meanwhile.
local function position(buffer, chat)
  local place = vim.api.nvim_buf_get_extmark_by_id(buffer, namespace, chat.mark, {})
  return place[1], place[2]
end

local function show_state(buffer, chat, row, column, state)
  local shown = { id = chat.mark, virt_text = { { "… " .. state, "Comment" } } }
  chat.mark = vim.api.nvim_buf_set_extmark(buffer, namespace, row, column, shown)
  chat.state = state
end

-- Windows whose cursor is at the end stay there.
local function windows_at_end(buffer)
  local count, windows = vim.api.nvim_buf_line_count(buffer), {}
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    if vim.api.nvim_win_get_cursor(window)[1] == count then windows[#windows + 1] = window end
  end
  return windows
end

-- One undo removes the whole answer: our edits are joined unless another edit came in between.
local function write(buffer, chat, text)
  local row, column = position(buffer, chat)
  local followers = windows_at_end(buffer)
  vim.api.nvim_buf_call(buffer, function()
    if chat.tick == vim.api.nvim_buf_get_changedtick(buffer) then pcall(vim.cmd, "undojoin") end
    vim.api.nvim_buf_set_text(buffer, row, column, row, column, vim.split(text, "\n", { plain = true }))
  end)
  chat.tick = vim.api.nvim_buf_get_changedtick(buffer)
  for _, window in ipairs(followers) do
    vim.api.nvim_win_set_cursor(window, { vim.api.nvim_buf_line_count(buffer), 0 })
  end
end

local function open_buffer()
  vim.cmd "botright vnew"
  local buffer = vim.api.nvim_get_current_buf()
  vim.bo[buffer].buftype, vim.bo[buffer].bufhidden, vim.bo[buffer].filetype = "nofile", "hide", "markdown"
  vim.wo.wrap, vim.wo.linebreak = true, true
  vim.api.nvim_create_autocmd("BufWipeout", { buffer = buffer, callback = function()
    if chats[buffer].turn then chats[buffer].turn:cancel() end
    chats[buffer] = nil
  end })
  return buffer
end

-- Questions and answers --------------------------------------------------------------------------------------------

local function question_text(question, lines)
  if not lines then return question end
  return ("%s\n\n```%s\n%s\n```"):format(question, vim.bo.filetype, table.concat(lines, "\n"))
end

local function set_session(chat, messages)
  chat.client, chat.session = client, client:session { messages = messages }
end

-- A partial answer belongs to the conversation. A question without any answer does not: it will be asked again.
local function keep_what_was_said(chat, partial)
  local text = partial and partial.text or ""
  if text ~= "" then return chat.session:append { role = "assistant", content = text } end
  local messages = chat.session:messages()
  while #messages > chat.count do table.remove(messages) end
  set_session(chat, messages)
end

local function finish(buffer, chat, message, err)
  chat.turn = nil
  if err then keep_what_was_said(chat, err.partial) end
  if not vim.api.nvim_buf_is_loaded(buffer) then return end
  vim.api.nvim_buf_del_extmark(buffer, namespace, chat.mark)
  chat.mark = nil
  if err and err.kind ~= "cancelled" then vim.notify("Ask: " .. message, vim.log.levels.ERROR) end
end

local function begin_answer(buffer, chat, question)
  local count = vim.api.nvim_buf_line_count(buffer)
  local is_empty = count == 1 and vim.api.nvim_buf_get_lines(buffer, 0, 1, true)[1] == ""
  local heading = { "# " .. question:gsub("\n", " "), "", "" }
  if not is_empty then table.insert(heading, 1, "") end
  vim.api.nvim_buf_set_lines(buffer, is_empty and 0 or -1, -1, true, heading)
  show_state(buffer, chat, vim.api.nvim_buf_line_count(buffer) - 1, 0, "waiting")
  vim.api.nvim_win_set_cursor(0, { vim.api.nvim_buf_line_count(buffer), 0 })
  vim.cmd "let &undolevels = &undolevels" -- starts a new undo step
  chat.tick = nil
end

--- Asks in the chat of this buffer, or in a new one.
---@param question string
---@param lines string[]? the lines that it is about
function M.ask(question, lines)
  if not M.client() then return end
  local text = question_text(question, lines)
  local buffer = vim.api.nvim_get_current_buf()
  local chat = chats[buffer]
  if chat and chat.turn then
    return vim.notify("Ask: the last answer is still coming; :AskStop ends it", vim.log.levels.WARN)
  end
  if not chat then
    buffer = open_buffer()
    chat = {}
    chats[buffer] = chat
  end
  if chat.client ~= client then set_session(chat, chat.session and chat.session:messages()) end
  begin_answer(buffer, chat, question)
  chat.count = #chat.session:messages()
  chat.turn = chat.session:turn(text)
  chat.turn:start(function(event)
    if not vim.api.nvim_buf_is_loaded(buffer) then return false end -- :bdelete; ends the answer
    if event.type == "reasoning_delta" and chat.state ~= "thinking" then
      local row, column = position(buffer, chat)
      show_state(buffer, chat, row, column, "thinking")
    elseif event.type == "text_delta" then
      if chat.state ~= "writing" then
        local row, column = position(buffer, chat)
        show_state(buffer, chat, row, column, "writing")
      end
      write(buffer, chat, event.text)
    end
  end, function(_, message, err) finish(buffer, chat, message, err) end)
end

--- Ends the answer in this buffer.
function M.stop()
  local chat = chats[vim.api.nvim_get_current_buf()]
  if chat and chat.turn then chat.turn:cancel() end
end

return M
