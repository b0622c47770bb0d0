-- What must never be seen: the key, header values, passwords of URLs, query values. Sent where they belong (the
-- server's log is the proof), and in nothing that a program or a person can look at afterwards.
local secrets = require "spec.support.secrets"
local server = require "spec.support.server"
local vllm = require "vllm"

local KEY, HEADER, CALL_HEADER, PASSWORD = secrets.KEY, secrets.HEADER, secrets.CALL_HEADER, secrets.PASSWORD
local PROXY_PASSWORD, QUERY = secrets.PROXY_PASSWORD, secrets.QUERY
local assert_clean, with_user = secrets.assert_none, secrets.with_user

local EVENTS = 'data: {"id":"1","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: '
  .. '[DONE]\n\n'

local function answer(status, kind, body)
  return ("HTTP/1.1 %d X\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s"):format(status, kind, #body, body)
end

local JSON_ALL = vllm.json.encode(secrets.all):sub(2, -2)

local function echoed(code)
  return '{"error":{"message":"' .. JSON_ALL .. '","code":' .. code .. ',"type":"' .. KEY .. '","param":"' .. HEADER
    .. '"}}'
end

describe("secrets", function()
  local running

  setup(function() running = server.start {} end)
  teardown(function() running:stop() end)
  before_each(function() running:clear_log() end)

  local function client_for(bytes, options)
    local path = bytes and running:script { { "send", bytes } } or "/v1/chat/completions"
    local all = {
      model = "test-model", base_url = with_user(running.url, PASSWORD) .. path .. "?token=" .. QUERY, api_key = KEY,
      headers = { ["X-Api-Key"] = HEADER, ["Proxy-Authorization"] = false },
        timeout = { idle_s = 5, first_event_s = 5 },
      retry = false, tls = { cert = "/nowhere", key_password = secrets.KEY_PASSWORD },
    }
    for key, value in pairs(options or {}) do all[key] = value end
    return vllm.new(all)
  end

  local REQUEST = { messages = "Hi", headers = { ["X-Call"] = CALL_HEADER } }

  it("reach the server and stay out of client, turn, events and result", function()
    local client = client_for(answer(200, "text/event-stream", EVENTS))
    local turn, events = client:turn(REQUEST), {}
    assert_clean(client, turn)
    for event in turn:events() do events[#events + 1] = event end
    assert.equal("hi", turn:text())
    assert_clean(client, turn, events, turn:result(), vllm)
    local request = running:log("request")[1]
    assert.equal("Bearer " .. KEY, request.headers.authorization)
    assert.equal(HEADER, request.headers["x-api-key"])
    assert.equal(CALL_HEADER, request.headers["x-call"])
    assert.truthy(request.path:find("?token=" .. QUERY, 1, true))
  end)

  it("stay out of a turn whose answer is being read", function()
    local path = running:script { { "send",
      "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n" .. EVENTS:match("^.-\n\n") }, "stall" }
    local turn = client_for(nil, { base_url = with_user(running.url, PASSWORD) .. path .. "?token="
      .. QUERY }):turn(REQUEST)
    assert(turn:next())
    assert_clean(turn)
    turn:cancel()
    assert_clean(turn)
  end)

  it("of the address reach the server as Basic credentials", function()
    local client = client_for(answer(200, "text/event-stream", EVENTS), { api_key = "" })
    local session = client:session { id = "me" }
    assert(session:turn("Hi"):result())
    assert_clean(client, session)
    assert.equal("Basic " .. secrets.BASIC, running:log("request")[1].headers.authorization)
  end)

  it("of a proxy reach the proxy", function()
    local client = client_for(nil, { proxy = with_user(running.url, PROXY_PASSWORD), no_proxy = "nowhere.invalid",
      base_url = "http://model.invalid/v1" })
    local turn = client:turn(REQUEST)
    local result, message = turn:result()
    assert_clean(client, turn, result, message)
    assert.truthy(running:log("request")[1].headers["proxy-authorization"])
  end)

  local echoes = {
    { "a refusal", answer(401, "application/json", echoed(401)), "auth" },
    { "a bad request", answer(400, "application/json", echoed(400)), "invalid_request" },
    { "a page", answer(502, "text/html", "<html><title>" .. secrets.all .. "</title></html>"), "overloaded" },
    { "plain text", answer(500, "text/plain", secrets.all), "server" },
    { "an error event", answer(200, "text/event-stream", "data: " .. echoed(500) .. "\n\ndata: [DONE]\n\n"), "server" },
    { "a whole body that is no completion", answer(200, "application/json", '{"message":"' .. JSON_ALL .. '"}'),
      "protocol" },
    { "a redirect", "HTTP/1.1 302 X\r\nlocation: http://user:" .. PASSWORD .. "@h/?token=" .. QUERY
      .. "\r\ncontent-length: 0\r\n\r\n", "protocol" },
  }
  for _, case in ipairs(echoes) do
    it("that a server echoes are blotted out: " .. case[1], function()
      local turn = client_for(case[2]):turn(REQUEST)
      local result, message, err = turn:result()
      assert.is_nil(result)
      assert.equal(case[3], err.kind)
      turn.headers = nil -- the answer's own, as the server sent them
      assert_clean(message, err, turn, turn:error())
      local raised, why = pcall(function() for _ in turn:events() do end end)
      assert.is_false(raised)
      assert_clean(why)
      assert_clean(select(2, pcall(assert, turn:result())))
    end)
  end

  it("that another endpoint echoes are blotted out", function()
    local client = client_for(nil, { headers = { ["X-Api-Key"] = HEADER, ["X-Call"] = CALL_HEADER } })
    local path = running:script { { "send", answer(400, "application/json", echoed(400)) } }
    local reply, message, err = client:request("POST", path, { a = 1 })
    assert.is_nil(reply)
    assert_clean(message, err)
  end)

  it("stay out of failures of the connection", function()
    local refused = "http://user:" .. PASSWORD .. "@127.0.0.1:1/v1?token=" .. QUERY
    local cases = {
      { base_url = refused }, { base_url = (refused:gsub("http", "https")) },
        { base_url = (refused:gsub("127.0.0.1", "no.such.host.invalid")) },
      { base_url = refused, proxy = "http://user:" .. PROXY_PASSWORD .. "@127.0.0.1:1", no_proxy = "nowhere.invalid" },
      { base_url = refused, proxy = "socks5h://user:" .. PROXY_PASSWORD .. "@127.0.0.1:1",
        no_proxy = "nowhere.invalid" },
      { base_url = refused, proxy = "http://user:" .. PROXY_PASSWORD .. "@no such host$.invalid:1" },
      { base_url = refused, proxy = "http://user:" .. PROXY_PASSWORD .. "@ho$t.invalid:1",
        no_proxy = "nowhere.invalid" },
      { base_url = refused, unix_socket = "/nowhere/at/all" },
    }
    for i, options in ipairs(cases) do
      options.model, options.api_key, options.headers = "m", KEY, { ["X-Api-Key"] = HEADER }
      options.retry = { max = 1, base_s = 0.001 }
      local made, client = pcall(vllm.new, options)
      assert_clean(client)
      if made then
        local turn = client:turn(REQUEST)
        local result, message, err = turn:result()
        assert.is_nil(result, "case " .. i)
        assert_clean(message, err, turn, client)
      end
    end
  end)

  it("stay out of the errors of misuse", function()
    local cases = {
      { api_key = KEY .. "\n" }, { headers = { ["X-Api-Key"] = HEADER .. "\r\nx: y" } },
        { headers = { ["X Y"] = HEADER } },
      { base_url = "ftp://user:" .. PASSWORD .. "@h/?token=" .. QUERY },
        { base_url = "http://user:" .. PASSWORD .. "@h:x/?token=" .. QUERY },
      { base_url = "user:" .. PASSWORD .. "@h/?token=" .. QUERY }, { proxy = "user:" .. PROXY_PASSWORD .. "@h" },
      { proxy = "gopher://user:" .. PROXY_PASSWORD .. "@h" }, { api_key = { KEY } }, { base_url = { PASSWORD } },
      { api_key = KEY, colour = 1 },
      -- without the `@` that would tell what is what
      { base_url = "http://user:" .. PASSWORD .. "/v1" }, { base_url = "user:" .. PASSWORD },
        { base_url = "http:/user:" .. PASSWORD .. "/v1" },
      { base_url = "http://h:8080:user:" .. PASSWORD }, { base_url = "http://user:" .. PASSWORD .. "%40h/v1" },
      { base_url = "http://user%3A" .. PASSWORD .. "%40h/v1" }, { base_url = "http://user:" .. PASSWORD .. "\\@h/v1" },
      { base_url = "http://h/v1#" .. QUERY }, { base_url = KEY }, { base_url = "http:user:" .. PASSWORD },
        { base_url = "http//user:" .. PASSWORD },
      { proxy = "http://user:" .. PROXY_PASSWORD }, { proxy = "h:8080:user:" .. PROXY_PASSWORD },
        { proxy = "user:" .. PROXY_PASSWORD },
      { proxy = "socks5://user:" .. PROXY_PASSWORD .. ":1080" }, { proxy = "gopher://user:" .. PROXY_PASSWORD },
    }
    for i, options in ipairs(cases) do
      options.model = "m"
      local made, message = pcall(vllm.new, options)
      assert.is_false(made, "case " .. i)
      assert_clean(message)
      local client = vllm.new { model = "m", api_key = KEY }
      made, message = pcall(client.with, client, options)
      assert.is_false(made, "case " .. i)
      assert_clean(message)
    end
  end)
end)
