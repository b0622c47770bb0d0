-- max_concurrent: so many turns of a client are open at once; the others stand in a queue.
require "spec.support.env"
local core = require "vllm.core"
local gate = require "vllm.turn.gate"
local server = require "spec.support.server"
local testing = require "vllm.testing"
local vllm = require "vllm"
local waiter = require "vllm.hosts.waiter"

local LONG_S = 60

describe("max_concurrent", function()
  local running, client

  setup(function()
    running = server.start {}
    client = vllm.new { model = "test-model", base_url = running.url .. "/v1", max_concurrent = 2 }
  end)
  teardown(function() running:stop() end)
  before_each(function() running:clear_log() end)

  local function stalling(options)
    local path = running:script { { "send", "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n"
      .. 'data: {"id":"1","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n' }, "stall" }
    options = options or {}
    options.model, options.base_url, options.max_concurrent = "m", running.url .. path, options.max_concurrent or 1
    return vllm.new(options)
  end

  local function open(turn)
    assert(turn:open())
    return turn
  end

  it("is really held, and reached", function()
    for _, max in ipairs { 1, 3 } do
      local loaded = client:with { base_url = running.url .. "/load?events=3&interval_ms=2", max_concurrent = max }
      local now, most = 0, 0
      vllm.map({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, {}, function()
        local turn = loaded:turn "x"
        assert(turn:open())
        now = now + 1
        most = math.max(most, now)
        local event
        repeat
          event = assert(turn:next())
          if event.type == "turn_end" then now = now - 1 end -- the place is free with this event
        until event.type == "turn_end"
      end)
      assert.equal(max, most)
    end
    assert.equal(20, #running:log "request")
  end)

  it("first come, first served", function()
    local one, order = client:with { max_concurrent = 1 }, {}
    vllm.run(function()
      for i = 1, 20 do
        vllm.spawn(function()
          assert(one:ask("number " .. i))
          order[#order + 1] = i
        end)
      end
    end)
    for i = 1, 20 do assert.equal(i, order[i]) end
    local log = running:log "request"
    for i = 1, 20 do assert.truthy(log[i].body:find('"number ' .. i .. '"', 1, true)) end
  end)

  it("a place is free after success, failure and cancellation, and while nobody looks", function()
    local one = client:with { max_concurrent = 1, retry = { max = 0 } }
    local failing = one:with { base_url = running.url .. "/fault/status/500" }
    assert(one:ask "x")
    assert.is_nil((failing:ask "x"))
    local turn = one:turn "x"
    turn:open()
    turn:cancel()
    assert(one:ask "x")
    vllm.run(function()
      turn = open(one:turn "x")
      local other = vllm.spawn(function() return one:ask "queued" end)
      vllm.sleep(0.01)
      assert.equal("running", other.state)
      turn:cancel()
      assert.equal("You said: queued", other:join())
    end)
  end)

  it("is shared with what client:with makes, unless that says otherwise", function()
    local one = stalling()
    local turn = open(one:turn "x")
    local _, message, err = one:with({ timeout = { idle_s = 5 } }):ask "y"
    assert.equal("busy", err.kind)
    assert.equal("busy: max_concurrent: 1 turns of this client are open, and only this thread could end one", message)
    local own = open(one:with({ max_concurrent = 1 }):turn "x")
    own:cancel()
    turn:cancel()
  end)

  it("without a loop there is nobody to wait for", function()
    local one = client:with { max_concurrent = 1 }
    local turn = open(one:turn "x")
    assert.equal("busy", select(3, one:ask "y").kind)
    assert.equal("You said: x", turn:text())
    assert.equal("You said: y", one:ask "y")
  end)

  it("a turn that was forgotten makes way for one that blocks", function()
    local one = stalling()
    do open(one:turn "forgotten") end
    local turn = one:turn "next"
    assert.is_true(turn:open())
    turn:cancel()
  end)

  it("a turn that was forgotten makes way in a loop, too, and so does one that was forgotten in the queue", function()
    local one = stalling()
    vllm.run(function()
      do
        open(one:turn "forgotten")
        assert.is_false(one:turn("forgotten in the queue"):poll())
      end
      collectgarbage()
      collectgarbage()
      local began = core.now()
      local turn = one:turn "next"
      assert.is_true(turn:open())
      turn:cancel()
      assert.is_true(core.now() - began < LONG_S / 2)
    end)
  end)

  it("whoever stands in the queue already learns of a turn that was forgotten", function()
    local one = stalling()
    vllm.run(function()
      local turn = open(one:turn "soon forgotten")
      local waiting = vllm.spawn(function()
        local following = one:turn "next"
        assert.is_true(following:open())
        following:cancel()
      end)
      vllm.sleep(0.01)
      assert.equal("running", waiting.state)
      assert.is_nil(turn:error())
      turn = nil -- luacheck: ignore 311
      collectgarbage()
      collectgarbage()
      waiting:join()
    end)
  end)

  it("one that was forgotten at the head of the queue keeps those behind it from nothing", function()
    local one = stalling()
    vllm.run(function()
      do
        open(one:turn "forgotten")
        assert.is_false(one:turn("forgotten in the queue"):poll())
      end
      -- waits before anything was collected; with nothing else under way it must look by itself
      local turn = one:turn "next"
      vllm.spawn(function()
        vllm.sleep(0.1)
        collectgarbage()
        collectgarbage()
      end)
      assert.is_true(turn:open())
      turn:cancel()
    end)
  end)

  it("one that was forgotten when it was old makes way, too, where the collector has generations", function()
    if _VERSION ~= "Lua 5.4" then return end
    local one, mode = stalling(), collectgarbage "generational"
    vllm.run(function()
      local old = open(one:turn "grows old")
      for _ = 1, 3 do collectgarbage "step" end
      assert.is_nil(old:error())
      old = nil -- luacheck: ignore 311
      local turn = one:turn "next"
      assert.truthy(turn:next(10))
      turn:cancel()
    end)
    collectgarbage(mode)
  end)

  it("poll stands in the queue and never waits", function()
    local one = client:with { max_concurrent = 1 }
    local first, second = open(one:turn "first"), one:turn "second"
    for _ = 1, 3 do assert.is_false(second:poll()) end
    assert.is_false(second:next(0.001))
    assert.equal("You said: first", first:text())
    assert.equal("You said: second", second:text())
  end)

  it("cancelling in the queue: the turn, and the task", function()
    local one = stalling()
    vllm.run(function()
      local first = open(one:turn "first")
      local turns, tasks = {}, {}
      for i = 1, 3 do
        turns[i] = one:turn("queued " .. i)
        tasks[i] = vllm.spawn(function()
          local opened, _, err = turns[i]:open()
          return opened or err.kind
        end)
      end
      vllm.sleep(0.01)
      turns[1]:cancel()
      tasks[2]:cancel()
      assert.equal("cancelled", tasks[1]:join())
      assert.equal("cancelled", tasks[2]:join())
      assert.equal("cancelled: the task was cancelled", turns[2]:error().message)
      assert.equal("running", tasks[3].state)
      first:cancel()
      assert.is_true(tasks[3]:join())
      turns[3]:cancel()
    end)
    assert.equal(2, #running:log "request")
  end)

  it("the queue counts for timeout.total_s", function()
    local one = stalling { timeout = { total_s = LONG_S } }
    vllm.run(function()
      local first = open(one:turn "x")
      local net = vllm.spawn(function() vllm.sleep(LONG_S / 2) first:cancel() end)
      local err = select(3, one:with({ timeout = { total_s = 0.1 } }):ask "queued")
      assert.same({ "timeout", "total_s" }, { err.kind, err.clock })
      net:cancel()
      first:cancel()
    end)
    assert.equal(1, #running:log "request")
    local first = open(one:turn "x")
    local err = select(3, one:ask "queued")
    assert.equal("busy", err.kind)
    first:cancel()
  end)

  describe("where every task waits for a place that none of them gives", function()
    local one

    before_each(function() one = stalling() end)

    local function told(message, err)
      assert.equal("busy", err.kind)
      assert.truthy(message:find("max_concurrent: 1 turns of this client are open, and every task waits for a place", 1,
        true), message)
    end

    it("one that holds it and asks again is told", function()
      vllm.run(function()
        local turn = open(one:turn "x")
        told(select(2, one:ask "y"))
        turn:cancel()
        turn = open(one:turn "z")
        turn:cancel()
      end)
    end)

    it("one that it spawned and waits for is told", function()
      vllm.run(function()
        local turn = open(one:turn "x")
        local nothing, message, err = vllm.spawn(function() return one:ask "y" end):join()
        assert.is_nil(nothing)
        told(message, err)
        turn:cancel()
      end)
    end)

    it("who only waits, and waited before, is served", function()
      vllm.run(function()
        local turn = open(one:turn "x")
        local other = vllm.spawn(function()
          local queued = one:turn "queued"
          assert(queued:open())
          queued:cancel()
          return "served"
        end)
        vllm.sleep(0)
        told(select(2, one:ask "y"))
        turn:cancel()
        assert.equal("served", other:join())
      end)
    end)

    it("who only waits, and came after one that asks again, is served", function()
      vllm.run(function()
        local turn = open(one:turn "x")
        local other = vllm.spawn(function()
          vllm.sleep(0)
          local queued = one:turn "queued"
          assert(queued:open())
          queued:cancel()
          return "served"
        end)
        told(select(2, one:ask "y"))
        turn:cancel()
        assert.equal("served", other:join())
      end)
    end)

    it("two clients that wait for each other are told, too", function()
      local other, errs = stalling(), {}
      vllm.run(function()
        for i, clients in ipairs { { one, other }, { other, one } } do
          vllm.spawn(function()
            local turn = open(clients[1]:turn "x")
            vllm.sleep(0)
            local inner = clients[2]:turn "y"
            inner:open()
            errs[i] = inner:error() and inner:error().kind or "served"
            inner:cancel()
            turn:cancel()
          end)
        end
      end)
      table.sort(errs)
      assert.same({ "busy", "served" }, errs)
    end)

    it("all of vllm.map come to their ends", function()
      local kinds = vllm.map({ 1, 2, 3, 4 }, function()
        local turn = open(one:turn "x")
        local err = select(3, one:ask "y")
        turn:cancel()
        return err.kind
      end)
      assert.same({ "busy", "busy", "busy", "busy" }, kinds)
    end)

    it("a forgotten turn gives way instead", function()
      vllm.run(function()
        do open(one:turn "forgotten") end
        local turn = one:turn "y"
        assert.is_true(turn:open())
        turn:cancel()
      end)
    end)

    it("who waits for a limited time gets it", function()
      vllm.run(function()
        local turn = open(one:turn "x")
        local queued = one:turn "y"
        assert.is_false(queued:next(0.01))
        assert.is_nil(queued:error())
        queued:cancel()
        turn:cancel()
      end)
    end)
  end)

  it("timeout.queue_s ends a wait in which nothing moves", function()
    local one = stalling { timeout = { queue_s = 0.05 } }
    vllm.run(function()
      local turn = open(one:turn "x")
      local net = vllm.spawn(function() vllm.sleep(LONG_S / 2) turn:cancel() end) -- so that it is no deadlock
      local _, message, err = one:ask "queued"
      assert.same({ "timeout", "queue_s", 0.05 }, { err.kind, err.clock, err.limit_s })
      assert.truthy(message:find("timeout.queue_s: 0.05 s passed in the queue of max_concurrent, and none of the 1 "
        .. "turns before it went on", 1, true),
        message)
      net:cancel()
      turn:cancel()
    end)
  end)

  it("timeout.queue_s begins again whenever a turn before it goes on", function()
    local real_now, ahead = core.now, 0
    core.now = function() return real_now() + ahead end -- luacheck: ignore 122
    finally(function() core.now = real_now end) -- luacheck: ignore 122
    local one = testing.client({ "a b c", "d" },
      { split = 40, max_concurrent = 1, timeout = { queue_s = 100, first_event_s = false, idle_s = false } })
    local first, second, third = one:turn "x", one:turn "y", one:turn "z"
    assert(first:next())
    for _, turn in ipairs { second, third } do assert.is_false(turn:poll()) end
    ahead = 101
    for _ = 1, 4 do assert(first:next()) end -- something comes
    assert.is_false(second:poll())
    ahead = 202
    first:cancel() -- and a place becomes free
    assert.is_false(third:poll())
    ahead = 303
    assert.equal("queue_s", select(3, third:poll()).clock)
    assert.equal("d", second:text())
  end)

  it("the first that waits looks every second, however many before it are only polled", function()
    local one, seconds = gate.new(1), {}
    local host = { running = function() return true end, current = function() return "waiting" end,
      park = function(_, s) seconds[#seconds + 1] = s end, wake = function() end }
    local function place() return one:place(waiter.new(host), function() return 0, 0 end) end
    local inside, polled = place(), {} -- held: the collector takes no place of theirs
    assert.is_true(inside:enter())
    for i = 1, 5 do
      polled[i] = place()
      assert.is_false(polled[i]:enter(0))
    end
    assert.is_false(place():enter())
    assert.is_true(seconds[1] <= 1)
    for _, one_polled in ipairs(polled) do one_polled:leave() end
  end)

  it("whoever comes first by a leave is woken, to look every second from now on", function()
    local one, woken, waiting = gate.new(1), {}, {}
    local host = { running = function() return true end, current = coroutine.running, park = coroutine.yield,
      wake = function(token) woken[#woken + 1] = token end }
    local function place() return one:place(waiter.new(host), function() return 0, 0 end) end
    local inside = place()
    assert.is_true(inside:enter())
    for i = 1, 3 do
      waiting[i] = coroutine.create(function() return place():enter() end)
      assert(coroutine.resume(waiting[i]))
    end
    inside:leave()
    assert.equal(2, #woken)
    for i = 1, 2 do assert.equal(waiting[i], woken[i]) end
  end)

  it("whoever leaves wakes the next one, which need not look for itself", function()
    local one, woken, first = gate.new(1), {}, nil
    local host = { running = function() return true end, current = function() return "second" end,
      park = function() first:leave() end, wake = function(token) woken[#woken + 1] = token end }
    local function place() return one:place(waiter.new(host), function() return 0, 0 end) end
    first = place()
    assert.is_true(first:enter())
    assert.is_true(place():enter())
    assert.same({ "second" }, woken)
  end)

  it("a turn that is over waits for nobody and takes no place", function()
    local one = stalling()
    local first = open(one:turn "x")
    local bad = one:turn { messages = 5 }
    assert.equal("invalid_request", select(3, bad:result()).kind)
    first:cancel()
    assert.equal("cancelled", select(3, first:result()).kind)
    local second = open(one:turn "x")
    second:cancel()
  end)
end)
