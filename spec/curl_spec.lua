-- The libcurl transport and its binding over the real test server: what comes, what is told when nothing comes, and
-- what ends when.
require "spec.support.env"
local child = require "spec.support.child"
local core = require "vllm.core"
local curl = require "vllm.curl"
local curl_errors = require "vllm.transports.curl_errors"
local server = require "spec.support.server"
local transports_curl = require "vllm.transports.curl"

local unpack = rawget(table, "unpack") or rawget(_G, "unpack")

local function soon() return core.now() + 20 end

for _, mode in ipairs { "inline", "thread" } do
describe("the libcurl transport, " .. mode, function()
  local running, transport

  setup(function() running = server.start { tls = true, mtls = true, unix = true } end)
  teardown(function() running:stop() end)
  before_each(function() transport = transports_curl.new { mode = mode } end) -- an engine of its own

  local function request(changes)
    local asked = { url = running.url .. "/v1/models", method = "GET", proxy = "" }
    for name, value in pairs(changes or {}) do asked[name] = value end
    return asked
  end

  local function open(changes)
    return assert(transport:open(request(changes)))
  end

  local function read_all(stream)
    local parts = {}
    while true do
      local bytes, err = stream:read(soon())
      if not bytes then return table.concat(parts), err, bytes end
      assert.is_true(#bytes > 0)
      parts[#parts + 1] = bytes
    end
  end

  -- The error of a request that must fail before its head.
  local function failure(changes)
    local stream = open(changes)
    local status, err = stream:head(soon())
    assert.is_nil(status)
    stream:close()
    return err
  end

  local function scripted(...)
    return running.url .. running:script { ... }
  end

  it("brings status, headers and body, and says what it took", function()
    local stream = open()
    local status, headers = stream:head(soon())
    assert.equal(200, status)
    assert.equal("application/json", headers["content-type"])
    local body, err, ended = read_all(stream)
    assert.truthy(body:find('"test-model"', 1, true))
    assert.is_nil(err)
    assert.is_nil(ended)
    local info = stream:info()
    assert.is_false(info.reused)
    assert.equal(#body, info.body_bytes)
    assert.equal("127.0.0.1", info.remote_ip)
    assert.equal(running.port, info.remote_port)
    assert.is_true(info.total_s > 0)
    stream:close(true)
    stream:close(true)
    assert.same(info, stream:info())
  end)

  it("the engines of this run are those it was asked for", function() -- see support/engine_mode.lua
    local wanted = os.getenv "VLLM_TEST_ENGINE"
    assert.equal(wanted ~= "" and wanted or nil, transports_curl.default_mode)
  end)

  it("nothing is opened before the first request", function()
    assert.is_nil(transport._reactor)
    open():close()
    assert.truthy(transport._reactor)
  end)

  it("sends the body and the headers as they are, an empty value too", function()
    running:clear_log()
    local stream = open { method = "POST", url = running.url .. "/v1/chat/completions", body = "{\0}",
      headers = { { "X-Empty", "" }, { "X-Name", "v: w" } } }
    assert.is_number((stream:head(soon())))
    stream:close()
    local seen = running:log("request")[1]
    assert.equal("{\0}", running:last_body())
    assert.equal("", seen.headers["x-empty"])
    assert.equal("v: w", seen.headers["x-name"])
    assert.is_nil(seen.headers["content-type"])
    assert.is_nil(seen.headers.expect)
  end)

  it("joins repeated headers and unfolds folded ones", function()
    local stream = open { url = scripted({ "send",
      "HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a:2 \r\nX-Fold: a\r\n\tb\r\nX-None:\r\nContent-Length: 0\r\n\r\n" }) }
    local _, headers = stream:head(soon())
    assert.equal("1, 2", headers["x-a"])
    assert.equal("a b", headers["x-fold"])
    assert.equal("", headers["x-none"])
    stream:close(true)
  end)

  it("a body that says `wait` is a body", function()
    local stream = open { url = scripted({ "send", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwait" }) }
    assert.equal("wait", (read_all(stream)))
    stream:close(true)
  end)

  it("the next request uses the same connection", function()
    for turn = 1, 3 do
      local stream = open()
      read_all(stream)
      assert.equal(turn > 1, stream:info().reused)
      stream:close(true)
    end
  end)

  it("a deadline that has passed does not wait, but does what is due", function()
    local stream = open { url = scripted({ "send", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab" }, "stall") }
    local looks = 0
    while not stream:head(core.now() - 1) do
      looks = looks + 1
      assert.is_true(looks < 5e6)
    end
    assert.equal(200, (stream:head()))
    stream:close()
  end)

  it("false at the deadline, as often as one likes, and the stream goes on", function()
    local stream = open { url = scripted("stall") }
    for _ = 1, 3 do assert.is_false((stream:head(core.now() + 0.01))) end
    stream:close()
  end)

  it("the server sees a close at once, in the middle of the answer", function()
    running:clear_log()
    local stream = open { url = scripted({ "send", "HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n" }, "stall") }
    assert.equal("data: 1\n\n", (stream:read(soon())))
    stream:close()
    assert.truthy(running:wait_for(function(log)
      for _, record in ipairs(log) do
        if record.event == "close" and record.by == "client" and record.midway then return true end
      end
    end))
    local bytes, err = stream:read(soon())
    assert.is_nil(bytes)
    assert.equal("cancelled", err.kind)
  end)

  it("a stream that is forgotten is closed by the collector", function()
    running:clear_log()
    open({ url = scripted({ "send", "HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n" }, "stall") }):head(soon())
    collectgarbage()
    collectgarbage()
    assert.truthy(running:wait_for(function(log)
      for _, record in ipairs(log) do
        if record.event == "close" and record.midway then return true end
      end
    end))
  end)

  it("an answer larger than the buffer comes whole, in pieces no larger than the buffer", function()
    local piece = ("x"):rep(1000)
    local stream = open { max_buffer_bytes = 20000,
      url = scripted({ "send", "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" }, { "send", piece },
        { "repeat", 999, 1 }) }
    local total, largest = 0, 0
    while true do
      local bytes, err = stream:read(soon())
      assert.is_nil(err)
      if not bytes then break end
      total, largest = total + #bytes, math.max(largest, #bytes)
    end
    assert.equal(1000000, total)
    assert.is_true(largest <= 20000)
    stream:close(true)
  end)

  it("fifty requests at once", function()
    local streams = {}
    for i = 1, 50 do streams[i] = open() end
    for i = 50, 1, -1 do
      assert.truthy(read_all(streams[i]):find("test-model", 1, true))
      streams[i]:close(true)
    end
  end)

  it("a unix socket", function()
    local stream = open { url = "http://localhost/v1/models", unix_socket = running.unix }
    assert.truthy(read_all(stream):find("test-model", 1, true))
    stream:close(true)
    local err = failure { url = "http://localhost/v1/models", unix_socket = "/nonexistent/socket" }
    assert.equal("connect", err.kind)
    assert.truthy(err.detail:find("the unix socket /nonexistent/socket: there is no such socket", 1, true), err.detail)
  end)

  it("Ctrl-C ends a wait, again and again, and only while it is wanted", function()
    for _ = 1, 3 do
      local stream = open { url = scripted("stall") }
      local interrupt = transport:interrupt()
      assert.is_false(interrupt:caught())
      io.popen("kill -INT $PPID"):close()
      local status, err = stream:head()
      assert.is_nil(status)
      assert.equal("cancelled", err.kind)
      assert.is_true(interrupt:caught())
      assert.is_false(interrupt:caught())
      interrupt:release()
      interrupt:release()
      stream:close()
    end
    assert.is_false(curl.sigint_pending())
  end)

  it("a trap that nobody released ends when it is collected", function()
    local name = os.tmpname()
    local file = assert(io.open(name, "w"))
    file:write [[
      require("vllm.transports.curl").new():interrupt()
      collectgarbage()
      collectgarbage()
      print(pcall(function() io.popen("kill -INT $PPID"):close() for _ = 1, 1e7 do end end))
    ]]
    file:close()
    local pipe = io.popen(arg[-1] .. " " .. name .. " 2>&1")
    local text = pipe:read "*a"
    pipe:close()
    os.remove(name)
    assert.truthy(text:find("interrupted!", 1, true), text)
  end)

  describe("TLS", function()
    local function get(url, tls)
      return open { url = url .. "/v1/models", tls = tls }
    end

    it("a certificate of nobody's is refused, with what to do", function()
      local status, err = get(running.tls_url):head(soon())
      assert.is_nil(status)
      assert.equal("tls", err.kind)
      assert.is_false(err.retryable)
      assert.equal(60, err.curl_code)
      assert.truthy(err.detail:find("tls.ca_file", 1, true), err.detail)
    end)

    it("it is accepted with its authority, or when verification is off", function()
      for _, tls in ipairs { { ca_file = running.ca_file }, { verify = false } } do
        local stream = get(running.tls_url, tls)
        assert.equal(200, (stream:head(soon())))
        assert.is_true(stream:info().tls_s > 0)
        stream:close()
      end
    end)

    it("a request without verification lends its connection to none with it", function()
      local stream = get(running.tls_url, { verify = false })
      read_all(stream)
      stream:close(true)
      assert.equal("tls", select(2, get(running.tls_url):head(soon())).kind)
    end)

    it("another name than the certificate's is refused", function()
      local status, err = get((running.tls_url:gsub("localhost", "other.localhost")),
        { ca_file = running.ca_file }):head(soon())
      assert.is_nil(status)
      assert.equal("tls", err.kind)
      assert.truthy(err.detail:find("another name", 1, true), err.detail)
    end)

    it("a client certificate is sent when there is one", function()
      local tls = { ca_file = running.ca_file, cert = running.cert_file, key = running.key_file }
      assert.equal(200, (get(running.mtls_url, tls):head(soon())))
      local status, err = get(running.mtls_url, { ca_file = running.ca_file }):head(soon())
      assert.is_nil(status)
      assert.truthy(err.detail:find("tls.cert and tls.key", 1, true), err.detail)
    end)

    it("an encrypted key is opened with its password, and nobody is asked for one", function()
      local encrypted = os.tmpname()
      assert.equal(0, (select(2, child.run(("openssl pkey -in %s -aes256 -passout pass:opens -out %s")
        :format(running.key_file, encrypted)))))
      local PROGRAM = [[
        local request = { url = %q .. "/v1/models", method = "GET", headers = {}, proxy = "" }
        request.tls = { ca_file = %q, cert = %q, key = %q, key_password = %s }
        local status, err = require("vllm.transports.curl").new({ mode = %q }):open(request):head()
        io.write(status or err.kind, " ", err.detail or "", err.retryable == false and " for good" or "")]]
      local cases = { nil_ = "tls tls.key cannot be used: if it has a password, give tls.key_password (",
        opens = "200 ",
        wrong = "tls tls.key cannot be used: is tls.key_password right? (" }
      for password, wanted in pairs(cases) do
        local quoted = password == "nil_" and "nil" or ("%q"):format(password)
        local printed = child.lua(PROGRAM:format(running.mtls_url, running.ca_file, running.cert_file, encrypted,
          quoted, mode))
        assert.equal(wanted, printed:sub(1, #wanted), printed)
        assert.equal(wanted ~= "200 ", printed:find(") for good", 1, true) ~= nil, printed)
      end
      os.remove(encrypted)
    end)

    it("files that cannot be read are named", function()
      local function detail(tls) return select(2, get(running.tls_url, tls):head(soon())).detail end
      assert.truthy(detail({ ca_file = "/nonexistent" }):find("^tls%.ca_file or tls%.ca_path cannot be read"))
      assert.truthy(detail({ verify = false, cert = "/nonexistent" }):find("^tls%.cert or tls%.key cannot be used"))
    end)

    it("plain HTTP to a TLS port says so", function()
      local err = failure { url = (running.tls_url:gsub("^https", "http")) .. "/v1/models" }
      assert.truthy(err.detail:find("use https:// in base_url", 1, true), err.detail)
    end)
  end)

  describe("failures", function()
    local HEAD = "HTTP/1.1 200 OK\r\n"

    it("nobody listens", function()
      local err = failure { url = "http://user:secret@127.0.0.1:1/v1" }
      assert.equal("connect", err.kind)
      assert.equal(7, err.curl_code)
      assert.truthy(err.detail:find("cannot connect to 127.0.0.1:1: nothing listens there", 1, true), err.detail)
      assert.is_nil(err.detail:find("secret", 1, true))
    end)

    it("a name that does not exist", function()
      local err = failure { url = "http://nonexistent.invalid/v1" }
      assert.equal("connect", err.kind)
      assert.truthy(err.detail:find("cannot be resolved", 1, true), err.detail)
    end)

    it("a connection that is not made in time names its clock", function()
      local err = curl_errors.of({ code = 28, text = "SSL connection timeout" },
        { url = "https://u:p@h:1/x", connect_s = 0.2 })
      assert.equal("timeout", err.kind)
      assert.equal("connect_s", err.clock)
      assert.equal(0.2, err.limit_s)
      assert.equal("no connection to h:1 within timeout.connect_s (0.2 s)", err.detail)
    end)

    local broken = {
      { "no answer", "closed", "closed the connection without an answer", "close" },
      { "no HTTP", "protocol", "something that is not HTTP", { "send", "220 mail ready\r\n\r\n" }, "close" },
      { "headers without end", "limit", "exceed 2000 bytes", { "send", HEAD },
        { "send", "X-A: " .. ("a"):rep(500) .. "\r\n" }, { "repeat", 9, 1 }, "close" },
    }
    for _, case in ipairs(broken) do
      it(case[1], function()
        local err = failure { url = scripted(unpack(case, 4)), max_header_bytes = 2000 }
        assert.equal(case[2], err.kind)
        assert.truthy(err.detail:find(case[3], 1, true), err.detail)
      end)
    end

    local cut = {
      { "a body that is cut", "closed", "in the middle of its answer",
        { "send", HEAD .. "Content-Length: 100\r\n\r\nhello" }, "close" },
      { "a chunk that is cut", "closed", "in the middle of its answer",
        { "send", HEAD .. "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" }, "close" },
      { "a chunk without a size", "protocol", "breaks HTTP",
        { "send", HEAD .. "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n" }, "close" },
      { "a reset", "closed", "was reset", { "send", HEAD .. "Content-Length: 100\r\n\r\nhello" }, { "wait", 100 },
        "reset" },
    }
    for _, case in ipairs(cut) do
      it(case[1] .. " gives what came, and then the error", function()
        local stream = open { url = scripted(unpack(case, 4)) }
        local body, err = read_all(stream)
        assert.equal("hello", body)
        assert.equal(case[2], err.kind)
        assert.truthy(err.detail:find(case[3], 1, true), err.detail)
        stream:close()
      end)
    end

    it("codes that no server here provokes still have a kind and a sentence", function()
      local cases = {
        { { code = 5, text = "Could not resolve proxy: p" }, "connect", "the proxy: Could not resolve proxy: p" },
        { { code = 56, text = "Received HTTP code 407 from proxy after CONNECT" }, "connect",
          "the proxy refused to connect to h:1, with status 407: it wants a user" },
        { { code = 56, text = "CONNECT tunnel failed, response 403", proxy = "http://p:2" }, "connect",
          "the proxy p:2 refused to connect to h:1, with status 403" },
        { { code = 56, text = "Proxy CONNECT aborted" }, "connect", "the proxy: Proxy CONNECT aborted" },
        { { code = 1, text = "Unsupported HTTP version in response" }, "protocol",
          "breaks HTTP: Unsupported HTTP version" },
        { { code = 1, text = "Protocol x not supported or disabled in libcurl" }, "config", "Protocol x" },
        { { code = 7, text = "Failed to connect to h port 1 after 0 ms: X", reason = "refused" }, "connect",
          "to h:1: nothing listens" },
        { { code = 7, text = "Failed to connect to h port 2 after 0 ms: X" }, "connect", "to h:1: Failed" },
        { { code = 7, text = "Failed to connect to p port 2 after 0 ms: X", proxy = "http://P:2/" }, "connect",
          "to the proxy p:2, on the way to h:1 (" },
        { { code = 7, text = "Failed to connect to p port 1080 after 0 ms: X", proxy = "p" }, "connect",
          "to the proxy p:1080, on the way to h:1 (" },
        { { code = 7, text = "Failed to connect to ::1 port 3 after 0 ms: X", proxy = "http://[::1]:3" }, "connect",
          "to the proxy [::1]:3, on" },
        { { code = 7, text = "Failed to connect to h port 1 after 0 ms: X", proxy = "http://h:1" }, "connect",
          "to h:1: Failed" },
        { { code = 7, text = "Failed to connect to x port 2 after 0 ms: X", proxy = "" }, "connect", "to h:1: Failed" },
        { { code = 35, text = "error:0A00010B:SSL routines::wrong version number" }, "tls", "use http:// in base_url" },
        { { code = 60, text = "certificate has expired", verify = 10 }, "tls", "its certificate has expired" },
        { { code = 27, text = "Out of memory" }, "limit", "Out of memory" },
        { { code = 8, text = "Weird server reply" }, "protocol", "breaks HTTP: Weird server reply" },
        { { code = 3, text = "URL using bad/illegal format" }, "config", "URL using bad/illegal format" },
        { { code = 999, text = "new" }, "protocol", "new" },
      }
      for _, case in ipairs(cases) do
        local err = curl_errors.of(case[1], { url = "https://u:p@h:1/x", proxy = case[1].proxy or "" })
        assert.equal(case[2], err.kind)
        assert.truthy(err.detail:find(case[3], 1, true), err.detail)
        assert.is_nil(err.detail:find("u:p", 1, true))
      end
    end)
  end)

  describe("options", function()
    it("what cannot be honoured is named, and nothing is sent", function()
      local cases = {
        { "url", { url = "ftp://localhost/" } }, { "url", { url = "http://localhost/\0" } },
          { "url", { url = "http://a b/" } },
        { "method", { method = "GET /" } }, { "headers", { headers = { { "X-A", "b\r\nX-B: c" } } } },
        { "headers", { headers = { { "X A", "b" } } } }, { "headers", { headers = { { "X-A", "b\0c" } } } },
        { "headers", { headers = { { "", "b" } } } }, { "ca_file", { tls = { ca_file = "a\0b" } } },
      }
      for _, case in ipairs(cases) do
        local stream, err = transport:open(request(case[2]))
        assert.is_nil(stream)
        assert.equal("config", err.kind)
        assert.truthy(err.detail:find("`" .. case[1] .. "`", 1, true), err.detail)
      end
    end)

    it("misuse raises, naming the field", function()
      local cases = {
        { { colour = 1 }, "unknown option `colour`" }, { { ["unix_socket\0"] = "x" }, "unknown option `unix_socket" },
        { { tls = { ca = "x" } }, "unknown option `tls.ca`" },
        { { url = 1 }, "url: expected a string, got number" }, { { tls = true }, "tls: expected a table, got boolean" },
        { { tls = { verify = 1 } }, "verify: expected a boolean" },
          { { connect_s = -1 }, "connect_s: expected seconds, 0 or more" },
        { { connect_s = 0 / 0 }, "connect_s: expected" },
          { { headers = { "X: 1" } }, "headers[1]: expected { name, value }, two strings" },
        { { headers = { { "X", 1 } } }, "headers[1]: expected" }, { { max_buffer_bytes = 0 }, "max_buffer_bytes" },
      }
      for _, case in ipairs(cases) do
        assert.error_matches(function() transport:open(request(case[1])) end, case[2], 1, true)
      end
    end)
  end)
end)

describe("vllm.curl, " .. mode, function()
  local function new_engine(max_starts)
    return assert(curl.engine { mode = mode, max_starts = max_starts })
  end

  it("an engine that is closed, and a request that is closed, say so", function()
    local engine = new_engine()
    local request = assert(engine:add { url = "http://127.0.0.1:1/", method = "GET" })
    engine:close()
    engine:close()
    assert.error_matches(function() engine:step(0) end, "this engine is closed", 1, true)
    request:close()
    request:close()
    assert.error_matches(function() request:read() end, "this request is closed", 1, true)
  end)

  it("requests and engines may be collected in any order", function()
    for round = 1, 20 do
      local engine = new_engine(1)
      local held = { engine = engine }
      for i = 1, 3 do held[i] = assert(engine:add { url = "http://127.0.0.1:1/", method = "GET", proxy = "" }) end
      engine:step(0)
      if round % 2 == 0 then held = { held[1], held[2], held[3] } end
      engine = round % 2 == 1 and held.engine or nil
      collectgarbage()
      collectgarbage()
      assert.equal(round % 2 == 1, engine ~= nil)
      for i = 1, 3 do assert.is_nil((held[i]:head() or nil)) end
    end
  end)

  it("ready() gives each request on which something happened, once", function()
    local engine = new_engine()
    local waiting = {}
    for _ = 1, 3 do waiting[assert(engine:add { url = "http://127.0.0.1:1/", method = "GET", proxy = "" })] = true end
    local ends = core.now() + 20
    while next(waiting) and core.now() < ends do
      engine:step(1)
      for request in function() return engine:ready() end do
        assert.is_true(waiting[request])
        waiting[request] = nil
        local status, failure = request:head()
        assert.is_nil(status)
        assert.equal(7, failure.code)
        assert.equal("refused", failure.reason)
      end
    end
    assert.is_nil(next(waiting))
    assert.is_nil(engine:ready())
  end)

  it("an alarm ends a wait, once, and live() counts who is not closed", function()
    local engine = new_engine()
    assert.equal(0, engine:live())
    local at = core.now() + 0.02
    engine:alarm(at)
    while core.now() < at do assert.is_true(engine:step(20)) end
    assert.is_true(core.now() < at + 15)
    at = core.now()
    engine:alarm(-1 / 0)
    assert.is_true(engine:step(20))
    assert.is_true(core.now() < at + 15)
    for _, far in ipairs { 1 / 0, 1e300, core.now() + 1e6 } do engine:alarm(far) end
    engine:alarm()
    local before = core.now()
    while core.now() < before + 0.02 do engine:step(0.02) end
    assert.error_matches(function() engine:alarm(0 / 0) end, "expected a time, got NaN", 1, true)
    local one = assert(engine:add { url = "http://127.0.0.1:1/", method = "GET", proxy = "" })
    local two = assert(engine:add { url = "http://127.0.0.1:1/", method = "GET", proxy = "" })
    assert.equal(2, engine:live())
    one:close()
    assert.equal(1, engine:live())
    two:close(true)
    assert.equal(0, engine:live())
  end)

  it("options of an engine are checked", function()
    assert.error_matches(function() curl.engine { mode = "fork" } end, "invalid option 'fork'", 1, true)
    assert.error_matches(function() curl.engine { max_starts = 0 } end, "max_starts", 1, true)
  end)
end)
end
