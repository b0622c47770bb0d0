-- examples/openresty: the program as it is, but for where it listens and logs.
require "spec.support.env"
local cjson = require "cjson"
local gateways = require "spec.support.gateway"
local nginxes = require "spec.support.nginx"
local servers = require "spec.support.server"

describe("the gateway", function()
  local server, nginx, expected

  setup(function()
    server = servers.start { key = "upstream-secret" }
    nginx = gateways.start(server.url .. "/v1?pace_ms=5")
  end)
  teardown(function()
    nginx:stop()
    server:stop()
  end)
  before_each(function()
    expected = nil
    server:clear_log()
    nginx:clear_log "access.log"
  end)
  after_each(function()
    local log = nginx:log()
    nginx:clear_log()
    if expected then assert.matches(expected, log, 1, true) else assert.equal("", log) end
  end)

  local function ask(body, token, options)
    options = options or {}
    options.body = type(body) == "table" and cjson.encode(body) or body
    options.headers = { ["content-type"] = "application/json",
      authorization = token ~= "" and "Bearer " .. (token or "alice") or nil }
    return nginx:request("/v1/chat/completions", options)
  end

  local MESSAGES = { { role = "user", content = "hello" } }

  -- The log gets its line behind the answer.
  local function logs(pattern, where)
    local text
    local found = nginxes.wait_for(function()
      text = nginxes.read_file((where or nginx).prefix .. "/access.log")
      return text:find(pattern)
    end)
    assert.is_truthy(found, text)
  end

  local function refuses(status, param, ...)
    local got, _, body = ask(...)
    assert.equal(status, got)
    local err = cjson.decode(body).error
    assert.equal(param, err.param ~= cjson.null and err.param or nil)
    return err.message
  end

  it("passes a stream on as it is, with the operator's key and no other, and counts it", function()
    local status, headers, body = ask { messages = MESSAGES, stream = true, temperature = 0.5 }
    assert.equal(200, status)
    assert.matches("^text/event%-stream", headers["content-type"])
    assert.matches("data: %[DONE%]\n\n$", body)
    for chunk in body:gmatch "data: (%b{})\n\n" do assert.matches('^{"id":"chatcmpl', chunk) end
    local request = server:log("request")[1]
    assert.equal("Bearer upstream-secret", request.headers.authorization)
    local sent = cjson.decode(request.body)
    assert.equal("test-model", sent.model)
    assert.equal(64, sent.max_completion_tokens)
    assert.equal(0.5, sent.temperature)
    assert.is_true(sent.stream_options.include_usage)
    logs "user=alice model=test%-model status=200 prompt=5 completion=4 first_s=[%d.]+ total_s=[%d.]+ error=%-"
  end)

  it("passes a whole answer on", function()
    local status, headers, body = ask { messages = MESSAGES }
    assert.equal(200, status)
    assert.matches("^application/json", headers["content-type"])
    assert.equal("You said: hello", cjson.decode(body).choices[1].message.content)
    logs "completion=4"
  end)

  it("holds requests to the policy", function()
    ask { messages = MESSAGES, max_tokens = 1000, n = 3, priority = 9 }
    local sent = cjson.decode(server:last_body())
    assert.equal(64, sent.max_tokens)
    assert.is_nil(sent.n)
    assert.is_nil(sent.priority)
    ask { messages = MESSAGES, max_completion_tokens = 7 }
    assert.equal(7, cjson.decode(server:last_body()).max_completion_tokens)
  end)

  it("keeps every byte of a body that it need not change", function()
    local text = '{ "messages" : [ {"role":"user","content":"caf\\u00e9"} ],"seed":12345678901234567, "x_own": 1.50 }'
    ask(text)
    local sent = server:last_body()
    assert.matches('{ "messages" : [ {"role":"user","content":"caf\\u00e9"} ],"seed":12345678901234567, "x_own": 1.50',
      sent, 1, true)
  end)

  it("refuses whom it does not know, and what is not allowed, and sends nothing", function()
    refuses(401, nil, { messages = MESSAGES }, "")
    refuses(401, nil, { messages = MESSAGES }, "mallory")
    refuses(400, "model", { messages = MESSAGES, model = "other" })
    refuses(400, "model", { messages = MESSAGES }, "bob")
    refuses(400, "max_tokens", { messages = MESSAGES, max_tokens = "many" })
    refuses(400, "body", "{ no json")
    refuses(400, "body", "[1]")
    assert.equal(0, #server:log "request")
    logs "error=invalid_request"
  end)

  it("answers 413, in JSON, to a body that is too large", function()
    expected = "client intended to send too large body"
    assert.matches("20 MiB", refuses(413, nil, ("x"):rep(21 * 1024 * 1024)))
  end)

  describe("of what the model server says", function()
    -- What an operator would not show: a path, an address, an option, a key.
    local WORDS = "/mnt/models/secret at 10.1.2.3: start it with --enable-secret, key upstream-secret"
    local SECRETS = { "secret", "10.1.2.3", "127.0.0.1", "vllm", "--" }
    local JSON = cjson.encode { error = { message = WORDS, type = "SecretError", param = "secret_param", code = 400 } }

    local function answer(status, body, content_type)
      return ("HTTP/1.1 %s\r\ncontent-type: %s\r\nx-should-retry: false\r\nx-request-id: secret\r\ncontent-length: "
        .. "%d\r\n\r\n%s")
        :format(status, content_type or "application/json", #body, body)
    end

    local function event(text) return "data: " .. text .. "\n\n" end
    local EVENTS = "text/event-stream"
    local CHUNK = '{"id":"x","choices":[{"index":0,"delta":{"content":"Hello"}}]}'

    -- name → what the server sends, the status and the kind that the caller gets
    local CASES = {
      { "a refusal", answer("400 Bad Request", JSON), 400, "invalid_request" },
      { "a refusal by FastAPI", answer("422 Unprocessable Entity",
        cjson.encode { detail = { { loc = { "body", "x" }, msg = WORDS } } }),
        400, "invalid_request" },
      { "a text too long", answer("400 Bad Request", cjson.encode { error = { code = 400, message =
        "This model's maximum context length is 10 tokens. However, your request has 20 input tokens. " .. WORDS } }),
          400, "context_length" },
      { "the operator's key", answer("401 Unauthorized", JSON), 502, "server" },
      { "a firewall", answer("403 Forbidden", "<html>" .. WORDS .. "</html>", "text/html"), 502, "server" },
      { "too many requests", answer("429 Too Many Requests", JSON), 429, "rate_limited" },
      { "a crash", answer("500 Internal Server Error", WORDS, "text/plain"), 502, "server" },
      { "an overload", answer("503 Service Unavailable", JSON), 503, "overloaded" },
      { "a redirect", answer("307 Temporary Redirect\r\nlocation: http://10.1.2.3/secret", ""), 502, "server" },
      { "an error with status 200", answer("200 OK", JSON), nil, nil },
      { "a page with status 200", answer("200 OK", "<html>" .. WORDS .. "</html>", "text/html"), 502, "server" },
      { "an error as the first event", answer("200 OK", event(JSON) .. event "[DONE]", EVENTS), 400,
        "invalid_request" },
      { "an error in the middle", answer("200 OK", event(CHUNK) .. event(JSON) .. event "[DONE]", EVENTS), 200,
        "invalid_request" },
      -- the last: the list of models is asked for behind it
      { "an unknown model", answer("404 Not Found", JSON), 502, "server" },
    }

    it("strangers learn nothing of it; the operator's error log has the words", function()
      local steps = {}
      for i, case in ipairs(CASES) do
        if i > 1 then steps[#steps + 1] = "next" end
        steps[#steps + 1] = { "send", case[2] }
      end
      local scripted = gateways.start(server.url .. server:script(steps) .. "/x")
      for _, case in ipairs(CASES) do
        local name, status, kind = case[1], case[3], case[4]
        local got, headers, body = scripted:request("/v1/chat/completions", {
          headers = { authorization = "Bearer alice" }, body = cjson.encode { messages = MESSAGES, stream = true } })
        for _, secret in ipairs(SECRETS) do assert.is_nil(body:find(secret, 1, true), name .. ": " .. body) end
        assert.are_not.equal("secret", headers["x-request-id"], name)
        if status then assert.equal(status, got, name .. ": " .. body) end
        if kind then assert.equal(kind, body:match '"type":"([%w_]+)"', name .. ": " .. body) end
        assert.truthy(body:find('"error":{', 1, true), name .. ": " .. body)
      end
      local log = scripted:log()
      scripted:stop()
      assert.truthy(log:find("--enable-secret", 1, true), log)
      assert.is_nil(log:find("upstream-secret", 1, true), log)
    end)

    it("a field of the caller's that it names is named", function()
      expected = "`tools` must be set"
      local message = refuses(400, "tool_choice", { messages = MESSAGES, tool_choice = "required" })
      assert.equal("the model server does not accept this request", message)
      logs "status=400 .* error=invalid_request"
    end)

    it("a server that is not there is no more than a 502", function()
      local alone = gateways.start "http://127.0.0.1:1/secret"
      local status, _, body = alone:request("/v1/chat/completions", {
        headers = { authorization = "Bearer alice" }, body = cjson.encode { messages = MESSAGES } })
      local log = alone:log()
      alone:stop()
      assert.equal(502, status)
      assert.equal("the model server cannot answer at the moment", cjson.decode(body).error.message)
      assert.truthy(log:find("cannot connect to 127.0.0.1:1", 1, true), log)
    end)
  end)

  it("counts every stream, however its body asks for one, and refuses what says neither", function()
    for _, stream in ipairs { "1", "1.0", '"true"', '"ON"', "true" } do
      nginx:clear_log "access.log"
      local _, headers, body = ask(('{"messages":[{"role":"user","content":"hello"}],"stream":%s}'):format(stream))
      assert.matches("^text/event%-stream", headers["content-type"])
      assert.matches("data: %[DONE%]\n\n$", body)
      logs "status=200 prompt=5 completion=4"
    end
    assert.equal("You said: hello", cjson.decode((select(3,
      ask [[{"messages":[{"role":"user","content":"hello"}],"stream":0}]]))).choices[1].message.content)
    for _, stream in ipairs { "2", '"maybe"', "{}" } do
      refuses(400, "stream", ('{"messages":[],"stream":%s}'):format(stream))
    end
  end)

  it("tells who names a model that is none, or a name without end, and shows no more of it", function()
    assert.equal("model must be a string", (refuses(400, "model", { messages = MESSAGES, model = { "x" } })))
    local message = refuses(400, "model", { messages = MESSAGES, model = "x" .. ("é"):rep(1000) })
    assert.equal("you may not use the model x" .. ("é"):rep(99) .. "\239\191\189", message)
  end)

  it("keeps what a caller wants to know of the usage", function()
    ask { messages = MESSAGES, stream = true,
      stream_options = { include_usage = false, continuous_usage_stats = true } }
    assert.same({ include_usage = true, continuous_usage_stats = true },
      cjson.decode(server:last_body()).stream_options)
  end)

  it("lists the models that the caller may use, and asks nobody", function()
    local function models(token)
      local status, _, body = nginx:request("/v1/models",
        { headers = { authorization = token and "Bearer " .. token } })
      return status, body
    end
    local status, body = models "alice"
    assert.equal(200, status)
    local list = cjson.decode(body)
    assert.equal("list", list.object)
    assert.equal(1, #list.data)
    assert.equal("test-model", list.data[1].id)
    assert.equal("model", list.data[1].object)
    assert.matches('"data":%[%]', (select(2, models "bob")))
    assert.equal(401, (models()))
    assert.equal(0, #server:log "request")
  end)

  it("names a request to caller, server and log alike", function()
    local _, headers = ask { messages = MESSAGES }
    assert.matches("^%x+$", headers["x-request-id"])
    assert.equal(headers["x-request-id"], server:log("request")[1].headers["x-request-id"])
    logs("id=" .. headers["x-request-id"])
    assert.is_nil((headers.server or ""):find "%d")
  end)

  it("ends upstream what its client leaves, and logs that with what had come", function()
    local long = { { role = "user", content = ("word "):rep(5000) } }
    local function left(body, pattern)
      server:clear_log()
      nginx:clear_log "access.log"
      ask(body, "carol", { read = 3000 })
      local record = server:wait_for(function(log)
        for _, entry in ipairs(log) do
          if entry.event == "close" and entry.midway then return entry end
        end
      end)
      assert.equal("client", record.by)
      logs("user=carol model=test%-model " .. pattern .. " first_s=[%d.]+ total_s=[%d.]+ error=client_left")
    end
    left({ messages = long, stream = true }, "status=499 prompt=%- completion=%d+")
    left({ messages = long, stream = true, stream_options = { continuous_usage_stats = true } },
      "status=499 prompt=%d+ completion=%d+")
  end)

  it("logs a client that leaves before the answer begins", function()
    local silent = gateways.start(server.url .. "/fault/silence")
    servers.send(silent.socket, nginxes.head("/v1/chat/completions", {
      headers = { authorization = "Bearer alice" }, body = cjson.encode { messages = MESSAGES, stream = true } }),
        { limit_ms = 200 })
    logs("status=499 prompt=%- completion=%- first_s=%- total_s=[%d.]+ error=client_left", silent)
    silent:stop()
  end)

  it("answers a ping", function()
    assert.equal("pong\n", (select(3, nginx:request "/ping")))
  end)
end)
