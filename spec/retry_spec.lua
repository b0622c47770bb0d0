-- Attempts: which failures are tried again, after how long, and what is told about it.
local core = require "vllm.core"
local errors = require "vllm.base.errors"
local server_errors = require "vllm.base.server_errors"
local retry = require "vllm.turn.retry"
local server = require "spec.support.server"
local testing = require "vllm.testing"
local vllm = require "vllm"

local POLICY = { max = 2, base_s = 0.5, cap_s = 60 }

describe("an attempt is made again after", function()
  local headers = { ["content-type"] = "application/json" }

  local function of_status(status, body, more)
    local all = { ["content-type"] = headers["content-type"] }
    for name, value in pairs(more or {}) do all[name] = value end
    return server_errors.from_status(status, all, body or "{}", { url = "http://h/v1", now_unix = 0 })
  end

  for status = 400, 599 do
    local expected = status == 408 or status == 409 or status == 429
      or (status >= 500 and status ~= 501 and status ~= 505)
    it(("status %d: %s"):format(status, expected and "yes" or "no"), function()
      assert.equal(expected, retry.is_retried(POLICY, of_status(status)))
    end)
  end

  local KINDS = { connect = true, closed = true }
  for kind in pairs(errors.kinds) do
    it(("kind %s without a status: %s"):format(kind, KINDS[kind] and "yes" or "no"), function()
      assert.equal(KINDS[kind] or false, retry.is_retried(POLICY, errors.new(kind, "x")))
    end)
  end

  it("the connection's clock, and no other", function()
    assert.is_true(retry.is_retried(POLICY, errors.new("timeout", "x", { clock = "connect_s" })))
    for _, clock in ipairs { "first_event_s", "idle_s", "total_s" } do
      assert.is_false(retry.is_retried(POLICY, errors.new("timeout", "x", { clock = clock })))
    end
  end)

  it("x-should-retry, whatever the status", function()
    assert.is_true(retry.is_retried(POLICY, of_status(400, "{}", { ["x-should-retry"] = "true" })))
    assert.is_false(retry.is_retried(POLICY, of_status(503, "{}", { ["x-should-retry"] = "false" })))
    assert.is_true(retry.is_retried(POLICY, of_status(503, "{}", { ["x-should-retry"] = "maybe" })))
  end)

  it("never a quota that is used up", function()
    assert.is_false(retry.is_retried(POLICY,
      of_status(429, '{"error":{"message":"no more","code":"insufficient_quota"}}')))
  end)

  it("the statuses that are configured, and no other", function()
    local policy = { max = 1, base_s = 1, cap_s = 1, statuses = { 418 } }
    assert.is_true(retry.is_retried(policy, of_status(418)))
    assert.is_false(retry.is_retried(policy, of_status(503)))
  end)

  it("an error event by its code", function()
    local function of_event(body)
      return server_errors.from_decoder({ kind = "stream", detail = "", body = body }, { url = "" })
    end
    assert.is_true(retry.is_retried(POLICY, of_event '{"error":{"message":"m","code":503}}'))
    assert.is_true(retry.is_retried(POLICY, of_event '{"error":{"message":"m","code":"429"}}'))
    assert.is_false(retry.is_retried(POLICY, of_event '{"error":{"message":"m","code":400}}'))
    assert.is_false(retry.is_retried(POLICY, of_event '{"error":{"message":"m"}}'))
  end)
end)

