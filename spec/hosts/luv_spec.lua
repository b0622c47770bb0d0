-- The host that is luv, in processes of their own: programs that run uv.run(), against the real server.
require "spec.support.env"
local child = require "spec.support.child"
local interrupted = require "spec.support.interrupted"
local servers = require "spec.support.server"

local PREAMBLE = [[
local uv, vllm, hosts = require "luv", require "vllm", require "vllm.hosts"
local client = vllm.new { model = "test-model", base_url = os.getenv "URL" .. (os.getenv "TARGET" or "/v1") }
local function go(fn) coroutine.wrap(fn)() end
local function after(ms, fn)
  local timer = uv.new_timer()
  timer:start(ms, 0, function() timer:close() fn() end)
end
]]

describe("in luv", function()
  local server

  setup(function() server = servers.start { tls = true } end)
  teardown(function() server:stop() end)

  -- Runs a program; what it printed, without the last line's end.
  local function run(code, target)
    local output, status = child.lua(PREAMBLE .. code, { URL = server.url, TARGET = target or "/v1" })
    return (output:gsub("\n$", "")), status
  end

  local function prints(expected, code, target)
    local output, status = run(code, target)
    assert.equal(expected, output)
    assert.equal(0, status)
  end

  it("a coroutine waits while the loop goes on, whether it began before uv.run or within", function()
    prints("true\nYou said: one\nYou said: two", [[
      local ticks, timer, answers = 0, uv.new_timer(), {}
      timer:start(1, 1, function() ticks = ticks + 1 end)
      local function ask(text) go(function()
        local answer = assert(client:ask(text))
        answers[#answers + 1] = answer
        if #answers == 2 then timer:close() end
      end) end
      ask "one"
      after(40, function() ask "two" end)
      uv.run()
      print(ticks > 10)
      print(answers[1]) print(answers[2])]], "/v1?pace_ms=5")
  end)

  it("turns go on side by side: all have begun before one has ended", function()
    prints("20 0 20", [[
      local begun, ended, early = 0, 0, 0
      for i = 1, 20 do go(function()
        client:turn("a b c d e f"):each(function(event)
          if event.type == "turn_start" then
            begun = begun + 1
            if ended > 0 then early = early + 1 end
          end
        end)
        ended = ended + 1
      end) end
      uv.run()
      print(begun .. " " .. early .. " " .. ended)]], "/load?events=20&interval_ms=20")
  end)

  it("the callback form returns at once; on_done comes once, behind the events", function()
    prints("started\nturn_end\ndone You said: hi\n1", [[
      local last, count = nil, 0
      client:turn("hi"):start(function(event) last = event.type end, function(result)
        count = count + 1
        print(last)
        print("done " .. result.text)
      end)
      print "started"
      uv.run()
      print(count)]])
  end)

  it("the main thread waits outside of uv.run, and coroutines go on meanwhile", function()
    prints("You said: aside\nYou said: main", [[
      go(function() print(client:ask "aside") end)
      print(vllm.new { model = "test-model", base_url = os.getenv "URL" .. "/v1?delay_ms=150" }:ask "main")]])
  end)

  it("the main thread's wait keeps its deadline", function()
    prints("nil\ntimeout", [[
      local turn = client:with { timeout = { first_event_s = 0.05 } }:turn "x"
      print((turn:result()))
      print(turn:error().kind)]], "/fault/silence")
  end)

  it("a wait in a callback says what to do instead", function()
    local output, status = run([[after(1, function() client:ask "x" end) uv.run()]], "/fault/silence")
    assert.truthy(output:find("a wait in a luv callback would block the loop: wait in a coroutine, or use turn:start",
      1, true), output)
    assert.are_not.equal(0, status)
  end)

  it("so does one in a generator inside a coroutine of ours", function()
    prints("true", [[
      vllm.spawn(function()
        local ok, message = pcall(coroutine.wrap(function() return client:ask "x" end))
        print(not ok and message:find("a wait in a luv callback", 1, true) ~= nil)
      end)
      uv.run()]], "/fault/silence")
  end)

  it("a parked coroutine that nobody else holds is not collected", function()
    prints("You said: held", [[
      local collector = uv.new_timer()
      collector:start(1, 1, function() collectgarbage() end)
      go(function() print(client:ask "held") collector:close() end)
      uv.run()]], "/v1?pace_ms=10&delay_ms=20")
  end)

  it("one that has ended, and its turn, are collected", function()
    prints("0", [[
      local alive = setmetatable({}, { __mode = "k" })
      for _ = 1, 20 do
        local co = coroutine.create(function() local turn = client:turn "x" alive[turn] = true turn:text() end)
        alive[co] = true
        coroutine.resume(co)
      end
      uv.run()
      collectgarbage() collectgarbage()
      local count = 0
      for _ in pairs(alive) do count = count + 1 end
      print(count)]])
  end)

  it("a turn that was left keeps uv.run from nothing", function()
    prints("turn_start\nended", [[
      local turn
      go(function() turn = client:turn "x" print(turn:next().type) end)
      uv.run()
      print "ended"]], "/fault/stall")
  end)

  it("nor does one that the main thread left", function()
    prints("turn_start\nended", [[
      local turn = client:turn "x"
      print(turn:next().type)
      uv.run()
      print "ended"]], "/fault/stall")
  end)

  it("Ctrl-C ends a wait of who asked for it: in the stream, and between two attempts", function()
    prints("cancelled\ncancelled\ncancelled\ncancelled", interrupted .. [[
      ask_both()
      go(ask_both)
      uv.run()
    ]], "/fault/stall")
  end)

  it("silence ends a turn in a coroutine", function()
    prints("timeout idle_s", [[
      go(function()
        local _, _, err = client:with { timeout = { idle_s = 0.05 } }:turn "x":result()
        print(err.kind .. " " .. err.clock)
      end)
      uv.run()]], "/fault/stall")
  end)

  it("one deadline after the other ends its wait, while nothing else happens", function()
    prints("one two three", [[
      local order = {}
      for i, name in ipairs { "one", "two", "three" } do
        go(function()
          local turn = client:turn "x"
          repeat local event = turn:next() until event.type == "text_delta"
          assert(turn:next(0.2 * i) == false)
          order[#order + 1] = name
          turn:cancel()
          if #order == 3 then print(table.concat(order, " ")) end
        end)
      end
      local guard = uv.new_timer()
      guard:start(10000, 0, function() print "late" os.exit(1) end)
      guard:unref()
      uv.run()]], "/fault/stall")
  end)

  it("a turn is cancelled from a callback while a coroutine waits for it; the server sees the close", function()
    server:clear_log()
    prints("cancelled", [[
      local turn = client:turn "x"
      go(function()
        turn:next()
        after(5, function() turn:cancel() end)
        local _, _, err = turn:result()
        print(err.kind)
      end)
      uv.run()]], "/fault/stall")
    assert.truthy(server:wait_for(function(log)
      for _, record in ipairs(log) do
        if record.event == "close" and record.by == "client" and record.midway then return true end
      end
    end))
  end)

  it("sleep lets the loop go on, and lasts", function()
    prints("true true", [[
      local core, ticks, timer = require "vllm.core", 0, uv.new_timer()
      timer:start(5, 5, function() ticks = ticks + 1 end)
      go(function()
        local began = core.now()
        vllm.sleep(0.1)
        timer:close()
        print(tostring(core.now() - began >= 0.1) .. " " .. tostring(ticks > 5))
      end)
      uv.run()]])
  end)

  it("a sleep that was cancelled leaves no timer behind", function()
    prints("0", [[
      go(function()
        local task = vllm.spawn(vllm.sleep, 60)
        vllm.sleep(0.01)
        task:cancel()
        task:join()
        local active = 0
        uv.walk(function(handle)
          if handle:get_type() == "timer" and handle:is_active() then active = active + 1 end
        end)
        print(active)
      end)
      uv.run()]])
  end)

  it("map works in a coroutine and on the main thread", function()
    prints("You said: a You said: b You said: c\nYou said: a You said: b You said: c", [[
      local function ask(text) return client:ask(text) end
      go(function() print(table.concat(vllm.map({ "a", "b", "c" }, { concurrency = 2 }, ask), " ")) end)
      uv.run()
      print(table.concat(vllm.map({ "a", "b", "c" }, { concurrency = 2 }, ask), " "))]])
  end)

  it("an error in a task that nobody waits for is luv's to show, with its traceback", function()
    local output, status = run [[vllm.spawn(function() client:ask "x" error "the task is broken" end) uv.run()]]
    assert.truthy(output:find("the task is broken", 1, true), output)
    assert.truthy(output:find("stack traceback", 1, true), output)
    assert.are_not.equal(0, status)
  end)

  it("TLS works as anywhere", function()
    local output = child.lua(PREAMBLE .. [[
      local tls = vllm.new { model = "m", base_url = os.getenv "TLS" .. "/v1", tls = { ca_file = os.getenv "CA" } }
      go(function() print(tls:ask "x") end)
      uv.run()]], { URL = server.url, TLS = server.tls_url, CA = server.ca_file })
    assert.equal("You said: x\n", output)
  end)

  it("a thousand turns that were started and cancelled leave no descriptor, no handle and no coroutine", function()
    prints("0 0 0", [[
      local function descriptors() local n = 0 for _ in uv.fs_scandir_next, uv.fs_scandir "/proc/self/fd" do n = n + 1 end return n end
      local function handles() local n = 0 uv.walk(function(h) if not h:is_closing() then n = n + 1 end end) return n end
      local alive = setmetatable({}, { __mode = "k" })
      local function round(count)
        for _ = 1, count do
          go(function()
            alive[coroutine.running()] = true
            local turn = client:turn "x"
            after(1, function() turn:cancel() end)
            turn:result()
          end)
          if _ % 100 == 0 then uv.run() end
        end
        uv.run()
        collectgarbage() collectgarbage()
      end
      round(100)
      local fds, all = descriptors(), handles()
      round(1000)
      local coroutines = 0
      for _ in pairs(alive) do coroutines = coroutines + 1 end
      print(descriptors() - fds .. " " .. handles() - all .. " " .. coroutines)]], "/fault/stall")
  end)

  describe("the contract of a host:", function()
    it("park ends by wake, by the time, or by somebody else's resume, and tells which", function()
      prints("true false true true", [[
        local host, told = hosts.here(), {}
        local first, second, third
        go(function() first = host.current() told[1] = host.park(first) end)
        go(function() second = host.current() told[2] = host.park(second, 0.01) end)
        go(function() third = host.current() told[3] = host.park(third, 10) told[4] = host.park(third) end)
        after(5, function() host.wake(first) host.wake(first) end)
        after(10, function() coroutine.resume(third, "what") end)
        after(15, function() host.wake(third) end)
        uv.run()
        print(("%s %s %s %s"):format(tostring(told[1]), tostring(told[2]), tostring(told[3]), tostring(told[4])))]])
    end)

    it("wake resumes nobody within the call, and wakes nobody who is not parked", function()
      prints("before after", [[
        local host, order, co = hosts.here(), {}, nil
        go(function() co = host.current() host.park(co) order[#order + 1] = "after" end)
        after(1, function() host.wake(co) order[#order + 1] = "before" end)
        uv.run()
        host.wake(co)
        uv.run()
        print(table.concat(order, " "))]])
    end)

    it("spawn begins soon, never within the call; failed hears what was raised", function()
      prints("first\nboom true", [[
        local host = hosts.here()
        host.spawn(function() error("boom", 0) end, function(value, traceback) print(value .. " " .. tostring(#traceback > 0)) end)
        print "first"
        uv.run()]])
    end)

    it("current is nil on the main thread and in a callback", function()
      prints("nil nil", [[
        local outside, inside = hosts.here().current(), "?"
        after(1, function() inside = hosts.here().current() end)
        uv.run()
        print(tostring(outside) .. " " .. tostring(inside))]])
    end)
  end)
end)
