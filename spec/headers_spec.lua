-- Request headers: ours, the client's and the call's, what is refused, and what is secret in them.
local config = require "vllm.request.config"
local core = require "vllm.core"
local headers = require "vllm.request.headers"
local request = require "vllm.request"

local function build(call, options)
  options = options or {}
  options.model = options.model or "m"
  return assert(request.build(config.check(options), call))
end

describe("headers", function()
  local function list(options, call, stream)
    options.model = "m"
    local out = {}
    for i, header in ipairs(headers.of_request(config.check(options), stream or false,
      headers.check(call and call.headers or {}))) do
      out[i] = header[1] .. ": " .. header[2]
    end
    return out
  end
  local AGENT, PLAIN = "User-Agent: lua-vllm/" .. core.version, "Accept-Encoding: identity"

  it("are ours alone by default", function()
    assert.same({ "Content-Type: application/json", "Accept: application/json", AGENT, PLAIN }, list {})
    assert.same({ "Content-Type: application/json", "Accept: text/event-stream", AGENT, PLAIN }, list({}, {}, true))
  end)

  it("bring the key", function()
    assert.equal("Authorization: Bearer k", list({ api_key = "k" })[5])
    assert.is_nil(list({ api_key = "" })[5])
  end)

  it("of the client and then of the call replace ours, in any case of letters", function()
    local got = list({ api_key = "k", headers = { authorization = "Token t", ["X-B"] = "1" } },
      { headers = { ["USER-AGENT"] = "mine", ["X-B"] = "2", ["X-Request-Id"] = "r" } })
    assert.same({ "Content-Type: application/json", "Accept: application/json", "USER-AGENT: mine", PLAIN,
      "authorization: Token t", "X-B: 2",
      "X-Request-Id: r" }, got)
  end)

  it("are taken away by null and by false", function()
    assert.same({ "Content-Type: application/json", "Accept: application/json", AGENT, PLAIN },
      list({ api_key = "k", headers = { ["X-A"] = "1" } },
        { headers = { Authorization = core.null, ["x-a"] = false } }))
  end)

  it("travel with the built request", function()
    local built = build({ text = "hi", headers = { ["X-Request-Id"] = "r" } })
    assert.same({ "X-Request-Id", "r" }, built.headers[#built.headers])
    assert.same({ "Accept", "text/event-stream" }, built.headers[2])
    assert.equal("http://localhost:8000/v1/chat/completions", built.url)
    assert.is_nil(built.body:find("X-Request-Id", 1, true))
  end)
end)

describe("headers.fault", function()
  it("is a predicate that shows no value", function()
    for _, case in ipairs {
      { 1, "x", 'is not a header name: a header is written ["Name"] = "value"' }, { "", "x", "is not a header name" },
      { "X Y", "x", "is not a header name" }, { "Content-Length", "1", "is written by the client itself" },
      { "TRANSFER-ENCODING", "chunked", "is written by the client itself" },
        { "X", 1, "must be a string, got a number" },
      { "X", "a\r\nY: b", "holds a line break, a NUL or another control character" },
      { "Authorization", "Bearer Bearer k", "has `Bearer` twice" },
        { "authorization", " k", "begins or ends with a blank" },
      { "Authorization", "Bearer a b", "must be `Bearer`, one blank and the key" },
    } do
      assert.equal(case[3], headers.fault(case[1], case[2]))
    end
    for _, value in ipairs { "", "Bearer k", "k", "Digest a, b" } do
      assert.is_nil(headers.fault("Authorization", value))
    end
  end)
end)

describe("headers.secrets", function()
  it("are long values without their scheme, the password of Basic credentials, and each cookie", function()
    local function of(name, value) return headers.secrets { { name, value } } end
    assert.same({ "abcdefghij" }, of("Authorization", "Bearer abcdefghij"))
    assert.same({ "bWU6c2VjcmV0", "secret" }, of("Authorization", "Basic bWU6c2VjcmV0"))
    assert.same({ "a=12345678; b=1", "12345678" }, of("Cookie", "a=12345678; b=1"))
    assert.same({}, of("X-Stage", "prod"))
    assert.same({}, of("User-Agent", "a long enough value"))
    assert.same({}, of("X-Gone", false))
  end)
end)
