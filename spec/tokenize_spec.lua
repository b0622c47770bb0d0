-- client:tokens: the server counts the very body that a turn would send.
require "spec.support.env"
local json = require "vllm.json"
local testing = require "vllm.testing"
local tokenize = require "vllm.request.tokenize"

local PARAMETERS = { type = "object", properties = { a = { type = "string" } } }
local TOOL = { name = "f", description = "F", parameters = PARAMETERS }

local function counting(tokens, options)
  local all = { tokens = tokens }
  for key, value in pairs(options or {}) do all[key] = value end
  return testing.client({}, all)
end

describe("client:tokens", function()
  it("sends the body of a turn to /tokenize and gives the count and the length of the context", function()
    local options = { base_url = "http://h/prefix/v1?v=2", temperature = 0 }
    local client, transport = counting(function() return 17, 32768 end, options)
    local request = { messages = { "hi" }, tools = { TOOL }, chat_template_kwargs = { enable_thinking = false },
      add_generation_prompt = false, headers = { ["X-Tenant"] = "seven" } }
    assert.same({ count = 17, max_model_len = 32768 }, assert(client:tokens(request)))
    local sent = transport.counts[1]
    assert.equal("http://h/prefix/tokenize?v=2", sent.url)
    assert.equal(assert(client:body(request)), sent.text)
    local headers = {}
    for _, header in ipairs(sent.headers) do headers[header[1]] = header[2] end
    assert.equal("seven", headers["X-Tenant"])
    assert.equal("application/json", headers.Accept)
    assert.same({}, transport.requests)
  end)

  it("takes a text and options, as a turn does", function()
    local client, transport = counting(function(asked) return #asked.messages end)
    assert.equal(2, client:tokens("hi", { system = "Be brief." }).count)
    assert.equal("Be brief.", transport.counts[1].body.messages[1].content)
  end)

  it("says that the server cannot count, or refuses", function()
    local counted, message, err, _ = counting(nil):tokens "hi"
    assert.is_nil(counted)
    assert.equal("not_found", err.kind)
    local advice = "/tokenize; it cannot count tokens, or a gateway does not pass /tokenize on"
    assert.truthy(message:find(advice, 1, true), message)
    _, _, err = counting(function() return { status = 401, body = { error = { message = "no" } } } end):tokens "hi"
    assert.equal("auth", err.kind)
    _, message, err = counting(function() return { fail = "connect", detail = "refused" } end):tokens "hi"
    assert.equal("connect", err.kind)
    assert.equal("connect: refused", message)
    _, message, err = counting(function() end):tokens "hi"
    assert.equal("config: vllm.testing: tokens: expected a string, a table or a function, got nil", message)
    assert.equal("config", err.kind)
  end)

  it("gives an error for an answer that is none", function()
    for _, body in ipairs { { tokens = { 1 } }, { count = "3" }, { count = -1 }, "[]", "count", "" } do
      local counted, message, err = counting(function() return { status = 200, body = body } end):tokens "hi"
      assert.is_nil(counted)
      assert.equal("protocol", err.kind)
      assert.equal("protocol: the answer of /tokenize has no `count`", message)
    end
  end)

  it("gives an error for a request that cannot be sent, and sends nothing", function()
    local client, transport = counting(function() return 1 end)
    local counted, message, err = client:tokens { messages = { { role = "usr", content = "x" } } }
    assert.is_nil(counted)
    assert.equal("invalid_request", err.kind)
    assert.equal(message, select(2, client:body { messages = { { role = "usr", content = "x" } } }))
    assert.same({}, transport.counts)
    local ok, why = pcall(client.tokens, client)
    assert.is_false(ok)
    assert.truthy(why:find("client:tokens: expected a request (a table or a string), got nil", 1, true), why)
  end)

  it("shows no secret of the call's own headers in an error", function()
    local refusal = { status = 400, body = { error = { message = "bad key sk-abcdefgh1" } } }
    local client = counting(function() return refusal end)
    local message = select(2, client:tokens("hi", { headers = { Authorization = "Bearer sk-abcdefgh1" } }))
    assert.is_nil(message:find("sk-abcdefgh1", 1, true))
  end)
end)

describe("the body for /tokenize", function()
  local function kwargs(body) return json.decode(tokenize.body(body)).chat_template_kwargs end

  it("has what a chat completion gives the template in fields of their own", function()
    assert.same({ a = 1, reasoning_effort = "low" },
      kwargs '{"chat_template_kwargs":{"a":1,"reasoning_effort":"high"},"messages":[],"reasoning_effort":"low"}')
    assert.same({ documents = { { text = "d" } } }, kwargs '{"documents":[{"text":"d"}],"messages":[]}')
  end)

  it("is the same bytes otherwise", function()
    for _, body in ipairs {
      '{"messages":[]}', '{"messages":["reasoning_effort"], "x": "documents"}', '{"documents":null}',
      '{"reasoning_effort":',
    } do
      assert.equal(body, tokenize.body(body))
    end
  end)

  it("survives template arguments of any kind", function()
    assert.same({ reasoning_effort = "low" }, kwargs '{"chat_template_kwargs":5,"reasoning_effort":"low"}')
  end)
end)

describe("an answer of /tokenize", function()
  it("is a count, and perhaps a length", function()
    assert.same({ count = 3 }, tokenize.read '{"count":3,"max_model_len":null,"tokens":[1,2,3]}')
    assert.same({ count = 0, max_model_len = 8 }, tokenize.read '{"count":0,"max_model_len":8}')
    assert.same({ count = 3 }, tokenize.read '{"count":3,"max_model_len":"x"}')
    assert.is_nil(tokenize.read '{"count":1.5}')
  end)
end)

describe("a scripted server", function()
  it("is told how to count by a function", function()
    local ok, why = pcall(testing.client, {}, { tokens = 5 })
    assert.is_false(ok)
    assert.truthy(why:find("vllm.testing: tokens: expected a function, got 5", 1, true), why)
  end)
end)
