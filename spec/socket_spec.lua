-- The whole way over real sockets: client, libcurl, test server, and back; what the server saw is part of what is
-- checked.
local child = require "spec.support.child"
local core = require "vllm.core"
local server = require "spec.support.server"
local vllm = require "vllm"

local WEATHER = { name = "get_weather", description = "Weather", parameters = { type = "object",
  properties = { city = { type = "string", enum = { "Paris", "Rome" } } }, required = { "city" } } }

describe("over a real socket", function()
  local running, client

  setup(function()
    running = server.start { tls = true, mtls = true, unix = true, key = "sk-test-key" }
    client = vllm.new { model = "test-model", base_url = running.url .. "/v1", api_key = "sk-test-key", retry = false }
  end)

  teardown(function() running:stop() end)
  before_each(function() running:clear_log() end)

  local function at(path, options)
    local all = { base_url = running.url .. path }
    for key, value in pairs(options or {}) do all[key] = value end
    return client:with(all)
  end

  it("an answer streams", function()
    local pieces = {}
    for text in client:turn("Why is the sky blue?"):text_deltas() do pieces[#pieces + 1] = text end
    assert.is_true(#pieces > 1)
    assert.equal(table.concat(pieces), client:ask { messages = "Why is the sky blue?", streaming = false })
  end)

  it("the request is what client:body says, with our headers", function()
    assert(client:ask "Hi there")
    assert.equal(client:body "Hi there", running:last_body())
    local request = running:log("request")[1]
    assert.equal("POST", request.method)
    assert.equal("application/json", request.headers["content-type"])
    assert.equal("text/event-stream", request.headers.accept)
    assert.equal("Bearer sk-test-key", request.headers.authorization)
    assert.equal("lua-vllm/" .. vllm.version, request.headers["user-agent"])
    assert.is_nil(request.headers.expect)
    assert.equal("identity", request.headers["accept-encoding"])
    assert.is_nil(request.headers.cookie)
  end)

  it("headers that were taken away are not sent, libcurl's own neither", function()
    local taken = { Accept = false, ["User-Agent"] = false, ["Content-Type"] = false }
    client:ask { text = "Hi", headers = taken } -- refused: the server wants a content type
    local headers = running:log("request")[1].headers
    for name in pairs(taken) do assert.is_nil(headers[name:lower()], name) end
  end)

  it("client:request keeps its clocks, and may have its own", function()
    local silent = client:with { base_url = running.url .. running:script { "stall" },
      timeout = { first_event_s = 0.05 } }
    local path = silent.config.url:match "^%w+://[^/]+(/.*)$"
    local _, message, err = silent:request("GET", path)
    assert.equal("timeout: timeout.first_event_s: 0.05 s passed; no answer in time", message)
    assert.same({ "timeout", "first_event_s", 0.05 }, { err.kind, err.clock, err.limit_s })
    err = select(3, silent:request("GET", path, nil, { timeout = { total_s = 0.06 } }))
    assert.same({ "timeout", "total_s", 0.06 }, { err.kind, err.clock, err.limit_s })
  end)

  it("a body of a megabyte goes out without waiting for a 100", function()
    assert(client:ask(("word "):rep(200000)))
    assert.is_nil(running:log("request")[1].headers.expect)
    assert.is_true(#running:last_body() > 1000000)
  end)

  it("a request is not kept once its answer begins", function()
    local function kb()
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    local before = kb()
    local turn = at("/load?events=1000&interval_ms=20"):turn(("word "):rep(400000))
    assert.is_true(turn:open())
    assert.is_true(kb() - before > 1900) -- it may have to be sent again
    assert(turn:next())
    assert.is_true(kb() - before < 500)
    turn:cancel()

    turn = at("/load?events=2"):turn(("word "):rep(400000))
    turn:cancel()
    assert.is_true(kb() - before < 500)
    assert.equal("cancelled", turn:error().kind)
  end)

  it("a conversation with a tool goes round", function()
    local messages = { { role = "user", content = "What is the weather in Rome?" } }
    local first = assert(client:turn({ messages = messages, tools = { WEATHER } }):result())
    assert.equal(1, #first.tool_calls)
    assert.equal("get_weather", first.tool_calls[1].name)
    messages[2] = first.message
    messages[3] = { role = "tool", call = first.tool_calls[1], result = "18 degrees" }
    local second = assert(client:turn({ messages = messages, tools = { WEATHER } }):result())
    assert.truthy(second.text:find("18 degrees", 1, true), second.text)
    local sent = vllm.json.decode(running:last_body()).messages
    assert.equal(first.tool_calls[1].arguments, sent[2].tool_calls[1]["function"].arguments)
    assert.equal(first.tool_calls[1].id, sent[3].tool_call_id)
  end)

  it("turns one after another share a connection", function()
    for _ = 1, 5 do assert(client:ask "again") end
    local connections = {}
    for _, request in ipairs(running:log "request") do connections[request.connection] = true end
    local count = 0
    for _ in pairs(connections) do count = count + 1 end
    assert.equal(1, count)
  end)

  it("a whole completion and its errors come back over the same connection", function()
    assert.equal("auth", select(3, client:with({ api_key = "wrong" }):ask "x").kind)
    assert.equal("not_found", select(3, client:ask { messages = "x", model = "nope" }).kind)
    assert(client:ask { messages = "x", streaming = false })
  end)

  it("a key that is wrong appears in no message", function()
    local _, message, err = client:with({ api_key = "sk-very-secret" }):ask "x"
    assert.equal("auth", err.kind)
    assert.is_nil(message:find("very-secret", 1, true))
  end)

  describe("cancel", function()
    it("in the middle of a stream closes the connection", function()
      local turn = at("/load?events=100000&interval_ms=20"):turn "x"
      repeat local event = assert(turn:next()) until event.type == "text_delta"
      turn:cancel()
      assert.equal("cancelled", turn:error().kind)
      assert.truthy(running:wait_for(function(log)
        for _, record in ipairs(log) do
          if record.event == "close" and record.midway and record.by == "client" then return true end
        end
      end))
    end)

    it("while the server is silent closes the connection", function()
      local turn = at("/fault/silence"):turn "x"
      for _ = 1, 20 do assert.is_false((turn:next(0.01))) end
      turn:cancel()
      assert.truthy(running:wait_for(function(log)
        for _, record in ipairs(log) do if record.event == "close" and record.by == "client" then return true end end
      end))
    end)

    it("by collection, as a net, closes the connection", function()
      local turn = at("/load?events=100000&interval_ms=20"):turn "x"
      turn:next()
      turn = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      assert.truthy(running:wait_for(function(log)
        for _, record in ipairs(log) do if record.event == "close" and record.midway then return true end end
      end))
    end)

    it("leaves the client fit for the next turn", function()
      local turn = client:turn "Tell me something long"
      turn:next()
      turn:cancel()
      assert(client:ask "x")
    end)
  end)

  describe("a fault", function()
    local cases = {
      { "/fault/reset", "closed", "truncated" }, { "/fault/early-close", "truncated", "closed" },
        { "/fault/html", "protocol", "overloaded" },
      { "/fault/redirect", "protocol" }, { "/fault/wrong-length", "truncated", "closed" },
        { "/fault/bad-chunk", "closed", "truncated", "protocol" },
      { "/fault/status/503?retry_after=7", "overloaded" }, { "/fault/status/429", "rate_limited" },
        { "/fault/status/500", "server" },
    }
    for _, case in ipairs(cases) do
      it("of " .. case[1] .. " is an error with a kind, and the next turn works", function()
        local result, message, err = at(case[1]):turn("x"):result()
        assert.is_nil(result)
        local fits = false
        for i = 2, #case do fits = fits or err.kind == case[i] end
        assert.is_true(fits, message)
        assert(client:ask "still there?")
      end)
    end

    it("that asks to wait says how long", function()
      assert.equal(7, select(3, at("/fault/status/503?retry_after=7"):ask "x").retry_after_s)
    end)

    it("of a redirect does not carry the key away", function()
      local _, message = at("/fault/redirect"):ask "x"
      assert.truthy(message:find("redirects are not followed", 1, true), message)
      assert.equal(1, #running:log "request")
    end)

    it("of silence ends by its clock", function()
      local _, _, err = at("/fault/silence", { timeout = { first_event_s = 0.2 } }):ask "x"
      assert.equal("timeout", err.kind)
      assert.equal("first_event_s", err.clock)
    end)

    it("of silence after a beginning ends by its own clock", function()
      local _, _, err = at("/fault/stall", { timeout = { idle_s = 0.2 } }):ask "x"
      assert.equal("idle_s", err.clock)
      assert.is_true(#err.partial.text > 0)
    end)

    it("of silence ends by the clock of the whole", function()
      local turn, parts = at("/load?events=100000&interval_ms=20", { timeout = { total_s = 0.3 } }):turn "x", {}
      local event, _, err
      repeat
        event, _, err = turn:next()
        if event and event.type == "text_delta" then parts[#parts + 1] = event.text end
      until not event
      assert.equal("total_s", err.clock)
      assert.equal(table.concat(parts), err.partial and err.partial.text or "")
    end)

    it("of a port where nobody listens names the port", function()
      local _, message, err = client:with({ base_url = "http://127.0.0.1:1/v1" }):ask "x"
      assert.equal("connect", err.kind)
      assert.truthy(message:find("1", 1, true))
      assert.is_true(err.retryable)
    end)

    it("of a name that does not exist is a connect error", function()
      assert.equal("connect", select(3, client:with({ base_url = "http://no-such-host.invalid/v1" }):ask "x").kind)
    end)
  end)

  describe("TLS", function()
    it("verifies: an unknown CA is refused, with a way out in the message", function()
      local _, message, err = client:with({ base_url = running.tls_url .. "/v1" }):ask "x"
      assert.equal("tls", err.kind)
      assert.truthy(message:find("ca_file", 1, true), message)
    end)

    it("works with the CA named", function()
      assert(client:with({ base_url = running.tls_url .. "/v1", tls = { ca_file = running.ca_file } }):ask "x")
      assert.equal("tls", running:log("request")[1].via)
    end)

    it("works unverified only when that is spelled out", function()
      assert(client:with({ base_url = running.tls_url .. "/v1", tls = { verify = false } }):ask "x")
    end)

    it("shows a client certificate", function()
      local tls = { ca_file = running.ca_file, cert = running.cert_file, key = running.key_file }
      assert(client:with({ base_url = running.mtls_url .. "/v1", tls = tls }):ask "x")
      assert.equal("mtls", running:log("request")[1].via)
    end)

    it("on a plain port says so", function()
      local _, _, err = client:with({ base_url = "https://127.0.0.1:" .. running.port .. "/v1",
        tls = { verify = false } }):ask "x"
      assert.equal("tls", err.kind)
    end)
  end)

  it("a proxy is used, but not for the hosts that no_proxy names", function()
    local through = client:with { proxy = running.url, base_url = "http://model.invalid/v1" }
    assert(through:ask "x") -- the name need not exist: only the proxy sees it
    assert.equal("model.invalid", running:log("request")[1].headers.host)
    assert.equal("connect", select(3, through:with({ no_proxy = "model.invalid" }):ask "x").kind)
  end)

  it("a Unix socket works", function()
    assert(client:with({ base_url = "http://localhost/v1", unix_socket = running.unix }):ask "x")
    assert.equal("unix", running:log("request")[1].via)
  end)

  it("a Unix socket that is not there is a connect error", function()
    assert.equal("connect", select(3, client:with({ unix_socket = "/nonexistent/socket" }):ask "x").kind)
  end)

  it("Ctrl-C cancels the turn and not the program, turn after turn", function()
    for _ = 1, 3 do
      local turn = at("/fault/stall", { interrupt = "cancel" }):turn "x"
      repeat local event = assert(turn:next()) until event.type == "text_delta"
      io.popen("kill -INT $PPID"):close()
      local result, _, err = turn:result()
      assert.is_nil(result)
      assert.equal("cancelled", err.kind)
      assert.is_true(#err.partial.text > 0)
    end
  end)

  it("Ctrl-C is the program's again when the turn is over", function()
    local text = child.lua([[
      local client = require("vllm").new { model = "test-model", base_url = os.getenv "URL" .. "/v1", api_key = "sk-test-key", interrupt = "cancel" }
      local turn = client:turn "x"
      assert(turn:result())
      print(pcall(function() io.popen("kill -INT $PPID"):close() for _ = 1, 1e7 do end end))
      print(turn)]], { URL = running.url })
    assert.truthy(text:find("interrupted!", 1, true), text)
  end)

  it("other endpoints answer", function()
    assert.equal("test-model", assert(client:request("GET", "/v1/models")).json.data[1].id)
    assert.equal(200, assert(client:request("GET", "/health")).status)
  end)

  it("a slow reader holds the server back instead of filling memory", function()
    local before = collectgarbage "count"
    local slow = at("/load?events=200000", { limits = { max_buffer_bytes = 65536 } }):turn "x"
    repeat local event = assert(slow:next()) until event.type == "text_delta"
    assert(at("/load?events=100&interval_ms=5"):ask "x") -- the engine runs on while nobody takes anything of the first
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < 4096)
    slow:cancel()
    assert.truthy(running:wait_for(function(log)
      for _, record in ipairs(log) do
        if record.event == "close" then return record.bytes_sent < 30 * 1024 * 1024 end
      end
    end))
  end)

  it("poll never waits, and comes to the end", function()
    local turn = at("/v1/chat/completions?delay_ms=100"):turn "x"
    local polls, types, deadline = 0, {}, core.now() + 20
    while true do
      local event, message = turn:poll()
      assert.is_nil(message)
      if event == nil then break end
      if event == false then polls = polls + 1 else types[#types + 1] = event.type end
      assert.is_true(core.now() < deadline)
    end
    assert.equal("turn_end", types[#types])
    assert.is_true(polls > 0)
  end)

  it("50 turns at once, polled in one thread", function()
    local turns, open, texts = {}, 50, {}
    for i = 1, 50 do turns[i] = client:turn("turn number " .. i) end
    local deadline = core.now() + 30
    while open > 0 do
      for i, turn in pairs(turns) do
        local event, message = turn:poll()
        assert.is_nil(message)
        if event == nil then
          texts[i], turns[i], open = turn:text(), nil, open - 1
        end
      end
      assert.is_true(core.now() < deadline)
    end
    for i = 1, 50 do assert.truthy(texts[i]:find(tostring(i), 1, true)) end
  end)
end)

describe("the examples", function()
  local running, environment

  setup(function()
    running = server.start()
    environment = ("VLLM_BASE_URL=%s/v1 VLLM_MODEL=test-model TERM=dumb"):format(running.url)
  end)

  teardown(function() running:stop() end)

  local function run(command, more)
    local pipe = assert(io.popen(("%s %s %s %s 2>&1"):format(more or "", environment, arg[-1], command)))
    local text = pipe:read "*a"
    local ok = pipe:close()
    return text, ok
  end

  it("hello prints an answer", function()
    assert.truthy(run("examples/hello.lua 'Is this on?'"):find "%a")
  end)

  it("agent calls the tool, uses its result, and ends", function()
    local text = run "examples/agent.lua"
    assert.truthy(text:find('[get_weather {"city":', 1, true), text)
    assert.truthy(text:find('[→ {"celsius":18', 1, true), text)
    assert.truthy(text:find("finish: stop", 1, true), text)
  end)

  it("chat answers what it is told until the input ends", function()
    local text = run("examples/chat.lua", "printf 'hello\\nand again\\n' |")
    local _, prompts = text:gsub("you> ", "")
    assert.equal(3, prompts)
  end)

  it("say what is missing in the environment", function()
    local pipe = assert(io.popen(arg[-1] .. " examples/hello.lua 2>&1"))
    local text = pipe:read "*a"
    pipe:close()
    assert.truthy(text:find("missing environment variable VLLM_MODEL", 1, true), text)
  end)
end)
