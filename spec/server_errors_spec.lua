-- What servers say, as errors: kind, numbers and words, from what real servers sent and from what proxies are known to
-- send.
local server_errors = require "vllm.base.server_errors"

local function recorded(name)
  local file = assert(io.open("spec/fixtures/" .. name .. ".http", "rb"))
  local text = file:read("*a")
  file:close()
  local head, body = text:match("^(.-)\r\n\r\n(.*)$")
  local headers = {}
  for key, value in head:gmatch("\r\n([^:\r\n]+):%s*([^\r\n]*)") do headers[key:lower()] = value end
  return tonumber(head:match("^HTTP/1.1 (%d+)")), headers, body
end

local CONTEXT = { url = "http://h/v1/chat/completions", has_key = true, now_unix = 784111777 }

local function context(fields)
  local all = {}
  for key, value in pairs(CONTEXT) do all[key] = value end
  for key, value in pairs(fields or {}) do all[key] = value end
  return all
end

describe("the error of a recorded answer", function()
  local cases = {
    { "vllm/error-choice-without-tools", "invalid_request", param = "tool_choice", code = 400 },
    { "vllm/error-context", "context_length", param = "input_tokens", limit = 2048, prompt = 2049, lower = true },
    { "vllm/error-context-buffered", "context_length", limit = 2048, prompt = 2049, lower = true },
    { "vllm/error-context-by-max-tokens", "context_length", limit = 2048, completion = 4000 },
    { "vllm/error-empty-tools", "invalid_request", param = "tools" },
    { "vllm/error-image", "invalid_request" },
    { "vllm/error-malformed-json", "invalid_request", param = "body.34" },
    { "vllm/error-messages-missing", "invalid_request" },
    { "vllm/error-method", "not_found", words = "Method Not Allowed" },
    { "vllm/error-model", "not_found", words = "nope", param = "model" },
    { "vllm/error-no-key", "auth", words = "Unauthorized" },
    { "vllm/error-wrong-key", "auth", words = "rejected the key" },
    { "vllm/error-no-messages", "invalid_request" },
    { "vllm/error-not-json-type", "invalid_request" },
    { "vllm/error-path", "not_found", words = "base_url usually ends in /v1" },
    { "vllm/error-role-order", "role_order", words = "strict_alternating_roles" },
    { "vllm/error-temperature", "invalid_request", param = "temperature" },
    { "vllm/error-unknown-tool-choice", "invalid_request" },
    { "vllm/engine-dead", "server", retryable = true },
    { "vllm/overload-1", "overloaded", retryable = true },
    { "llama-server/error-context", "context_length", limit = 1024, prompt = 1531 },
    { "llama-server/error-grammar", "invalid_request" },
    { "llama-server/error-malformed-json", "server" },
    { "llama-server/error-messages-missing", "invalid_request" },
    { "llama-server/error-path", "not_found" },
    { "llama-server/error-schema", "invalid_request" },
    { "llama-server/error-wrong-key", "auth", words = "Invalid API Key" },
  }
  for _, case in ipairs(cases) do
    it(case[1] .. " is " .. case[2], function()
      local status, headers, body = recorded(case[1])
      local err = server_errors.from_status(status, headers, body, context())
      assert.equal(case[2], err.kind)
      assert.equal(status, err.status)
      assert.equal(case[2] .. ": ", err.message:sub(1, #case[2] + 2))
      assert.equal(body, err.body)
      assert.equal(headers["x-request-id"], err.request_id)
      assert.equal(case.retryable or case[2] == "server" or false, err.retryable)
      if case.param then assert.equal(case.param, err.param) end
      if case.code then assert.equal(case.code, err.code) end
      if case.words then assert.truthy(err.message:find(case.words, 1, true), err.message) end
      if case[2] == "context_length" then
        assert.equal(case.limit, err.context.limit)
        assert.equal(case.prompt, err.context.prompt)
        assert.equal(case.completion, err.context.completion)
        assert.equal(case.lower, err.context.prompt_is_lower_bound)
      end
    end)
  end
end)

describe("a status without a recording", function()
  local cases = {
    { 301, "protocol", false }, { 307, "protocol", false }, { 400, "invalid_request", false }, { 403, "auth", false },
    { 407, "auth", false }, { 408, "timeout", true }, { 409, "server", true }, { 413, "invalid_request", false },
      { 415, "invalid_request", false },
    { 422, "invalid_request", false }, { 429, "rate_limited", true }, { 500, "server", true },
      { 501, "invalid_request", false },
    { 502, "overloaded", true }, { 503, "overloaded", true }, { 504, "overloaded", true }, { 505, "protocol", false },
    { 507, "server", true }, { 529, "overloaded", true }, { 418, "invalid_request", false }, { 600, "protocol", false },
    { 999, "protocol", false },
  }
  for _, case in ipairs(cases) do
    it(case[1] .. " is " .. case[2], function()
      local err = server_errors.from_status(case[1], {}, "", context())
      assert.equal(case[2], err.kind)
      assert.equal(case[3], err.retryable)
      assert.truthy(err.message:find("(status " .. case[1] .. ")", 1, true), err.message)
    end)
  end

  it("an exhausted quota is not worth another try", function()
    local err = server_errors.from_status(429, {}, '{"error":{"message":"no more","code":"insufficient_quota"}}',
      context())
    assert.equal("rate_limited", err.kind)
    assert.is_false(err.retryable)
  end)

  it("a redirect names the host it points to, and nothing else of its target", function()
    local err = server_errors.from_status(302, { location = "https://user:secret@elsewhere.example:8443/x?key=abc" },
      "", context())
    assert.truthy(err.message:find("elsewhere.example:8443", 1, true), err.message)
    assert.is_nil(err.message:find("secret", 1, true))
    assert.is_nil(err.message:find("abc", 1, true))
  end)

  it("a proxy that requires a password says so, and blames no key", function()
    local err = server_errors.from_status(407, {}, "", context { has_key = false })
    assert.truthy(err.message:find("a proxy requires a user and a password", 1, true))
  end)

  it("a missing key is not reported as a refused one", function()
    local err = server_errors.from_status(401, {}, "", context { has_key = false })
    assert.truthy(err.message:find("requires a key", 1, true))
  end)

  it("a 404 for a model names the models that are served", function()
    local err = server_errors.from_status(404, {},
      '{"error":{"message":"The model `x` does not exist.","param":"model","code":404}}',
      context { served = { "a", "b" } })
    assert.truthy(err.message:find("the server serves: a, b", 1, true), err.message)
  end)
end)

-- Patterns that try every place against the whole rest take hours for these: the suite would meet its limit.
describe("a hostile server's text is read in linear time", function()
  local N = 64 * 1024
  local function fill(text) return text:rep(math.floor(N / #text)) end
  local bodies = {
    fill " ", fill "9", fill "<title", fill "<title>", "<title>" .. fill " ", "<title>" .. fill "<", fill "max_tokens",
    fill "max_completion_tokens=", fill "tokens is too large: ", fill "(9", "max_model_len" .. fill " ", fill '"n_ctx"',
      fill "at least 9",
    fill " \t" .. "x", "<" .. fill " ", fill "at least 9 ",
  }
  for i, text in ipairs(bodies) do
    it(("body %d: %s…"):format(i, text:sub(1, 12)), function()
      local wrapped = assert(require("vllm.core").json_encode { error = { message = text .. " maximum context length",
        code = 400 } })
      for _, body in ipairs { text, "<html>" .. text, wrapped } do
        for _, status in ipairs { 302, 400, 404, 500 } do
          assert.truthy(server_errors.from_status(status,
            { location = text, ["retry-after"] = text .. "x", ["retry-after-ms"] = text }, body, context()))
        end
        assert.truthy(server_errors.from_decoder({ kind = "stream", detail = "", body = body }, context()))
      end
    end)
  end
end)

describe("a message", function()
  it("of a server is short, printable and UTF-8", function()
    local text = "\27[2Jé" .. ("é"):rep(5000)
    local body = assert(require("vllm.core").json_encode { error = { message = text, code = 400 } })
    local err = server_errors.from_status(400, {}, body, context())
    assert.is_true(#err.message < 2100)
    assert.is_nil(err.message:find("\27", 1, true))
    assert.truthy(err.message:find("invalid_request: ?[2Jéé", 1, true))
    assert.truthy(require("vllm.core").json_encode(err.message))
    assert.equal(body, err.body)
  end)

  it("of a page that is not UTF-8 can be written as JSON", function()
    local err = server_errors.from_status(502, {}, "<html><title>Caf\233\n ferm\233</title>", context())
    assert.equal("overloaded: the server returned an HTML page (Caf? ferm?); is there a proxy in between? (status 502)",
      err.message)
  end)
end)

describe("an error event in a 200 stream", function()
  local cases = {
    { '{"error":{"message":"boom","type":"InternalServerError","param":null,"code":500}}', "server", true },
    { '{"error":{"message":"Unsupported type","type":"BadRequestError","code":400}}', "invalid_request", false },
    { '{"error":{"message":"busy","code":503}}', "overloaded", true },
    { '{"object":"error","message":"boom","code":400}', "invalid_request", false },
    { '{"error":"boom"}', "stream", false },
    { '{"error":{"message":"maximum context length is 10 tokens","code":400}}', "context_length", false },
    { '{"error":{"message":"m","code":"server_error"}}', "server", true },
    { '{"error":{"message":"m","code":"502"}}', "overloaded", true },
    { '{"error":{}}', "stream", false },
  }
  for _, case in ipairs(cases) do
    it(case[2] .. " for " .. case[1]:sub(1, 50), function()
      local err = server_errors.from_decoder({ kind = "stream", detail = "", body = case[1] }, context())
      assert.equal(case[2], err.kind)
      assert.equal(case[3], err.retryable)
      assert.equal(case[2] .. ": ", err.message:sub(1, #case[2] + 2))
    end)
  end
end)
