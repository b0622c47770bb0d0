-- How an answer ends: what its finish reason says, errors that stand in it, and silence behind it.

local core = require "vllm.core"
local testing = require "vllm.testing"
local vllm = require "vllm"

local DONE = "data: [DONE]\n\n"

local function chunk(choices, more)
  return 'data: {"id":"r1","model":"m","choices":[' .. choices .. "]" .. (more or "") .. "}\n\n"
end
local function say(text, more)
  return chunk('{"index":0,"delta":{"content":"' .. text .. '"}' .. (more or "") .. "}")
end

-- A client whose answers are `bodies`, in this order: streams, or completions.
local function client_of(bodies, options)
  local replies = {}
  for i, bytes in ipairs(bodies) do
    replies[i] = bytes:find "^{" and { status = 200, body = bytes } or { bytes = bytes }
  end
  return testing.client(replies, options)
end

local function whole(choice, more)
  return '{"id":"r1","model":"m","choices":[' .. choice .. "]" .. (more or "") .. "}"
end

describe("an answer that the server broke off is an error, what came of it is kept:", function()
  local cases = {
    { "abort", say "Once" .. say(" upon", ',"finish_reason":"abort"') .. DONE, "aborted" },
    { "abort, without [DONE]", say "Once" .. say(" upon", ',"finish_reason":"abort"'), "aborted" },
    { "abort, and the text behind it", say("Once", ',"finish_reason":"abort"') .. say " upon" .. DONE, "aborted" },
    { "error", say "Once" .. say(" upon", ',"finish_reason":"error"') .. DONE, "failed" },
    { "an error in the choice", say "Once"
      .. say(" upon", ',"finish_reason":"error","error":{"message":"upstream died"}') .. DONE, "upstream died" },
    { "an error in the choice that says stop",
      say "Once" .. say(" upon", ',"finish_reason":"stop","error":"boom"') .. DONE, "boom" },
    { "an error beside the text", say "Once"
      .. chunk('{"index":0,"delta":{"content":" upon"},"finish_reason":"error"}',
        ',"error":{"message":"upstream died"}') .. DONE, "upstream died" },
    { "an event of type error, with text",
      say "Once" .. "event: error\n" .. chunk('{"index":0,"delta":{"content":" upon"}}', ',"error":"boom"'), "boom" },
    { "whole: abort", whole '{"index":0,"message":{"content":"Once upon"},"finish_reason":"abort"}', "aborted" },
    { "whole: an error in the choice",
      whole '{"index":0,"message":{"content":"Once upon"},"finish_reason":"error","error":{"message":"died"}}',
      "died" },
    { "whole: an error beside the choices",
      whole('{"index":0,"message":{"content":"Once upon"},"finish_reason":"stop"}', ',"error":{"message":"died"}'),
        "died" },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      local session = client_of({ case[2], say "Again" .. say("!", ',"finish_reason":"stop"') .. DONE }):session()
      local turn = session:turn "Tell a story."
      local result, message, err = turn:result()
      assert.is_nil(result)
      assert.equal("server", err.kind)
      assert.truthy(message:find(case[3], 1, true), message)
      assert.equal("Once upon", err.partial.text)
      assert.is_false(err.partial.complete)
      assert.is_true(err.resumable)
      assert.is_true(err.retryable)
      assert.equal(1, #session:messages())
      assert.equal("Again!", session:turn():text())
      assert.equal(2, #session:messages())
    end)
  end

  it("with a code, its kind is that of the code", function()
    local _, _, err = client_of({ say("Hi", ',"error":{"message":"slow down","code":429}') }):turn("x"):result()
    assert.same({ "rate_limited", "Hi", 429 }, { err.kind, err.partial.text, err.code })
  end)

  it("calls of it must not be run", function()
    local call = chunk('{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f",'
      .. '"arguments":"{}"}}]},"finish_reason":"abort"}')
    local _, _, err = client_of({ call .. DONE }):turn("x"):result()
    assert.equal("server", err.kind)
    assert.is_string(err.partial.tool_calls[1].invalid)
  end)

  it("one of several choices: the others come to their end first", function()
    local _, _, err = client_of({ say("a", ',"finish_reason":"abort"') .. chunk '{"index":1,"delta":{"content":"b"}}'
      .. chunk '{"index":1,"delta":{"content":"c"},"finish_reason":"stop"}' .. DONE }):turn({ text = "x",
        n = 2 }):result()
    assert.same({ "server", "a", "bc" }, { err.kind, err.partial.choices[1].text, err.partial.choices[2].text })
  end)

  it("as the very first event it is asked again, as an error alone is", function()
    local client = client_of({ chunk('{"index":0,"delta":{"content":""},"finish_reason":"error"}',
      ',"error":{"message":"busy","code":502}'),
      say("Hi", ',"finish_reason":"stop"') .. DONE }, { retry = { max = 1, base_s = 0.001 } })
    assert.equal("Hi", client:ask "x")
  end)

  it("its text can be gone on with", function()
    local client, transport = client_of { say("Once", ',"finish_reason":"abort"') .. DONE,
      say(" upon", ',"finish_reason":"stop"') .. DONE }
    local messages = { { role = "user", content = "x" } }
    local _, _, err = client:turn({ messages = messages }):result()
    local result = assert(client:turn({ messages = messages, continue = err.partial }):result())
    assert.equal("Once upon", result.text)
    assert.equal("Once", transport.requests[2].body.messages[2].content)
  end)
end)

describe("no finish reason", function()
  for _, text in ipairs { "null", "None", "" } do
    it(("is the text %q"):format(text), function()
      local bytes = say("Hi", ',"finish_reason":"' .. text .. '"')
      local _, _, err = client_of({ bytes }):turn("x"):result()
      assert.equal("truncated", err.kind)
      local result = assert(client_of({ bytes .. say("!", ',"finish_reason":"stop"') .. DONE }):turn("x"):result())
      assert.same({ "Hi!", "stop" }, { result.text, result.finish_reason })
    end)
  end

  it("that nobody knows makes an error of an answer", function()
    local result = assert(client_of({ say("Hi", ',"finish_reason":"model_length"') .. DONE }):turn("x"):result())
    assert.same({ "Hi", "model_length", true }, { result.text, result.finish_reason, result.complete })
  end)
end)

-- The transport below moves the spec's clock to the deadline it is given, so no time passes.
describe("silence behind a whole answer", function()
  local real_now, now = core.now, 0
  before_each(function()
    now = 1000
    core.now = function() return now end
  end)
  after_each(function() core.now = real_now end)

  local END = chunk '{"index":0,"delta":{},"finish_reason":"stop"}'
  local USAGE = chunk("", ',"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}')

  -- A server that sends `steps` (bytes, or seconds of silence) and then nothing, without an end.
  local function silent(steps, status, kind)
    local at, ready_at, closed = 1, nil, {}
    local stream = { info = function() return {} end,
      close = function(_, drain) closed[#closed + 1] = drain or false end }
    function stream.head() return status or 200, { ["content-type"] = kind or "text/event-stream" } end
    function stream.read(_, deadline)
      local step = steps[at]
      if type(step) == "string" then
        at = at + 1
        return step
      end
      ready_at = ready_at or step and now + step
      if ready_at and ready_at <= (deadline or math.huge) then
        now, ready_at, at = math.max(now, ready_at), nil, at + 1
        return stream.read(nil, deadline)
      end
      now = math.max(now, (assert(deadline, "nobody ends this wait")))
      return false
    end
    return { name = "silent", options = {}, open = function() return stream end }, closed
  end

  local function turn_of(steps, timeout, request, ...)
    local transport, closed = silent(steps, ...)
    request = request or { text = "x" }
    return vllm.new({ model = "m", transport = transport, timeout = timeout, retry = false }):turn(request), closed
  end

  it("is its end after timeout.finish_s, and the connection is closed", function()
    local turn, closed = turn_of { say "Hi", END }
    local result = assert(turn:result())
    assert.same({ "Hi", "stop", true }, { result.text, result.finish_reason, result.complete })
    assert.equal(1002, now)
    assert.same({ false }, closed)
    assert.truthy(result.hints[1]:find("timeout.finish_s (2 s) passed", 1, true))
  end)

  it("usage that comes meanwhile is taken, and waited behind again", function()
    local result = assert(turn_of({ say "Hi", END, 1.5, USAGE }):result())
    assert.equal(3, result.usage.total_tokens)
    assert.equal(1003.5, now)
    local late = assert(turn_of({ say "Hi", END, 2.5, USAGE }):result())
    assert.is_nil(late.usage)
  end)

  it("[DONE] that comes meanwhile ends the wait, and the connection lives", function()
    local turn, closed = turn_of { say "Hi", END, 1.5, DONE }
    assert.same({}, assert(turn:result()).hints)
    assert.equal(1001.5, now)
    assert.same({ true }, closed)
  end)

  it("comments do not put it off", function()
    assert(turn_of({ say "Hi", END, 0.9, ": ping\n\n", 0.9, ": ping\n\n", 0.9, ": ping\n\n" }):result())
    assert.equal(1002, now)
  end)

  it("text behind the finish reason is taken", function()
    assert.equal("Hi!", (turn_of({ say "Hi", END, 1, say "!" }):text()))
    assert.equal(1003, now)
  end)

  it("the events are those of any answer", function()
    local list = {}
    for event in turn_of({ say "Hi", END }):events() do list[#list + 1] = event.type end
    assert.equal("turn_start part_start text_delta part_end choice_end turn_end", table.concat(list, " "))
  end)

  it("all choices that were asked for must have their ends", function()
    local one = { say "a", END }
    local _, _, err = turn_of(one, { idle_s = 10 }, { text = "x", n = 2 }):result()
    assert.same({ "timeout", "idle_s", 1010 }, { err.kind, err.clock, now })
    now = 1000
    local both = { say "a", END, chunk '{"index":1,"delta":{"content":"b"},"finish_reason":"stop"}' }
    assert.equal(2, #assert(turn_of(both, nil, { text = "x", n = 2 }):result()).choices)
    assert.equal(1002, now)
    now = 1000
    _, _, err = turn_of({ chunk '{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{},"finish_reason":"stop"}' },
      { idle_s = 10 }):result()
    assert.equal("idle_s", err.clock)
  end)

  it("no other clock loses it: the shortest decides", function()
    for clock, limit_s in pairs { idle_s = 1, total_s = 1, finish_s = 1 } do
      now = 1000
      assert.equal("Hi", (turn_of({ say "Hi", END }, { [clock] = limit_s }):text()))
      assert.equal(1001, now)
    end
  end)

  it("false waits as long as idle_s allows", function()
    local _, _, err = turn_of({ say "Hi", END }, { finish_s = false, idle_s = 30 }):result()
    assert.same({ "timeout", "idle_s", "Hi", 1030 }, { err.kind, err.clock, err.partial.text, now })
  end)

  it("an answer that the server broke off is an error then, too", function()
    local _, _, err = turn_of({ say("Hi", ',"finish_reason":"abort"') }):result()
    assert.same({ "server", "Hi", 1002 }, { err.kind, err.partial.text, now })
  end)

  it("poll finds it, however long the program stays away", function()
    local turn = turn_of { say "Hi", END }
    while turn:poll() do end
    now = now + 1
    assert.is_false(turn:poll())
    now = now + 60
    while turn:poll() do end
    assert.is_nil((turn:poll()))
    assert.equal("Hi", turn:result().text)
  end)

  it("the clock begins when the consumer asks, not while it thinks", function()
    local turn = turn_of { say "Hi", END, 1, USAGE, DONE }
    for event in turn:events() do
      if event.type == "text_delta" then now = now + 600 end
    end
    assert.equal(3, turn:result().usage.total_tokens)
  end)

  it("a server that sends comments without a pause does not put it off for ever", function()
    local transport, count = silent { say "Hi", END }, 0
    local stream = transport.open()
    local read = stream.read
    function stream.read(self, deadline)
      count = count + 1
      if count <= 2 then return read(self, deadline) end
      now = now + 0.01
      return (": ping\n\n"):rep(1000)
    end
    assert.equal("Hi", (vllm.new({ model = "m", transport = transport }):turn("x"):text()))
    assert.is_true(now < 1010)
  end)

  local BODY = '{"choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}'
  for _, kind in ipairs { "application/json", "text/plain" } do
    it("ends a whole body, " .. kind, function()
      local turn, closed = turn_of({ BODY:sub(1, 70), 0.5, BODY:sub(71) .. "\n" }, nil, { text = "x", stream = false },
        200, kind)
      assert.equal("Hi", (turn:text()))
      assert.equal(1002.5, now)
      assert.same({ false }, closed)
    end)
  end

  it("does not end half a body, though a bracket is its last byte", function()
    local half = BODY:match "^.-}"
    local _, _, err = turn_of({ half }, { first_event_s = 9 }, { text = "x", stream = false }, 200,
      "application/json"):result()
    assert.same({ "timeout", "first_event_s" }, { err.kind, err.clock })
    now = 1000
    local function slow()
      return (turn_of({ half, 5, BODY:sub(#half + 1) }, nil, { text = "x", stream = false }, 200, "application/json"))
    end
    assert.equal("Hi", (slow():text()))
    assert.equal("turn_start", slow():next().type) -- false is for the caller's own limit alone
    assert.equal("Hi", slow():text_deltas()())
    assert.equal("Hi", slow():each(function() end).text)
  end)

  it("ends an error's body", function()
    local turn = turn_of({ '{"error":{"message":"no"}}' }, nil, nil, 400, "application/json")
    local _, _, err = turn:result()
    assert.same({ "invalid_request", 400, 1002 }, { err.kind, err.status, now })
  end)
end)
