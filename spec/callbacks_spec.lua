-- turn:start, turn:on_ready and turn:poll: on_done exactly once whatever happens, errors of callbacks where the host
-- shows errors.
require "spec.support.env"
local hosts = require "vllm.hosts"
local server = require "spec.support.server"
local tasks = require "vllm.hosts.tasks"
local testing = require "vllm.testing"
local toys = require "spec.support.toy_host"
local vllm = require "vllm"

local WORDS = "one two three four five six"

describe("turn:start", function()
  local running, client

  setup(function()
    running = server.start {}
    client = vllm.new { model = "test-model", base_url = running.url .. "/v1", retry = { max = 0 } }
  end)
  teardown(function() running:stop() end)

  local function stalling()
    local path = running:script { { "send", "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n"
      .. 'data: {"id":"1","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n' }, "stall" }
    return client:with { base_url = running.url .. path }
  end

  -- Runs `body(on_done)` in vllm.run. Returns the calls of on_done, and what vllm.run raised.
  local function calls_of(body)
    local calls = {}
    local ok, why = pcall(vllm.run, function()
      body(function(...) calls[#calls + 1] = { n = select("#", ...), ... } end)
    end)
    return calls, not ok and why or nil
  end

  it("returns at once, hands over every event, then the result", function()
    local events, began = {}, false
    local calls, why = calls_of(function(on_done)
      local turn = client:turn(WORDS)
      assert.equal(turn, turn:start(function(event) began, events[#events + 1] = true, event.type end, on_done))
      assert.is_false(began)
    end)
    assert.is_nil(why)
    assert.equal(1, #calls)
    assert.equal("You said: " .. WORDS, calls[1][1].text)
    assert.same({ "turn_start", "turn_end" }, { events[1], events[#events] })
    calls = calls_of(function(on_done) client:turn(WORDS):start(nil, on_done) end)
    assert.equal("You said: " .. WORDS, calls[1][1].text)
  end)

  it("many beside each other", function()
    local calls = calls_of(function(on_done)
      for i = 1, 50 do client:turn("number " .. i):start(nil, on_done) end
    end)
    assert.equal(50, #calls)
    for _, call in ipairs(calls) do assert.truthy(call[1].text:find "^You said: number %d+$") end
  end)

  it("on_done gets the error of a turn that failed", function()
    for kind, failing in pairs {
      server = client:with({ base_url = running.url .. "/fault/status/500" }):turn "x",
        connect = client:with({ base_url = "http://127.0.0.1:1" }):turn "x",
      invalid_request = client:turn { messages = 5 },
        truncated = client:with({ base_url = running.url .. "/replay/vllm/text?cut=700" }):turn "x",
    } do
      local calls, why = calls_of(function(on_done) failing:start(nil, on_done) end)
      assert.is_nil(why)
      assert.equal(1, #calls, kind)
      assert.equal(3, calls[1].n)
      assert.equal(calls[1][2], calls[1][3].message)
      assert.equal(kind, calls[1][3].kind)
    end
  end)

  it("on_event that returns false cancels the turn", function()
    local seen = 0
    local calls, why = calls_of(function(on_done)
      client:turn(WORDS):start(function() seen = seen + 1 return seen < 3 end, on_done)
    end)
    assert.is_nil(why)
    assert.equal(3, seen)
    assert.same({ 1, "cancelled" }, { #calls, calls[1][3].kind })
  end)

  it("on_event that raises cancels the turn, and the error is shown", function()
    local calls, why = calls_of(function(on_done)
      client:turn(WORDS):start(function(event) if event.type == "text_delta" then error "mine" end end, on_done)
    end)
    assert.same({ 1, "cancelled" }, { #calls, calls[1][3].kind })
    assert.equal("cancelled: a callback raised an error", calls[1][2])
    assert.truthy(why:find("callbacks_spec.lua:%d+: mine\nstack traceback:"), why)
  end)

  it("whatever a callback raises cancels the turn and is shown with its traceback", function()
    local object = setmetatable({}, { __tostring = function() return "an object" end })
    for value, words in pairs { [0] = "no reason was given", [false] = "false", [object] = "an object" } do
      if value == 0 then value = nil end
      local calls, why = calls_of(function(on_done)
        client:turn(WORDS):start(function() error(value) end, function(...) on_done(...) error(value) end)
      end)
      assert.equal(1, #calls)
      assert.equal("cancelled", calls[1][3].kind)
      assert.truthy(why:find("^" .. words .. "\nstack traceback:.*\n" .. words .. "\nstack traceback:"), why)
    end
  end)

  it("the client's on_event that raises, too; at the last event the result is there", function()
    for _, at in ipairs { "text_delta", "turn_end" } do
      local calls, why = calls_of(function(on_done)
        client:with({ on_event = function(event) if event.type == at then error "mine" end end }):turn(WORDS):start(nil,
          on_done)
      end)
      assert.equal(1, #calls)
      assert.equal(at == "text_delta" and "cancelled" or "none", calls[1][3] and calls[1][3].kind or "none")
      assert.truthy(why:find("callbacks_spec.lua:%d+: mine\nstack traceback:"), why)
    end
  end)

  it("on_retry that raises cancels the turn, and the error is shown, beside what on_done raises", function()
    local failing = client:with { base_url = running.url .. "/fault/status/503",
      retry = { max = 1, on_retry = function() error "mine" end } }
    local calls, why = calls_of(function(on_done) failing:turn(WORDS):start(nil, on_done) end)
    assert.same({ 1, "cancelled" }, { #calls, calls[1][3].kind })
    assert.truthy(why:find("callbacks_spec.lua:%d+: mine\nstack traceback:"), why)
    calls, why = calls_of(function() failing:turn(WORDS):start(nil, function() error "done" end) end)
    assert.same({}, calls)
    assert.truthy(why:find("callbacks_spec.lua:%d+: mine\nstack traceback:.*callbacks_spec.lua:%d+: done\nstack "
      .. "traceback:"), why)
    local turn, ready = failing:turn(WORDS), 0
    calls, why = calls_of(function() turn:on_ready(function() ready = ready + 1 end) end)
    assert.same({ {}, 1 }, { calls, ready })
    assert.truthy(why:find("callbacks_spec.lua:%d+: mine\nstack traceback:"), why)
    turn:cancel()
  end)

  it("on_done that raises is shown, beside what on_event raised", function()
    local _, why = calls_of(function() client:turn(WORDS):start(nil, function() error "done" end) end)
    assert.truthy(why:find("callbacks_spec.lua:%d+: done\nstack traceback:"), why)
    _, why = calls_of(function() client:turn(WORDS):start(function() error "event" end,
      function() error "done" end) end)
    assert.truthy(why:find("callbacks_spec.lua:%d+: event\nstack traceback:.*callbacks_spec.lua:%d+: done\nstack "
      .. "traceback:"), why)
  end)

  it("a turn that is cancelled: before its start, in the queue, before the head, in the stream, at its end", function()
    local turns
    local calls, why = calls_of(function(on_done)
      local one = stalling():with { max_concurrent = 1 }
      local headless = client:with { base_url = running.url .. running:script { "stall" } }
      turns = { client:turn "x", one:turn "stream", one:turn "queued", headless:turn "head" }
      turns[1]:cancel()
      for _, turn in ipairs(turns) do turn:start(nil, on_done) end
      local has_ended = false
      turns[5] = client:turn("end"):start(function(event)
        has_ended = event.type == "turn_end"
        if has_ended then turns[5]:cancel() end
      end, on_done)
      turns[6] = client:turn("from its own event"):start(function() turns[6]:cancel() end, on_done)
      repeat vllm.sleep(0.05) until has_ended
      for _, turn in ipairs(turns) do turn:cancel() end
    end)
    assert.is_nil(why)
    assert.equal(6, #calls)
    local kinds = {}
    for _, call in ipairs(calls) do
      local kind = call[3] and call[3].kind or "result"
      kinds[kind] = (kinds[kind] or 0) + 1
    end
    assert.same({ cancelled = 5, result = 1 }, kinds)
  end)

  it("a scope that fails: on_done is called all the same, and for turns that had not begun", function()
    local begun
    local calls, why = calls_of(function(on_done)
      stalling():turn("x"):start(nil, on_done)
      vllm.sleep(0.02)
      client:turn("never sent"):start(function() begun = true end, on_done)
      error("the scope", 0)
    end)
    assert.equal("the scope\n", why:sub(1, 10))
    assert.equal(2, #calls)
    assert.same({ "cancelled", "cancelled" }, { calls[1][3].kind, calls[2][3].kind })
    assert.is_nil(begun)
  end)

  it("callbacks may start what follows", function()
    local texts = {}
    vllm.run(function()
      local function ask(i)
        client:turn("step " .. i):start(nil, function(result)
          texts[i] = result.text
          if i < 5 then ask(i + 1) end
        end)
      end
      ask(1)
    end)
    for i = 1, 5 do assert.equal("You said: step " .. i, texts[i]) end
  end)

  it("on_done may wait: it is the end of a task", function()
    local second
    vllm.run(function()
      client:turn("first"):start(nil, function(result) second = client:ask("behind " .. result.text) end)
    end)
    assert.equal("You said: behind You said: first", second)
  end)

  it("of a turn that somebody else waits for: on_done hears of it", function()
    local calls = calls_of(function(on_done)
      local turn = stalling():turn "x"
      local task = vllm.spawn(function() return (turn:result()) end)
      vllm.sleep(0.02)
      turn:start(nil, on_done)
      vllm.sleep(0.02)
      turn:cancel()
      task:join()
    end)
    assert.same({ 1, "busy" }, { #calls, calls[1][3].kind })
  end)

  it("of a scripted turn", function()
    local calls = calls_of(function(on_done) testing.client({ "one two" }):turn("x"):start(nil, on_done) end)
    assert.equal("one two", calls[1][1].text)
  end)

  it("misuse names the caller's line", function()
    local turn = client:turn "x"
    local function misuse(message, ...)
      local ok, why = pcall(turn.start, turn, ...)
      assert.is_false(ok)
      assert.truthy(why:find(message), why)
    end
    local function direct(...) turn:start(...) end
    local function named(message, ...)
      local ok, why = pcall(direct, ...)
      assert.is_false(ok)
      assert.truthy(why:find("callbacks_spec.lua:%d+: " .. message), why)
    end
    named "turn:start: expected a function as on_done, got nil"
    named("turn:start: expected a function as on_event, got number", 1, print)
    named("turn:start: no event loop runs here; call it inside vllm.run", nil, print)
    misuse("turn:start: expected a function as on_done, got nil")
  end)
end)

describe("turn:poll and turn:on_ready", function()
  it("what on_ready saw of another choice is no text of the first", function()
    local function say(choice, text)
      return ('data: {"choices":[{"index":%d,"delta":{"content":"%s"},"finish_reason":"stop"}]}\n\n')
        :format(choice, text)
    end
    local client = require("vllm.testing").client { { bytes = say(1, "other") .. say(0, "first")
      .. "data: [DONE]\n\n" } }
    local turn, texts, is_ready = client:turn { text = "x", n = 2 }, {}, false
    vllm.run(function()
      repeat local event = assert(turn:next()) until event.type == "part_start"
      turn:on_ready(function() is_ready = true end)
    end)
    assert.is_true(is_ready)
    for text in turn:text_deltas() do texts[#texts + 1] = text end
    assert.same({ "first" }, texts)
  end)

  local running, client

  setup(function()
    running = server.start {}
    client = vllm.new { model = "test-model", base_url = running.url .. "/v1" }
  end)
  teardown(function() running:stop() end)

  it("make a loop of callbacks", function()
    local text, done, rounds = "", 0, 0
    local paced = client:with { base_url = running.url .. "/v1?pace_ms=2" } -- not all of it is there at the first look
    vllm.run(function()
      local turn = paced:turn(WORDS)
      local function take()
        rounds = rounds + 1
        while true do
          local event, message = turn:poll()
          assert.is_nil(message)
          if event == false then return turn:on_ready(take) end
          if event == nil then
            done = done + 1
            return
          end
          if event.type == "text_delta" then text = text .. event.text end
        end
      end
      take()
    end)
    assert.equal("You said: " .. WORDS, text)
    assert.equal(1, done)
    assert.is_true(rounds > 1)
  end)

  it("on_ready calls once: for an event, for the end, for an error", function()
    local called = 0
    local function count() called = called + 1 end
    vllm.run(function() client:turn(WORDS):on_ready(count) end)
    assert.equal(1, called)
    local turn = client:turn(WORDS)
    assert(turn:result())
    vllm.run(function() turn:on_ready(count) end)
    assert.equal(2, called)
    turn = client:with({ base_url = "http://127.0.0.1:1", retry = { max = 0 } }):turn "x"
    vllm.run(function()
      turn:on_ready(function()
        count()
        assert.equal("connect", select(3, turn:poll()).kind)
      end)
    end)
    assert.equal(3, called)
  end)

  it("what on_ready's function raises is shown", function()
    local ok, why = pcall(vllm.run, function() client:turn(WORDS):on_ready(function() error "mine" end) end)
    assert.is_false(ok)
    assert.truthy(why:find("callbacks_spec.lua:%d+: mine"), why)
  end)

  it("an event that on_ready waited for is lost to none of the ways to take it", function()
    for _, take in ipairs {
      function(turn) return turn:text() end,
      function(turn)
        local text = ""
        turn:each(function(event) if event.type == "text_delta" then text = text .. event.text end end)
        return text
      end,
      function(turn)
        local text = ""
        while true do
          local event = turn:next()
          if not event then return text end
          if event.type == "text_delta" then text = text .. event.text end
        end
      end,
    } do
      vllm.run(function()
        local turn = client:turn(WORDS)
        local is_ready = false
        turn:on_ready(function() is_ready = true end)
        while not is_ready do vllm.sleep(0.001) end
        assert.equal("You said: " .. WORDS, take(turn))
      end)
    end
  end)

  it("a wait of the main thread that raises leaves the turn to others", function()
    local toy = toys.new()
    function toy.host.block() error("no wait here", 0) end
    local turn = vllm.new({ model = "test-model", base_url = running.url .. "/v1", host = toy.host }):turn "x"
    toy.enter(function() assert.same({ false, "no wait here" }, { pcall(turn.text, turn) }) end)
    local text, message
    toy.run(function() text, message = turn:text() end)
    assert.same({ "You said: x" }, { text, message })
  end)

  it("while a coroutine waits for the turn, another one is told that it is busy; poll says: nothing yet", function()
    local path = running:script { { "send", "HTTP/1.1 200 X\r\n" }, "stall" }
    vllm.run(function()
      local turn = client:with({ base_url = running.url .. path }):turn "x"
      local first = vllm.spawn(function() return select(3, turn:result()).kind end)
      vllm.sleep(0.02)
      local _, message, err = turn:result()
      assert.same({ "busy: another coroutine waits for this turn", "busy" }, { message, err.kind })
      assert.is_nil(turn:error()) -- it goes on
      for _ = 1, 3 do assert.is_false(turn:poll()) end
      turn:cancel()
      assert.equal("cancelled", first:join())
    end)
  end)

  it("a coroutine that died while it waited waits no more", function()
    local paced = client:with { base_url = running.url .. "/v1?pace_ms=2" }
    vllm.run(function()
      local turn = paced:turn(WORDS)
      assert.is_false(pcall(coroutine.wrap(function() turn:result() end))) -- a generator, which cannot wait here
      assert.equal("You said: " .. WORDS, turn:text())
    end)
  end)
end)

describe("tasks.after", function()
  -- What `done` was told of a call of fn in vllm.run, while `meanwhile` runs beside it.
  local function outcome(fn, meanwhile)
    local got
    pcall(vllm.run, function()
      tasks.after(hosts.here(), fn, function(...)
        vllm.sleep(0)
        got = { n = select("#", ...), ... }
      end)
      if meanwhile then meanwhile() end
    end)
    return got
  end

  it("gives what a call returned that may wait", function()
    assert.same({ n = 3, true, 7 }, outcome(function()
      vllm.sleep(0)
      return 7
    end))
  end)

  it("gives what it raised after a wait, with its traceback, once", function()
    local got = outcome(function()
      vllm.sleep(0)
      error("mine", 0)
    end)
    assert.is_false(got[1])
    assert.truthy(got[2]:find "^mine\nstack traceback:", got[2])
  end)

  it("calls `done` also when the scope was cancelled before the call began", function()
    local got = outcome(function() vllm.sleep(0) end, function() error("the scope's", 0) end)
    assert.is_nil(got) -- its own wait was cancelled, too
    pcall(vllm.run, function()
      tasks.after(hosts.here(), function() vllm.sleep(0) end, function(...) got = { n = select("#", ...), ... } end)
      error("the scope's", 0)
    end)
    assert.is_false(got[1])
    assert.equal(1, (got[2]:find("cancelled: the task was cancelled", 1, true)))
  end)

  it("leaves an error of `done` to its task", function()
    local calls = 0
    local ok, why = pcall(vllm.run, function()
      tasks.after(hosts.here(), function() end, function()
        calls = calls + 1
        error("done's", 0)
      end)
    end)
    assert.is_false(ok)
    assert.equal(1, (why:find("done's", 1, true)))
    assert.equal(1, calls)
  end)
end)
