--- An agent that edits the buffer you are in. It proposes one edit at a time, shows it as a diff, and changes nothing
-- before :AgentApprove. You keep working meanwhile. A small plugin to read and copy.
local pane = require "ask.pane"
local vllm = require "vllm"

local M = {}

local diff = (vim.text or {}).diff or vim.diff -- vim.diff before Neovim 0.12
local task -- the latest: { buffer, client, session, is_running, seen, edit }

local INSTRUCTIONS = "You edit a buffer in the user's editor. Read its lines, then propose one edit at a time, the "
  .. "smallest that does it. When the task is done, say so in one sentence."
local CHANGED = "the buffer is not as you last read it: read it again"

-- Edits ------------------------------------------------------------------------------------------------------------

local function tick_of(buffer) return vim.api.nvim_buf_get_changedtick(buffer) end

local function lines_of(text)
  return text == "" and {} or vim.split(text:gsub("\n$", ""), "\n", { plain = true })
end

-- Why this edit is not worth a question.
local function fault(input)
  local count = vim.api.nvim_buf_line_count(task.buffer)
  if task.edit then return "one edit at a time: wait for the result of the first" end
  if task.seen ~= tick_of(task.buffer) then return CHANGED end
  if input.last > count or input.first > input.last + 1 then
    return ("there are no lines %d to %d: the buffer has %d"):format(input.first, input.last, count)
  end
end

local function apply(input)
  vim.api.nvim_buf_call(task.buffer, function() vim.cmd "let &g:undolevels = &g:undolevels" end) -- a new undo step
  vim.api.nvim_buf_set_lines(task.buffer, input.first - 1, input.last, true, lines_of(input.text))
end

local function show_edit()
  local input, before = task.edit.input, vim.api.nvim_buf_get_lines(task.buffer, 0, -1, true)
  local after = vim.list_slice(before, 1, input.first - 1)
  vim.list_extend(after, lines_of(input.text))
  vim.list_extend(after, before, input.last + 1)
  pane.tell(diff(table.concat(before, "\n") .. "\n", table.concat(after, "\n") .. "\n", { ctxlen = 3 })
    .. ":AgentApprove or :AgentDeny [why]")
end

-- The agent --------------------------------------------------------------------------------------------------------

local function schema(properties, required) return { type = "object", properties = properties, required = required } end
local FIRST, LAST = { type = "integer", minimum = 1 }, { type = "integer", minimum = 0 }

local TOOLS = {
  {
    name = "read_lines", description = "Lines of the buffer with their numbers; by default all",
    parameters = schema { first = FIRST, last = LAST },
    run = function(input)
      local first = input.first or 1
      local lines = vim.api.nvim_buf_get_lines(task.buffer, first - 1, input.last or -1, false)
      task.seen = tick_of(task.buffer)
      for i, line in ipairs(lines) do lines[i] = first + i - 1 .. ": " .. line end
      return table.concat(lines, "\n")
    end,
  },
  {
    name = "edit_lines",
    description = "Replaces the lines from first to last by text, which may be empty. "
      .. "Where last is first - 1, it inserts the text before first.",
    parameters = schema({ first = FIRST, last = LAST, text = { type = "string" } }, { "first", "last", "text" }),
    approval = function(input, call)
      local why = fault(input)
      if why then return "deny", why end
      task.edit = { id = call.id, input = input, tick = task.seen }
      return "ask"
    end,
    run = function(input)
      local edit = task.edit
      task.edit = nil
      if edit.tick ~= tick_of(task.buffer) then return nil, CHANGED end
      local count = vim.api.nvim_buf_line_count(task.buffer)
      apply(input)
      task.seen = tick_of(task.buffer)
      local now = vim.api.nvim_buf_line_count(task.buffer)
      return ("done; the buffer has %d lines now, %+d"):format(now, now - count)
    end,
  },
}

local function on_event(event)
  if event.type == "text_delta" then pane.say(event.text) end
  if event.type == "tool_start" then pane.tell("[" .. event.name .. "]") end
  if event.type == "tool_result" and event.is_error then pane.tell("[" .. event.message.content .. "]") end
end

local function on_done(result, message)
  task.is_running = false
  if result and result.stop == "awaiting_approval" then return show_edit() end
  task.edit = nil
  if not result then return vim.notify("Agent: " .. message, vim.log.levels.ERROR) end
  pane.tell(result.stop == "completed" and "(done)" or "(stopped: " .. result.stop .. ")")
end

local function go(input)
  task.is_running = true
  task.session:run(input):start(on_event, on_done)
end

local function warn(text) vim.notify("Agent: " .. text, vim.log.levels.WARN) end

--- Gives the agent a task in this buffer; a second one continues the conversation.
---@param text string
function M.run(text)
  local client = require("ask").client()
  if not client then return end
  if task and task.is_running then return warn "the last task is not done; :AgentStop ends it" end
  if task and task.edit then return warn "an edit waits: :AgentApprove or :AgentDeny it, or :AgentStop" end
  local buffer = vim.api.nvim_get_current_buf()
  if pane.is(buffer) then buffer = task.buffer end
  if not task or task.buffer ~= buffer or task.client ~= client then
    local agent = vllm.agent { client = client, instructions = INSTRUCTIONS, tools = TOOLS }
    task = { buffer = buffer, client = client, session = agent:session() }
  end
  pane.open()
  pane.tell("> " .. text)
  go(text)
end

local function decide(how, why)
  if not (task and task.edit) or task.is_running then return warn "no edit waits" end
  assert(task.session[how](task.session, task.edit.id, why))
  if how == "deny" then task.edit = nil end
  go()
end

--- The edit that is shown is made, and the agent goes on.
function M.approve() decide "approve" end

--- It is not made; the agent reads why.
---@param why string?
function M.deny(why) decide("deny", why) end

--- Ends the task. An edit that waits is not made.
function M.stop()
  if not task then return end
  task.session:cancel()
  if task.edit and not task.is_running then pane.tell "(stopped: cancelled)" end
  task.edit = nil
end

return M
