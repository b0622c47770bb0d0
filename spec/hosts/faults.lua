-- The table of faults: what a server or a network does, and what a turn then says; one and the same in every cell of
-- the matrix (cell.lua runs it). Clocks, attempts and broken answers are rows of data and run side by side;
-- cancellation is measured, one by one.

local core = require "vllm.core"
local probe = require "spec.hosts.probe"
local vllm = require "vllm"

local expect, expect_equal, wait_until = probe.expect, probe.expect_equal, probe.wait_until

local faults = { checks = {} }

local function check(name, fn, together)
  faults.checks[#faults.checks + 1] = { name = name, fn = fn, together = together }
end

-- Answers of the server --------------------------------------------------------------------------------------------

local EVENTS = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
local ANSWER = { "use", "/v1/chat/completions" } -- "You said: x"
local LAST_CHUNK = { "send", "0\r\n\r\n" }
local NEXT, CLOSE, DROP, RESET, STALL = { "next" }, { "close" }, { "drop" }, { "reset" }, { "stall" }

local function chunk(text) return { "send", ("%x\r\n%s\r\n"):format(#text, text) } end

local function event(delta, finish)
  return ('data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":%s,'
    .. '"finish_reason":%s}]}\n\n')
    :format(delta, finish or "null")
end

local CHUNKED = { "send", EVENTS .. "Transfer-Encoding: chunked\r\n\r\n" }
local TO_CLOSE = { "send", EVENTS .. "Connection: close\r\n\r\n" }
local HELLO, STOP, DONE = event '{"role":"assistant","content":"Hello"}', event("{}", '"stop"'), "data: [DONE]\n\n"
local CALL = event '{"role":"assistant","tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"weather","arguments":"{\\"city\\": \\"Pa"}}]}'
local TOOL = { name = "weather", parameters = { type = "object", properties = { city = { type = "string" } } } }

local function refusal(status, headers, body)
  body = body or '{"error":{"message":"Not now.","code":null}}'
  return { "send", ("HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s")
    :format(status, headers or "", #body, body) }
end

local function at_deaf_port(settings) return ("https://127.0.0.1:%d/v1"):format(settings.deaf_port) end
local function at_full_port(settings) return ("http://127.0.0.1:%d/v1"):format(settings.full_port) end
local function at_slow_name() return "http://server.slow:1/v1" end

-- Rows -------------------------------------------------------------------------------------------------------------

-- name; where the turn goes: path, steps (a script of the server) or url; tls; host (another spelling of it, so that no
-- connection of the pool fits: one that is found dead is replaced, and counts for nothing); options of the client;
-- tool: it offers one. Then what it must say: fails (kind) or answers (text), has (fields of the error or result), says
-- (within the message), partial (text; false: none), tries (kinds of the failed attempts, and "ok"), asked (requests
-- that the server saw), at_least_s.
local QUICK = { max = 2, base_s = 0.001 }
local ONCE = { max = 5, base_s = 0.001 } -- a failure that is tried again gives six attempts

local rows = {
  { name = "clock_resolving", url = at_slow_name, options = { timeout = { connect_s = 0.2 } }, at_least_s = 0.2,
    fails = "timeout", has = { clock = "connect_s", limit_s = 0.2 }, tries = "timeout", partial = false },
  { name = "clock_connecting", url = at_full_port, options = { timeout = { connect_s = 0.2 } }, at_least_s = 0.2,
    fails = "timeout", has = { clock = "connect_s", limit_s = 0.2 }, tries = "timeout", partial = false },
  { name = "clock_in_tls", tls = true, url = at_deaf_port, options = { timeout = { connect_s = 0.2 } },
    at_least_s = 0.2,
    fails = "timeout", has = { clock = "connect_s", limit_s = 0.2 }, tries = "timeout", partial = false },
  { name = "clock_connect_again", url = at_full_port,
    options = { timeout = { connect_s = 0.1 }, retry = { max = 1, base_s = 0.001 } }, at_least_s = 0.2,
    fails = "timeout", has = { clock = "connect_s" }, tries = "timeout timeout" },
  { name = "clock_before_head", path = "/fault/silence", options = { timeout = { first_event_s = 0.5 }, retry = ONCE },
    at_least_s = 0.5,
    fails = "timeout", has = { clock = "first_event_s", limit_s = 0.5 }, tries = "timeout", partial = false, asked = 1,
      says = "0 bytes and 0 events" },
  { name = "clock_before_event", steps = { CHUNKED, STALL },
    options = { timeout = { first_event_s = 0.5 }, retry = ONCE }, at_least_s = 0.5,
    fails = "timeout", has = { clock = "first_event_s" }, tries = "timeout", partial = false, asked = 1 },
  { name = "clock_comments_first", steps = { CHUNKED, { "wait", 20 }, chunk ": wait\n\n", { "repeat", 0, 2 } },
    at_least_s = 0.5,
    options = { timeout = { first_event_s = 0.5 } },
    fails = "timeout", has = { clock = "first_event_s" }, tries = "timeout", partial = false, asked = 1 },
  { name = "clock_idle", path = "/fault/stall", options = { timeout = { idle_s = 0.5 }, retry = ONCE },
    at_least_s = 0.5,
    fails = "timeout", has = { clock = "idle_s", limit_s = 0.5, resumable = true }, partial = "Hello",
      tries = "timeout", asked = 1 },
  { name = "clock_idle_comments", steps = { CHUNKED, chunk(HELLO), { "wait", 20 }, chunk ": wait\n\n",
    { "repeat", 0, 2 } }, at_least_s = 0.5,
    options = { timeout = { idle_s = 0.5 } },
    fails = "timeout", has = { clock = "idle_s", limit_s = 0.5 }, partial = "Hello", tries = "timeout", asked = 1 },
  { name = "clock_total", steps = { CHUNKED, chunk(HELLO), { "wait", 20 }, chunk(HELLO), { "repeat", 0, 2 } },
    at_least_s = 0.6,
    options = { timeout = { total_s = 0.6, idle_s = 5 }, retry = ONCE },
    fails = "timeout", has = { clock = "total_s", limit_s = 0.6 }, tries = "timeout", asked = 1 },
  { name = "clock_total_over_attempts", steps = { refusal(503, "retry-after-ms: 100\r\n"), NEXT, STALL },
    at_least_s = 1.2,
    options = { timeout = { total_s = 1.2 }, retry = QUICK },
    fails = "timeout", has = { clock = "total_s", limit_s = 1.2 }, tries = "overloaded timeout", asked = 2 },
  { name = "clock_total_before_wait", steps = { refusal(503, "Retry-After: 30\r\n") },
    options = { timeout = { total_s = 2 }, retry = QUICK },
    fails = "overloaded", has = { status = 503, retry_after_s = 30 },
      says = "timeout.total_s leaves no time for another attempt", tries = "overloaded", asked = 1 },

  { name = "retry_503", steps = { refusal(503), NEXT, ANSWER }, options = { retry = QUICK },
    answers = "You said: x", has = { complete = true }, tries = "overloaded ok", asked = 2 },
  { name = "retry_429_after_1s", steps = { refusal(429, "Retry-After: 1\r\n"), NEXT, ANSWER },
    options = { retry = QUICK }, at_least_s = 1,
    answers = "You said: x", tries = "rate_limited ok", asked = 2, waits = { 1 } },
  { name = "retry_500_after_ms", steps = { refusal(500, "retry-after-ms: 150\r\n"), NEXT, ANSWER },
    options = { retry = QUICK }, at_least_s = 0.15,
    answers = "You said: x", tries = "server ok", asked = 2, waits = { 0.15 } },
  { name = "retry_after_date", steps = { refusal(503, "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), NEXT, ANSWER },
    options = { retry = QUICK },
    answers = "You said: x", tries = "overloaded ok", asked = 2, waits = { 0 } },
  { name = "retry_reset", host = "localhost", steps = { RESET, NEXT, CHUNKED, { "wait", 20 }, RESET, NEXT, ANSWER },
    options = { retry = QUICK },
    answers = "You said: x", tries = "closed closed ok", asked = 3 },
  { name = "retry_hangup", steps = { CHUNKED, CLOSE, NEXT, ANSWER }, options = { retry = QUICK },
    answers = "You said: x", tries = "closed ok", asked = 2 },
  { name = "retry_error_event", steps = { CHUNKED, chunk 'data: {"error":{"message":"dead","code":503}}\n\n',
    LAST_CHUNK, NEXT, ANSWER }, options = { retry = QUICK },
    answers = "You said: x", tries = "overloaded ok", asked = 2 },
  { name = "retry_asked_for", steps = { refusal(400, "x-should-retry: true\r\n"), NEXT, ANSWER },
    options = { retry = QUICK },
    answers = "You said: x", tries = "invalid_request ok", asked = 2 },
  { name = "retry_exhausted", path = "/fault/status/503", options = { retry = QUICK },
    fails = "overloaded", has = { status = 503 }, tries = "overloaded overloaded overloaded", asked = 3 },
  { name = "retry_not_501", path = "/fault/status/501", options = { retry = ONCE },
    fails = "invalid_request", has = { status = 501 }, tries = "invalid_request", asked = 1 },
  { name = "retry_not_400", path = "/fault/status/400", options = { retry = ONCE },
    fails = "invalid_request", has = { status = 400 }, tries = "invalid_request", asked = 1 },
  { name = "retry_not_above_cap", steps = { refusal(429, "Retry-After: 61\r\n") },
    options = { retry = { max = 5, base_s = 0.001, cap_s = 60 } },
    fails = "rate_limited", has = { retry_after_s = 61 }, says = "more than retry.cap_s (60)", tries = "rate_limited",
      asked = 1 },
  { name = "retry_not_asked_for", steps = { refusal(503, "x-should-retry: false\r\n") }, options = { retry = ONCE },
    fails = "overloaded", has = { status = 503 }, tries = "overloaded", asked = 1 },
  { name = "retry_not_quota", steps = { refusal(429, "",
    '{"error":{"message":"no more","code":"insufficient_quota"}}') }, options = { retry = ONCE },
    fails = "rate_limited", has = { code = "insufficient_quota" }, tries = "rate_limited", asked = 1 },
  { name = "retry_not_later", steps = { CHUNKED, chunk(HELLO),
    chunk 'data: {"error":{"message":"dead","code":503}}\n\n', LAST_CHUNK }, options = { retry = ONCE },
    fails = "overloaded", has = { resumable = true }, partial = "Hello", tries = "overloaded", asked = 1 },

  { name = "cut_chunked", steps = { CHUNKED, chunk(HELLO), CLOSE }, options = { retry = ONCE },
    fails = "truncated", has = { clean = false, resumable = true }, partial = "Hello", tries = "truncated", asked = 1,
      says = "1 events had come" },
  { name = "cut_within_chunk", steps = { CHUNKED, chunk(HELLO), { "send", "400\r\n" .. HELLO:sub(1, 40) }, CLOSE },
    options = { retry = ONCE },
    fails = "truncated", has = { clean = false }, partial = "Hello", tries = "truncated", asked = 1 },
  { name = "cut_by_reset", steps = { CHUNKED, chunk(HELLO), { "wait", 50 }, RESET }, options = { retry = ONCE },
    fails = "truncated", has = { clean = false }, partial = "Hello", tries = "truncated", asked = 1 },
  { name = "cut_short_length", steps = { { "send", EVENTS .. "Content-Length: 100000\r\n\r\n" .. HELLO }, CLOSE },
    options = { retry = ONCE },
    fails = "truncated", has = { clean = false }, partial = "Hello", tries = "truncated", asked = 1 },
  { name = "cut_short_json", path = "/fault/wrong-length", options = { stream = false },
    fails = "closed", partial = false, tries = "closed", asked = 1 },
  { name = "cut_tls_chunked", tls = true, steps = { CHUNKED, chunk(HELLO), DROP }, options = { retry = ONCE },
    fails = "truncated", has = { clean = false }, partial = "Hello", tries = "truncated", asked = 1 },
  { name = "cut_tls_to_close", tls = true, steps = { TO_CLOSE, { "send", HELLO }, DROP }, options = { retry = ONCE },
    -- `clean`: neither libcurl nor nginx can tell here
    fails = "truncated", partial = "Hello", tries = "truncated", asked = 1 },
  { name = "cut_clean", steps = { CHUNKED, chunk(HELLO), LAST_CHUNK }, options = { retry = ONCE },
    fails = "truncated", has = { clean = true, resumable = true }, partial = "Hello", tries = "truncated", asked = 1 },
  { name = "cut_clean_to_close", steps = { TO_CLOSE, { "send", HELLO }, CLOSE }, options = { retry = ONCE },
    fails = "truncated", has = { clean = true }, partial = "Hello", tries = "truncated", asked = 1 },
  { name = "cut_after_finish", steps = { CHUNKED, chunk(HELLO), chunk(STOP), CLOSE }, options = { retry = ONCE },
    answers = "Hello", has = { complete = true, finish_reason = "stop" }, tries = "ok", asked = 1 },
  { name = "silent_after_finish", steps = { CHUNKED, chunk(HELLO .. STOP), STALL },
    options = { timeout = { finish_s = 0.2, idle_s = 5 } },
    at_least_s = 0.2, answers = "Hello", has = { finish_reason = "stop", complete = true }, tries = "ok", asked = 1 },
  { name = "done_without_finish", steps = { CHUNKED, chunk(HELLO), chunk(DONE), LAST_CHUNK },
    options = { retry = ONCE },
    answers = "Hello", has = { complete = false }, tries = "ok", asked = 1 },
  { name = "length_in_call", tool = true,
    steps = { CHUNKED, chunk(CALL), chunk(event("{}", '"length"')), chunk(DONE), LAST_CHUNK },
    options = { retry = ONCE },
    has = { finish_reason = "length", complete = true }, tries = "ok", asked = 1, invalid_call = true },
  { name = "cut_in_call", tool = true, steps = { CHUNKED, chunk(CALL), LAST_CHUNK }, options = { retry = ONCE },
    fails = "truncated", has = { clean = true }, tries = "truncated", asked = 1, invalid_call = true },
}

-- What the client of a row is made for, and with.
local function client_of(name, row)
  local options = {}
  for key, value in pairs(row.options or {}) do options[key] = value end
  if row.tls then options.tls = probe.tls() end
  if row.url then return probe.new_client(name, row.url(probe.settings), options) end
  local path = row.path or probe.script(row.steps)
  if row.tls then path = probe.settings.tls_url .. path end
  if row.host then path = probe.settings.url:gsub("127%.0%.0%.1", row.host) .. path end
  return probe.new_client(name, path, options)
end

local function tries_of(attempts)
  local kinds = {}
  for i, one in ipairs(attempts) do kinds[i] = one.kind or "ok" end
  return table.concat(kinds, " ")
end

local function check_waits(waits, attempts)
  for i, seconds in ipairs(waits) do expect_equal(seconds, attempts[i].after_s, "wait " .. i) end
end

-- A call that was cut is never one to be run.
local function check_invalid(call)
  expect(call, "there is no call")
  expect_equal("weather", call.name)
  expect_equal(nil, call.input)
  expect_equal("string", type(call.invalid))
end

local function check_failure(row, message, err)
  expect(message, "it answered")
  expect_equal(row.fails, err.kind, message)
  expect_equal(message, tostring(err))
  expect(not row.says or message:find(row.says, 1, true), "it says: %s", message)
  if row.partial ~= nil then expect_equal(row.partial, err.partial and err.partial.text or false, "partial") end
end

-- A clock of ours may run out before a busy machine has sent the request.
local function check_asked(row, name)
  if not row.asked then return end
  local count = probe.requests_of(name)
  expect(count <= row.asked, "%d requests instead of %d", count, row.asked)
  if row.options and row.options.timeout then return end
  wait_until("all requests", function() return probe.requests_of(name) == row.asked end)
end

local function run_row(name, row)
  local client, began_at, retries = client_of(name, row), core.now(), 0
  local turn = client:turn("x", { tools = row.tool and { TOOL } })
  local result, message, err = turn:each(function(one)
    if one.type == "retry" then retries = retries + 1 end
  end)
  local took_s, said = core.now() - began_at, result or err
  if row.fails then check_failure(row, message, err) else expect(result, "%s", message) end
  if row.answers then expect_equal(row.answers, result.text) end
  for field, value in pairs(row.has or {}) do expect_equal(value, said[field], field) end
  expect_equal(row.tries, tries_of(said.attempts), "attempts")
  expect_equal(#said.attempts - 1, retries, "retry events")
  check_waits(row.waits or {}, said.attempts)
  if row.invalid_call then check_invalid((result or err.partial).tool_calls[1]) end
  check_asked(row, name)
  expect(took_s >= (row.at_least_s or 0), "it took %.3f s", took_s)
end

for _, row in ipairs(rows) do
  check(row.name, function(name)
    if row.url == at_slow_name and not probe.settings.slow_names then return nil, "no name is slow here" end
    run_row(name, row)
  end, true)
end

-- A consumer that thinks is no idle server.
check("clock_slow_consumer", function(name)
  local client = probe.new_client(name, "/load?events=5&interval_ms=10", { timeout = { idle_s = 0.25 } })
  local turn = client:turn "x"
  expect(turn:next(), "no event")
  vllm.sleep(0.6)
  expect_equal((" word"):rep(5), (assert(turn:text())))
end, true)

-- With retry = false. The connection is one of the pool, and was closed when it was taken.
check("retry_stale_connection", function(name)
  probe.clear_log() -- it is read often from here on
  local client = probe.new_client(name, probe.script { ANSWER, NEXT, DROP, NEXT, ANSWER })
  expect_equal("You said: one", (assert(client:ask "one")))
  vllm.sleep(0.05)
  local result = assert(client:turn("two"):result())
  expect_equal("You said: two", result.text)
  expect_equal("ok", tries_of(result.attempts))
  expect_equal(3, (probe.requests_of(name)), "requests")
end)

-- Cancellation -----------------------------------------------------------------------------------------------------

-- coarse: the shortest wait that is ended here would be 3 s; nginx's transport looks for what was left every 0.5 s
local CALLER_S, CLOSE_S = 0.25, 0.4
local TRIES = 3 -- others work on this machine, too: late is who is late every time

local worst = { caller = 0, server = 0, socket = 0 } -- of all rows of the cell, in ms

local function requested(name) return (probe.requests_of(name)) == 1 end

-- name; where, as above; is_there(waiter, name, began_at): now it is cancelled; partial: there must be one; reads: so
-- many events are read and no more; unanswered: the moment is when there is a socket, or a little later (settles), and
-- no server sees it.
local cancellations = {
  { name = "cancel_resolving", url = at_slow_name,
    is_there = function(_, _, began_at) return core.now() - began_at > 0.1 end },
  { name = "cancel_socket", url = at_full_port, unanswered = true },
  { name = "cancel_connecting", url = at_full_port, unanswered = true, settles = true },
  { name = "cancel_in_tls", tls = true, url = at_deaf_port, unanswered = true, settles = true },
  { name = "cancel_before_head", path = "/fault/silence", is_there = function(_, name) return requested(name) end },
  { name = "cancel_before_event", steps = { CHUNKED, STALL },
    is_there = function(waiter) return waiter.turn.status end },
  { name = "cancel_streaming", path = "/load?events=1000000&interval_ms=10", partial = true,
    is_there = function(waiter) return waiter.events > 3 end },
  { name = "cancel_over_tls", tls = true, path = "/load?events=1000000&interval_ms=10", partial = true,
    is_there = function(waiter) return waiter.events > 3 end },
  { name = "cancel_held_back", path = "/load?events=100000&bytes=10000",
    options = { limits = { max_buffer_bytes = 65536 } }, reads = 2, partial = true,
    is_there = function(waiter, _, began_at) return waiter.events == 2 and core.now() - began_at > 0.2 end },
  { name = "cancel_retry_wait", path = "/fault/status/503?retry_after=30", options = { retry = { max = 1 } },
    tries = "overloaded",
    is_there = function(waiter) return waiter.events == 1 end },
}

-- Cancels a turn that is waited for. Both the one who cancels and the one who waits go on; how late the later was, in
-- seconds.
local function cancel(waiter)
  local turn, began_at = waiter.turn, core.now()
  turn:cancel()
  local cancelled_s = core.now() - began_at
  wait_until("the waiter goes on", function() return waiter.is_over end)
  expect(waiter.err, "the waiter got no error")
  expect_equal("cancelled", waiter.err.kind)
  turn:cancel()
  local _, _, again = turn:result()
  expect(again == waiter.err, "another error the second time")
  return math.max(cancelled_s, waiter.over_at - began_at), began_at
end

-- How late the server was, in seconds; its clock is ours.
local function server_late_s(name, row, cancelled_at)
  local record = probe.await_close(name)[1]
  if row.reads then expect(record.bytes_sent < 64e6, "%.0f bytes for nobody", record.bytes_sent) end
  return math.max(0, record.at_ms / 1000 - cancelled_at)
end

-- How late the socket was closed, of which no server knows; looking there takes some 10 ms.
local function socket_late_s(socket, cancelled_at)
  wait_until("the socket is closed", function() return not probe.sockets()[socket] end)
  return core.now() - cancelled_at
end

local function new_socket(before)
  for socket in pairs(probe.sockets()) do
    if not before[socket] then return socket end
  end
end

local function cancel_row(name, row)
  local before = row.unanswered and probe.sockets()
  local began_at, waiter = core.now(), probe.waiter_of(client_of(name, row):turn "x", row.reads)
  local moment = wait_until("the moment", function()
    if before then return new_socket(before) end
    return row.is_there(waiter, name, began_at)
  end)
  if row.settles then vllm.sleep(0.05) end
  local caller_s, cancelled_at = cancel(waiter)
  if row.partial then expect(waiter.err.partial and waiter.err.partial.text ~= "", "no partial result") end
  expect_equal(row.tries or "cancelled", tries_of(waiter.err.attempts), "attempts")
  if before then return caller_s, socket_late_s(moment, cancelled_at), "socket" end
  if row.url or row.tries then return caller_s end
  return caller_s, server_late_s(name, row, cancelled_at), "server"
end

local function note(whose, seconds)
  worst[whose] = math.max(worst[whose], seconds * 1000)
  return ("%s %.2f ms"):format(whose, seconds * 1000)
end

for _, row in ipairs(cancellations) do
  check(row.name, function(name)
    if row.url == at_slow_name and not probe.settings.slow_names then return nil, "no name is slow here" end
    local caller_s, close_s, where
    for i = 1, TRIES do
      caller_s, close_s, where = cancel_row(name .. i, row)
      if caller_s < CALLER_S and (close_s or 0) < CLOSE_S then
        return note("caller", caller_s) .. (where and ", " .. note(where, close_s) or "")
      end
    end
    error(("caller %.3f s late, %s %.3f s"):format(caller_s, where or "nobody", close_s or 0), 0)
  end)
end

-- Before anything can have happened, even while the transport begins: a request that is sent all the same is closed.
-- The waiter lives on, so that nobody else has a reason to end it.
check("cancel_at_once", function(name)
  local turn, is_over, is_done = probe.new_client(name, "/fault/silence"):turn "x", false, false
  probe.driver.go(function()
    turn:result()
    is_over = true
    wait_until("the end of the check", function() return is_done end)
  end)
  turn:cancel()
  wait_until("the waiter goes on", function() return is_over end)
  expect_equal("cancelled", turn:error().kind)
  vllm.sleep(0.02)
  wait_until("the server sees the close", function()
    local count, closes = probe.requests_of(name)
    return count == #closes
  end)
  is_done = true
end)

-- By what a callback returns, and by a call in it.
local function say_no() return false end
local function cancel_it(turn) turn:cancel() end

for _, fn in ipairs { say_no, cancel_it } do
  check(fn == say_no and "cancel_by_return" or "cancel_in_callback", function(name)
    local turn, ends, kind, events = probe.new_client(name, "/load?events=1000000&interval_ms=10"):turn "x", 0, nil, 0
    turn:start(function(one)
      events = events + 1
      if one.type == "text_delta" then return fn(turn) end
    end, function(_, _, err) ends, kind = ends + 1, err and err.kind end)
    wait_until("the end", function() return ends > 0 end)
    local seen = events
    vllm.sleep(0.05)
    expect_equal(1, ends)
    expect_equal("cancelled", kind)
    expect_equal(seen, events, "events")
    probe.await_close(name)
  end)
end

check("cancel_worst", function() return ("caller %.1f ms, server %.1f, socket %.1f")
  :format(worst.caller, worst.server, worst.socket) end)

return faults
