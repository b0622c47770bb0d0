-- Turns in coroutines, between them, beside each other, and under errors thrown in the middle: the turn stays usable or
-- is cleanly over, and the server sees the connection of a dropped one close.
local server = require "spec.support.server"
local testing = require "vllm.testing"
local vllm = require "vllm"

local WORDS = "one two three four five six"

describe("a turn", function()
  local running, client

  setup(function()
    running = server.start {}
    client = vllm.new { model = "test-model", base_url = running.url .. "/v1" }
  end)
  teardown(function() running:stop() end)
  before_each(function() running:clear_log() end)

  local function expected(question) return "You said: " .. question end

  it("runs inside a coroutine that yields between events", function()
    local turn, pieces = client:turn(WORDS), {}
    local co = coroutine.wrap(function()
      while true do
        local event = assert(turn:next())
        if event.type == "text_delta" then coroutine.yield(event.text) end
        if event.type == "turn_end" then return nil end
      end
    end)
    for text in co do pieces[#pieces + 1] = text end
    assert.equal(expected(WORDS), table.concat(pieces))
  end)

  it("moves from one coroutine to another in the middle", function()
    local turn, pieces, ended = client:turn(WORDS), {}, false
    while not ended do
      coroutine.wrap(function()
        local event = turn:next()
        if not event then ended = true elseif event.type == "text_delta" then pieces[#pieces + 1] = event.text end
      end)()
    end
    assert.equal(expected(WORDS), table.concat(pieces))
    assert.equal(expected(WORDS), turn:text())
  end)

  it("goes on beside another one of the same client, event by event", function()
    local turns = { client:turn "a b c d", client:turn "e f g h" }
    local texts, left = { "", "" }, 2
    while left > 0 do
      for i, turn in ipairs(turns) do
        local event = turn:next()
        if event and event.type == "text_delta" then texts[i] = texts[i] .. event.text end
        if event and event.type == "turn_end" then left = left - 1 end
      end
    end
    assert.same({ expected "a b c d", expected "e f g h" }, texts)
  end)

  it("goes on after an error in the body of its loop", function()
    local turn = client:turn(WORDS)
    local ok, why = pcall(function()
      for text in turn:text_deltas() do error("no more " .. text, 0) end
    end)
    assert.is_false(ok)
    assert.equal("no more ", why:sub(1, 8))
    assert.equal(expected(WORDS), turn:text())
  end)

  it("goes on after an error in `each` and in on_event", function()
    local turn, count = client:turn(WORDS), 0
    local function fail()
      count = count + 1
      if count == 3 then error("mine", 0) end
    end
    assert.same({ false, "mine" }, { pcall(turn.each, turn, fail) })
    assert.equal(expected(WORDS), turn:text())
    count = 0
    turn = client:with({ on_event = fail }):turn(WORDS)
    assert.same({ false, "mine" }, { pcall(turn.result, turn) })
    assert.equal(expected(WORDS), turn:text())
    turn = client:with({ on_event = function(event) if event.type == "turn_end" then error("mine",
      0) end end }):turn(WORDS)
    assert.same({ false, "mine" }, { pcall(turn.result, turn) })
    assert.equal(expected(WORDS), turn:text())
  end)

  it("whose relay's write raised is whole, and passes nothing on behind the bytes that were lost", function()
    local client_of_script = testing.client({ WORDS, { text = WORDS } }, { split = 40 })
    for _, streaming in ipairs { true, false } do
      local turn, written = client_of_script:turn { messages = "x", streaming = streaming }, 0
      local function write()
        written = written + 1
        if written == 3 then error("disk full", 0) end
      end
      assert.same({ false, "disk full" }, { pcall(turn.relay, turn, write) })
      assert.equal(WORDS, turn:text())
      assert.equal(3, written)
    end
  end)

  it("is cancelled from on_event, from each and from relay's write", function()
    local function cancel(_, turn) turn:cancel() end
    local turn = client:with({ on_event = cancel }):turn(WORDS)
    assert.equal("cancelled", select(3, turn:result()).kind)
    turn = client:turn(WORDS)
    assert.equal("cancelled", select(3, turn:each(function() turn:cancel() end)).kind)
    turn = client:turn(WORDS)
    assert.equal("cancelled", select(3, turn:relay(function() turn:cancel() end)).kind)
    assert.equal("cancelled", select(3, turn:next()).kind)
    assert.equal(expected "still", client:ask "still")
  end)

  local function slow()
    local path = running:script { { "send", "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n"
      .. 'data: {"id":"1","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n' }, "stall" }
    return client:with { base_url = running.url .. path }
  end

  local function was_left() -- by the client, in the middle of an answer
    return running:wait_for(function(log)
      for _, record in ipairs(log) do if record.event == "close" and record.midway then return true end end
    end)
  end

  it("that is dropped in a coroutine nobody resumes is closed by collection", function()
    do
      local turn = slow():turn "Hi"
      local co = coroutine.create(function()
        for text in turn:text_deltas() do coroutine.yield(text) end
      end)
      assert.same({ true, "hi" }, { coroutine.resume(co) })
    end
    collectgarbage()
    collectgarbage()
    assert.is_true(was_left())
  end)

  it("is cancelled by `local turn <close>`, on 5.4, even by an error", function()
    if _VERSION ~= "Lua 5.4" then return end
    local chunk = load [[
      local client = ...
      local turn <close> = client:turn "Hi"
      turn:next()
      error("mine", 0)
    ]]
    assert.same({ false, "mine" }, { pcall(chunk, slow()) })
    assert.is_true(was_left())
  end)

  it("of a session that is used meanwhile leaves the session whole", function()
    local session = client:session()
    local turn = session:turn(WORDS)
    assert(turn:next())
    assert.equal("busy", select(3, session:turn("meanwhile"):result()).kind)
    session:append "a note"
    assert(turn:result())
    local roles = {}
    for i, message in ipairs(session:messages()) do roles[i] = message.role end
    assert.same({ "user", "user", "assistant" }, roles)
  end)
end)

describe("a scripted turn", function()
  it("gives the same inside a coroutine", function()
    local turn = testing.client({ "one two" }, { split = 7 }):turn "x"
    assert.equal("one two", coroutine.wrap(function() return turn:text() end)())
  end)
end)