describe("the wait before another attempt", function()
  it("is spread over the whole of an exponential, up to the cap", function()
    for attempt = 1, 12 do
      local most, least, greatest = math.min(60, 0.5 * 2 ^ (attempt - 1)), math.huge, 0
      for _ = 1, 500 do
        local wait_s = retry.wait_s(POLICY, {}, attempt)
        assert.is_true(wait_s >= 0 and wait_s <= most)
        least, greatest = math.min(least, wait_s), math.max(greatest, wait_s)
      end
      assert.is_true(least < most * 0.1 and greatest > most * 0.9)
    end
  end)

  it("is the server's, up to the cap", function()
    assert.equal(7, retry.wait_s(POLICY, { retry_after_s = 7 }, 1))
    assert.equal(60, retry.wait_s(POLICY, { retry_after_s = 60 }, 1))
    assert.is_nil(retry.wait_s(POLICY, { retry_after_s = 61 }, 1))
  end)

  it("stays a number however often it was tried", function()
    assert.is_true(retry.wait_s(POLICY, {}, 100) <= 60)
  end)

  it("leaves the program's own random numbers alone", function()
    math.randomseed(7)
    local expected = math.random(1000)
    math.randomseed(7)
    retry.wait_s(POLICY, {}, 1)
    assert.equal(expected, math.random(1000))
  end)
end)

local QUICK = { max = 2, base_s = 0.001, cap_s = 1 }
local BUSY = { status = 503, body = { error = { message = "busy", code = 503 } },
  headers = { ["X-Request-Id"] = "r1" } }

