-- The host that is cqueues where it differs from others: controllers that are closed, many of them, generators, errors
-- of tasks. What all hosts do alike is in matrix_spec.
require "spec.support.env"
local child = require "spec.support.child"
local interrupted = require "spec.support.interrupted"
local servers = require "spec.support.server"

local PREAMBLE = [[
local cqueues, vllm, core = require "cqueues", require "vllm", require "vllm.core"
local client = vllm.new { model = "test-model", base_url = os.getenv "URL" .. (os.getenv "TARGET" or "/v1") }
]]

for _, lua in ipairs { "lua5.1", "lua5.3", "lua5.4", "luajit" } do
  describe("in cqueues on " .. lua, function()
    local server

    setup(function() server = servers.start {} end)
    teardown(function() server:stop() end)

    local function prints(expected, code, target)
      local output, status = child.lua_of(lua, PREAMBLE .. code, { URL = server.url, TARGET = target or "/v1" })
      assert.equal(expected, (output:gsub("\n$", "")))
      assert.equal(0, status)
    end

    it("a controller that is closed while a turn waits leaves a turn that is collected, and others go on", function()
      prints("Hello\ttrue\nYou said: after", [[
        local watched = setmetatable({}, { __mode = "v" })
        local first, second = cqueues.new(), cqueues.new()
        local begun
        first:wrap(function()
          local turn = client:turn "x"
          watched[1] = turn
          turn:each(function(event) if event.type == "text_delta" then begun = event.text end end)
        end)
        while not begun do assert(first:step(1)) end
        first:close()
        first = nil
        collectgarbage() collectgarbage()
        print(begun, watched[1] == nil)
        second:wrap(function()
          print(vllm.new { model = "test-model", base_url = os.getenv "URL" .. "/v1" }:ask "after")
        end)
        assert(second:loop())]], "/fault/stall")
      assert.truthy(server:wait_for(function(log)
        for _, record in ipairs(log) do
          if record.event == "close" and record.by == "client" and record.midway then return true end
        end
      end))
    end)

    it("a controller that is closed while a task waits leaves a turn that is collected", function()
      prints("true", [[
        local watched = setmetatable({}, { __mode = "v" })
        local loop, begun = cqueues.new(), false
        loop:wrap(function()
          vllm.spawn(function()
            local turn = client:turn "x"
            watched[1] = turn
            turn:each(function() begun = true end)
          end)
        end)
        while not begun do assert(loop:step(1)) end
        loop:close()
        loop = nil
        collectgarbage() collectgarbage()
        print(watched[1] == nil)]], "/fault/stall")
    end)

    it("two controllers that are stepped in turn share the engine", function()
      prints("You said: one\nYou said: two", [[
        local loops, answers = { cqueues.new(), cqueues.new() }, {}
        for i, text in ipairs { "one", "two" } do loops[i]:wrap(function() answers[i] = assert(client:ask(text)) end) end
        while not loops[1]:empty() or not loops[2]:empty() do
          for _, loop in ipairs(loops) do assert(loop:step(0.01)) end
        end
        print(answers[1]) print(answers[2])]], "/v1?pace_ms=5")
    end)

    it("a controller within a controller", function()
      prints("You said: inner\nYou said: outer", [[
        local outer = cqueues.new()
        outer:wrap(function()
          local inner = cqueues.new()
          inner:wrap(function() print(client:ask "inner") end)
          assert(inner:loop())
          print(client:ask "outer")
        end)
        assert(outer:loop())]])
    end)

    it("Ctrl-C ends a wait of who asked for it: in the stream, and between two attempts", function()
      prints("cancelled\ncancelled", interrupted .. [[
        assert(cqueues.new():wrap(ask_both):loop())
      ]], "/fault/stall")
    end)

    it("one controller after the other", function()
      prints("You said: 1\nYou said: 2\nYou said: 3", [[
        for i = 1, 3 do
          local loop = cqueues.new()
          loop:wrap(function() print(client:ask(tostring(i))) end)
          assert(loop:loop())
        end]])
    end)

    it("a generator inside a coroutine cannot wait, and says so", function()
      prints("false\ttrue", [[
        local loop = cqueues.new()
        loop:wrap(function()
          local ok, message = coroutine.resume(coroutine.create(function() return client:ask "x" end))
          print(ok, message:find("a coroutine inside a coroutine of cqueues cannot wait", 1, true) ~= nil)
        end)
        assert(loop:loop())]])
    end)

    it("a task may use cqueues' own waits, and yield", function()
      prints("other\ttask\ttrue", [[
        local loop, order = cqueues.new(), {}
        loop:wrap(function()
          local task = vllm.spawn(function()
            cqueues.sleep(0.02)
            coroutine.yield()
            order[#order + 1] = "task"
            return true
          end)
          vllm.spawn(function() order[#order + 1] = "other" end)
          local ok = task:join()
          print(order[1], order[2], ok)
        end)
        assert(loop:loop())]])
    end)

    it("an error that nobody waits for comes out of the loop", function()
      prints("false\ttrue\ntrue", [[
        local loop = cqueues.new()
        loop:wrap(function() vllm.spawn(function() error("nobody waits", 0) end) end)
        local ok, message = loop:loop()
        print(ok, tostring(message):find("nobody waits", 1, true) == 1)
        print((loop:loop()))]])
    end)
  end)
end
