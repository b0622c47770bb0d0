-- What a Neovim user sees: the example plugin, :checkhealth, the help; in both editors.
require "spec.support.env"
local neovim = require "spec.support.neovim"
local servers = require "spec.support.server"

for _, editor in ipairs(neovim.editors()) do
  describe(editor.name .. " Neovim:", function()
    local server

    if not editor.path then
      it("is there", function() error("there is none: " .. tostring(editor.why)) end)
      return
    end

    setup(function() server = servers.start { key = "sk-very-secret" } end)
    teardown(function()
      server:stop()
      neovim.remove_runtime()
    end)
    before_each(function() server:clear_log() end)

    local ASK = [[
      vim.opt.rtp:prepend(os.getenv "EXAMPLE")
      vim.cmd "runtime plugin/ask.lua"
      local function lines() return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, true), "\n") end
      local namespace = vim.api.nvim_create_namespace "ask"
      local function marks() return #vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, {}) end
      local function until_done() wait_for(function() return marks() == 0 end) end
    ]]

    local function run(code, target, environment)
      local all = {
        VLLM_MODEL = "test-model", VLLM_API_KEY = "sk-very-secret", VLLM_BASE_URL = server.url .. (target or "/v1"),
        BASE_URL = server.url .. "/v1", EXAMPLE = neovim.runtime() .. "/example",
      }
      for name, value in pairs(environment or {}) do all[name] = value end
      local output, status = neovim.run(editor.path, code, all)
      assert.equal(0, status, output)
      return (output:gsub("\n$", ""))
    end

    describe("the example plugin:", function()
      it(":Ask streams into a buffer, and goes on with the conversation there", function()
        assert.equal("waiting or writing\n# one\n\nYou said: one\n\n# two\n\nYou said: two\nuser assistant user", run(ASK .. [[
          vim.cmd "Ask one"
          print(marks() == 1 and "waiting or writing")
          until_done()
          vim.cmd "Ask two"
          until_done()
          print(lines())
          quit()]], "/v1?pace_ms=5") .. "\n" .. (function()
            local roles = {}
            for role in server:last_body():gmatch '"role":"(%w+)"' do roles[#roles + 1] = role end
            return table.concat(roles, " ")
          end)())
      end)

      it("setup counts from the next question of a conversation; one that fails leaves all as it was", function()
        assert.equal('Ask: missing environment variable VLLM_MODEL; or call require("ask").setup { model = "…" }\n'
          .. "# one\n\nYou said: one\n\n# two\n\nYou said: two\nanother user assistant user", run(ASK .. [[
          vim.notify = function(message) print(message) end
          vim.cmd "Ask one"
          vim.env.VLLM_MODEL = nil
          require("ask").setup {}
          until_done()
          require("ask").setup { model = "another" }
          vim.cmd "Ask two"
          until_done()
          print(lines())
          quit()]], "/v1?pace_ms=5") .. "\n" .. (function()
            local roles = { server:last_body():match '"model":"(%w+)"' }
            for role in server:last_body():gmatch '"role":"(%w+)"' do roles[#roles + 1] = role end
            return table.concat(roles, " ")
          end)())
      end)

      it("a setup that fails while an answer is on its way does not lose the answer's error", function()
        local text = run(ASK .. [[
          vim.notify = function(message) print((message:gsub(" %(.*", ""))) end
          vim.cmd "Ask one"
          vim.env.VLLM_MODEL = nil
          require("ask").setup {}
          until_done()
          quit()]], "/fault/status/400")
        assert.matches("^Ask: missing environment.*\nAsk: invalid_request: ", text)
        assert.is_nil(text:find("traceback", 1, true), text)
      end)

      it("a range is what the question is about", function()
        run(ASK .. [[
          vim.bo.filetype = "lua"
          vim.api.nvim_buf_set_lines(0, 0, -1, true, { "local a", "local b", "local c" })
          vim.cmd "2,3Ask what is this?"
          until_done()
          quit()]])
        assert.truthy(server:last_body():find('what is this?\\n\\n```lua\\nlocal b\\nlocal c\\n```', 1, true),
          server:last_body())
      end)

      it("one undo takes back the whole answer", function()
        assert.equal("# one", (run(ASK .. [[
          vim.cmd "Ask one"
          wait_for(function() return marks() == 0 end)
          assert(lines() == "# one\n\n" .. (" word"):rep(10), lines())
          vim.cmd "silent undo"
          print((lines():gsub("%s*$", "")))
          quit()]], "/load?events=10&interval_ms=10")))
      end)

      it("one may write above the answer while it comes", function()
        assert.equal("# one, edited\nmore\n\n" .. (" word"):rep(20), run(ASK .. [[
          vim.cmd "Ask one"
          wait_for(function() return lines():find "word word" end)
          vim.api.nvim_buf_set_text(0, 0, 5, 0, 5, { ", edited", "more" })
          until_done()
          print(lines())
          quit()]], "/load?events=20&interval_ms=20"))
      end)

      it(":AskStop ends the answer at once; the server sees it, and what came stays in the conversation", function()
        local output = run(ASK .. [[
          vim.cmd "Ask one"
          wait_for(function() return lines():find "word" end)
          local began = core.now()
          vim.cmd "AskStop"
          until_done()
          print(core.now() - began < 0.5 or core.now() - began)
          local before = lines()
          vim.wait(150, function() return false end)
          print(lines() == before)
          vim.cmd "Ask two"
          wait_for(function() return marks() == 1 end)
          vim.wait(300, function() return false end)
          quit()]], "/load?events=1000&interval_ms=20")
        assert.equal("true\ntrue", output)
        assert.truthy(server:last_body():find('"role":"assistant","content":" word', 1, true) or
          server:last_body():find('"content":" word[^"]*","role":"assistant"'), server:last_body())
      end)

      it("a question whose answer was stopped before its first word is not kept", function()
        run(ASK .. [[
          vim.cmd "Ask one"
          vim.cmd "AskStop"
          until_done()
          vim.cmd "Ask two"
          until_done()
          quit()]], "/v1?delay_ms=100")
        assert.truthy(server:last_body():find('"content":"two"', 1, true), server:last_body())
        assert.is_nil(server:last_body():find('"content":"one"', 1, true), server:last_body())
      end)

      it("an error of the server is shown, and :Ask can be used again", function()
        assert.equal("1 true\n# one", (run(ASK .. [[
          local told = {}
          vim.notify = function(message) told[#told + 1] = message end
          vim.cmd "Ask one"
          until_done()
          print(#told, told[1]:find("Ask: server", 1, true) ~= nil or told[1])
          print((lines():gsub("%s*$", "")))
          quit()]], "/fault/status/400?retry_after=0"):gsub("1 Ask: [^\n]*", "1 true")))
      end)

      it("a deleted buffer cancels its answer, without a word; a question of two lines is one heading", function()
        assert.equal("0\n# one two", run(ASK .. [[
          local told = {}
          vim.notify = function(message) told[#told + 1] = message end
          vim.cmd "Ask one"
          vim.cmd "bdelete!"
          vim.wait(400, function() return false end)
          print(#told)
          require("ask").ask "one\ntwo"
          print(vim.api.nvim_buf_get_lines(0, 0, 1, true)[1])
          quit()]], "/load?events=1000&interval_ms=20&delay_ms=100"))
        assert.truthy(server:wait_for(function(log)
          for _, record in ipairs(log) do if record.event == "close" and record.midway then return true end end
        end))
      end)

      it("a wiped-out buffer cancels its answer", function()
        run(ASK .. [[
          vim.cmd "Ask one"
          wait_for(function() return lines():find "word" end)
          vim.cmd "bwipeout!"
          vim.wait(100, function() return false end)
          quit()]], "/load?events=1000&interval_ms=20")
        assert.truthy(server:wait_for(function(log)
          for _, record in ipairs(log) do if record.event == "close" and record.midway then return true end end
        end))
      end)
    end)

    describe(":checkhealth vllm", function()
      local HEALTH = [[
        vim.cmd "checkhealth vllm"
        print(table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, true), "\n"))
        quit()]]

      it("tells the modules, the engine, and that the server has the model; no key is shown", function()
        local text = run(HEALTH)
        for _, part in ipairs { "vllm.core 0", "libcurl ", "uses the host neovim", "runs in a thread",
          "an API key is set", "the server answers",
          "the server has the model test-model" } do
          assert.truthy(text:find(part, 1, true), part .. " is not in " .. text)
        end
        assert.is_nil(text:find("ERROR", 1, true), text)
        assert.is_nil(text:find("very-secret", 1, true), text)
      end)

      it("tells what is wrong: no server, a model it does not have, no model, a wrong key", function()
        for pattern, environment in pairs {
          ["ERROR:? connect: "] = { VLLM_BASE_URL = "http://127.0.0.1:1/v1" },
          ["WARN%a*:? the server does not have the model other; it has test%-model"] = { VLLM_MODEL = "other" },
          ["WARN%a*:? missing environment variable VLLM_MODEL"] = { VLLM_MODEL = "" },
          ["ERROR:? auth: "] = { VLLM_API_KEY = "sk-wrong-one" },
        } do
          local text = run(HEALTH, nil, environment)
          assert.truthy(text:find(pattern), text)
          assert.is_nil(text:find("wrong-one", 1, true), text)
        end
      end)

      it("a plugin that reports on no client is told so, in its own line", function()
        assert.equal("vllm.health.report: expected a client, got nil\nvllm.health.report: expected a client, got table", run [[
          for _, value in ipairs { false, {} } do
            local _, message = pcall(function() require("vllm.health").report(value or nil) end)
            print((message:gsub("^[^:]*lua_[^:]*:%d+: ", "")))
          end
          quit()]])
      end)

      it("waits for a server that never answers for a moment only, and the editor goes on", function()
        local text = run([[
          local ticks, timer = 0, uv.new_timer()
          timer:start(20, 20, vim.schedule_wrap(function() ticks = ticks + 1 end))
          local silent = uv.new_tcp()
          silent:bind("127.0.0.1", 0)
          silent:listen(8, function() end)
          vim.env.VLLM_BASE_URL = "http://127.0.0.1:" .. silent:getsockname().port .. "/v1"
          local began = core.now()
          vim.cmd "checkhealth vllm"
          print(core.now() - began < 10, ticks > 20)
          print(table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, true), "\n"))
          quit()]])
        assert.truthy(text:find "true true\n", text)
        assert.truthy(text:find "ERROR:? timeout: ", text)
      end)
    end)

    it("its help has tags without an error, and is found", function()
      assert.equal("true true true", run [[
        local directory = vim.fn.tempname()
        vim.fn.mkdir(directory .. "/doc", "p")
        vim.fn.writefile(vim.fn.readfile("doc/vllm.txt"), directory .. "/doc/vllm.txt")
        vim.cmd("helptags " .. directory .. "/doc")
        local tags = table.concat(vim.fn.readfile(directory .. "/doc/tags"), "\n")
        vim.opt.rtp:append(directory)
        vim.cmd "help vllm-health"
        local text = table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, true), "\n")
        local dangling = false
        for tag in text:gmatch "|(vllm[%w-]*)|" do if not tags:find(tag .. "\t", 1, true) then dangling = tag end end
        print(tags:find("vllm.txt", 1, true) ~= nil, vim.fn.expand "%:t" == "vllm.txt", not dangling)
        vim.fn.delete(directory, "rf")
        quit()]])
    end)

    it("null is vim.NIL both ways, vim.empty_dict() an empty object", function()
      assert.equal('true true\n[null,{},{"a":null}]', run [[
        print(vllm.null == vim.NIL, vllm.json.decode("[null]")[1] == vim.NIL)
        print(vllm.json.encode { vim.NIL, vim.empty_dict(), { a = vim.NIL } })
        quit()]])
    end)

    it("a client that is made early loads libcurl in a thread", function()
      assert.equal("true nil", run [[
        wait_for(function()
          for line in io.lines "/proc/self/maps" do if line:find("libcurl", 1, true) then return true end end
        end)
        print(true, package.loaded["vllm.curl"])
        quit()]])
    end)
  end)
end
