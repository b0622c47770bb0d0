-- The example of an agent that edits a buffer, in both editors.
require "spec.support.env"
local answers = require "spec.support.answers"
local cjson = require "cjson"
local neovim = require "spec.support.neovim"
local servers = require "spec.support.server"

local READ = answers.calls { { "read_lines", "{}" } }
local EDIT = answers.calls { { "edit_lines", cjson.encode { first = 2, last = 2, text = "local count = 2\n" } } }
local DONE = answers.text "Renamed it."

local SCRIPT = [[
  vim.opt.rtp:prepend(os.getenv "EXAMPLE")
  vim.cmd "runtime plugin/agent.lua"
  vim.notify = function(message) print(message) end
  local buffer = vim.api.nvim_get_current_buf()
  local function text() return table.concat(vim.api.nvim_buf_get_lines(buffer, 0, -1, true), "|") end
  local function shown()
    for _, window in ipairs(vim.api.nvim_list_wins()) do
      local other = vim.api.nvim_win_get_buf(window)
      if vim.bo[other].filetype == "diff" then
        return table.concat(vim.api.nvim_buf_get_lines(other, 0, -1, true), "\n")
      end
    end
    return ""
  end
  local function until_shown(part, count)
    wait_for(function() return select(2, shown():gsub(vim.pesc(part), "")) == (count or 1) end)
  end
  local ASKS = ":AgentApprove or :AgentDeny [why]"
  vim.api.nvim_buf_set_lines(0, 0, -1, true, { "local a = 1", "local b = 2", "local c = 3" })
]]

