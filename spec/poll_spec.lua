-- What may wait, and for how long: in every phase of a turn `poll` never does, `next(t)` no longer than t, and `cancel`
-- ends every request. Clock, transport and host are the spec's own, and note each wait: the clock moves only when
-- somebody waits.
local core = require "vllm.core"
local vllm = require "vllm"

local EVENTS, JSON = "text/event-stream", "application/json"
local CLOSED = {} -- in place of bytes: the end of a body

local TEXT = 'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
local FINISH = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
local BODY = '{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}'
local ERROR = '{"error":{"message":"no","type":"E"}}'
local MISSING = '{"error":{"message":"The model `x` does not exist.","code":404}}'

local STATUSES = { 400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504 }
local RETRIED = { 408, 409, 429, 500, 502, 503, 504 }
local CLOCKS = { "queue_s", "first_event_s", "idle_s", "finish_s", "total_s" }

-- The stage ----------------------------------------------------------------------------------------------------------

local real_now, real_sleep = core.now, core.sleep
local stage -- of the present test

-- Where the turn of `stage.apart` waits, the test goes on.
local function wait_until(deadline, where)
  stage.where = where
  if deadline and deadline <= stage.now then return false end
  if stage.apart and coroutine.running() == stage.apart then coroutine.yield() return false end
  assert(deadline, "a wait without an end")
  stage.waits[#stage.waits + 1] = deadline
  stage.now = math.max(stage.now, deadline)
  return false
end

local function new_stream(method, answer)
  local at = 2 -- of what is read; a body that was given whole or in part is followed by silence
  local stream = {}
  stage.open[stream], stage.opened = true, stage.opened + 1
  function stream.head(_, deadline)
    if not answer[1] then return wait_until(deadline, method .. " head") end
    return answer[1], { ["content-type"] = answer[2], ["retry-after"] = answer.retry_after }
  end
  function stream.read(_, deadline)
    at = at + 1
    local bytes = answer[at]
    if bytes == CLOSED then return nil end
    if bytes then return bytes end
    at = at - 1
    return wait_until(deadline, method .. " read")
  end
  function stream.info() return {} end
  function stream.close() stage.open[stream] = nil end
  return stream
end

-- A server that gives the answers of `phase`: to the k-th POST the k-th, and the last one to all that follow.
local function new_transport(phase)
  local posts = 0
  return { name = "stage", options = {}, open = function(_, request)
    if request.method == "GET" then return new_stream("GET", phase.list) end
    posts = posts + 1
    return new_stream("POST", phase[math.min(posts, #phase)])
  end }
end

local function wait_for(seconds, where) return wait_until(seconds and stage.now + seconds, where) end

-- A host that parks, or one that can only block.
local function new_host(kind)
  if kind == "none" then return nil end
  local function nothing() end
  return {
    running = function() return true end,
    current = function() return kind == "parks" and "token" or nil end,
    park = function(_, seconds) return wait_for(seconds, "host") end,
    block = function(_, seconds) return wait_for(seconds, "host") end,
    wake = nothing, spawn = nothing, report = nothing,
    watch = function() return { close = nothing, hold = nothing } end,
  }
end

local function count(set)
  local sum = 0
  for _ in pairs(set) do sum = sum + 1 end
  return sum
end

-- Phases -------------------------------------------------------------------------------------------------------------

-- Of each: a name; the answers of the server, { status, type, bytes … }, which is silent after that; `list`: its answer
-- to GET /v1/models; `where` the turn is then: what it asked the transport for last, or its state; `ends`: what becomes
-- of it when a clock runs out: "timeout", "whole" (it has its answer) or "known" (the server's own error).
local phases = {}

local function add(name, where, ends, answers)
  answers.name, answers.where, answers.ends = name, where, ends
  phases[#phases + 1] = answers
  return answers
end

local SILENT = { first_event_s = "timeout", total_s = "timeout" }
local KNOWN = { first_event_s = "known", total_s = "known" }

add("before the head", "POST head", SILENT, { {} })
add("before a byte of the stream", "POST read", SILENT, { { 200, EVENTS } })
add("within the first event", "POST read", SILENT, { { 200, EVENTS, 'data: {"id"' } })
add("among comments", "POST read", SILENT, { { 200, EVENTS, ": ping\n\n" } })
add("in a stream", "POST read", { idle_s = "timeout", total_s = "timeout" }, { { 200, EVENTS, TEXT } })
add("after the finish reason", "POST read", { idle_s = "whole", total_s = "whole", finish_s = "whole" },
  { { 200, EVENTS, TEXT, FINISH } })
add("in a relay, after what the decoder refuses", "POST read", { idle_s = "known", total_s = "known" },
  { { 200, EVENTS, TEXT, "data: {broken}\n\n", "more" } }).is_relay = true
add("in a body that may be a stream", "POST read", SILENT, { { 200, "text/plain", '{"id"' } })
add("in a whole body", "POST read", SILENT, { { 200, JSON, BODY:sub(1, 70) } })
add("after a whole body", "POST read", { first_event_s = "whole", total_s = "whole", finish_s = "whole" },
  { { 200, JSON, BODY } })
for _, status in ipairs(STATUSES) do
  add(status .. ", before its body", "POST read", KNOWN, { { status, JSON } })
  add(status .. ", in its body", "POST read", KNOWN, { { status, JSON, ERROR:sub(1, 20) } })
  add(status .. ", after its body", "POST read", { first_event_s = "known", total_s = "known", finish_s = "known" },
    { { status, JSON, ERROR } })
end
local NO_MODEL = { 404, JSON, MISSING, CLOSED }
add("before the list of models", "GET head", KNOWN, { NO_MODEL, list = {} }).own_s = 2
add("in the list of models", "GET read", KNOWN, { NO_MODEL, list = { 200, JSON, '{"data":[' } }).own_s = 2
add("in a refusal of the list", "GET read", KNOWN, { NO_MODEL, list = { 500, JSON, '{"err' } }).own_s = 2
add("in the second attempt", "POST head", SILENT, { { 503, JSON, ERROR, CLOSED, retry_after = "0" }, {} })
  .retry = { max = 1 }
for _, kind in ipairs { "parks", "blocks", "none" } do
  local queued = add("in the queue, host " .. kind, "queued", { queue_s = "timeout", total_s = "timeout" },
    { { 200, EVENTS } })
  queued.host, queued.is_queued, queued.retry = kind, true, false
end
for i, status in ipairs(RETRIED) do
  local kind = ({ "parks", "blocks", "none" })[i % 3 + 1]
  local waiting = add(status .. ", before the next attempt, host " .. kind, "waiting", {},
    { { status, JSON, ERROR, CLOSED, retry_after = "5" } })
  waiting.host, waiting.retry = kind, { max = 2 }
end

local NO_CLOCKS = {}
for _, clock in ipairs(CLOCKS) do NO_CLOCKS[clock] = false end

-- Only this clock; where the answer seems to be whole, that of the finish runs far behind it.
local function timeout_of(clock, seconds, is_whole)
  local timeout = { finish_s = is_whole and 100 }
  for _, name in ipairs(CLOCKS) do timeout[name] = name == clock and seconds or timeout[name] or false end
  return timeout
end

-- A turn that has not been asked for anything. Where there is a queue, another one has the only place.
local function turn_of(phase, timeout)
  local client = vllm.new { model = "m", transport = new_transport(phase), timeout = timeout or NO_CLOCKS,
    retry = phase.retry or false, host = new_host(phase.host or "parks"),
    max_concurrent = phase.is_queued and 1 or nil }
  if phase.is_queued then
    stage.holder = client:turn("x", { timeout = NO_CLOCKS })
    stage.holder:poll()
  end
  stage.waits = {}
  return client:turn "x"
end

local function assert_there(turn, phase)
  local is_asking = not phase.where:find "^[qw]"
  assert.equal(is_asking and "vllm.turn (asking)" or ("vllm.turn (%s)"):format(phase.where), tostring(turn))
  if is_asking then assert.equal(phase.where, stage.where) end
end

-- Polls until there is nothing new.
local function arrive(turn, phase)
  for _ = 1, 20 do
    local event, message = turn:poll()
    assert(event ~= nil, message)
  end
  assert_there(turn, phase)
  return turn
end

local function within(limit, value) assert.is_true(math.abs(value - limit) < 1e-6, value .. ", not " .. limit) end

-- Nothing waits for a turn that is over, and each word of it says the same.
local function assert_over(turn, err)
  local opened = stage.opened
  stage.waits = {}
  for _, verb in ipairs { "poll", "open", "result", "text" } do
    local value, message, other = turn[verb](turn)
    assert.equal(err and tostring(err), message, verb)
    assert.equal(err, other, verb)
    assert.equal(err == nil and verb ~= "poll", value ~= nil, verb)
  end
  for _, seconds in ipairs { -1, 0, 5 } do
    local event, _, other = turn:next(seconds)
    assert.is_nil(event)
    assert.equal(err, other)
  end
  turn:each(print)
  turn:cancel()
  assert.equal(err, turn:error())
  assert.same({}, stage.waits)
  assert.equal(opened, stage.opened)
end

describe("in every phase:", function()
  before_each(function()
    stage = { now = 1000, waits = {}, open = {}, opened = 0, looks = 0 }
    core.now = function()
      stage.looks = stage.looks + 1
      assert(stage.looks < 1e5, "it waits without waiting")
      return stage.now
    end
    core.sleep = function(seconds) return wait_for(seconds, "host") end
  end)
  after_each(function() core.now, core.sleep = real_now, real_sleep end)

  local function assert_no_request() assert.equal(stage.holder and 1 or 0, count(stage.open)) end

  for _, phase in ipairs(phases) do
    if not phase.is_relay then
      it(phase.name .. ": poll never waits", function()
        local turn = arrive(turn_of(phase), phase)
        for _, seconds in ipairs { 0, -1 } do assert.is_false(turn:next(seconds)) end
        assert.is_nil(turn:error())
        assert.same({}, stage.waits)
        assert.equal(1000, stage.now)
      end)

      it(phase.name .. ": next(t) waits for t and no longer", function()
        local turn = arrive(turn_of(phase), phase)
        for _, seconds in ipairs { 0.25, 1.5 } do
          local asked_at = stage.now
          assert.is_false(turn:next(seconds))
          within(asked_at + seconds, stage.now)
        end
        assert_there(turn, phase)
      end)

      it(phase.name .. ": cancel ends it at once", function()
        local turn = arrive(turn_of(phase), phase)
        turn:cancel()
        assert.same({}, stage.waits)
        assert_no_request()
        assert.equal("cancelled", turn:error().kind)
        assert_over(turn, turn:error())
      end)
    end

    if not phase.host or phase.host == "parks" then
      it(phase.name .. ": nor does it wait for another coroutine that has the turn", function()
        local turn, bytes, err = turn_of(phase), "", nil
        stage.apart = coroutine.create(function()
          if not phase.is_relay then err = select(3, turn:result()) return end
          err = select(3, turn:relay(function(more) bytes = bytes .. more end))
        end)
        for _ = 1, 3 do assert(coroutine.resume(stage.apart)) end
        assert_there(turn, phase)
        assert.equal(phase.is_relay and table.concat(phase[1], "", 3) or "", bytes)
        assert.is_false(turn:poll())
        assert.is_false(turn:next(0))
        assert.equal("busy", select(3, turn:next(5)).kind)
        turn:cancel()
        assert_no_request()
        assert.is_nil(err)
        assert(coroutine.resume(stage.apart))
        assert.equal("cancelled", err.kind)
        assert.same({}, stage.waits)
        assert_over(turn, err)
      end)
    end

    local function outcome_of(turn)
      local result, _, err
      if phase.is_relay then result, _, err = turn:relay(function() end) else result, _, err = turn:result() end
      if result then return "whole" end
      return err.clock and "timeout" or "known", err
    end

    -- Without a host the queue is not waited in: nobody could leave it.
    for clock, expected in pairs(phase.host ~= "none" and phase.ends or {}) do
      it(("%s: %s ends it"):format(phase.name, clock), function()
        local turn = turn_of(phase, timeout_of(clock, 1.75, expected == "whole"))
        local outcome, err = outcome_of(turn)
        assert.equal(expected, outcome)
        within(1001.75, stage.now)
        if outcome == "timeout" then assert.equal(clock, err.clock) end
        if outcome == "known" then assert.equal(phase[1][1], err.status) end
        assert_no_request()
        assert_over(turn, err)
      end)
    end

    if next(phase.ends) and not phase.is_relay and not phase.own_s then
      it(phase.name .. ": no other clock ends it", function()
        for _, clock in ipairs(CLOCKS) do
          local turn = not phase.ends[clock] and arrive(turn_of(phase, timeout_of(clock, 0.5)), phase)
          if turn then assert.is_false(turn:next(1)) end
        end
      end)
    end

    if next(phase.ends) and not phase.is_relay then
      it(phase.name .. ": total_s ends it when it is only polled, too", function()
        local expected = phase.ends.total_s
        local turn = arrive(turn_of(phase, timeout_of("total_s", 1, expected == "whole")), phase)
        stage.now = 1000.9
        assert.is_false(turn:poll())
        stage.now = 1001
        local event, _, err
        repeat event, _, err = turn:poll() until not event
        assert.equal(expected == "whole", err == nil)
        assert.equal(expected == "timeout" and "total_s" or nil, err and err.clock)
        assert.same({ nil, {} }, { event, stage.waits })
        assert_no_request()
      end)
    end

    if phase.own_s then
      it(phase.name .. ": it ends by itself", function()
        local turn = turn_of(phase)
        assert.equal("known", (outcome_of(turn)))
        within(1000 + phase.own_s, stage.now)
        assert_no_request()
      end)
    end
  end

  for _, status in ipairs(STATUSES) do
    it(status .. ", as fast as can be: poll gives the error", function()
      local turn = turn_of { { status, JSON, status == 404 and MISSING or ERROR, CLOSED },
        list = { 200, JSON, '{"data":[{"id":"q"}]}', CLOSED } }
      local event, message, err = turn:poll()
      assert.is_nil(event)
      assert.equal(status, err.status)
      assert.equal(status == 404, message:find("the server serves: q", 1, true) ~= nil)
      assert.same({}, stage.waits)
      assert_no_request()
      assert_over(turn, err)
    end)
  end

  for _, status in ipairs(RETRIED) do
    it(status .. ", where total_s leaves no time for another attempt, is an error at once", function()
      local phase = { { status, JSON, ERROR, CLOSED, retry_after = "5" }, retry = { max = 2 } }
      local _, _, err = turn_of(phase, timeout_of("total_s", 4)):poll()
      assert.equal(status, err.status)
      assert.same({}, stage.waits)
    end)
  end

  it("new: cancel sends nothing", function()
    local turn = turn_of { {} }
    turn:cancel()
    assert.equal(0, stage.opened)
    assert_over(turn, turn:error())
  end)

  it("ended", function()
    local turn = turn_of { { 200, EVENTS, TEXT, FINISH, "data: [DONE]\n\n", CLOSED } }
    while turn:poll() do end
    assert.equal("Hi", turn:result().text)
    assert.same({}, stage.waits)
    assert_over(turn, nil)
  end)

  it("born failed", function()
    local client = vllm.new { model = "m", transport = new_transport { {} } }
    local turn = client:turn { messages = { { role = 7, content = "x" } } }
    assert_over(turn, (assert(turn:error())))
  end)

  -- What says nothing, as fast as it can be read: 10 kB a read, 10 ms each. After 20 MB it has an end.
  local function flood(bytes)
    return setmetatable({ 200, EVENTS }, { __index = function(_, at)
      if type(at) ~= "number" then return nil end
      if stage.read > 20e6 then return CLOSED end
      stage.now, stage.read = stage.now + 0.01, stage.read + #bytes
      return bytes
    end })
  end

  for what, bytes in pairs {
    comments = (": ping\n\n"):rep(1250),
    ["empty deltas"] = ('data: {"choices":[{"index":0,"delta":{}}]}\n\n'):rep(232),
  } do
    it(what .. " without a pause hold up a caller for a full buffer at most", function()
      local turn = turn_of { flood(bytes) }
      repeat
        stage.read = 0
        local event, message = turn:poll()
        assert(event ~= nil, message)
      until not event
      for _, seconds in ipairs { 0, 0.5, 0 } do
        local asked_at = stage.now
        stage.read = 0
        assert.is_false(turn:next(seconds))
        assert.is_true(stage.now >= asked_at + seconds)
        local late = stage.read - seconds / 0.01 * #bytes
        assert.is_true(late > 0 and late < 1024 * 1024 + 2 * #bytes, late)
      end
      turn:cancel()
      assert_no_request()
    end)
  end
end)