describe("a turn that is tried again", function()
  it("gives a retry event, then the answer, and keeps the story", function()
    local told = {}
    local policy = { max = 2, base_s = 0.001, on_retry = function(event) told[#told + 1] = event end }
    local client, transport = testing.client({ BUSY, { fail = "connect", detail = "nobody" }, "Hello." },
      { retry = policy })
    local turn, retries = client:turn "Hi", {}
    for event in turn:events() do
      if event.type == "retry" then retries[#retries + 1] = event end
    end
    local result = assert(turn:result())
    assert.equal("Hello.", result.text)
    assert.same({ 2, 3 }, { retries[1].attempt, retries[2].attempt })
    assert.same({ "overloaded", "connect" }, { retries[1].kind, retries[2].kind })
    assert.equal("overloaded: busy (status 503)", retries[1].message)
    assert.is_number(retries[1].after_s)
    assert.same(retries, told)
    assert.equal(3, #result.attempts)
    assert.same({ 503, "r1", "overloaded" },
      { result.attempts[1].status, result.attempts[1].request_id, result.attempts[1].kind })
    assert.equal(retries[1].after_s, result.attempts[1].after_s)
    assert.equal(200, result.attempts[3].status)
    assert.equal(3, #transport.requests)
    assert.equal(transport.requests[1].text, transport.requests[3].text)
  end)

  it("works by every method", function()
    local function turn() return (testing.client({ BUSY, "Hello." }, { retry = QUICK })):turn "Hi" end
    assert.equal("Hello.", turn():text())
    assert.equal("Hello.", turn():result().text)
    assert.is_true(turn():open())
    local text = {}
    for piece in turn():text_deltas() do text[#text + 1] = piece end
    assert.equal("Hello.", table.concat(text))
    local bytes = {}
    assert.equal("Hello.", turn():relay(function(more) bytes[#bytes + 1] = more end).text)
    assert.truthy(table.concat(bytes):find("^data: "))
    local polled, events = turn(), 0
    local give_up = core.now() + 5
    repeat
      local event = polled:poll()
      if event then events = events + 1 end
    until event == nil or core.now() > give_up
    assert.truthy(events > 3)
    assert.equal("Hello.", polled:text())
  end)

  it("fails with the last error after so many attempts", function()
    local client, transport = testing.client({ BUSY, BUSY, BUSY, "never" }, { retry = QUICK })
    local _, message, err = client:ask "Hi"
    assert.equal("overloaded: busy (status 503) (after 3 attempts)", message)
    assert.equal(3, #err.attempts)
    assert.equal(3, #transport.requests)
  end)

  it("is not, with retry = false or max = 0", function()
    for _, policy in ipairs { false, { max = 0 } } do
      local client, transport = testing.client({ BUSY, "never" }, { retry = policy })
      assert.equal("overloaded", select(3, client:ask "Hi").kind)
      assert.equal(1, #transport.requests)
    end
  end)

  it("is not once anything was delivered", function()
    local reply = { text = "Once upon a time", error = { message = "engine died", code = 500 } }
    local client, transport = testing.client({ reply, "never" }, { retry = QUICK })
    local _, _, err = client:ask "Hi"
    assert.equal("server", err.kind)
    assert.equal("Once upon a time", err.partial.text)
    assert.equal(1, #transport.requests)
  end)

  it("is after an error event that comes first", function()
    local client, transport = testing.client({ { bytes = 'data: {"error":{"message":"dead","code":500}}\n\n' },
      "Hello." }, { retry = QUICK })
    assert.equal("Hello.", client:ask "Hi")
    assert.equal(2, #transport.requests)
  end)

  it("is told of before the wait, after an error event, too", function()
    local client = testing.client({ { bytes = 'data: {"error":{"message":"dead","code":500}}\n\n' }, "Hello." },
      { retry = { max = 1, base_s = 60, cap_s = 60 } })
    local turn = client:turn "Hi"
    assert.equal("retry", turn:poll().type)
    turn:cancel()
  end)

  it("is not when relay has written: the bytes are out", function()
    local client, transport = testing.client({ { bytes = 'data: {"error":{"message":"dead","code":500}}\n\n' },
      "never" }, { retry = QUICK })
    local bytes = {}
    local _, _, err = client:turn("Hi"):relay(function(more) bytes[#bytes + 1] = more end)
    assert.equal("server", err.kind)
    assert.equal(1, #transport.requests)
    assert.truthy(table.concat(bytes):find("dead", 1, true))
  end)

  it("says so when the server asks for too long a wait, and fails at once", function()
    local reply = { status = 429, body = "slow down", headers = { ["Retry-After"] = "61" } }
    local began = core.now()
    local _, message, err = testing.client({ reply, "never" }, { retry = POLICY }):ask "Hi"
    assert.equal("rate_limited: slow down (status 429); the server asks for a wait of 61 s, more than retry.cap_s (60)",
      message)
    assert.equal(61, err.retry_after_s)
    assert.is_true(core.now() - began < 10)
  end)

  it("waits as long as the server says", function()
    local reply = { status = 429, body = "slow down", headers = { ["retry-after-ms"] = "80" } }
    local began = core.now()
    local turn = testing.client({ reply, "Hello." }, { retry = POLICY }):turn "Hi"
    assert.equal("Hello.", turn:text())
    assert.is_true(core.now() - began >= 0.08)
    assert.equal(0.08, turn:result().attempts[1].after_s)
  end)

  it("does not outlive total_s: it says so instead of waiting", function()
    local reply = { status = 429, body = "slow down", headers = { ["Retry-After"] = "30" } }
    local began = core.now()
    local _, message = testing.client({ reply, "never" }, { retry = POLICY, timeout = { total_s = 5 } }):ask "Hi"
    assert.truthy(message:find("timeout.total_s leaves no time for another attempt", 1, true), message)
    assert.is_true(core.now() - began < 4)
  end)

  it("can be cancelled while it waits", function()
    local reply = { status = 429, body = "slow down", headers = { ["Retry-After"] = "30" } }
    local turn = testing.client({ reply, "never" }, { retry = POLICY }):turn "Hi"
    assert.equal("retry", turn:next().type)
    assert.is_false(turn:poll())
    assert.is_false(turn:next(0.01))
    turn:cancel()
    local _, _, err = turn:result()
    assert.equal("cancelled", err.kind)
    assert.equal(1, #err.attempts)
  end)

  it("can be cancelled from another task while it waits", function()
    local reply = { status = 429, body = "slow down", headers = { ["Retry-After"] = "30" } }
    local began, err = core.now(), nil
    vllm.run(function()
      local turn = testing.client({ reply, "never" }, { retry = POLICY }):turn "Hi"
      vllm.spawn(function() err = select(3, turn:result()) end)
      vllm.sleep(0.02)
      turn:cancel()
    end)
    assert.equal("cancelled", err.kind)
    assert.is_true(core.now() - began < 10)
  end)

  it("ends with its task while it waits", function()
    local reply = { status = 429, body = "slow down", headers = { ["Retry-After"] = "30" } }
    local began, err = core.now(), nil
    vllm.run(function()
      local turn = testing.client({ reply, "never" }, { retry = POLICY }):turn "Hi"
      local task = vllm.spawn(function() err = select(3, turn:result()) end)
      vllm.sleep(0.02)
      task:cancel()
    end)
    assert.equal("cancelled", err.kind)
    assert.is_true(core.now() - began < 10)
  end)

  it("leaves the turn whole when on_retry raises", function()
    local client = testing.client({ BUSY, "Hello." },
      { retry = { base_s = 0.001, on_retry = function() error("mine", 0) end } })
    local turn = client:turn "Hi"
    local ok, raised = pcall(turn.result, turn)
    assert.is_false(ok)
    assert.equal("mine", raised)
    assert.equal("Hello.", turn:text())
  end)
end)

describe("over a real socket", function()
  local running
  setup(function() running = server.start {} end)
  teardown(function() running:stop() end)

  local ANSWER = { "use", "/replay/vllm/text" }

  local function client_for(steps, options)
    local all = { model = "m", base_url = running.url .. running:script(steps) .. "/v1/chat/completions",
      retry = QUICK }
    for name, value in pairs(options or {}) do all[name] = value end
    return vllm.new(all)
  end

  local function head(status, more)
    return { "send", "HTTP/1.1 " .. status .. " X\r\nContent-Type: application/json\r\n" .. (more or "")
      .. "Content-Length: 2\r\n\r\n{}" }
  end

  for name, first in pairs {
    ["a reset before the head"] = { "reset" },
    ["a reset before the first event"] = { { "send",
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" },
      { "wait", "20" }, "reset" },
    ["a close without an answer"] = { "close" },
    ["408"] = { head(408) }, ["409"] = { head(409) }, ["429"] = { head(429, "Retry-After: 0\r\n") },
      ["500"] = { head(500) },
    ["502"] = { head(502) }, ["503"] = { head(503, "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT\r\n") },
      ["504"] = { head(504) },
  } do
    it("after " .. name .. " the answer comes", function()
      local steps = {}
      for i, step in ipairs(first) do steps[i] = type(step) == "string" and { step } or step end
      steps[#steps + 1] = { "next" }
      steps[#steps + 1] = ANSWER
      local result = assert(client_for(steps):turn("Hi"):result())
      assert.truthy(#result.attempts >= 2)
      assert.is_true(result.complete)
    end)
  end

  it("nobody listens: as many attempts as were asked for", function()
    local turn = vllm.new({ model = "m", base_url = "http://127.0.0.1:1/v1", retry = QUICK }):turn "Hi"
    local _, _, err = turn:result()
    assert.equal("connect", err.kind)
    assert.equal(3, #err.attempts)
  end)
end)

describe("an error's message", function()
  -- How often each of these is tried, and what is told.
  local CASES = {
    { "one", { { status = 503, body = "busy" } }, false, 1, "" },
    { "three answers", { { status = 503, body = "busy" }, { status = 503, body = "busy" },
      { status = 503, body = "busy" } }, nil, 3, " (after 3 attempts)" },
    { "two that could not begin", { { fail = "connect" }, { fail = "connect" } }, { max = 1, base_s = 0.001 }, 2,
      " (after 2 attempts)" },
    { "one that was no use trying again, behind another",
      { { status = 503, body = "busy" }, { status = 400, body = "no" } }, nil, 2, " (after 2 attempts)" },
    { "one of many that were allowed", { { status = 400, body = "no" } }, nil, 1, "" },
  }
  for _, case in ipairs(CASES) do
    it("counts the attempts where there was more than one: " .. case[1], function()
      local client = testing.client(case[2], { retry = case[3] == nil and { base_s = 0.001 } or case[3] })
      local _, message, err = client:ask "hi"
      assert.equal(case[4], #err.attempts)
      assert.equal(case[5], message:match " %(after.*$" or "")
      for _, attempt in ipairs(err.attempts) do assert.is_nil(attempt.message:find("attempts", 1, true)) end
    end)
  end
end)
