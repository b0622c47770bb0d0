-- Clients: how they are made, derived and printed, and the other endpoints.
local core = require "vllm.core"
local testing = require "vllm.testing"
local vllm = require "vllm"

describe("vllm.new", function()
  it("does no I/O and loads no libcurl", function()
    package.loaded["vllm.curl"] = nil
    vllm.new { model = "m", base_url = "http://localhost:1/v1" }
    assert.is_nil(package.loaded["vllm.curl"])
  end)

  it("prints without the key, header values or the password of the URL", function()
    local client = vllm.new { model = "m", api_key = "sk-secret", headers = { ["X-Token"] = "tok-secret" },
      base_url = "http://u:pw-secret@h:1/v1",
      transport = testing.transport {} }
    local text = tostring(client) .. tostring(client:turn "x") .. tostring(client:session())
    assert.is_nil(text:find("secret", 1, true), text)
    assert.truthy(text:find("m", 1, true))
  end)

  it("refuses an option that the transport cannot honour", function()
    local cases = { { proxy = "http://p:1" }, { unix_socket = "/s" }, { tls = { ca_file = "/f" } },
      { interrupt = "cancel" } }
    for _, options in ipairs(cases) do
      options.model, options.transport = "m", testing.transport {}
      local ok, message = pcall(vllm.new, options)
      assert.is_false(ok)
      assert.truthy(message:find("the transport `testing` cannot honour", 1, true), message)
    end
    assert.equal("a", (testing.client({ "a" }, { proxy = false }):ask "x")) -- any transport can do without
  end)
end)

describe("a client", function()
  it("does not change: setting an option throws", function()
    local client = testing.client {}
    for _, name in ipairs { "model", "temperature", "timeout", "base_url", "headers" } do
      assert.has_error(function() client[name] = "x" end,
        ("client.%s: a client does not change; client:with { %s = … } derives another one"):format(name, name))
    end
    client.label = "mine"
    assert.equal("mine", client.label)
  end)
end)

describe("client:with", function()
  it("changes options on the same transport", function()
    local client, transport = testing.client({ "a", "b" }, { temperature = 0.5 })
    assert.equal("a", client:with({ temperature = 0 }):ask "x")
    assert.equal("b", client:ask "x")
    assert.equal(0, transport.requests[1].body.temperature)
    assert.equal(0.5, transport.requests[2].body.temperature)
  end)

  it("names an unknown key", function()
    local client = testing.client {}
    local ok, message = pcall(client.with, client, { tempurature = 0 })
    assert.is_false(ok)
    assert.truthy(message:find("temperature", 1, true), message)
  end)

  it("throws for anything but a table", function()
    local client = testing.client {}
    assert.has_error(function() client:with(7) end, "client:with: expected a table of options, got number")
  end)
end)