for _, editor in ipairs(neovim.editors()) do
  describe(editor.name .. " Neovim, the agent:", function()
    local server

    if not editor.path then
      it("is there", function() error("there is none: " .. tostring(editor.why)) end)
      return
    end

    setup(function() server = servers.start {} end)
    teardown(function()
      server:stop()
      neovim.remove_runtime()
    end)
    before_each(function() server:clear_log() end)

    -- What a script prints while the server gives these answers.
    local function run(code, ...)
      local output, status = neovim.run(editor.path, SCRIPT .. code, { VLLM_MODEL = "test-model",
        VLLM_BASE_URL = server.url .. answers.script(server, ...) .. "/v1", BASE_URL = server.url .. "/v1",
        EXAMPLE = neovim.runtime() .. "/example" })
      assert.equal(0, status, output)
      return (output:gsub("\n$", ""))
    end

    -- The results that the model read in a request, the last first.
    local function results(request)
      local list = {}
      local messages = cjson.decode(server:log("request")[request].body).messages
      for i = #messages, 1, -1 do
        if messages[i].role == "tool" then list[#list + 1] = messages[i].content end
      end
      return list
    end

    it("reads, shows a diff, and edits only when it is approved; one undo takes the edit back", function()
      assert.equal([[
true local a = 1|local b = 2|local c = 3
> rename b
[read_lines]
@@ -1,3 +1,3 @@
 local a = 1
-local b = 2
+local count = 2
 local c = 3
:AgentApprove or :AgentDeny [why]
[edit_lines]
Renamed it.
(done)

local a = 1|local count = 2|local c = 3
local a = 1|local b = 2|local c = 3]], run([[
        vim.cmd "Agent rename b"
        until_shown(ASKS)
        print(vim.api.nvim_get_current_buf() == buffer, text())
        vim.cmd "AgentApprove"
        until_shown "(done)"
        print(shown())
        print(text())
        vim.cmd "silent undo"
        print(text())
        quit()]], READ, EDIT, DONE))
      assert.same({ "1: local a = 1\n2: local b = 2\n3: local c = 3" }, results(2))
      assert.equal("done; the buffer has 3 lines now, +0", results(3)[1])
    end)

    it("a denied edit is not made, and the model reads why", function()
      assert.equal("local a = 1|local b = 2|local c = 3", run([[
        vim.cmd "Agent rename b"
        until_shown(ASKS)
        vim.cmd "AgentDeny use a longer name"
        until_shown "(done)"
        print(text())
        quit()]], READ, EDIT, answers.text "As you like."))
      assert.equal("Error: the call was denied: use a longer name", results(3)[1])
    end)

    it("an edit of lines that the user has changed meanwhile is refused", function()
      assert.equal("mine|local b = 2|local c = 3", run([[
        vim.cmd "Agent rename b"
        until_shown(ASKS)
        vim.api.nvim_buf_set_lines(buffer, 0, 1, true, { "mine" })
        vim.cmd "AgentApprove"
        until_shown "(done)"
        print(text())
        quit()]], READ, EDIT, answers.text "I could not."))
      assert.equal("Error: the buffer is not as you last read it: read it again", results(3)[1])
    end)

    it("an edit that cannot be made, or comes beside another, is refused without a question", function()
      local function edit(first, last, text) return { "edit_lines", cjson.encode { first = first, last = last, text = text } } end
      assert.equal("local a = 1|new|local b = 2|local c = 3", run([[
        vim.cmd "Agent insert a line"
        until_shown(ASKS)
        vim.cmd "AgentApprove"
        until_shown "(done)"
        print(text())
        quit()]], answers.calls { edit(1, 1, "blind") }, READ,
        answers.calls { edit(3, 9, "far"), edit(2, 1, "new"), edit(1, 3, "") }, DONE))
      assert.equal("Error: the call was denied: the buffer is not as you last read it: read it again", results(2)[1])
      local last, done, first = results(4)[1], results(4)[2], results(4)[3]
      assert.equal("Error: the call was denied: one edit at a time: wait for the result of the first", last)
      assert.equal("done; the buffer has 4 lines now, +1", done)
      assert.equal("Error: the call was denied: there are no lines 3 to 9: the buffer has 3", first)
    end)

    it("each edit is an undo step of its own, also after another without a key between them", function()
      assert.equal("last|local count = 2|local c = 3\nlocal a = 1|local count = 2|local c = 3", run([[
        vim.cmd "Agent rename b"
        until_shown(ASKS)
        vim.cmd "AgentApprove"
        until_shown(ASKS, 2)
        vim.cmd "AgentApprove"
        until_shown "(done)"
        print(text())
        vim.cmd "silent undo"
        print(text())
        quit()]], READ, EDIT, answers.calls { { "edit_lines", '{"first":1,"last":1,"text":"last"}' } }, DONE))
    end)

    it("empty text deletes lines", function()
      assert.equal("local c = 3", run([[
        vim.cmd "Agent delete"
        until_shown(ASKS)
        vim.cmd "AgentApprove"
        until_shown "(done)"
        print(text())
        quit()]], READ, answers.calls { { "edit_lines", '{"first":1,"last":2,"text":""}' } }, DONE))
    end)

    it("a second task, also from its window, continues the conversation", function()
      assert.equal("Agent: no edit waits", run([[
        vim.cmd "Agent one"
        until_shown "(done)"
        vim.cmd "wincmd j"
        vim.cmd "Agent two"
        until_shown("(done)", 2)
        vim.cmd "AgentApprove"
        quit()]], answers.text "First.", answers.text "Second."))
      local messages = cjson.decode(server:last_body()).messages
      assert.equal("one First. two", table.concat({ messages[2].content, messages[3].content, messages[4].content }, " "))
    end)

    it("the editor works while the model is silent; :AgentStop ends the run, and the server sees it", function()
      assert.equal("true\nAgent: the last task is not done; :AgentStop ends it\n(stopped: cancelled)", run([[
        local ticks, timer = 0, uv.new_timer()
        timer:start(5, 5, vim.schedule_wrap(function() ticks = ticks + 1 end))
        local began = core.now()
        vim.cmd "Agent wait"
        wait_for(function() return ticks > 20 end)
        print(core.now() - began < 5)
        vim.cmd "Agent another"
        vim.cmd "AgentStop"
        until_shown "(stopped: cancelled)"
        print(shown():match "%(.*%)")
        quit()]], answers.silence()))
      assert.truthy(server:wait_for(function(log)
        for _, record in ipairs(log) do if record.event == "close" and record.by == "client" then return true end end
      end))
    end)

    it(":AgentStop ends a task whose edit waits; the next one may begin", function()
      assert.equal("Agent: an edit waits: :AgentApprove or :AgentDeny it, or :AgentStop\nlocal a = 1|local b = 2|local c = 3", run([[
        vim.cmd "Agent rename b"
        until_shown(ASKS)
        vim.cmd "Agent another"
        vim.cmd "AgentStop"
        until_shown "(stopped: cancelled)"
        vim.cmd "Agent leave it"
        until_shown "(done)"
        print(text())
        quit()]], READ, EDIT, answers.text "I left it."))
      assert.equal("Error: the call was cancelled", results(3)[1])
    end)

    it("an error of the server is shown, and the task can be given again", function()
      local output = run([[
        local notify = vim.notify
        vim.notify = function(message)
          notify(message)
          vim.g.is_told = true
        end
        vim.cmd "Agent one"
        wait_for(function() return vim.g.is_told end)
        vim.cmd "Agent two"
        until_shown "(done)"
        quit()]], "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}", answers.text "Here I am.")
      assert.matches("^Agent: invalid_request: ", output)
    end)
  end)
end
