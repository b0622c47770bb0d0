-- An exception in the code that turns a failure into values: each step is made to raise, one by one, under vllm.run.
-- The turn is over all the same and says so, its place in max_concurrent is free, and other tasks do not notice.
require "spec.support.env"
local errors = require "vllm.base.errors"
local server_errors = require "vllm.base.server_errors"
local testing = require "vllm.testing"
local vllm = require "vllm"

local TEXT = 'data: {"id":"1","choices":[{"index":0,"delta":{"content":"so far"}}]}\n\n'
local CALL = 'data: {"id":"1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f",'
  .. '"arguments":"{}"}}]}}]}\n\n'

-- How a turn can fail, or end.
local WAYS = {
  { "an error's status", { status = 422, body = '{"detail":[{"loc":["body",null],"msg":"bad"}]}' } },
  { "a status that is retried", { status = 503, body = "busy", headers = { ["retry-after"] = "0" } }, retries = 1 },
  { "a 404 for a model", { status = 404, body = '{"error":{"message":"no model","param":"model"}}' } },
  { "a prompt that is too long", { status = 400, body = '{"error":{"message":"maximum context length is 5"}}' } },
  { "an error event", { bytes = TEXT .. 'data: {"error":{"message":"x","metadata":{"raw":5}}}\n\n' } },
  { "a chunk that is not JSON", { bytes = TEXT .. "data: {no\n\n" } },
  { "an answer that ends too early", { bytes = TEXT .. CALL } },
  { "a body that is not a completion", { headers = { ["content-type"] = "application/json" }, bytes = '{"a":1}' } },
  { "a compressed answer", { headers = { ["content-encoding"] = "gzip" }, bytes = "x" } },
  { "a connection that breaks", { fail = "closed", detail = "it broke" }, retries = 1 },
  { "success", { bytes = TEXT .. CALL
    .. 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n' }, is_success = true },
}

local function of_module(name) return require("vllm." .. name) end

-- Every function that runs on the way: of which table, its name.
local STEPS = {}
local function steps(where, ...)
  for _, name in ipairs { ... } do STEPS[#STEPS + 1] = { where, name } end
end
steps("base.errors", "from_transport", "shown")
steps("base.server_errors", "from_status", "from_decoder", "is_compressed")
steps("base.verdict", "kind", "context_numbers", "is_retryable")
steps("base.retry_after", "seconds")
steps("base.advice", "of")
steps("base.excerpt", "of")
steps("turn.retry", "is_retried", "wait_s")
steps("request.continuation", "is_possible", "join")
steps("base.error_body", "parse", "beginning")
steps("turn.inputs", "settle", "settle_all")
steps("turn.hints", "of")
steps("hosts", "wake")
steps("request.url", "shown")
steps("gate", "leave")
steps("stream", "info", "close")
steps("core", "json_decode", "json_encode")

local function boom() error("boom", 0) end

-- The methods of what a client makes internally.
local function table_of(where, client, transport)
  if where == "gate" then return getmetatable(client._gate).__index end
  if where == "stream" then return transport.stream_methods end
  return of_module(where)
end

-- A scripted transport whose streams' methods can be made to raise.
local function scripted(way, arm, disarm)
  local transport = testing.transport { way[2], way[2], way[2] }
  local open, methods = transport.open, {}
  transport.stream_methods = methods
  function transport.open(...)
    disarm()
    local stream, failure = open(...)
    if not stream then
      arm()
      return nil, failure
    end
    local wrapped = {}
    for _, name in ipairs { "head", "read", "info", "close" } do
      wrapped[name] = function(_, ...)
        if name == "head" then arm() end
        if methods[name] then methods[name]() end
        return stream[name](stream, ...)
      end
    end
    return wrapped
  end
  return transport
end

-- The fault is armed when the answer is there; what happens before is not under test.
local function run(way, step)
  local fault_in, name, original
  local transport = scripted(way, function() fault_in[name] = boom end, function() fault_in[name] = original end)
  local client = vllm.new { model = "m", transport = transport, max_concurrent = 1,
    retry = { max = way.retries or 0, base_s = 0.001 },
    json = { decode = vllm.json.decode }, api_key = "a-key-of-ours" }
  fault_in, name = table_of(step[1], client, transport), step[2]
  original = fault_in[name]
  local other_ended, seen = false, nil
  local turn = client:turn "Hi"
  local lives, why = pcall(vllm.run, function()
    vllm.spawn(function()
      vllm.sleep(0.001)
      other_ended = true
    end)
    seen = { turn:result() }
  end)
  fault_in[name] = original
  return turn, lives and seen or why, other_ended, client
end

describe("a bug on the way of a failure", function()
  for _, way in ipairs(WAYS) do
    it("leaves no turn open: " .. way[1], function()
      for _, step in ipairs(STEPS) do
        local where = table.concat(step, ".") .. ": "
        local turn, seen, other_ended, client = run(way, step)
        assert.equal("table", type(seen), where .. tostring(seen))
        local result, message, err = seen[1], seen[2], seen[3]
        assert.is_true(other_ended, where)
        if result then
          assert.equal(result, (turn:result()))
          assert.equal("so far", result.text)
          assert.is_true(way.is_success)
        else
          assert.is_nil(result, where)
          assert.equal("string", type(message), where)
          assert.is_true(errors.is(err) and errors.kinds[err.kind] ~= nil, where)
          assert.equal(err, turn:error())
          assert.equal(message, select(2, turn:result()))
        end
        assert.is_false(next(client._gate._inside) ~= nil and step[1] ~= "gate", where .. "its place is still taken")
      end
    end)
  end

  it("is said in the message, and as a hint of a result", function()
    local turn = run(WAYS[1], { "base.error_body", "parse" })
    assert.truthy(turn:error().message:find("explaining it failed: boom", 1, true), turn:error().message)
    assert.equal(422, turn:error().status)
    assert.equal(WAYS[1][2].body, turn:error().body)
    turn = run(WAYS[5], { "stream", "close" })
    assert.truthy(turn:error().message:find("; also, closing the connection failed: boom", 1, true),
      turn:error().message)
    assert.equal("so far", turn:error().partial.text)
    turn = run(WAYS[#WAYS], { "turn.hints", "of" })
    assert.equal("looking for hints failed: boom", turn:result().hints[1])
  end)
end)

describe("a redactor that fails", function()
  it("leaves out what it cannot redact, and the turn is over", function()
    for _, way in ipairs(WAYS) do
      local client = vllm.new { model = "m", transport = scripted(way, function() end, function() end),
        api_key = "a-key-of-ours",
        retry = { max = way.retries or 0, base_s = 0.001 } }
      client.config.redactor._anchors = nil
      local turn = client:turn "Hi"
      local result, message, err = turn:result()
      assert.equal(way.is_success, result ~= nil or nil)
      if err then
        assert.equal(err.kind .. ": (left out: it could not be redacted)", (message:gsub(" %(after 2 attempts%)$", "")))
        for name, value in pairs(err) do
          assert.is_true(name == "kind" or name == "message" or name == "attempts" or type(value) ~= "string", name)
        end
      end
    end
  end)
end)

describe("turn:start, with a bug on the way", function()
  it("calls on_done, once", function()
    for _, way in ipairs(WAYS) do
      for _, step in ipairs { { "base.server_errors", "from_status" }, { "base.server_errors", "from_decoder" },
        { "request.continuation", "is_possible" }, { "turn.hints", "of" } } do
        local fault_in, name, done = of_module(step[1]), step[2], {}
        local original = fault_in[name]
        local client = vllm.new { model = "m", retry = { max = way.retries or 0, base_s = 0.001 },
          transport = scripted(way, function() fault_in[name] = boom end, function() fault_in[name] = original end) }
        local lives, why = pcall(vllm.run, function()
          client:turn("Hi"):start(nil, function(...) done[#done + 1] = { ... } end)
        end)
        fault_in[name] = original
        assert.is_true(lives, why)
        assert.equal(1, #done)
        assert.is_true(done[1][1] ~= nil or errors.is(done[1][3]))
      end
    end
  end)
end)

describe("vllm.decoder, with a bug on the way", function()
  it("gives an error", function()
    local original = server_errors.from_decoder
    finally(function() server_errors.from_decoder = original end)
    server_errors.from_decoder = boom
    local decoder = vllm.decoder()
    decoder:feed "data: {no\n\n"
    local event, message, err = decoder:next()
    assert.is_nil(event)
    assert.equal("protocol", err.kind)
    assert.truthy(message:find("explaining it failed: boom", 1, true))
  end)
end)

describe("what a program's own transport returns", function()
  for _, case in ipairs {
    { "no failure table", "it broke", "protocol: it broke" }, { "nothing", nil, "protocol: " },
      { "an unknown kind", { kind = "odd", detail = "it broke" }, "protocol: it broke" },
    { "no detail", { kind = "closed" }, "closed: the request failed" }, { "a table that is empty", {}, "protocol: " },
  } do
    it("makes an error, whatever it is: " .. case[1], function()
      local function fail() return nil, case[2] end
      for _, transport in ipairs {
        { open = fail },
        { open = function() return { head = function() return nil, case[2] or {} end, info = boom, close = boom } end },
      } do
        transport.options = {}
        local client = vllm.new { model = "m", transport = transport, retry = false }
        local result, message = client:turn("Hi"):result()
        assert.is_nil(result)
        assert.equal(case[3], message:sub(1, #case[3]))
        result, message = client:request("GET", "/x")
        assert.is_nil(result)
        assert.equal(case[3], message:sub(1, #case[3]))
      end
    end)
  end

  -- A transport that answers every request with `status`, `body`; `over`: methods of its streams.
  local function answering(status, body, over)
    return { options = {}, open = function(_, request)
      local is_read = false
      local stream = { head = function() return status, {} end, info = function() return {} end,
        close = function() end }
      function stream.read()
        if is_read then return nil end
        is_read = true
        return body
      end
      for name, method in pairs(over) do stream[name] = method(request) or stream[name] end
      return stream
    end }
  end

  for _, info in ipairs { 5, "x", true, setmetatable({ reused = true }, { __newindex = boom }) } do
    it("leaves no turn open, whatever it knows of its connection: " .. type(info), function()
      local transport = answering(200, WAYS[#WAYS][2].bytes,
        { info = function() return function() return info end end })
      local result = vllm.new { model = "m", transport = transport }:turn("Hi"):result()
      assert.equal("so far", result.text)
      assert.is_true(result.timing.total_s >= 0)
      assert.equal(type(info) == "table" or nil, result.timing.reused)
    end)
  end

  it("leaves no turn open where it raises when the list of models is asked for", function()
    local transport = answering(404, WAYS[3][2].body, {})
    local open = transport.open
    function transport.open(self, request) return request.method == "GET" and boom() or open(self, request) end
    local _, message, err = vllm.new { model = "m", transport = transport }:turn("Hi"):result()
    assert.equal("not_found", err.kind)
    assert.equal("not_found: no model (status 404)", message)
  end)

  it("does not set the turn's message or partial result", function()
    local failure = { kind = "closed", detail = "it broke", message = 5, partial = 7, attempts = "x", resumable = 5 }
    local transport = answering(200, "", { read = function() return function() return nil, failure end end })
    local _, message, err = vllm.new { model = "m", transport = transport, retry = false }:turn("Hi"):result()
    assert.same({ "closed: it broke", 1 }, { message, #err.attempts })
    assert.is_nil(err.partial or err.resumable)
  end)

  it("may have its own time-out where none of our clocks is set", function()
    local transport = answering(200, "",
      { read = function() return function() return nil, { kind = "timeout", detail = "it was late" } end end })
    local client = vllm.new { model = "m", transport = transport, timeout = { first_event_s = false } }
    assert.equal("timeout: it was late", select(2, client:request("GET", "/x")))
  end)

  it("may raise when it begins; the turn can be asked again", function()
    local count, made = 0, testing.transport { "fine" }
    local client = vllm.new { model = "m", max_concurrent = 1, transport = { options = {}, open = function(_, request)
      count = count + 1
      if count == 1 then error("not yet", 0) end
      return made:open(request)
    end } }
    local turn = client:turn "Hi"
    assert.same({ false, "not yet" }, { pcall(turn.result, turn) })
    assert.equal("fine", turn:text())
  end)
end)
