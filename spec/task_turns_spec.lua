-- Tasks of vllm.run that wait for turns: beside each other, cancelled in each of a turn's waits, with turns that
-- outlive them.
require "spec.support.env"
local server = require "spec.support.server"
local vllm = require "vllm"

local PCALL_YIELDS = _VERSION ~= "Lua 5.1" or rawget(_G, "jit") ~= nil
local LONG_S = 60 -- nobody waits for that long: a test that does has failed

local unpack = rawget(_G, "unpack") or table.unpack -- luacheck: ignore 143

local function results(...) return { n = select("#", ...), ... } end

local function raised(fn, ...)
  local ok, value = pcall(fn, ...)
  assert.is_false(ok)
  return value
end

describe("a task that waits for a turn", function()
  local running, client

  setup(function()
    running = server.start {}
    client = vllm.new { model = "test-model", base_url = running.url .. "/v1" }
  end)
  teardown(function() running:stop() end)
  before_each(function() running:clear_log() end)

  local HEAD = { "send", "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n" }
  local DELTA = { "send", 'data: {"id":"1","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n' }

  local function scripted(...) return client:with { base_url = running.url .. running:script { ... } } end

  local function left_midway()
    return running:wait_for(function(log)
      for _, record in ipairs(log) do if record.event == "close" and record.by == "client" then return true end end
    end)
  end

  it("goes on beside the others, each with its own answer", function()
    vllm.run(function()
      local joined = {}
      for i = 1, 50 do joined[i] = vllm.spawn(function() return assert(client:ask("number " .. i)) end) end
      for i = 1, 50 do assert.equal("You said: number " .. i, joined[i]:join()) end
    end)
    local values, failures = vllm.map({ "a", "b", "c" }, { concurrency = 2 },
      function(text) return client:ask(text) end)
    assert.same({ "You said: a", "You said: b", "You said: c" }, values)
    assert.is_nil(next(failures))
  end)

  it("is cancelled in each of a turn's waits; the server sees the connection close", function()
    local waits = { head = { "stall" }, ["in the head"] = { { "send", "HTTP/1.1 200 X\r\n" }, "stall" },
      stream = { HEAD, DELTA, "stall" },
      error_body = { { "send", "HTTP/1.1 500 X\r\ncontent-length: 99\r\n\r\nx" }, "stall" } }
    for name, script in pairs(waits) do
      running:clear_log()
      local outcome, turn
      vllm.run(function()
        turn = scripted(unpack(script)):turn "x"
        local task = vllm.spawn(function()
          outcome = results(turn:result())
          return "went on"
        end)
        repeat vllm.sleep(0.05) until #running:log "request" > 0
        task:cancel()
        assert.equal("went on", task:join())
        assert.equal("done", task.state)
      end)
      assert.equal(nil, outcome[1])
      assert.equal("cancelled: the task was cancelled", outcome[2])
      assert.equal("cancelled", outcome[3].kind, name)
      assert.equal(outcome[3], turn:error())
      assert.is_true(left_midway(), name)
    end
  end)

  it("a turn's cancellation that is raised makes the task cancelled", function()
    vllm.run(function()
      local task = vllm.spawn(function() return assert(scripted("stall"):ask "x") end)
      vllm.sleep(0.02)
      task:cancel()
      assert.is_nil((task:join()))
      assert.equal("cancelled", task.state)
    end)
  end)

  it("that was cancelled sends nothing more", function()
    vllm.run(function()
      local task
      task = vllm.spawn(function()
        task:cancel()
        return select(2, client:ask "never")
      end)
      assert.equal("cancelled: the task was cancelled", task:join())
    end)
    assert.equal(0, #running:log "request")
  end)

  it("waits with next(timeout) beside the others", function()
    vllm.run(function()
      local slow = scripted(HEAD, DELTA, "stall"):turn "x"
      local other = vllm.spawn(function() return assert(client:ask "meanwhile") end)
      local event
      repeat event = slow:next(LONG_S) until event.type == "text_delta"
      for _ = 1, 3 do assert.is_false(slow:next(0.01)) end
      assert.equal("You said: meanwhile", other:join())
      slow:cancel()
    end)
  end)

  it("is not needed for the turn: that can be taken along, into and out of vllm.run", function()
    local turn = client:turn "one two three four five six"
    local texts = {}
    local function take()
      while true do
        local event = assert(turn:next())
        if event.type == "text_delta" then
          texts[#texts + 1] = event.text
          return
        end
      end
    end
    take()
    vllm.run(function()
      take()
      vllm.spawn(take):join()
    end)
    take()
    assert.equal("You said: one two three four five six", turn:text())
    assert.equal(4, #texts)
  end)

  it("may leave a turn behind: vllm.run returns all the same, and the turn goes on later", function()
    local turn
    vllm.run(function()
      turn = client:turn "left behind"
      assert(turn:next())
    end)
    assert.equal("You said: left behind", turn:text())
    vllm.run(function() scripted(HEAD, DELTA, "stall"):turn("x"):next() end)
    collectgarbage()
    collectgarbage()
    vllm.run(vllm.sleep, 0)
    assert.is_true(left_midway())
  end)

  it("for … in works in a task, except on Lua 5.1, which says what to do", function()
    local function consume()
      local texts = {}
      for text in client:turn("a b c"):text_deltas() do texts[#texts + 1] = text end
      return table.concat(texts)
    end
    if PCALL_YIELDS then
      assert.equal("You said: a b c", vllm.run(consume))
    else
      assert.truthy(raised(vllm.run, consume):find("Lua 5.1 cannot wait inside `for … in` in a coroutine (scheduler)",
        1, true))
    end
  end)
end)
