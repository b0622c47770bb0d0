-- The host that is Copas where it differs from others: threads that are removed, errors of tasks, a version that is too
-- old. What all hosts do alike is in matrix_spec.
require "spec.support.env"
local child = require "spec.support.child"
local interrupted = require "spec.support.interrupted"
local servers = require "spec.support.server"

local PREAMBLE = [[
local copas, vllm, core = require "copas", require "vllm", require "vllm.core"
local client = vllm.new { model = "test-model", base_url = os.getenv "URL" .. (os.getenv "TARGET" or "/v1") }
]]

local output, status = child.run("scripts/copas-new", nil, 300)
local folder = status == 0 and output:match "[^\n]*" or nil

-- Without Copas 4 the matrix says why there is none.
for _, lua in ipairs(folder and { "lua5.1", "lua5.3", "lua5.4", "luajit" } or {}) do
  describe("in Copas on " .. lua, function()
    local server

    setup(function() server = servers.start {} end)
    teardown(function() server:stop() end)

    local function run(code, target)
      local path = "lua/?.lua;lua/?/init.lua;./?.lua;" .. folder .. "/?.lua;spec/support/copas/?.lua;;"
      local printed, ended = child.lua_of(lua, PREAMBLE .. code,
        { URL = server.url, TARGET = target or "/v1", LUA_PATH = path })
      return (printed:gsub("\n$", "")), ended
    end

    it("Ctrl-C ends a wait of who asked for it: in the stream, and between two attempts", function()
      local printed = run(interrupted .. [[
        copas.loop(ask_both)
      ]], "/fault/stall")
      assert.equal("cancelled\ncancelled", printed)
    end)

    it("a thread that is removed while its turn waits leaves a turn that is collected, others go on and the loop ends",
      function()
      local printed, ended = run([[
        local watched = setmetatable({}, { __mode = "v" })
        copas.loop(function()
          local begun
          local thread = copas.addthread(function()
            local turn = client:turn "x"
            watched[1] = turn
            turn:each(function(event) if event.type == "text_delta" then begun = event.text end end)
          end)
          while not begun do copas.pause(0.01) end
          copas.removethread(thread)
          thread = nil
          copas.pause(0.05)
          collectgarbage() collectgarbage()
          print(begun .. " " .. tostring(watched[1] == nil))
          print(vllm.new { model = "test-model", base_url = os.getenv "URL" .. "/v1" }:ask "after")
        end)]], "/fault/stall")
      assert.equal("Hello true\nYou said: after", printed)
      assert.equal(0, ended)
      assert.truthy(server:wait_for(function(log)
        for _, record in ipairs(log) do
          if record.event == "close" and record.by == "client" and record.midway then return true end
        end
      end))
    end)

    it("the collector leaves the threads that wait, all of them", function()
      local printed, ended = run([[
        local timer = copas.addthread(function() while true do copas.pause(0.01) collectgarbage() end end)
        copas.loop(function()
          print(client:ask "x")
          copas.removethread(timer)
        end)]], "/v1?delay_ms=300")
      assert.equal("You said: x", printed)
      assert.equal(0, ended)
    end)

    it("the loop ends though Copas lets another thread go first between a read and the wait that follows", function()
      local printed, ended = run([[
        math.random = function() return 100 end -- Copas throws dice for that
        local host = require "vllm.hosts.copas"
        copas.loop(function()
          local engine = require("vllm.curl").engine {}
          local watcher = host.watch { fd = engine:fd(), on_readable = function() end }
          host.park(coroutine.running(), 0)
          watcher:close()
          print "closed"
        end)]])
      assert.equal("closed", printed)
      assert.equal(0, ended)
    end)

    it("one loop after the other", function()
      local printed, ended = run([[
        for i = 1, 3 do copas.loop(function() print(client:ask(tostring(i))) end) end]])
      assert.equal("You said: 1\nYou said: 2\nYou said: 3", printed)
      assert.equal(0, ended)
    end)

    it("an error that nobody waits for goes to the program's handler of errors", function()
      local printed, ended = run([[
        copas.seterrorhandler(function(message) print("handler: " .. message:match "[^\n]*") end, true)
        copas.loop(function()
          vllm.spawn(function() error("nobody waits", 0) end)
          copas.pause(0.05)
          print(client:ask "on")
        end)]])
      assert.equal("handler: nobody waits\nYou said: on", printed)
      assert.equal(0, ended)
    end)
  end)
end

describe("an old Copas", function()
  it("is refused by its name, where a wait would hold up its threads, and only there", function()
    local printed, ended = child.lua [[
      package.preload.copas = function() return { _VERSION = "Copas 1.1.7", loop = function(fn) coroutine.wrap(fn)() end } end
      local copas, vllm = require "copas", require "vllm"
      local client = vllm.new { model = "m", base_url = "http://127.0.0.1:1/v1", retry = false }
      copas.loop(function()
        local ok, message = pcall(client.ask, client, "x")
        print(ok, message)
      end)
      print(select(3, client:ask "x").kind)
      copas.loop(function() print(select(3, client:with({ host = "block" }):ask "x").kind) end)]]
    assert.equal("false\tCopas 1.1.7 is too old: use Copas 4 or newer, or host = \"block\", where a wait holds up all "
      .. "threads\n"
      .. "connect\nconnect\n", printed)
    assert.equal(0, ended)
  end)
end)