describe("client:turn", function()
  it("throws for anything but a table or a string", function()
    local client = testing.client {}
    assert.has_error(function() client:turn(7) end, "client:turn: expected a request (a table or a string), got 7")
  end)

  it("takes the rest of a request behind its text, as ask and body do", function()
    local client, transport = testing.client { "a", "b" }
    local rest = { temperature = 0, headers = { ["X-A"] = "1" } }
    assert.equal("a", client:ask("x", rest))
    assert.equal("b", client:turn("x", rest):text())
    assert.same({ temperature = 0, headers = { ["X-A"] = "1" } }, rest)
    for _, sent in ipairs(transport.requests) do
      assert.equal(0, sent.body.temperature)
      assert.same({ { role = "user", content = "x" } }, sent.body.messages)
      assert.same({ "X-A", "1" }, sent.headers[#sent.headers])
    end
    assert.equal(client:body { text = "x", temperature = 0 }, client:body("x", { temperature = 0 }))
  end)

  it("throws for a rest that it would have to drop", function()
    local client = testing.client {}
    for _, name in ipairs { "turn", "ask", "body" } do
      local function throws(words, ...)
        local ok, message = pcall(client[name], client, ...)
        assert.is_false(ok)
        assert.equal("client:" .. name .. ": " .. words, (message:gsub("^%S+:%d+: ", "")))
      end
      throws("a request is one table, { messages = …, temperature = … }; got another argument, a table", { text = "x" },
        { temperature = 0 })
      throws("expected a table of options after the text, got 5", "x", 5)
      throws("expected a table of options after the text, got true", "x", true)
      throws("the text is given twice", "x", { text = "y" })
    end
    local _, message, err = client:ask("x", { messages = {} })
    assert.equal("invalid_request: text and messages are both given; text is one user message", message)
    assert.equal("text", err.param)
  end)

  it("lets the call override the client, and the client be unset by null", function()
    local client, transport = testing.client({ "a", "b" }, { temperature = 0.5, seed = 7 })
    client:ask { messages = "x", temperature = 1, seed = vllm.null }
    client:ask "x"
    assert.equal(1, transport.requests[1].body.temperature)
    assert.is_nil(transport.requests[1].body.seed)
    assert.equal(7, transport.requests[2].body.seed)
  end)

  it("asks for usage in a stream", function()
    local client, transport = testing.client { "a" }
    client:ask "x"
    assert.same({ include_usage = true }, transport.requests[1].body.stream_options)
    assert.is_true(transport.requests[1].body.stream)
  end)
end)

describe("client:body", function()
  it("gives the bytes that a turn sends", function()
    local client, transport = testing.client { "a" }
    local request = { messages = { "x", { role = "assistant", content = "y" }, "z" }, tools = { { name = "f" } },
      stop = { "a" } }
    local body = assert(client:body(request))
    client:ask(request)
    assert.equal(transport.requests[1].text, body)
  end)

  it("gives nil, message, err for bad data", function()
    local body, message, err = testing.client({}):body { messages = { { role = "tool", tool_call_id = "x",
      content = "y" } } }
    assert.is_nil(body)
    assert.equal("string", type(message))
    assert.equal("invalid_request", err.kind)
  end)
end)

describe("client:request", function()
  local function answering(status, body, kind)
    local seen = {}
    local transport = { name = "one", options = {} }
    function transport.open(_, request)
      seen[#seen + 1] = request
      local stream = { sent = false }
      function stream.head() return status, { ["content-type"] = kind or "application/json" } end
      function stream.read(self)
        if self.sent or body == "" then return nil end
        self.sent = true
        return body
      end
      function stream.info() return {} end
      function stream.close() end
      return stream
    end
    return vllm.new { model = "m", api_key = "sk-1234", base_url = "http://h:1/prefix/v1", transport = transport }, seen
  end

  it("reaches another endpoint of the same server and decodes JSON", function()
    local client, seen = answering(200, '{"count":3,"big":9007199254740993}')
    local answer = assert(client:request("POST", "/tokenize", { model = "m", prompt = "a b" }))
    assert.equal(3, answer.json.count)
    assert.equal(200, answer.status)
    assert.equal('{"model":"m","prompt":"a b"}', seen[1].body)
    assert.equal("http://h:1/prefix/tokenize", seen[1].url)
  end)

  it("returns a plain body as it is", function()
    local answer = assert(answering(200, "ok", "text/plain"):request("GET", "/health"))
    assert.equal("ok", answer.body)
    assert.is_nil(answer.json)
  end)

  it("gives nil, message, err for a failure", function()
    local answer, message, err = answering(401, '{"error":"Unauthorized"}'):request("GET", "/v1/models")
    assert.is_nil(answer)
    assert.equal("auth", err.kind)
    assert.truthy(message:find("Unauthorized", 1, true))
  end)

  it("does not blame base_url for the caller's path", function()
    local _, message = answering(404, '{"detail":"Not Found"}'):request("GET", "/nope")
    assert.equal("not_found: Not Found (status 404); the server has no such address: http://h:1/prefix/nope; "
      .. "a path starts at the server's root, as in /v1/models", message)
  end)

  it("throws on misuse", function()
    local client = answering(200, "")
    assert.has_error(function() client:request("get", "/x") end,
      'client:request: method must be a word in capitals, got "get"')
    assert.has_error(function() client:request("GET", "x") end, 'client:request: path must begin with /, got "x"')
  end)
end)

describe("a model that is not served", function()
  it("is answered with those that are", function()
    local transport = { name = "two", options = {} }
    function transport.open(_, request)
      local is_list = request.method == "GET"
      local bodies = { is_list and '{"data":[{"id":"qwen"},{"id":"llama"}]}'
        or '{"error":{"message":"The model `x` does not exist.","param":"model","code":404}}' }
      return { head = function() return is_list and 200 or 404, { ["content-type"] = "application/json" } end,
        read = function() return table.remove(bodies) end, info = function() return {} end, close = function() end }
    end
    local _, message, err = vllm.new({ model = "x", transport = transport }):ask "hi"
    assert.equal("not_found", err.kind)
    assert.truthy(message:find("the server serves: qwen, llama", 1, true), message)
  end)
end)

describe("vllm.decoder", function()
  local CHUNK = 'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'

  it("decodes bytes without any I/O", function()
    local decoder = vllm.decoder()
    assert.is_false(decoder:next())
    assert(decoder:feed(CHUNK .. "data: [DONE]\n\n"))
    local types = {}
    for event in function() return decoder:next() or nil end do types[#types + 1] = event.type end
    assert.equal("turn_end", types[#types])
    assert.equal("hi", decoder:result().text)
  end)

  it("classifies the server's own error", function()
    local decoder = vllm.decoder()
    assert(decoder:feed 'data: {"error":{"message":"boom","code":500}}\n\n')
    local event, message, err = decoder:next()
    assert.is_nil(event)
    assert.equal("server", err.kind)
    assert.equal(message, select(2, decoder:next()))
  end)

  it("says truncated at an early end, with what had come in result", function()
    local decoder = vllm.decoder()
    assert(decoder:feed 'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n')
    assert(decoder:finish())
    local event, _, err
    repeat event, _, err = decoder:next() until not event
    assert.equal("truncated", err.kind)
    assert.equal("hi", decoder:result().text)
  end)

  it("takes a whole completion", function()
    local decoder = vllm.decoder()
    assert(decoder:body '{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}')
    while decoder:next() do end
    assert.equal("hi", decoder:result().text)
  end)
end)

describe("vllm.sse", function()
  it("is the event stage alone", function()
    local sse = vllm.sse()
    assert(sse:feed "event: a\ndata: 1\ndata: 2\nid: 7\n\n")
    assert.same({ "1\n2", "a", "7" }, { sse:next() })
    assert.is_false((sse:next()))
  end)
end)

describe("vllm.testing", function()
  it("says when its script is over", function()
    local _, message, err = testing.client({}):ask "x"
    assert.equal("config", err.kind)
    assert.truthy(message:find("has 0 replies, and one more was requested", 1, true))
  end)

  it("lets a function answer by what was asked", function()
    local client = testing.client { function(asked) return "You said " .. asked.messages[1].content end }
    assert.equal("You said hi", client:ask "hi")
  end)
end)

describe("vllm.is_error", function()
  it("knows an error of this module", function()
    local _, _, err = testing.client({}):ask "x"
    assert.is_true(vllm.is_error(err))
    assert.is_false(vllm.is_error "x")
  end)
end)

describe("the core", function()
  it("has a version and a clock that goes forward", function()
    assert.truthy(core.version:find("^%d+%.%d+%.%d+"))
    local before = core.now()
    assert.is_true(core.now() >= before)
  end)
end)
