-- In a real nginx with one worker: programs that the driver sends, against the real server. After each test the error log is empty,
-- unless the test says what it expects there.
require "spec.support.env"
local nginxes = require "spec.support.nginx"
local rig = require "spec.support.nginx_rig"
local servers = require "spec.support.server"

describe("in nginx", function()
  local server, nginx, expected

  setup(function()
    server = servers.start { tls = true, unix = true }
    nginx = rig.start(server)
  end)
  teardown(function()
    nginx:stop()
    server:stop()
  end)
  before_each(function()
    expected = nil
    server:clear_log()
  end)
  after_each(function()
    local log = nginx:log()
    nginx:clear_log()
    if expected then assert.matches(expected, log, 1, true) else assert.equal("", log) end
  end)

  local function returns(text, code, where)
    assert.equal(text, nginx:run(code, where))
  end

  -- Ends of connections that the server saw, of those that carried a request.
  local function closes_midway()
    return server:wait_for(function(log)
      for _, record in ipairs(log) do
        if record.event == "close" and record.midway then return record end
      end
    end)
  end

  describe("a turn", function()
    for _, where in ipairs { "content", "rewrite", "access", "timer" } do
      it("waits in the phase " .. where, function()
        returns("You said: hello", [[return assert(client:ask "hello")]], where ~= "content" and where or nil)
      end)
    end

    it("gives its events in order, and loads no libcurl", function()
      returns("turn_start part_start text_delta text_delta text_delta text_delta part_end choice_end usage turn_end\nnil", [[
        local types = {}
        for event in client:turn("one"):events() do types[#types + 1] = event.type end
        return table.concat(types, " "), package.loaded["vllm.curl"]
      ]])
    end)

    it("works inside pcall, coroutine.wrap and an iterator", function()
      returns("You said: a\nYou said: b", [[
        local _, first = pcall(function() return assert(client:ask "a") end)
        local parts = {}
        for text in coroutine.wrap(function()
          for text in client:turn("b"):text_deltas() do coroutine.yield(text) end
        end) do parts[#parts + 1] = text end
        return first, table.concat(parts)
      ]])
    end)

    it("goes on beside others: ten have begun before one has ended", function()
      returns("10\n0\nYou said: a b c d e 7", [[
        local paced, begun, early, ended, texts, threads = client_of "/v1?pace_ms=10", 0, 0, 0, {}, {}
        for i = 1, 10 do
          threads[i] = ngx.thread.spawn(function()
            local turn = paced:turn("a b c d e " .. i)
            turn:each(function(event)
              if event.type ~= "turn_start" then return end
              begun = begun + 1
              if ended > 0 then early = early + 1 end
            end)
            ended, texts[i] = ended + 1, turn:text()
          end)
        end
        for i = 1, 10 do assert(ngx.thread.wait(threads[i])) end
        return begun, early, texts[7]
      ]])
    end)

    it("calls tools", function()
      returns("get_weather\nParis", [[
        local result = assert(client_of("/replay/vllm/tool-auto"):turn("Weather?"):result())
        local call = result.tool_calls[1]
        return call.name, call.input.city
      ]])
    end)

    it("has no news yet: false, without a wait and without a line in the log", function()
      returns("false\nfalse\ntrue\nHello there", [[
        local turn = client_of("/fault/slow-headers"):turn "hello"
        local first, second = turn:poll(), turn:next(0.02)
        local event
        repeat
          event = turn:poll()
          if event == false then ngx.sleep(0.01) end
        until event
        return first, second, event.type == "turn_start", (turn:text())
      ]])
    end)

    it("that nobody reads fills the buffer and no more", function()
      local before = nginx:memory_kib()
      returns("true\ntrue", [[
        local slow = client_of("/load?events=6000&bytes=10000", { limits = { max_buffer_bytes = 65536 } })
        local stream = slow.transport:open(require("vllm.request.built").transport_request(slow.config, "POST", slow.config.url, {}, "{}"))
        assert(stream:head())
        ngx.sleep(0.3)
        local bytes = stream:read()
        local first, total = #bytes, 0
        while bytes do
          total = total + #bytes
          bytes = stream:read()
        end
        collectgarbage() collectgarbage()
        return first >= 65536 and first < 2 * 65536, total > 60000000]])
      assert.is_true(nginx:memory_kib() - before < 30000)
    end)
  end)

  describe("a failure", function()
    local function fails(message, code, where)
      local got = nginx:run(code, where)
      assert.equal(message, got)
    end

    it("of the server has its kind", function()
      fails("server\n500", [[
        local _, _, err = client_of("/fault/status/500", { retry = false }):ask "hello"
        return err.kind, err.status]])
    end)

    it("to connect says what is wrong there", function()
      expected = "connect() failed (111: Connection refused)"
      fails("connect: cannot connect to 127.0.0.1:1: nothing listens there (connection refused); is the server running, and is the port right?",
        [[local _, message = client_of("", { base_url = "http://127.0.0.1:1", retry = false }):ask "hello" return message]])
    end)

    it("to resolve a name asks for a resolver", function()
      expected = ""
      fails("connect: the host name in model.example cannot be resolved: nginx needs a `resolver` in nginx.conf\nfalse", [[
        local _, message, err = client_of("", { base_url = "http://model.example", retry = false }):ask "hello"
        return message, err.retryable]])
    end)

    it("to connect in time comes at connect_s, and closes the connection", function()
      fails("timeout: no connection to PORT within timeout.connect_s (0.1 s)\nconnect_s\ntrue", [[
        local place, began = "127.0.0.1:" .. worker.full_port(), core.now()
        local _, message, err = client_of("", { base_url = "http://" .. place, timeout = { connect_s = 0.1 }, retry = false }):ask "hello"
        return message:gsub(place, "PORT"), err.clock, core.now() - began < 2]])
    end)

    it("of an answer that breaks off, breaks HTTP or is compressed", function()
      local function kind_of(target)
        return nginx:run(([[local _, message = client_of(%q, { retry = false }):ask "hello" return (message:gsub("127.0.0.1:%%d+", "PLACE"))]])
          :format(target))
      end
      assert.matches("^closed: PLACE closed the connection without an answer", kind_of "/fault/hangup")
      assert.matches("^truncated: .*the connection broke: PLACE closed the connection in the middle of its answer", kind_of "/fault/early-close")
      assert.matches("^protocol: the answer of PLACE breaks HTTP: .*https://", kind_of "/fault/garbage")
      assert.matches("^limit: the answer has more than 512 header lines", kind_of "/fault/endless-head")
      local gzip = server:script { { "send", "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}" } }
      assert.equal("protocol: the answer is compressed although we asked for `identity`, and its coding is not supported here; is there a proxy in between?", kind_of(gzip))
    end)

    it("in silence comes at the turn's own clock, without a line in the log", function()
      fails("timeout\nidle_s", [[
        local _, _, err = client_of("/fault/stall", { timeout = { idle_s = 0.1 }, retry = false }):ask "hello"
        return err.kind, err.clock]])
    end)
  end)

  describe("turn:cancel() from another light thread", function()
    -- Cancels a turn that waits; the kind of its error, and in how many milliseconds both were over.
    local CANCEL = [[
      local turn, thread = turn_of(), nil
      local kind, cancelled_at, ended_at
      thread = ngx.thread.spawn(function()
        while turn:next() do end
        kind, ended_at = turn:error().kind, core.now()
      end)
      ngx.sleep(0.15)
      local before = kind
      cancelled_at = core.now()
      turn:cancel()
      ngx.thread.wait(thread)
      return before, kind, ended_at - cancelled_at < 0.05, ("%.3f"):format(cancelled_at * 1000)
    ]]

    local function cancels(turn, where)
      local descriptors = nginx:descriptors()
      local text = nginx:run("local function turn_of() " .. turn .. " end\n" .. CANCEL, where)
      assert.matches("^nil\ncancelled\ntrue\n", text)
      assert.is_true(nginxes.wait_for(function() return nginx:descriptors() <= descriptors end))
      return tonumber(text:match("\n([%d.]+)$"))
    end

    it("while a name is looked up", function()
      local code = [[return client_of("", { base_url = "http://model.example" }):turn "hello"]]
      nginx:run("local function turn_of() " .. code .. " end\n" .. CANCEL, "resolving") -- the resolver's own socket stays open
      cancels(code, "resolving")
    end)
    it("while it connects", function()
      local port = nginx:run "return worker.full_port()"
      cancels(([[return client_of("", { base_url = "http://127.0.0.1:%s" }):turn "hello"]]):format(port))
    end)
    it("while TLS begins", function()
      local port = nginx:run "return worker.silent_port()"
      cancels(([[return client_of("", { base_url = "https://127.0.0.1:%s" }):turn "hello"]]):format(port))
    end)
    it("while the request is sent", function()
      local port = nginx:run "return worker.silent_port()"
      cancels(([[return client_of("", { base_url = "http://127.0.0.1:%s" }):turn(("x"):rep(20000000))]]):format(port))
    end)
    for phase, target in pairs { ["before the head"] = "/fault/silence", ["in the stream"] = "/fault/stall" } do
      it(phase .. "; the server sees the close within 50 ms", function()
        local cancelled_at_ms = cancels(("return client_of(%q):turn 'hello'"):format(target))
        local record = closes_midway()
        assert.equal("client", record.by)
        assert.is_true(record.at_ms - cancelled_at_ms < 50)
      end)
    end

    it("when nobody waits", function()
      returns("1\ncancelled", [[
        local turn = client_of("/fault/stall"):turn "hello"
        turn:next()
        ngx.sleep(0.05)
        turn:cancel()
        turn:cancel()
        return 1, turn:error().kind]])
      assert.equal("client", closes_midway().by)
    end)

    it("1000 times: no descriptor and no memory is lost", function()
      local code = [[
        local stalled, done = client_of "/fault/stall", 0
        for _ = 1, 25 do
          local turns, threads = {}, {}
          for i = 1, 20 do
            turns[i] = stalled:turn "hello"
            threads[i] = ngx.thread.spawn(function() while turns[i]:next() do end end)
          end
          ngx.sleep(0.01)
          for i = 1, 20 do
            turns[i]:cancel()
            ngx.thread.wait(threads[i])
            done = done + (turns[i]:error().kind == "cancelled" and 1 or 0)
          end
        end
        collectgarbage() collectgarbage()
        return done]]
      local descriptors = nginx:descriptors()
      assert.equal("500", nginx:run(code))
      local memory = nginx:memory_kib()
      assert.equal("500", nginx:run(code))
      assert.is_true(nginxes.wait_for(function() return nginx:descriptors() <= descriptors end))
      assert.is_true(nginx:memory_kib() - memory < 3000)
    end)
  end)

  describe("a turn that is left", function()
    it("ends with its request, and does not hold it open", function()
      local began = os.time()
      local status, _, body = nginx:request("/left")
      assert.equal(200, status)
      assert.equal("Hello", body)
      assert.is_true(os.time() - began < 10) -- the stall is for ever
      assert.equal("client", closes_midway().by)
    end)

    it("may be gone on with by another coroutine", function()
      returns("Hello\n there", [[
        local turn, first = client_of("/fault/slow-headers"):turn "hello", nil
        local function next_text()
          while true do
            local event = turn:next()
            if event.type == "text_delta" then return event.text end
          end
        end
        ngx.thread.wait(ngx.thread.spawn(function() first = next_text() end))
        return first, next_text()]])
    end)

    it("by a client that goes away ends upstream", function()
      local status = nginx:request("/paced", { read = 400 })
      assert.equal(200, status)
      local record = closes_midway()
      assert.equal("client", record.by)
    end)
  end)

  describe("connections", function()
    local function connections()
      local numbers, seen = {}, {}
      for _, record in ipairs(server:log "request") do
        if not seen[record.connection] then numbers[#numbers + 1], seen[record.connection] = record.connection, true end
      end
      return #numbers, #server:log "request"
    end

    it("are used again", function()
      returns("You said: a\nYou said: b\ntrue", [[
        local own = client:with { user = "x" }
        local first = own:turn "a"
        local text = first:text()
        local second = own:turn "b"
        return text, second:text(), second:result().timing.reused]])
      local count, requests = connections()
      assert.equal(2, requests)
      assert.is_true(count <= 1)
    end)

    it("of the pool that turn out to be dead are replaced for free", function()
      local path = server:script { { "use", "/load?events=1" }, "next", "drop", "next", { "use", "/load?events=1" } }
      returns("true\ntrue\nfalse", ([[
        local own = client_of(%q, { retry = false })
        local first = own:turn "a"
        local one = first:text() ~= nil
        local second = own:turn "b"
        local two, message = second:text()
        return one, two ~= nil or message, second:result() and second:result().timing.reused]]):format(path))
      assert.equal(3, #server:log "request")
    end)

    it("over a unix socket", function()
      returns("You said: hello", ([[return assert(client_of("/v1", { unix_socket = %q }):ask "hello")]]):format(server.unix))
      assert.equal("unix", server:log("request")[1].via)
    end)

    it("carry what HTTP wants, and nothing that was not asked for", function()
      nginx:run [[return assert(client_of("/v1", { headers = { ["X-Own"] = "1" } }):ask "hello")]]
      local request = server:log("request")[1]
      assert.equal("127.0.0.1:" .. server.port, request.headers.host)
      assert.equal("1", request.headers["x-own"])
      assert.equal("identity", request.headers["accept-encoding"])
      assert.equal(tostring(#request.body), request.headers["content-length"])
      for _, name in ipairs { "expect", "connection", "transfer-encoding" } do assert.is_nil(request.headers[name]) end
    end)
  end)

  describe("TLS", function()
    local function ask(options, where)
      return nginx:run(([[
        local _, message, err = client_of("", { base_url = %q, tls = %s, retry = false }):ask "hello"
        return _ or message, err and err.retryable]]):format(options.url, options.tls or "nil"), where)
    end

    it("without that directive says which one is missing", function()
      expected = "lua ssl certificate verify error"
      assert.matches("^tls: no trusted connection to localhost:%d+: .*`lua_ssl_trusted_certificate` in nginx.conf.*\nfalse$",
        ask { url = server.tls_url .. "/v1" })
    end)

    it("of another name is refused", function()
      expected = "lua ssl certificate does not match host"
      assert.matches("^tls: .*a name, not against an IP address", ask({ url = "https://127.0.0.1:" .. server.tls_port .. "/v1" }, "trusting"))
    end)

    it("is unverified only where that is said, and such a connection is not used by others", function()
      assert.equal("You said: hello\nnil", ask { url = server.tls_url .. "/v1", tls = "{ verify = false }" })
      expected = "lua ssl certificate verify error"
      assert.matches("^tls: ", ask { url = server.tls_url .. "/v1" })
    end)

    it("is verified against lua_ssl_trusted_certificate, and used again", function()
      assert.equal("You said: hello\nnil", ask({ url = server.tls_url .. "/v1" }, "trusting"))
      assert.equal("You said: hello\nnil", ask({ url = server.tls_url .. "/v1" }, "trusting"))
      local log = server:log "request"
      assert.equal(log[1].connection, log[2].connection)
      assert.equal("tls", log[1].via)
    end)

    it("with a server that speaks plain HTTP fails in words", function()
      expected = ""
      assert.matches("^tls: no TLS with .*write http:// in base_url", ask { url = server.url:gsub("http:", "https:") .. "/v1" })
    end)
  end)

  describe("a gateway", function()
    it("relays byte for byte", function()
      local straight = servers.send(server.port, nginxes.head("/v1/chat/completions", {
        headers = { ["content-type"] = "application/json" }, body = [[{"model":"test-model","stream":true,
        "messages":[{"role":"user","content":"hello"}],"stream_options":{"include_usage":true}}]] }))
      local _, _, plain = servers.parse(straight)
      local _, headers, relayed = nginx:request("/relay")
      local function same(text) return (text:gsub('"id":"[^"]+"', ""):gsub('"created":%d+', "")) end
      assert.equal(same(plain), same(relayed))
      assert.matches("^text/event%-stream", headers["content-type"])
    end)

    it("counts in body_filter what nginx itself passes on", function()
      nginx:request("/counted", { body = [[{"model":"test-model","stream":true,"messages":[{"role":"user","content":"one two"}],
        "stream_options":{"include_usage":true}}]] })
      assert.matches("^%d+$", nginx:run [[return seen.usage.completion_tokens]])
    end)
  end)

  describe("what nginx cannot do", function()
    it("in a phase without waits is an error that names the phase, and a place where it works", function()
      local _, _, body = nginx:request("/phases")
      local lines = body .. "\n" .. nginx:run [[return seen.log, seen.init, seen.init_worker]]
      for _, phase in ipairs { "set", "header_filter", "body_filter", "log", "init", "init_worker" } do
        assert.matches("config: nginx cannot wait in the phase `" .. phase .. "`; do it in", lines, 1, true)
      end
      assert.matches("ngx.timer.at(0", lines, 1, true)
    end)

    it("a task in init_by_lua is an error that names where it works; there it works", function()
      returns("true\nYou said: from a task of the worker", [[
        for _ = 1, 400 do if seen.task_of_worker then break end ngx.sleep(0.05) end
        return seen.task_in_init:find("before there are workers: use init_worker_by_lua", 1, true) ~= nil, seen.task_of_worker]])
    end)

    it("is refused by vllm.new by its name", function()
      local trusted = "; write `lua_ssl_trusted_certificate FILE;` in nginx.conf"
      local identity = "; proxy_ssl_certificate in a location with proxy_pass can, and base_url may name that location"
      for name, instead in pairs { ["tls.ca_file"] = trusted, ["tls.ca_path"] = trusted, ["tls.cert"] = identity, proxy = "", no_proxy = "",
        interrupt = "; leave it out: Ctrl-C ends nginx, not a turn" } do
        local group, option = name:match "^(tls)%.(.*)$"
        local value = name == "proxy" and "http://p:1" or name == "interrupt" and "cancel" or "/x"
        local written = (group and "tls = { %s = '%s' }" or "%s = '%s'"):format(option or name, value)
        local message = nginx:run(("local _, message = pcall(vllm.new, { model = 'm', %s }) return message"):format(written))
        assert.equal("vllm.new: the transport `nginx` cannot honour `" .. name .. "`" .. instead, message:match "vllm%.new: .*$")
      end
    end)

    it("is to see the environment without a directive, which is named", function()
      returns("missing environment variable VLLM_MODEL; nginx hides what no `env VLLM_MODEL;` at the top of nginx.conf lets through", [[
        return (select(2, vllm.from_env()))]])
    end)

    it("is to wait for libcurl", function()
      returns("config: libcurl would hold up nginx, which cannot watch a descriptor (in nginx, leave `transport` out)", [[
        local _, message = client_of("/v1", { transport = require("vllm.transports.curl").new() }):ask "hello"
        return message]])
    end)

    it("vllm.run names vllm.spawn", function()
      assert.matches("vllm.run: nginx has its own loop, .* use vllm.spawn", nginx:run [[
        local _, message = pcall(vllm.run, function() end) return message]])
    end)
  end)

  describe("tasks", function()
    it("sleep while others go on, and are joined", function()
      returns("a b\nYou said: x\ntrue", [[
        local order, began = {}, core.now()
        local slow = vllm.spawn(function() vllm.sleep(0.1) order[#order + 1] = "b" return client:ask "x" end)
        local fast = vllm.spawn(function() vllm.sleep(0.02) order[#order + 1] = "a" end)
        fast:join()
        local text = slow:join()
        return table.concat(order, " "), text, core.now() - began >= 0.1]])
    end)

    it("are cancelled in a turn's wait and in a sleep; a thread of nginx that is used again is none", function()
      returns("cancelled: the task was cancelled\ncancelled\nYou said: after", [[
        local kind
        local sleeper = vllm.spawn(function() vllm.sleep(60) end)
        local asker = vllm.spawn(function()
          local _, _, err = client_of("/fault/stall"):ask "x"
          kind = err.kind
        end)
        ngx.sleep(0.05)
        sleeper:cancel()
        asker:cancel()
        local _, message = sleeper:join()
        asker:join()
        local texts = {}
        for i = 1, 5 do assert(ngx.thread.wait(ngx.thread.spawn(function() texts[i] = assert(client:ask "after") end))) end
        return message, kind, texts[5] ]])
    end)

    it("that are cancelled while they do something else end at their next wait for a turn", function()
      returns("cancelled", [[
        local kind
        local task = vllm.spawn(function()
          local turn = client_of("/fault/stall"):turn "x"
          turn:next()
          ngx.sleep(0.05)
          while turn:next() do end
          kind = turn:error().kind
        end)
        ngx.sleep(0.02)
        task:cancel()
        task:join()
        return kind]])
    end)

    it("map over a list, some at a time", function()
      returns("You said: 20\n0", [[
        local list = {}
        for i = 1, 20 do list[i] = i end
        local values, failures = vllm.map(list, { concurrency = 4 }, function(i) return client:ask(tostring(i)) end)
        return values[20], #failures]])
    end)

    it("start gives events to callbacks", function()
      returns("hello\ntrue", [[
        local done, text = false, {}
        client:turn("hello"):start(function(event) if event.type == "text_delta" then text[#text + 1] = event.text end end,
          function(result, message) done = result ~= nil end)
        ngx.sleep(0.2)
        return table.concat(text):match "said: (.*)", done]])
    end)

    it("that fail and are not joined stand in the error log", function()
      expected = "out of cheese"
      nginx:run [[vllm.spawn(function() ngx.sleep(0.01) error "out of cheese" end) ngx.sleep(0.05)]]
      assert.is_truthy(nginxes.wait_for(function() return nginx:log():find("stack traceback", 1, true) end))
      assert.equal(1, select(2, nginx:log():gsub("out of cheese", "")))
    end)

    it("run in a timer where there are no light threads", function()
      nginx:request("/spawning")
      assert.is_truthy(nginxes.wait_for(function() return nginx:run [[return seen.spawned]] == "You said: from the log phase" end))
    end)

    it("keep no request once its answer begins", function()
      local kept, left = nginx:run([[
        local function kb() collectgarbage() collectgarbage() return collectgarbage "count" end
        local before = kb()
        local turn = client_of("/load?events=1000&interval_ms=20"):turn(("word "):rep(400000))
        assert(turn:open())
        local kept = kb() - before
        assert(turn:next())
        local left = kb() - before
        turn:cancel()
        return ("%d %d"):format(kept, left)]]):match "^(%d+) (%-?%d+)$"
      assert.is_true(tonumber(kept) > 1900) -- it may have to be sent again
      assert.is_true(tonumber(left) < 1000)
    end)

    it("leave nothing behind in a coroutine that lives long", function()
      local memory
      local code = [[
        for _ = 1, 500 do vllm.spawn(function() return 1 end):join() end
        for _ = 1, 300 do assert(client:ask "x") end
        collectgarbage() collectgarbage()
        return ("%d"):format(collectgarbage "count")]]
      nginx:run(code)
      memory = tonumber(nginx:run(code))
      assert.is_true(tonumber(nginx:run("for _ = 1, 3 do (function() " .. code:gsub("return %(.*$", "") .. " end)() end "
        .. code:match("return %(.*$"))) - memory < 500)
    end)
  end)

  describe("the worker", function()
    it("answers others while 200 streams run", function()
      local streams = nginx:begin("/run", { body = [[
        local paced, threads, words = client_of "/load?events=100&interval_ms=20", {}, 0
        for i = 1, 200 do
          threads[i] = ngx.thread.spawn(function() for _ in paced:turn("x"):text_deltas() do words = words + 1 end end)
        end
        for i = 1, 200 do assert(ngx.thread.wait(threads[i])) end
        return words]] })
      local slowest = tonumber(nginx:run [[
        ngx.sleep(0.3)
        local slowest = 0
        for _ = 1, 150 do
          local began = core.now()
          ngx.sleep(0.005)
          slowest = math.max(slowest, core.now() - began - 0.005)
        end
        return slowest]])
      local blocked = tonumber(nginx:run [[
        local began, slowest = core.now(), 0
        local control = ngx.thread.spawn(function()
          local blocking = client_of("/load?events=50&interval_ms=20",
            { host = "block", transport = require("vllm.transports.curl").new() })
          assert(blocking:turn("x"):result())
        end)
        ngx.sleep(0.001)
        return core.now() - began]])
      assert.equal("20000", select(3, servers.parse(streams.finish())))
      assert.is_true(blocked > 0.9)
      assert.is_true(slowest < blocked / 2)
    end)

    it("that is replaced finishes its streams", function()
      local old = nginx:worker()
      local stream = nginx:begin("/paced")
      assert.is_truthy(nginxes.wait_for(function() return server:running() == 1 end))
      nginx:signal "HUP"
      assert.is_truthy((nginxes.wait_for(function() return nginx:worker() ~= old and (nginx:request("/ping")) == 200 end)))
      local _, _, body = servers.parse(stream.finish())
      assert.equal("You said: " .. ("word "):rep(40), body)
      assert.is_truthy((nginxes.wait_for(function()
        return nginx:notices():find("worker process " .. old .. " exited with code 0", 1, true)
      end)))
      assert.is_nil(nginx:notices():find("signal 11", 1, true))
    end)
  end)
end)
