-- A turn over scripted transports: what each method returns, in every phase; clocks on a clock of the spec's own.
local core = require "vllm.core"
local vllm = require "vllm"
local testing = require "vllm.testing"

local WEATHER = { name = "get_weather",
  parameters = { type = "object", properties = { city = { type = "string" } }, required = { "city" } } }

local function types_of(turn)
  local list = {}
  for event in turn:events() do list[#list + 1] = event.type end
  return list
end

describe("a turn that streams text", function()
  it("gives the events of an answer in order", function()
    local client = testing.client { "Paris is it." }
    assert.same({ "turn_start", "part_start", "text_delta", "text_delta", "text_delta", "part_end", "choice_end",
      "usage", "turn_end" },
      types_of(client:turn "Capital of France?"))
  end)

  it("sends nothing before it is asked", function()
    local client, transport = testing.client { "Paris." }
    local turn = client:turn "Capital of France?"
    assert.equal(0, #transport.requests)
    assert.equal("Paris.", turn:text())
    assert.equal(1, #transport.requests)
  end)

  it("gives the same result at any size of read", function()
    local whole = assert(testing.client({ "Grüße, 世界 🚀!" }):turn("x"):result())
    for split = 1, 40 do
      local result = assert(testing.client({ "Grüße, 世界 🚀!" }, { split = split }):turn("x"):result())
      assert.equal(whole.text, result.text)
      assert.same(whole.message, result.message)
      assert.same(whole.usage, result.usage)
    end
  end)

  it("gives only text through text_deltas", function()
    local client = testing.client { { reasoning = "Hm, let me see.", text = "It is Paris." } }
    local pieces = {}
    for text in client:turn("x"):text_deltas() do pieces[#pieces + 1] = text end
    assert.same({ "It", " is", " Paris." }, pieces)
  end)

  it("gives the result any number of times, and the end after the end", function()
    local turn = testing.client({ "ok" }):turn "x"
    local result = assert(turn:result())
    assert.equal(result, turn:result())
    assert.equal("ok", turn:text())
    assert.is_nil((turn:next()))
    assert.is_nil(turn:error())
  end)

  it("reports status, headers, timing and attempts in the result", function()
    local result = assert(testing.client({ { text = "ok", headers = { ["X-Request-Id"] = "r1" } } }):turn("x"):result())
    assert.equal(200, result.status)
    assert.equal("r1", result.headers["x-request-id"])
    assert.same({ { status = 200, request_id = "r1" } }, result.attempts)
    assert.equal("number", type(result.timing.total_s))
    assert.equal("number", type(result.timing.first_delta_s))
    assert.is_true(result.complete)
    assert.same({}, result.hints)
  end)

  it("has what the server measured itself beside the timing", function()
    local chunk = 'data: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}],"metrics":%s}\n\ndata: [DONE]\n\n'
    local function server(metrics)
      return assert(testing.client({ { bytes = chunk:format(metrics) } }):turn("x"):result()).timing.server
    end
    assert.same({ time_to_first_token_ms = 12.5, queue_time_ms = 1 },
      server '{"time_to_first_token_ms":12.5,"queue_time_ms":1}')
    assert.is_nil(server "7")
  end)

  it("has lists that are lists in JSON, empty ones too", function()
    local result = assert(testing.client({ "ok" }):turn("x"):result())
    local text = vllm.json.encode(result)
    for _, part in ipairs { '"hints":[]', '"tool_calls":[]', '"choices":[{', '"attempts":[{' } do
      assert.truthy(text:find(part, 1, true), part)
    end
    assert.equal('"choices":[]', vllm.json.encode(vllm.decoder():result()):match '"choices":[^,]*')
  end)

  it("has a message that can be appended as it is", function()
    local client, transport = testing.client { "One.", "Two." }
    local messages = { { role = "user", content = "Count." } }
    messages[2] = assert(client:turn({ messages = messages }):result()).message
    messages[3] = { role = "user", content = "On." }
    assert.equal("Two.", client:ask { messages = messages })
    assert.same({ role = "assistant", content = "One." }, transport.requests[2].body.messages[2])
  end)

  it("buffered, gives the same events as streamed", function()
    local reply = { text = "Paris is it.", tool_calls = { { name = "get_weather", arguments = { city = "Paris" } } } }
    local function joined(options)
      local list = {}
      for event in testing.client({ reply }, options):turn({ messages = { "x" }, tools = { WEATHER } }):events() do
        local last = list[#list]
        if last and last.type == event.type and event.type:find "_delta$" then
          last.text = last.text and last.text .. event.text
          last.json = last.json and last.json .. (event.json or "") or event.json
        else
          list[#list + 1] = { type = event.type, text = event.text, json = event.json, kind = event.kind,
            name = event.name }
        end
      end
      return list
    end
    assert.same(joined(), joined { streaming = false })
  end)
end)

describe("a turn with tool calls", function()
  local reply = { tool_calls = { { name = "get_weather", arguments = { city = "Rome" } },
    { id = "x9", name = "get_weather", arguments = '{"city": 1e2}' } } }

  it("gives calls with raw arguments and decoded input", function()
    local result = assert(testing.client({ reply }):turn({ messages = { "x" }, tools = { WEATHER } }):result())
    assert.equal(2, #result.tool_calls)
    assert.equal('{"city":"Rome"}', result.tool_calls[1].arguments)
    assert.same({ city = "Rome" }, result.tool_calls[1].input)
    assert.equal('{"city": 1e2}', result.tool_calls[2].arguments)
    assert.equal("x9", result.tool_calls[2].id)
    assert.equal(100, result.tool_calls[2].input.city)
    assert.equal("tool_calls", result.finish_reason)
  end)

  it("goes round: the call and its result reach the next request byte for byte", function()
    local client, transport = testing.client { reply, "18 degrees." }
    local messages = { { role = "user", content = "Weather?" } }
    local result = assert(client:turn({ messages = messages, tools = { WEATHER } }):result())
    messages[2] = result.message
    for _, call in ipairs(result.tool_calls) do
      messages[#messages + 1] = { role = "tool", call = call, result = { celsius = 18 } }
    end
    assert.equal("18 degrees.", client:ask { messages = messages, tools = { WEATHER } })
    local sent = transport.requests[2].body.messages
    assert.equal('{"city": 1e2}', sent[2].tool_calls[2]["function"].arguments)
    assert.equal("x9", sent[4].tool_call_id)
    assert.equal('{"celsius":18}', sent[4].content)
  end)

  it("is invalid when the arguments are no JSON, and the turn is not lost", function()
    local bad = { text = "Let me see.", tool_calls = { { name = "get_weather", arguments = '{"city":' } } }
    local result = assert(testing.client({ bad }):turn({ messages = { "x" }, tools = { WEATHER } }):result())
    assert.equal("Let me see.", result.text)
    assert.is_nil(result.tool_calls[1].input)
    assert.equal("string", type(result.tool_calls[1].invalid))
  end)
end)

describe("a turn that fails", function()
  it("for bad data before anything is sent: every method says the same", function()
    local client, transport = testing.client { "never" }
    local turn = client:turn { messages = { { role = "human", content = "hi" } } }
    local nothing, message, err = turn:result()
    assert.is_nil(nothing)
    assert.equal("invalid_request", err.kind)
    assert.equal("messages[1].role", err.param)
    assert.equal(err, turn:error())
    assert.equal(message, select(2, turn:next()))
    assert.equal(message, select(2, turn:open()))
    assert.equal(message, select(2, turn:text()))
    assert.equal(message, select(2, turn:each(print)))
    local ok, raised = pcall(function() for _ in turn:events() do error "no event" end end)
    assert.is_false(ok)
    assert.equal(message, raised)
    assert.equal(0, #transport.requests)
  end)

  it("by status: kind, status and body in the error", function()
    local turn = testing.client({ { status = 503, body = { error = { message = "busy", code = 503 } },
      headers = { ["Retry-After"] = "3" } } }):turn "x"
    local _, message, err = turn:result()
    assert.equal("overloaded", err.kind)
    assert.equal(503, err.status)
    assert.equal(3, err.retry_after_s)
    assert.truthy(err.retryable)
    assert.truthy(message:find("busy", 1, true))
    assert.is_nil(err.partial)
  end)

  it("in the stream: what had come is kept, and comes first", function()
    local turn = testing.client({ { text = "Once upon a time",
      error = { message = "engine died", code = 500 } } }):turn "x"
    local seen = {}
    local ok,
      raised = pcall(function() for event in turn:events() do if event.text then seen[#seen + 1] = event.text end end end)
    assert.is_false(ok)
    assert.same({ "Once", " upon", " a", " time" }, seen)
    assert.truthy(raised:find("^server: engine died"))
    assert.equal("Once upon a time", turn:error().partial.text)
    assert.is_false(turn:error().partial.complete)
  end)

  it("by a cut stream: truncated, with the part that came", function()
    local turn = testing.client({ { text = "Once upon", cut = true } }):turn "x"
    local result, message, err = turn:result()
    assert.is_nil(result)
    assert.equal("truncated", err.kind)
    assert.is_true(err.clean)
    assert.equal("Once upon", err.partial.text)
    assert.truthy(message:find("3 events had come", 1, true), message)
  end)

  it("by a transport that cannot connect", function()
    local _, _, err = testing.client({ { fail = "connect", detail = "nobody listens" } }):turn("x"):result()
    assert.equal("connect", err.kind)
    assert.equal("connect: nobody listens", err.message)
  end)

  it("by an answer that is not a completion: the page's title is told", function()
    local reply = { status = 200, body = "<html><title>Login</title></html>",
      headers = { ["content-type"] = "text/html" } }
    local _, message, err = testing.client({ reply }):turn("x"):result()
    assert.equal("protocol", err.kind)
    assert.truthy(message:find("text/html", 1, true))
    assert.truthy(message:find("Login", 1, true))
  end)

  it("by an empty 200", function()
    local _, message, err = testing.client({ { status = 200, body = "" } }):turn("x"):result()
    assert.equal("protocol", err.kind)
    assert.truthy(message:find("empty body", 1, true))
  end)

  it("by an error object under status 200 in a JSON body", function()
    local _, _, err = testing.client({ { status = 200,
      body = { error = { message = "no such lora", code = 404 } } } }):turn("x"):result()
    assert.equal("not_found", err.kind)
  end)

  it("with an error body beyond the limit: kept to the limit, and said so", function()
    local client = testing.client({ { status = 500, body = ("x"):rep(5000) } },
      { split = 512, limits = { max_error_bytes = 1000 } })
    local _, _, err = client:turn("x"):result()
    assert.equal(1000, #err.body)
    assert.is_true(err.body_cut)
  end)

  it("when a completion is larger than its limit", function()
    local client = testing.client({ ("word "):rep(3000) },
      { split = 512, streaming = false, limits = { max_event_bytes = 4096 } })
    local _, _, err = client:turn("x"):result()
    assert.equal("limit", err.kind)
    assert.truthy(err.message:find("max_event_bytes", 1, true))
  end)

  it("never shows the key that a server sent back", function()
    local client = testing.client({ { status = 400, body = "bad header: Bearer sk-secret" } },
      { api_key = "sk-secret" })
    local _, message, err = client:turn("x"):result()
    assert.is_nil(message:find("sk-secret", 1, true))
    assert.is_nil(err.body:find("sk-secret", 1, true))
  end)
end)

describe("an event stream that does not say so", function()
  it("is taken by its first bytes, at any split", function()
    for _, split in ipairs { 1, 7, 4096 } do
      local bytes = 'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
      local client = testing.client({ { bytes = bytes, headers = { ["content-type"] = "text/plain" } } },
        { split = split })
      assert.equal("hi", client:ask "x")
    end
  end)

  it("may be shorter than what is looked at", function()
    local client = testing.client { { bytes = "data: [DONE]\n\n", headers = { ["content-type"] = "" } } }
    local _, message, err = client:turn("x"):text()
    assert.equal("protocol", err.kind)
    assert.truthy(message:find("the answer has no choices", 1, true), message)
  end)
end)

describe("cancel", function()
  it("keeps what had come, is final, and may be called again", function()
    local turn = testing.client({ "one two three" }, { split = 64 }):turn "x"
    repeat local event = assert(turn:next()) until event.type == "text_delta"
    turn:cancel()
    turn:cancel()
    local result, message, err = turn:result()
    assert.is_nil(result)
    assert.equal("cancelled", err.kind)
    assert.equal("one", err.partial.text)
    assert.equal(message, select(2, turn:next()))
  end)

  it("before anything was sent, sends nothing", function()
    local client, transport = testing.client { "x" }
    local turn = client:turn "x"
    turn:cancel()
    assert.equal("cancelled", select(3, turn:result()).kind)
    assert.equal(0, #transport.requests)
  end)

  it("after the end changes nothing", function()
    local turn = testing.client({ "done" }):turn "x"
    assert.equal("done", turn:text())
    turn:cancel()
    assert.equal("done", turn:text())
    assert.is_nil(turn:error())
  end)

  it("by false from each", function()
    local turn = testing.client({ "one two three" }):turn "x"
    local count = 0
    local result, _, err = turn:each(function(event)
      if event.type == "text_delta" then count = count + 1 end
      return count < 2
    end)
    assert.is_nil(result)
    assert.equal("cancelled", err.kind)
    assert.equal(2, count)
  end)

  it("leaving a loop cancels nothing", function()
    local turn = testing.client({ "one two three" }):turn "x"
    for event in turn:events() do if event.type == "text_delta" then break end end
    assert.equal("one two three", turn:text())
  end)
end)

describe("relay behind an error", function()
  local HI = 'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
  local REST = "data: [DONE]\n\n: bye\n\n" .. ("event: x\ndata: y\n\n"):rep(50)
  local faults = {
    { "an error event", 'data: {"error":{"message":"busy","code":503}}\n\n', "overloaded" },
      { "a malformed chunk", "data: {oops}\n\n", "protocol" },
    { "a field named error", "error: died\n\n", "stream" },
  }
  for _, fault in ipairs(faults) do
    it("passes on every byte: " .. fault[1], function()
      for _, split in ipairs { 1, 13, 4096 } do
        local bytes, passed = HI .. fault[2] .. REST, {}
        local turn = testing.client({ { bytes = bytes } }, { split = split, retry = { max = 3 } }):turn "x"
        local result, _, err = turn:relay(function(more) passed[#passed + 1] = more end)
        assert.is_nil(result)
        assert.equal(fault[3], err.kind)
        assert.equal("hi", err.partial.text)
        assert.equal(bytes, table.concat(passed))
      end
    end)
  end

  it("stops where write wants no more", function()
    local count = 0
    local turn = testing.client({ { bytes = faults[1][2] .. REST } }, { split = 10 }):turn "x"
    local _, _, err = turn:relay(function() count = count + 1 return count < 8 end)
    assert.equal("cancelled", err.kind)
    assert.equal(8, count)
  end)

  it("ends with a server that never does", function()
    local transport, count = testing.transport { { bytes = faults[1][2] } }, 0
    local open = transport.open
    function transport.open(...)
      local stream = open(...)
      local read = stream.read
      function stream.read(...) return read(...) or ("x"):rep(1024) end
      return stream
    end
    local client = require("vllm").new { model = "m", transport = transport, retry = false,
      limits = { max_event_bytes = 65536 } }
    local _, _, err = client:turn("x"):relay(function() count = count + 1 end)
    assert.equal("overloaded", err.kind)
    assert.equal(1 + 65, count)
  end)
end)

describe("relay", function()
  it("passes every byte on while decoding", function()
    for _, split in ipairs { 1, 13, 100000 } do
      local client, transport = testing.client({ "Paris is it." }, { split = split })
      local passed = {}
      local turn = client:turn "x"
      assert.is_true(turn:open())
      assert.equal(200, turn.status)
      local result = assert(turn:relay(function(bytes) passed[#passed + 1] = bytes end))
      assert.equal("Paris is it.", result.text)
      local replayed = testing.transport({ { bytes = table.concat(passed) } })
      local again = vllm.new { model = "m", transport = replayed }
      assert.equal("Paris is it.", again:ask "x")
      assert.equal(1, #transport.requests)
    end
  end)

  it("passes a whole completion on", function()
    local passed = {}
    local client = testing.client({ "Paris." }, { streaming = false, split = 10 })
    assert(client:turn("x"):relay(function(bytes) passed[#passed + 1] = bytes end))
    assert.equal("Paris.", vllm.json.decode(table.concat(passed)).choices[1].message.content)
  end)

  it("stops when write says false", function()
    local result, _, err = testing.client({ "one two three" },
      { split = 50 }):turn("x"):relay(function() return false end)
    assert.is_nil(result)
    assert.equal("cancelled", err.kind)
  end)

  it("passes nothing of an error on", function()
    local result, _, err = testing.client({ { status = 429,
      body = "slow down" } }):turn("x"):relay(function() error "not this" end)
    assert.is_nil(result)
    assert.equal("slow down", err.body)
  end)

  it("refuses to begin in the middle", function()
    local turn = testing.client({ "one two" }):turn "x"
    turn:next()
    assert.has_error(function() turn:relay(print) end, "turn:relay: bytes of the answer were taken already")
  end)
end)

describe("no text", function()
  local cases = {
    { "only reasoning", { reasoning = "I think so." }, "the whole answer came as reasoning" },
    { "cut while reasoning", { reasoning = "I think", finish_reason = "length" }, "still reasoning" },
    { "cut with nothing to show", { finish_reason = "length" }, "ended by length with nothing to show" },
    { "a call", { tool_calls = { { name = "f" } } }, "the model called 1 tool and wrote no text" },
    { "a refusal", { refusal = "I will not." }, "the model refused: I will not." },
    { "nothing at all", {}, "returned no text" },
  }
  for _, case in ipairs(cases) do
    it(case[1] .. " is an error that says so", function()
      local text, message, err = testing.client({ case[2] }):ask "x"
      assert.is_nil(text)
      assert.equal("no_output", err.kind)
      assert.truthy(message:find("no_output: ", 1, true))
      assert.truthy(message:find(case[3], 1, true), message)
      assert.equal("table", type(err.partial.message))
    end)
  end
end)

-- Clocks: the transport below moves the spec's clock to the deadline it is given, so no time passes.
describe("a clock", function()
  local real_now, now = core.now, 0
  before_each(function()
    now = 1000
    core.now = function() return now end
  end)
  after_each(function() core.now = real_now end)

  local CHUNK = 'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
  local ROLE = 'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'

  -- steps: a string (bytes), a number (seconds of silence before the next step), or "end"
  local function timed(steps)
    local at, ready_at = 0, nil
    local stream = {}
    local function silent(deadline)
      if ready_at and now >= ready_at then ready_at = nil return false end
      ready_at = ready_at or now + steps[at]
      if deadline and deadline < ready_at then
        now = math.max(now, deadline)
        return true
      end
      now, ready_at = ready_at, nil
      return false
    end
    function stream.head() return 200, { ["content-type"] = "text/event-stream" } end
    function stream.read(_, deadline)
      while true do
        if not (ready_at and type(steps[at]) == "number") then at = at + 1 end
        local step = steps[at]
        if step == nil then return nil end
        if type(step) == "string" then return step end
        if silent(deadline) then return false end
      end
    end
    function stream.info() return {} end
    function stream.close(self) self.closed = true end
    return { name = "timed", options = {}, open = function() return stream end }, stream
  end

  local function turn_with(steps, timeout)
    local transport, stream = timed(steps)
    return vllm.new({ model = "m", transport = transport, timeout = timeout }):turn "x", stream
  end

  it("of the first event fires when only comments and the role came", function()
    local turn, stream = turn_with({ ROLE, 3, ": keep-alive\n\n", 3, ": keep-alive\n\n", 30 }, { first_event_s = 10 })
    local _, message, err = turn:result()
    assert.equal("timeout", err.kind)
    assert.equal("first_event_s", err.clock)
    assert.equal(1010, now)
    assert.is_true(stream.closed)
    assert.truthy(message:find("timeout.first_event_s: 10 s passed", 1, true), message)
  end)

  it("of a call are over the client's", function()
    local last = "data: [DONE]\n\n"
    for clock, steps in pairs { first_event_s = { ROLE, 30 }, idle_s = { CHUNK, 30 },
      total_s = { CHUNK, 30, CHUNK, last } } do
      local client = vllm.new { model = "m", transport = (timed(steps)),
        timeout = { first_event_s = 99, idle_s = 99, total_s = 99 } }
      local err = select(3, client:turn("x", { timeout = { [clock] = 10 } }):result())
      assert.same({ "timeout", clock, 10 }, { err.kind, err.clock, err.limit_s })
      client = vllm.new { model = "m", transport = (timed(steps)), timeout = { [clock] = 10 } }
      local shortest = select(3, client:turn("x", { timeout = { [clock] = 5 } }):result())
      assert.same({ "timeout", clock, 5 }, { shortest.kind, shortest.clock, shortest.limit_s })
    end
    local text = CHUNK .. 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n' .. last
    local client = vllm.new { model = "m", transport = (timed { 30, text }), timeout = { first_event_s = 10 } }
    assert(client:turn("x", { timeout = { first_event_s = false } }):result())
  end)

  it("of a call reach the transport, which connects", function()
    local seen = {}
    local transport = { name = "noted", options = {}, open = function(_, request)
      seen[#seen + 1] = request.connect_s or "none"
      return nil, { kind = "connect", detail = "" }
    end }
    local client = vllm.new { model = "m", transport = transport, retry = false, timeout = { connect_s = 3 } }
    for _, connect_s in ipairs { 7, false } do client:ask("x", { timeout = { connect_s = connect_s } }) end
    client:ask "x"
    client:session():turn("x", { timeout = { connect_s = 8 } }):result()
    assert.same({ 7, "none", 3, 8 }, seen)
  end)

  it("of silence is reset by an event and not by a comment", function()
    local turn = turn_with({ CHUNK, 8, CHUNK, 6, ": c\n\n", 6, ": c\n\n", 6 }, { idle_s = 10 })
    local _, _, err = turn:result()
    assert.equal("idle_s", err.clock)
    assert.equal(1018, now)
    assert.equal("xx", err.partial.text)
  end)

  it("of the whole covers everything", function()
    local turn = turn_with({ CHUNK, 4, CHUNK, 4, CHUNK, 4, CHUNK }, { total_s = 10, idle_s = 5 })
    local _, _, err = turn:result()
    assert.equal("total_s", err.clock)
    assert.equal(1010, now)
  end)

  it("stands still while the consumer thinks", function()
    local turn = turn_with({ CHUNK, 4, CHUNK, 4,
      'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n' }, { idle_s = 5 })
    for event in turn:events() do
      if event.type == "text_delta" then now = now + 600 end
    end
    assert.equal("xx", turn:result().text)
  end)

  it("does not fire when the bytes were there all along", function()
    local turn = turn_with({ CHUNK, CHUNK, 'data: [DONE]\n\n' }, { total_s = 10 })
    for _ in turn:events() do now = now + 100 end
    assert.equal("xx", turn:result().text)
  end)

  it("of one call of next returns false and loses nothing", function()
    local turn = turn_with({ CHUNK, 3, CHUNK, "data: [DONE]\n\n" }, { idle_s = 100 })
    local texts, idle = {}, 0
    while true do
      local event = turn:next(1)
      if event == nil then break end
      if event == false then idle = idle + 1 elseif event.type == "text_delta" then texts[#texts + 1] = event.text end
    end
    assert.same({ "x", "x" }, texts)
    assert.is_true(idle >= 2)
  end)
end)

describe("the head of an answer", function()
  it("can be seen by others while the turn waits for what follows", function()
    local turn, seen
    local stream = {
      head = function() return 200, { ["content-type"] = "text/event-stream", ["x-request-id"] = "r1" } end,
      read = function()
        seen = { turn.status, turn.headers["x-request-id"] }
        return nil
      end,
      info = function() return {} end, close = function() end,
    }
    local transport = { name = "own", options = {}, open = function() return stream end }
    turn = vllm.new({ model = "m", transport = transport, retry = false }):turn "x"
    assert.is_nil(turn:next())
    assert.same({ 200, "r1" }, seen)
  end)
end)
