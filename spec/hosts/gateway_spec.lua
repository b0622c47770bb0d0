-- examples/openresty: the program as it is, but for where it listens and logs.
require "spec.support.env"
local cjson = require "cjson"
local nginxes = require "spec.support.nginx"
local servers = require "spec.support.server"

local FOLDER = "examples/openresty/"
local POLICY = [[
return {
  users = { alice = { name = "alice", max_completion_tokens = 64 }, bob = { name = "bob", max_completion_tokens = 64, models = {} },
    carol = { name = "carol", max_completion_tokens = 10000 } },
  models = {}, forbidden = { "n", "priority" },
}]]

local function conf(prefix)
  local text = nginxes.read_file(FOLDER .. "nginx.conf")
  local function put(pattern, by)
    local count
    text, count = text:gsub(pattern, by)
    assert.equal(1, count)
  end
  put("listen 127.0.0.1:8080;", "listen unix:" .. prefix .. "/nginx.sock;")
  put("error_log stderr notice;", nginxes.as_root .. "error_log error.log notice;")
  put("access_log /dev/stdout tokens;", "access_log access.log tokens;")
  put("worker_processes auto;", "worker_processes 1;")
  put("load_module.-http_lua_module.so;", nginxes.modules)
  return text
end

describe("the gateway", function()
  local server, nginx, expected

  setup(function()
    server = servers.start { key = "upstream-secret" }
    nginx = nginxes.start { conf = conf, files = { ["gateway.lua"] = nginxes.read_file(FOLDER .. "gateway.lua"), ["policy.lua"] = POLICY },
      environment = { VLLM_BASE_URL = server.url .. "/v1?pace_ms=5", VLLM_MODEL = "test-model", VLLM_API_KEY = "upstream-secret" } }
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
    options.headers = { ["content-type"] = "application/json", authorization = token ~= "" and "Bearer " .. (token or "alice") or nil }
    return nginx:request("/v1/chat/completions", options)
  end

  local MESSAGES = { { role = "user", content = "hello" } }

  -- The log gets its line behind the answer.
  local function logs(pattern)
    local text
    local found = nginxes.wait_for(function()
      text = nginxes.read_file(nginx.prefix .. "/access.log")
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
    assert.matches('{ "messages" : [ {"role":"user","content":"caf\\u00e9"} ],"seed":12345678901234567, "x_own": 1.50', sent, 1, true)
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

  it("gives vLLM's own refusal", function()
    local status, _, body = ask { messages = MESSAGES, tool_choice = "required" }
    assert.equal(400, status)
    assert.is_string(cjson.decode(body).error.message)
    logs "status=400 .* error=invalid_request"
  end)

  it("ends upstream what its client leaves", function()
    ask({ messages = { { role = "user", content = ("word "):rep(5000) } }, stream = true }, "carol", { read = 500 })
    local record = server:wait_for(function(log)
      for _, entry in ipairs(log) do
        if entry.event == "close" and entry.midway then return entry end
      end
    end)
    assert.equal("client", record.by)
    logs "user=carol model=test%-model status=%d+ prompt=%-"
  end)

  it("answers a ping", function()
    assert.equal("pong\n", (select(3, nginx:request "/ping")))
  end)
end)
