-- What must never be seen: the key, header values, passwords of URLs, query values. Sent where they belong (the server's log is the
-- proof), and in nothing that a program or a person can look at afterwards.
local secrets = require "spec.support.secrets"
local server = require "spec.support.server"
local vllm = require "vllm"

local KEY, HEADER, CALL_HEADER, PASSWORD = secrets.KEY, secrets.HEADER, secrets.CALL_HEADER, secrets.PASSWORD
local PROXY_PASSWORD, QUERY = secrets.PROXY_PASSWORD, secrets.QUERY
local assert_clean, with_user = secrets.assert_none, secrets.with_user

local EVENTS = 'data: {"id":"1","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

local function answer(status, kind, body)
  return ("HTTP/1.1 %d X\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s"):format(status, kind, #body, body)
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
      headers = { ["X-Api-Key"] = HEADER, ["Proxy-Authorization"] = false }, timeout = { idle_s = 5, first_event_s = 5 },
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

  it("stay out of the errors of misuse", function()
    local cases = {
      { api_key = KEY .. "\n" }, { headers = { ["X-Api-Key"] = HEADER .. "\r\nx: y" } }, { headers = { ["X Y"] = HEADER } },
      { base_url = "ftp://user:" .. PASSWORD .. "@h/?token=" .. QUERY }, { base_url = "http://user:" .. PASSWORD .. "@h:x/?token=" .. QUERY },
      { base_url = "user:" .. PASSWORD .. "@h/?token=" .. QUERY }, { proxy = "user:" .. PROXY_PASSWORD .. "@h" },
      { proxy = "gopher://user:" .. PROXY_PASSWORD .. "@h" }, { api_key = { KEY } }, { base_url = { PASSWORD } },
      { api_key = KEY, colour = 1 },
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
