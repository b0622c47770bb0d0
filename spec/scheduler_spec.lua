-- The loop of vllm.run: timers, many sources, errors out of nowhere, Ctrl-C, and that nothing is left behind.
local env = require "spec.support.env"
local core = require "vllm.core"
local curl_transport = require "vllm.transports.curl"
local scheduler = require "vllm.hosts.scheduler"
local server = require "spec.support.server"
local vllm = require "vllm"

local LONG_S = 60

describe("timers", function()
  -- One task after the other parks for seconds[i]. Its timer then rings between earliest[i] and latest[i], however busy
  -- the machine is: the one is of the time just before the park, the other of the time at which the next task began.
  local function spawn_sleepers(seconds)
    local sleepers, now = { tasks = {}, order = {}, earliest = {}, latest = {} }, nil
    local function begin(i)
      now = core.now()
      if i > 1 then sleepers.latest[i - 1] = now + seconds[i - 1] end
      if not seconds[i] then return end
      sleepers.earliest[i] = now + seconds[i]
      if scheduler.park(scheduler.current(), seconds[i]) then return end -- was woken
      assert.is_true(core.now() >= sleepers.earliest[i])
      sleepers.order[#sleepers.order + 1] = i
    end
    for i = 1, #seconds + 1 do sleepers.tasks[i] = vllm.spawn(begin, i) end
    return sleepers
  end

  local function assert_in_order(sleepers)
    local reached = 0
    for _, i in ipairs(sleepers.order) do
      reached = math.max(reached, sleepers.earliest[i])
      assert.is_true(reached <= sleepers.latest[i], ("%d: %g s late"):format(i, reached - sleepers.latest[i]))
    end
  end

  it("ten thousand sleepers wake in the order of their times", function()
    local seconds, seed, sleepers = {}, 1, nil
    for i = 1, 10000 do
      seed = seed * 16807 % 2147483647
      seconds[i] = 0.2 + seed % 1000 / 1000 * 0.2
    end
    vllm.run(function() sleepers = spawn_sleepers(seconds) end)
    assert.equal(10000, #sleepers.order)
    assert_in_order(sleepers)
  end)

  it("park says whether it was woken or its time is over", function()
    vllm.run(function()
      assert.is_false(scheduler.park(scheduler.current(), 0))
      assert.is_false(scheduler.park(scheduler.current(), -1))
      local sleeper
      local task = vllm.spawn(function()
        sleeper = scheduler.current()
        return scheduler.park(sleeper, LONG_S)
      end)
      vllm.sleep(0)
      scheduler.wake(sleeper)
      scheduler.wake(sleeper)
      assert.is_true(task:join())
      scheduler.wake(sleeper) -- long gone
    end)
  end)

  it("wakes out of order leave the heap in order", function()
    local seconds, sleepers = {}, nil
    for i = 1, 500 do seconds[i] = (i % 3 == 0 and 0 or LONG_S) + 0.02 + 0.0002 * (i * 7 % 500) end
    vllm.run(function()
      sleepers = spawn_sleepers(seconds)
      vllm.sleep(0)
      for i = 1, 500 do if i % 3 ~= 0 then sleepers.tasks[i]:cancel() end end
    end)
    assert.equal(166, #sleepers.order)
    assert_in_order(sleepers)
  end)

  it("that nobody waits for any more take no memory", function()
    vllm.run(function()
      local function churn(count)
        for _ = 1, count do
          local task = vllm.spawn(vllm.sleep, LONG_S)
          vllm.sleep(0)
          task:cancel()
          task:join()
        end
        collectgarbage()
        collectgarbage()
        return collectgarbage "count"
      end
      local before = churn(500)
      assert.is_true(churn(3000) - before < 100)
    end)
  end)

  it("the loop waits for a timer, and works for none", function()
    local began = os.clock()
    vllm.run(vllm.sleep, 0.3)
    assert.is_true(os.clock() - began < 0.1)
  end)
end)

-- What the interpreter's own Ctrl-C does: from a hook of the main thread, at any instruction. (In LuaJIT it may hit a
-- task, too.)
describe("an error that comes at any instruction", function()
  it("is raised by vllm.run after the end of all tasks, or by nobody if there was none", function()
    if rawget(_G, "jit") then return end
    local ended, began
    local function task(i)
      began = began + 1
      vllm.sleep(i % 2 * 1e-5)
      if i % 3 == 0 then coroutine.yield() end
      if i == 4 then
        local other = vllm.spawn(vllm.sleep, LONG_S)
        vllm.sleep(0)
        other:cancel()
      end
    end
    local function watch(...)
      ended = ended + 1
      return ...
    end
    local interrupted = 0
    for at = 1, 1500, 2 do
      began, ended = 0, 0
      local tasks = {}
      local ok, why = pcall(function()
        local armed = true
        debug.sethook(function() -- coroutines inherit it
          debug.sethook()
          if not armed then return end
          armed = false
          error("out of nowhere", 0)
        end, "", at)
        vllm.run(function()
          for i = 1, 6 do tasks[i] = vllm.spawn(function() return watch(task(i)) end) end
        end)
        debug.sethook()
      end)
      if not ok then
        interrupted = interrupted + 1
        assert.equal("out of nowhere", why:sub(1, 14))
      end
      for _, each in ipairs(tasks) do
        assert.is_true(each.state ~= "ready" and each.state ~= "running", at .. " " .. each.state)
      end
      assert.is_false(scheduler.running())
    end
    assert.is_true(interrupted > 100)
    assert.equal(7, vllm.run(function() vllm.sleep(0) return 7 end))
  end)

  it("twice: the tasks are left behind, and the next run knows nothing of them", function()
    local ran = false
    local function hit() debug.sethook() error("hit", 0) end
    local ok = pcall(vllm.run, function()
      for _ = 1, 3 do
        vllm.spawn(function()
          while true do
            pcall(coroutine.yield)
            if ran then error "left behind" end
            debug.sethook(scheduler.active() and hit, "", 1)
            coroutine.yield()
          end
        end)
      end
      vllm.sleep(0.001)
      error "out of here"
    end)
    debug.sethook()
    assert.is_false(ok)
    ran = true
    vllm.run(vllm.sleep, 0.01)
  end)
end)

describe("the loop, with turns", function()
  local running, client

  setup(function()
    running = server.start {}
    client = vllm.new { model = "test-model", base_url = running.url .. "/v1", retry = { max = 0 } }
  end)
  teardown(function() running:stop() end)
  before_each(function() running:clear_log() end)

  local function stalling(from)
    local path = running:script { { "send", "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n"
      .. 'data: {"id":"1","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n' }, "stall" }
    return (from or client):with { base_url = running.url .. path }
  end

  local function descriptors()
    local pipe = io.popen "ls /proc/$PPID/fd | wc -l"
    local count = tonumber(pipe:read "*a")
    pipe:close()
    return count
  end

  it("two engines in one process", function()
    local clients = { client }
    for i = 2, 4 do clients[i] = client:with { transport = curl_transport.new { max_starts = 2 } } end
    local count = 0
    vllm.run(function()
      for i = 1, 60 do
        vllm.spawn(function()
          assert.equal("You said: " .. i, clients[i % 4 + 1]:ask(tostring(i)))
          vllm.sleep(0.001)
          count = count + 1
        end)
      end
    end)
    assert.equal(60, count)
  end)

  it("a clock of a turn ends a wait in any of them", function()
    for _, transport in ipairs { client.transport, curl_transport.new { max_starts = 2 } } do
      vllm.run(function()
        local other = vllm.spawn(function()
          return select(3, client:with({ base_url = running.url .. running:script { "stall" },
            timeout = { total_s = 0.1 } }):ask "x")
        end)
        local err = select(3, stalling():with({ transport = transport, timeout = { idle_s = 0.05 } }):ask "x")
        assert.same({ "timeout", "idle_s" }, { err.kind, err.clock })
        assert.same({ "timeout", "total_s" }, { other:join().kind, other:join().clock })
      end)
    end
  end)

  it("a thousand turns that were started and cancelled leave nothing", function()
    local coroutines = setmetatable({}, { __mode = "k" })
    local function round()
      local slow = stalling()
      vllm.run(function()
        for _ = 1, 10 do
          local turns = {}
          for i = 1, 50 do
            turns[i] = slow:turn "x"
            vllm.spawn(function()
              coroutines[coroutine.running()] = true
              turns[i]:result()
            end)
          end
          vllm.sleep(0.01)
          for i = 1, 50 do turns[i]:cancel() end
        end
      end)
      collectgarbage()
      collectgarbage()
      return collectgarbage "count", descriptors()
    end
    local kilobytes, fds = round()
    local kilobytes_then, fds_then = round()
    -- A round's 500 turns would be more than a megabyte; tables that grow in their own time, and LuaJIT's traces, are
    -- less.
    assert.is_true(kilobytes_then - kilobytes < 256, ("%g KB more"):format(kilobytes_then - kilobytes))
    assert.is_true(fds_then < fds + 10, ("%d, then %d descriptors"):format(fds, fds_then))
    assert.is_nil(next(coroutines))
  end)

  it("turns that were left in the middle do not keep vllm.run from its end, nor the next one", function()
    local slow, left = stalling(), {}
    for _ = 1, 3 do
      vllm.run(function()
        for i = 1, 20 do
          left[i] = slow:turn "x"
          assert(left[i]:next())
        end
      end)
    end
    assert.equal("You said: x", client:ask "x")
    for _, turn in ipairs(left) do turn:cancel() end
  end)

  it("a generous server starves nobody", function()
    local ticks = 0
    vllm.run(function()
      local flood = vllm.spawn(function()
        return assert(client:with({ base_url = running.url .. "/load?events=100000" }):turn("x"):result())
      end)
      while flood.state ~= "done" do
        ticks = ticks + 1
        vllm.sleep(0)
      end
    end)
    assert.is_true(ticks > 3, ticks) -- how often depends on how much came at a time
  end)

  describe("and Ctrl-C", function()
    local function kill() io.popen("kill -INT $PPID"):close() end

    it("cancels every turn that asked for it: in the stream, before the head, in the queue, between two attempts, and "
      .. "idle", function()
      local polite = client:with { interrupt = "cancel" }
      local headless = polite:with { base_url = running.url .. running:script { "stall" } }
      local failing = polite:with { base_url = running.url .. "/fault/status/503",
        retry = { max = 5, base_s = LONG_S, cap_s = LONG_S * 2 } }
      local one = stalling(polite):with { max_concurrent = 1 }
      for _, sources in ipairs { 1, 2 } do
        local kinds, is_idle, is_killed = {}, false, false
        vllm.run(function()
          if sources == 2 then
            local other = stalling():with { transport = curl_transport.new { max_starts = 1 } }
            vllm.spawn(function() kinds.impolite = other:turn("x"):next(LONG_S) and "event" end)
          end
          for name, turn in pairs { stream = one:turn "x", queue = one:turn "x", head = headless:turn "x",
            retry = failing:turn "x" } do
            vllm.spawn(function() kinds[name] = select(3, turn:result()).kind end)
          end
          vllm.spawn(function()
            local turn = stalling(polite):turn "x"
            assert(turn:next())
            is_idle = true
            repeat vllm.sleep(0.01) until is_killed
            kinds.idle = select(3, turn:result()).kind
          end)
          vllm.sleep(0.1)
          while not is_idle do vllm.sleep(0.01) end
          kill()
          is_killed = true
        end)
        assert.same({ stream = "cancelled", queue = "cancelled", head = "cancelled", retry = "cancelled",
          idle = "cancelled",
          impolite = sources == 2 and "event" or nil }, kinds)
      end
    end)

    it("cancels between two attempts and in the queue while nothing else is under way", function()
      local polite = client:with { interrupt = "cancel", max_concurrent = 1, retry = { max = 1 } }
      local turn, queued = polite:with({ base_url = running.url .. "/fault/status/503?retry_after=60" }):turn "x",
        polite:turn "x"
      vllm.run(function()
        assert.equal("retry", turn:next().type)
        vllm.spawn(function() assert.equal("cancelled", select(3, queued:result()).kind) end)
        vllm.spawn(function() assert.equal("cancelled", select(3, turn:result()).kind) end)
        vllm.sleep(0.01)
        kill()
      end)
    end)

    it("costs no time while those whom it meant do something else", function()
      vllm.run(function()
        local turn = stalling(client:with { interrupt = "cancel" }):turn "x"
        assert(turn:next())
        kill()
        local began = os.clock()
        vllm.sleep(0.3)
        assert.is_true(os.clock() - began < 0.1)
        assert.equal("cancelled", select(3, turn:result()).kind)
      end)
    end)

    it("without `interrupt` ends vllm.run in the stand-alone interpreter, after all tasks", function()
      local name = os.tmpname()
      local file = assert(io.open(name, "w"))
      file:write(([[
        local vllm = require "vllm"
        local client = vllm.new { model = "m", base_url = %q }
        local kinds = {}
        print(pcall(vllm.run, function()
          for i = 1, 3 do vllm.spawn(function() kinds[i] = select(3, client:ask "x").kind end) end
          vllm.sleep(0.1)
          io.popen("kill -INT $PPID"):close()
          vllm.sleep(60)
        end))
        print(table.concat(kinds, " "))
      ]]):format(running.url .. running:script { "stall" }))
      file:close()
      local pipe = io.popen(env.lua .. " " .. name .. " 2>&1")
      local text = pipe:read "*a"
      pipe:close()
      os.remove(name)
      assert.truthy(text:find("^false\tcancelled: interrupted by Ctrl%-C\n"), text)
      assert.truthy(text:find("cancelled cancelled cancelled\n$"), text)
    end)
  end)

  it("after a fork a new client works in the child, and its loop, too", function()
    local found, ffi = pcall(require, "ffi")
    if not found then return end
    ffi.cdef [[ int fork(void); int waitpid(int pid, int *status, int options); void _exit(int status); unsigned alarm(unsigned); ]]
    local turn = stalling():turn "x"
    assert(turn:next()) -- a connection that both processes hold
    local pid = ffi.C.fork()
    if pid == 0 then
      ffi.C.alarm(20)
      local ok = pcall(function()
        local own = vllm.new { model = "test-model", base_url = running.url .. "/v1" }
        vllm.run(function()
          for i = 1, 3 do vllm.spawn(function() assert(own:ask("child " .. i)) end) end
        end)
        assert(own:ask "blocking")
        assert(select(3, client:ask "x").kind == "config")
      end)
      ffi.C._exit(ok and 42 or 1)
    end
    local status = ffi.new "int[1]"
    assert.equal(pid, ffi.C.waitpid(pid, status, 0))
    assert.equal(42 * 256, status[0])
    turn:cancel()
    assert.equal("You said: parent", client:ask "parent")
  end)
end)
