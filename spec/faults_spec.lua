-- The fault table: what a server or the way to it can do wrong, a row each, from vllm.new through libcurl and a real
-- socket to the test server and back. Rows of other kinds, over real sockets too:
--   cancelling in every phase, clocks, retries, cuts in every host                  hosts/matrix_spec.lua
--   `local turn <close>`, an error under it, a turn that nobody holds               coroutine_spec.lua, socket_spec.lua
--   Ctrl-C, certificates, redirects, proxies, Unix sockets, a slow reader           socket_spec.lua, curl_spec.lua
--   connections that break before the first event, and stale ones                   retry_spec.lua
--   continuing an answer that broke off                                             continuation_spec.lua,
--                                                                                   live/turn_spec.lua
--   recorded answers, cut at every byte, reset, every error in every wording        replay_socket_spec.lua
--   keys and passwords in nothing that can be looked at                             secrets_spec.lua
--   floods, and the memory that they take                                           bounded_memory_spec.lua
--   the same faults at once and at random                                           chaos_spec.lua
-- Values that are refused before anything is sent: bad_input_spec.lua.
require "spec.support.env"
local core = require "vllm.core"
local server = require "spec.support.server"
local vllm = require "vllm"

local SSE = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
local UNTIL_CLOSE, CHUNKED = SSE .. "\r\n", SSE .. "transfer-encoding: chunked\r\n\r\n"
local DONE = "data: [DONE]\n\n"
local COMMENT = ": keep-alive\n\n"
local FAST = 500 -- so often in one write

local function data(choice)
  return ('data: {"id":"1","model":"m","choices":[%s]}\n\n'):format(choice)
end

local function delta(json, finish)
  return data(('{"index":0,"delta":%s,"finish_reason":%s}'):format(json, finish and '"' .. finish .. '"' or "null"))
end

local function chunk(bytes) return ("%x\r\n%s\r\n"):format(#bytes, bytes) end

local function head(status, more, body)
  body = body or '{"error":{"message":"no"}}'
  return ("HTTP/1.1 %d X\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n%s")
    :format(status, more and more .. "\r\n" or "", #body, body)
end

local ROLE, HI, STOP = delta '{"role":"assistant","content":""}', delta '{"content":"hi"}', delta("{}", "stop")

local ENDS = { close = true, drop = true, reset = true, stall = true, next = true }

-- The steps of a script stand in its row behind the name: bytes, an end, or a step.
local function steps_of(row)
  local steps = {}
  for i = 2, #row do
    steps[i - 1] = (type(row[i]) == "table" or ENDS[row[i]]) and row[i] or { "send", row[i] }
  end
  return steps
end

local FOREVER = { "repeat", 0, 1 }
local function wait(ms) return { "wait", ms } end

local ANY = {} -- as `partial`: whatever text there is

local running

local function address_of(row)
  local url = row.tls and running.tls_url or running.url
  if row.at then return row.at() end
  return url .. (row.path or running:script(steps_of(row)) .. "/v1")
end

-- One turn against the script or the path of its row.
local function turn_of(row)
  local options = { model = "test-model", retry = false, base_url = address_of(row),
    tls = row.tls and { ca_file = running.ca_file },
    timeout = { total_s = 5 } }
  for name, value in pairs(row.options or {}) do options[name] = value end
  running:clear_log()
  return vllm.new(options):turn "Hi"
end

local function check_error(row, message, err)
  assert.equal(row.kind, err.kind, message)
  assert.equal(row.kind .. ": ", message:sub(1, #row.kind + 2))
  for _, words in ipairs(row.words or {}) do
    if not message:find(words, 1, true) then error(("%q is not in: %s"):format(words, message), 0) end
  end
  for name, value in pairs(row.err or {}) do assert.equal(value, err[name], name .. " of: " .. message) end
  if row.partial ~= ANY then assert.equal(row.partial, err.partial and err.partial.text) end
end

-- What stands in a row: kind ("ok": a result), words of the message, err (fields), partial (text), requests (that the
-- server saw), within_s, check (of the result or the error).
local function check(row)
  local began = core.now()
  local result, message, err = turn_of(row):result()
  if row.within_s then assert.is_true(core.now() - began < row.within_s) end -- coarse: some twenty times what it takes
  if row.kind == "ok" then
    assert(result, message)
  else
    assert.is_nil(result)
    check_error(row, message, err)
  end
  if row.requests then assert.equal(row.requests, #running:log "request") end
  if row.check then row.check(result or err) end
end

local function rows_of(title, rows)
  describe(title, function()
    setup(function() running = server.start { tls = true, deaf = true } end)
    teardown(function() running:stop() end)
    for _, row in ipairs(rows) do
      it(row[1], function() check(row) end)
    end
  end)
end

-- Clocks --------------------------------------------------------------------------------------------------------------

local function timeout(clock, seconds) return { timeout = { [clock] = seconds } } end

-- The recording of a server whose engine was stopped: its comments are played for ever.
local function server_terminated()
  local file = assert(io.open("spec/fixtures/vllm/server-terminated.http", "rb"))
  local bytes = file:read "*a"
  file:close()
  return bytes:sub(1, bytes:find("e\r\n: keep-alive", 1, true) - 1)
end

rows_of("a clock, which is named with its limit and what had come:", {
  { "connect_s, where a connection is not taken",
    at = function() return ("http://127.0.0.1:%d/v1"):format(running.full_port) end,
    options = timeout("connect_s", 0.1), kind = "timeout",
      err = { clock = "connect_s", limit_s = 0.1, retryable = true },
    words = { "no connection to 127.0.0.1:", "timeout.connect_s (0.1 s)" } },
  { "connect_s, where TLS does not begin",
    at = function() return ("https://127.0.0.1:%d/v1"):format(running.deaf_port) end,
    options = timeout("connect_s", 0.1), kind = "timeout", err = { clock = "connect_s" },
      words = { "timeout.connect_s (0.1 s)" } },
  { "first_event_s, of silence", "stall", options = timeout("first_event_s", 0.1), kind = "timeout",
    err = { clock = "first_event_s", limit_s = 0.1, retryable = true },
    words = { "timeout.first_event_s: 0.1 s passed; 0 bytes and 0 events had come" }, requests = 1 },
  { "first_event_s, of a head alone", UNTIL_CLOSE, "stall", options = timeout("first_event_s", 0.1), kind = "timeout",
    err = { clock = "first_event_s", status = 200 } },
  { "first_event_s, of a role and then comments", UNTIL_CLOSE .. ROLE, COMMENT, wait(20), { "repeat", 0, 2 },
    options = timeout("first_event_s", 0.15), kind = "timeout", err = { clock = "first_event_s" },
      words = { "1 events had come" } },
  { "first_event_s, of a body that is not a stream",
    "HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{", "stall",
    options = { streaming = false, timeout = { first_event_s = 0.1 } }, kind = "timeout",
      err = { clock = "first_event_s" } },
  { "idle_s, of silence", UNTIL_CLOSE .. HI, "stall", options = timeout("idle_s", 0.1), kind = "timeout",
    partial = "hi",
    err = { clock = "idle_s", limit_s = 0.1, resumable = true },
      words = { "0.1 s passed; " .. #HI .. " bytes and 1 events had come" } },
  { "idle_s, of a server whose engine is gone", server_terminated(), chunk(COMMENT), wait(20), { "repeat", 0, 2 },
    options = timeout("idle_s", 0.15), kind = "timeout", err = { clock = "idle_s" }, words = { "24 events had come" },
    check = function(err) assert.truthy(#err.partial.text > 20) end,
    partial = ANY },
  { "total_s, of a stream that goes on", UNTIL_CLOSE, HI, wait(20), { "repeat", 0, 2 },
    options = timeout("total_s", 0.15), kind = "timeout",
    err = { clock = "total_s", limit_s = 0.15 }, partial = ANY },
  { "total_s, of an attempt behind another", head(503, "retry-after: 0"), "next", "stall",
    options = { retry = { max = 3 }, timeout = { total_s = 0.15 } }, kind = "timeout", err = { clock = "total_s" },
      requests = 2,
    check = function(err) assert.equal(2, #err.attempts) end },
  { "total_s, of a wait that it does not allow", head(503, "retry-after: 5"),
    options = { retry = { max = 3 }, timeout = { total_s = 2 } },
    kind = "overloaded", words = { "timeout.total_s leaves no time for another attempt" }, requests = 1 },
  { "total_s, of many attempts", head(503, "retry-after-ms: 200"),
    options = { retry = { max = 100 }, timeout = { total_s = 0.5 } }, kind = "overloaded",
    words = { "timeout.total_s leaves no time for another attempt" },
    check = function(err) assert.is_true(#err.attempts > 1 and #err.attempts < 4) end },
  { "first_event_s, of comments without a pause", UNTIL_CLOSE, COMMENT:rep(FAST), FOREVER,
    options = timeout("first_event_s", 0.1),
    kind = "timeout", err = { clock = "first_event_s" }, within_s = 4 },
  { "idle_s, of comments without a pause", UNTIL_CLOSE .. HI, COMMENT:rep(FAST), FOREVER,
    options = timeout("idle_s", 0.1),
    kind = "timeout", err = { clock = "idle_s" }, partial = "hi", within_s = 4 },
  { "total_s, of events without a pause and without a word", UNTIL_CLOSE, delta("{}"):rep(FAST), FOREVER,
    options = timeout("total_s", 0.1),
    kind = "timeout", err = { clock = "total_s" }, within_s = 4 },
  { "total_s, of a text without a pause", UNTIL_CLOSE, HI:rep(FAST), FOREVER,
    options = { timeout = { total_s = 0.1 }, limits = { max_message_bytes = 1024 ^ 3, max_buffer_bytes = 65536 } },
      kind = "timeout",
    err = { clock = "total_s" }, partial = ANY, within_s = 4 },
})

-- Retries -------------------------------------------------------------------------------------------------------------

local TWICE = { retry = { max = 2, base_s = 0.001 } }
local ANSWER = UNTIL_CLOSE .. HI .. STOP .. DONE

local function told_in_two(result)
  assert.equal("hi", result.text)
  assert.equal(2, #result.attempts)
end

local function retried(name, first)
  return { name, first, "next", ANSWER, options = TWICE, kind = "ok", requests = 2, check = told_in_two }
end

local function event_error(code)
  return UNTIL_CLOSE .. ('data: {"error":{"message":"no","code":%d}}\n\n'):format(code)
end

local rows = {
  retried("Retry-After in seconds", head(429, "retry-after: 0")),
  retried("Retry-After as a date", head(429, "retry-after: Sun, 06 Nov 1994 08:49:37 GMT")),
  retried("retry-after-ms, which comes before Retry-After", head(503, "retry-after: 3600\r\nretry-after-ms: 1")),
  retried("Retry-After that is no time", head(503, "retry-after: soon")),
  retried("x-should-retry: true, on any status", head(400, "x-should-retry: true")),
  retried("an error event that comes first", event_error(503)),
  { "a head, and then no byte", CHUNKED, "reset", "next", ANSWER, options = TWICE, kind = "ok", requests = 2,
    check = told_in_two },
  { "x-should-retry: false", head(503, "x-should-retry: false"), "next", ANSWER, options = TWICE, kind = "overloaded",
    requests = 1 },
  { "an error event whose code does not ask for it", event_error(400), "next", ANSWER, options = TWICE,
    kind = "invalid_request", requests = 1 },
  { "an error event behind a text", UNTIL_CLOSE .. HI .. 'data: {"error":{"message":"no","code":503}}\n\n', "next",
    ANSWER, options = TWICE,
    kind = "overloaded", requests = 1, partial = "hi" },
  { "a stream that breaks behind a text", CHUNKED .. chunk(HI), "reset", "next", ANSWER, options = TWICE,
    kind = "truncated", requests = 1,
    partial = "hi" },
  { "a quota that is used up", head(429, nil,
    '{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}'), "next",
    ANSWER, options = TWICE, kind = "rate_limited", requests = 1, err = { retryable = false } },
  { "Retry-After above cap_s", head(503, "retry-after: 3600"), "next", ANSWER,
    options = { retry = { max = 2, cap_s = 60 } }, kind = "overloaded",
    requests = 1, words = { "3600", "retry.cap_s (60)" } },
  { "a date above cap_s", head(503, "retry-after: Fri, 31 Dec 2399 23:59:59 GMT"), "next", ANSWER, options = TWICE,
    kind = "overloaded",
    requests = 1, words = { "retry.cap_s" } },
  { "as many as were asked for, and the last one's error", head(500), "next", head(502), "next", head(503),
    options = TWICE, kind = "overloaded",
    requests = 3, err = { status = 503 } },
}
for _, status in ipairs { 408, 409, 429, 500, 502, 503, 504 } do
  rows[#rows + 1] = retried("status " .. status, head(status))
end
for status, kind in pairs { [400] = "invalid_request", [401] = "auth", [403] = "auth", [404] = "not_found",
  [422] = "invalid_request",
  [501] = "invalid_request", [505] = "protocol" } do
  rows[#rows + 1] = { "status " .. status .. ", never", head(status), "next", ANSWER, options = TWICE, kind = kind,
    requests = 1 }
end
rows_of("another attempt, or none:", rows)

-- Refusals ------------------------------------------------------------------------------------------------------------

local BUSY = '{"error":{"message":"busy'

local function begun(status, body)
  return ("HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n%s"):format(status, body)
end

local function kept(status, body) return { status = status, body = body, body_cut = true } end

local function repeated(name, first, ending, more)
  local row = retried(name, first)
  table.insert(row, 3, ending)
  row.options = { retry = TWICE.retry, timeout = more }
  return row
end

rows_of("a refusal whose body does not come whole keeps its status, kind and retry rule:", {
  { "401, closed", begun(401, BUSY), "close", "next", ANSWER, options = TWICE, kind = "auth", requests = 1,
    words = { BUSY, "(status 401)" }, err = kept(401, BUSY) },
  { "400, reset", begun(400, BUSY), wait(50), "reset", "next", ANSWER, options = TWICE, kind = "invalid_request",
    requests = 1, err = { status = 400 } },
  { "404, before its first byte", begun(404, ""), "close", "next", ANSWER, options = TWICE, kind = "not_found",
    requests = 1, err = { status = 404 } },
  { "422, in chunks that break HTTP", "HTTP/1.1 422 X\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbusy\r\nZZ\r\n",
    "close", options = TWICE,
    kind = "invalid_request", requests = 1, err = kept(422, "busy") },
  { "413, which stalls", begun(413, BUSY), "stall",
    options = { retry = TWICE.retry, timeout = { first_event_s = 0.1 } }, kind = "invalid_request", requests = 1,
    err = kept(413, BUSY) },
  { "400, which stalls up to total_s", begun(400, BUSY), "stall",
    options = { retry = TWICE.retry, timeout = { total_s = 0.1 } }, kind = "invalid_request", requests = 1,
    err = kept(400, BUSY) },
  repeated("503, closed", begun(503, BUSY), "close"),
  repeated("429, reset", begun(429, BUSY), "reset"),
  repeated("500, which stalls", begun(500, BUSY), "stall", { first_event_s = 0.1 }),
})

rows_of("what came before a connection broke is told:", {
  { "an error under text/event-stream, and then silence", UNTIL_CLOSE .. '{"error":{"message":"busy","code":400}}\n',
    "stall", options = timeout("first_event_s", 0.1),
    kind = "invalid_request", words = { "busy" }, err = { status = 200 } },
  { "an event with FastAPI's words, and then silence", UNTIL_CLOSE .. 'data: {"detail":"busy"}\n\n', "stall",
    options = timeout("first_event_s", 0.1),
    kind = "stream", words = { "busy" } },
  { "an error's JSON behind a text, and then silence", UNTIL_CLOSE .. HI .. '{"error":{"message":"busy","code":503}}\n',
    "stall",
    options = timeout("idle_s", 0.1), kind = "overloaded", words = { "busy" }, partial = "hi" },
  { "fields that nobody knows, and then silence: a clock's error", UNTIL_CLOSE .. "x-trace: 1\n\n", "stall",
    options = timeout("first_event_s", 0.1),
    kind = "timeout", words = { "timeout.first_event_s" } },
  { "an error under text/event-stream",
    SSE .. "content-length: 999\r\n\r\n" .. '{"error":{"message":"busy","code":400}}', "close", "next", ANSWER,
    options = TWICE, kind = "invalid_request", words = { "busy" }, requests = 1 },
  { "plain text there", SSE .. "content-length: 999\r\n\r\nupstream died", "close", kind = "protocol",
    words = { "upstream died" }, err = { body = "upstream died\n" } },
  { "text behind a text", CHUNKED .. chunk(HI) .. chunk "upstream died\n", "close", kind = "truncated", partial = "hi",
    words = { "upstream died", "the connection broke" } },
  { "nothing but a status", CHUNKED, "reset", kind = "closed", err = { status = 200 } },
  { "nothing but a status and comments", CHUNKED .. chunk(COMMENT), wait(50), "reset", kind = "closed",
    err = { status = 200 } },
  repeated("nothing but another status of success: another attempt",
    "HTTP/1.1 202 X\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\n", "close"),
  { "half a completion", "HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n" .. '{"id":',
    "close", kind = "closed",
    err = { status = 200, body = '{"id":', body_cut = true } },
  repeated("nothing but comments and the beginning of a field: another attempt", CHUNKED .. chunk(COMMENT .. "dat"),
    "close"),
})

-- Truncation ----------------------------------------------------------------------------------------------------------

local BROKE, CLEANLY = "the connection broke: ", "the connection ended cleanly"
local TOLD = (" (%d bytes and 1 events had come)"):format(#HI)

local function incomplete(result)
  assert.equal("hi", result.text)
  assert.is_false(result.complete)
end

local function complete(result)
  assert.equal("hi", result.text)
  assert.is_true(result.complete)
end

local HALF_CALL = delta('{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\\"x\\":1"}}]}')

rows_of("an answer that is cut:", {
  { "the body's end, in order", UNTIL_CLOSE .. HI, "close", kind = "truncated", partial = "hi",
    err = { clean = true, status = 200 }, words = { CLEANLY, TOLD } },
  { "the last chunk, in order", CHUNKED .. chunk(HI) .. "0\r\n\r\n", kind = "truncated", partial = "hi",
    err = { clean = true }, words = { CLEANLY, TOLD } },
  { "the body's end over TLS, in order", UNTIL_CLOSE .. HI, "close", tls = true, kind = "truncated", partial = "hi",
    err = { clean = true } },
  { "before the last chunk", CHUNKED .. chunk(HI), "close", kind = "truncated", partial = "hi", err = { clean = false },
    words = { BROKE, TOLD } },
  { "within a chunk", CHUNKED .. "fff\r\n" .. HI, "close", kind = "truncated", partial = "hi", err = { clean = false },
    words = { BROKE } },
  { "before the length that was told", SSE .. "content-length: 9999\r\n\r\n" .. HI, "close", kind = "truncated",
    partial = "hi", err = { clean = false },
    words = { BROKE } },
  { "by a reset", CHUNKED .. chunk(HI), "reset", kind = "truncated", partial = "hi", err = { clean = false },
    words = { BROKE } },
  { "over TLS, without a word", CHUNKED .. chunk(HI), "drop", tls = true, kind = "truncated", partial = "hi",
    err = { clean = false }, words = { BROKE } },
  -- Here libcurl does not tell it from an end in order, so `clean` says nothing.
  { "over TLS, without a word and without a length", UNTIL_CLOSE .. HI, "drop", tls = true, kind = "truncated",
    partial = "hi" },
  { "within an event", UNTIL_CLOSE .. HI .. STOP:sub(1, -20), "close", kind = "truncated", partial = "hi" },
  { "of the empty line behind its last event: an answer", UNTIL_CLOSE .. HI .. STOP:sub(1, -3), "close", kind = "ok",
    check = complete },
  { "a finish reason for one choice of two",
    UNTIL_CLOSE .. HI .. data '{"index":1,"delta":{"content":"ho"},"finish_reason":"stop"}', "close",
    kind = "truncated", partial = "hi" },
  { "[DONE] without a finish reason: an answer that says it is not complete", UNTIL_CLOSE .. HI .. DONE, "close",
    kind = "ok", check = incomplete },
  { "a finish reason without [DONE]: an answer", UNTIL_CLOSE .. HI .. STOP, "close", kind = "ok", check = complete },
  { "a break behind the finish reason: an answer", CHUNKED .. chunk(HI .. STOP), "reset", kind = "ok",
    check = complete },
  { "by its length within a tool call: a call that is not to be run",
    UNTIL_CLOSE .. HALF_CALL .. delta("{}", "length") .. DONE, "close", kind = "ok",
    check = function(result)
      local call = result.tool_calls[1]
      assert.equal('{"x":1', call.arguments)
      assert.is_nil(call.input)
      assert.is_string(call.invalid)
    end },
  { "within a tool call: what there is of it is not to be run", UNTIL_CLOSE .. HALF_CALL, "close", kind = "truncated",
    check = function(err) assert.is_string(err.partial.tool_calls[1].invalid) end },
  { "a whole completion, before its end",
    "HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{", "close",
    options = { streaming = false }, kind = "closed" },
})

-- Limits --------------------------------------------------------------------------------------------------------------

local function limits(given) return { limits = given, timeout = { total_s = 10 } } end

local function list_of(count, item)
  local list = {}
  for i = 1, count do list[i] = item:format(i - 1, i - 1) end
  return table.concat(list, ",")
end

local X = ("x"):rep(4096)
local CALLS = delta(('{"tool_calls":[%s]}')
  :format(list_of(200, '{"index":%d,"id":"c%d","function":{"name":"f","arguments":"{}"}}')))

rows_of("a bound, which is named:", {
  { "one event, of a line without an end", UNTIL_CLOSE .. HI .. "data: ", X, FOREVER,
    options = limits { max_event_bytes = 65536 }, kind = "limit",
    words = { "max_event_bytes" }, partial = "hi" },
  { "one event, of data lines without an end", UNTIL_CLOSE .. "data: x\n", "data: " .. X .. "\n", FOREVER,
    options = limits { max_event_bytes = 65536 },
    kind = "limit", words = { "max_event_bytes" } },
  { "the whole message", UNTIL_CLOSE, delta('{"content":"' .. X .. '"}'), FOREVER,
    options = limits { max_message_bytes = 100000 }, kind = "limit",
    words = { "max_message_bytes" }, partial = ANY,
      check = function(err) assert.is_true(#err.partial.text <= 100000) end },
  { "tool calls", UNTIL_CLOSE .. CALLS, "stall", options = limits { max_tool_calls = 16 }, kind = "limit",
    words = { "max_tool_calls" }, partial = ANY },
  { "choices", UNTIL_CLOSE .. data(list_of(200, '{"index":%d,"delta":{"content":"a"},"finish_reason":null}')), "stall",
    kind = "limit",
    words = { "max_choices" }, partial = ANY },
  { "nesting", UNTIL_CLOSE .. 'data: {"id":"1","choices":[],"x":' .. ("["):rep(100000) .. "\n\n", "stall",
    kind = "limit", words = { "nest" } },
  { "a whole completion", "HTTP/1.1 200 X\r\ncontent-type: application/json\r\n\r\n", X, FOREVER,
    options = limits { max_event_bytes = 65536 },
    kind = "limit", words = { "max_event_bytes" } },
  { "an error's body, which is kept in part", "HTTP/1.1 500 X\r\ncontent-type: text/plain\r\n\r\n", X, FOREVER,
    options = limits { max_error_bytes = 10000 },
    kind = "server", check = function(err)
      assert.is_true(err.body_cut)
      assert.equal(10000, #err.body)
    end },
  { "a head without an end", path = "/fault/endless-head", kind = "limit", words = { "header" } },
  { "a header line without an end", "HTTP/1.1 200 X\r\nx: ", X, FOREVER, kind = "limit",
    words = { "a response header line is longer than libcurl accepts" } },
  { "a comment without an end", UNTIL_CLOSE .. HI .. ": ", X, FOREVER, options = limits { max_event_bytes = 65536 },
    kind = "limit", words = { "max_event_bytes" },
    partial = "hi" },
})

-- Errors that say what to do ------------------------------------------------------------------------------------------

local MODELS = '{"object":"list","data":[{"id":"served-one","object":"model"},{"id":"served-two","object":"model"}]}'
local PAGE = "<html><head><title>Blocked by the proxy</title></head></html>"

local function at_port(scheme, port)
  return function() return ("%s://127.0.0.1:%d/v1"):format(scheme, running[port]:match ":(%d+)$") end
end

rows_of("an address that is", {
  { "of TLS, asked without it", at = at_port("http", "tls_url"), kind = "closed",
    words = { "use https:// in base_url" } },
  { "not of TLS, asked with it", at = at_port("https", "url"), kind = "tls", words = { "use http:// in base_url" },
    err = { retryable = false } },
  { "certified by nobody that is known", at = at_port("https", "tls_url"), kind = "tls", words = { "tls.ca_file" },
    err = { retryable = false } },
  { "a port of nobody", at = function() return "http://127.0.0.1:1/v1" end, kind = "connect",
    words = { "127.0.0.1:1", "is the port right?" },
    err = { retryable = true } },
  { "a name of nobody", at = function() return "http://no-such-host.invalid/v1" end, kind = "connect",
    words = { "no-such-host.invalid", "cannot be resolved" } },
})

local redirects = {}
for i, status in ipairs { 301, 302, 303, 307, 308 } do
  redirects[i] = { "status " .. status, head(status, "location: /v1/models"), options = { api_key = "sk-very-secret" },
    kind = "protocol", requests = 1,
    words = { "redirects are not followed" }, err = { status = status } }
end
rows_of("a redirect to the same server, which is not followed:", redirects)

rows_of("an answer of another kind:", {
  { "a compressed stream", SSE .. "content-encoding: br\r\n\r\n\1", "close", kind = "protocol",
    words = { "compressed" }, err = { status = 200 } },
  { "a compressed error", head(500, "content-encoding: br", "\1\2\3"), kind = "server", words = { "compressed" },
    err = { status = 500 } },
  { "identity, which is no coding", SSE .. "content-encoding: identity\r\n\r\n" .. HI .. STOP .. DONE, "close",
    kind = "ok", check = complete },
  { "an address without /v1", at = function() return running.url .. "/elsewhere" end, kind = "not_found",
    words = { "/v1" } },
  { "a model that is not served", head(404, nil,
    '{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","code":404}}'), "next",
    head(200, nil, MODELS), kind = "not_found", words = { "served-one", "served-two" } },
  { "events that are called JSON", "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" .. HI .. STOP .. DONE,
    "close", kind = "ok", check = complete },
  { "a proxy's page", "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n" .. PAGE, "close", kind = "protocol",
    words = { "Blocked by the proxy", "text/html" } },
  { "a proxy's page as an error", "HTTP/1.1 403 X\r\ncontent-type: text/html\r\n\r\n" .. PAGE, "close", kind = "auth",
    words = { "Blocked by the proxy" } },
  { "no HTTP at all", "SSH-2.0-OpenSSH_9.2\r\n", "close", kind = "protocol" },
  { "nothing", "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 0\r\n\r\n", kind = "truncated",
    err = { status = 200 } },
  { "status 204", "HTTP/1.1 204 No Content\r\n\r\n", kind = "protocol", err = { status = 204 },
    words = { "status 204" } },
  { "status 200 without a body", head(200, nil, ""), kind = "protocol", err = { status = 200 },
    words = { "status 200" } },
  { "status 200 with blanks", head(200, nil, " \r\n"), kind = "protocol", err = { status = 200 },
    words = { "status 200" } },
  { "a status line without a status", "HTTP/1.1 abc OK\r\n\r\n", "close", kind = "protocol",
    words = { "breaks HTTP" } },
  { "a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", "close", kind = "protocol", words = { "breaks HTTP" } },
  { "a version that nobody knows", "HTTP/7.0 200 OK\r\n\r\n", "close", kind = "protocol", words = { "breaks HTTP" } },
  { "a redirect, which is not followed",
    "HTTP/1.1 307 X\r\nlocation: https://elsewhere.example/v1?key=secret\r\ncontent-length: 0\r\n\r\n",
    options = { api_key = "sk-very-secret" }, kind = "protocol", words = { "elsewhere.example" }, requests = 1,
    check = function(err) assert.is_nil(tostring(err.message):find "secret") end },
  { "a switch of protocols", "HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", "stall",
    kind = "protocol" },
})

describe("a proxy that refuses the way", function()
  setup(function() running = server.start {} end)
  teardown(function() running:stop() end)

  local cases = {
    { 403, "it does not allow this address", 1 }, { 407, "it wants a user and a password", 1 },
      { 404, "it is set by `proxy` of the client", 1 },
    { 429, "it is set by `proxy` of the client", 2 }, { 502, "it could not reach the server", 2 },
  }
  for _, case in ipairs(cases) do
    it(("with status %d is told as the proxy's"):format(case[1]), function()
      running:clear_log()
      local place = ("status-%d.invalid"):format(case[1])
      local client = vllm.new { model = "m", base_url = "https://" .. place .. "/v1",
        retry = { max = 1, base_s = 0.001 },
        proxy = running.url:gsub("//", "//user:secret@") }
      local _, message, err = client:ask "x"
      assert.equal("connect", err.kind)
      assert.equal(case[1], err.proxy_status)
      assert.is_nil(err.status)
      local told = ("the proxy %s refused to connect to %s, with status %d: %s")
        :format(running.url:match "//(.*)", place, case[1], case[2])
      assert.truthy(message:find(told, 1, true), message)
      assert.is_nil(message:find("secret", 1, true))
      assert.equal(case[3], #err.attempts)
    end)
  end
end)

describe("another endpoint", function()
  it("whose refusal breaks off or stalls keeps its status", function()
    running = server.start {}
    for _, ending in ipairs { "close", "stall" } do
      local path = running:script { { "send", begun(403, BUSY) }, ending }
      local client = vllm.new { model = "m", base_url = running.url .. "/v1", retry = false,
        timeout = { total_s = 0.1 } }
      local _, message, err = client:request("GET", path)
      assert.equal("auth", err.kind)
      assert.equal(403, err.status)
      assert.is_true(err.body_cut)
      assert.truthy(message:find("busy", 1, true))
    end
    running:stop()
  end)

  it("whose answer has no end is cut at its bound", function()
    running = server.start {}
    for status, kind in pairs { [200] = "limit", [500] = "server" } do
      local path = running:script { { "send", ("HTTP/1.1 %d X\r\n\r\n"):format(status) }, { "send", ("x"):rep(8192) },
        FOREVER }
      local client = vllm.new { model = "m", base_url = running.url .. "/v1", retry = false, timeout = { total_s = 20 },
        limits = { max_event_bytes = 65536 } }
      local _, message, err = client:request("GET", path)
      assert.equal(kind, err.kind, message)
      assert.equal(status, err.status)
    end
    running:stop()
  end)

  it("whose answer is compressed is an error, too", function()
    running = server.start {}
    local path = running:script { { "send", head(200, "content-encoding: br", "\1\2\3") } }
    local answer, message, err = vllm.new { model = "m", base_url = running.url .. "/v1", retry = false }:request("GET",
      path)
    running:stop()
    assert.is_nil(answer)
    assert.equal("protocol", err.kind)
    assert.truthy(message:find("compressed", 1, true))
  end)
end)
