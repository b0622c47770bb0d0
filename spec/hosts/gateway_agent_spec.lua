-- The agent of examples/openresty, in a real nginx.
require "spec.support.env"
local answers = require "spec.support.answers"
local cjson = require "cjson"
local gateways = require "spec.support.gateway"
local nginxes = require "spec.support.nginx"
local servers = require "spec.support.server"

local LOOK = answers.calls { { "get_order", '{"order":"1001"}' } }
local REFUND = answers.calls { { "refund", '{"order":"1001"}' } }
local DONE = answers.text "It is done."

describe("the agent in nginx", function()
  local server, nginx

  setup(function() server = servers.start {} end)
  teardown(function() server:stop() end)
  before_each(function() server:clear_log() end)
  after_each(function()
    if nginx then nginx:stop() end
    nginx = nil
  end)

  -- The gateway before a server that gives these answers.
  local function begin(...) nginx = gateways.start(server.url .. answers.script(server, ...) .. "/v1") end

  local function post(members, user)
    return { body = cjson.encode(members),
      headers = { ["content-type"] = "application/json", authorization = user ~= "" and "Bearer " .. (user or "alice") or nil } }
  end

  -- Its events: { { name, data }, … }
  local function ask(members, user)
    local status, headers, body = nginx:request("/agent", post(members, user))
    assert.equal(200, status, body)
    assert.matches("^text/event%-stream", headers["content-type"])
    local events = {}
    for name, data in body:gmatch "event: (%w+)\ndata: ([^\n]*)\n\n" do events[#events + 1] = { name, cjson.decode(data) } end
    return events
  end

  local function refuses(status, param, members, user)
    local got, _, body = nginx:request("/agent", post(members, user))
    assert.equal(status, got, body)
    local named = cjson.decode(body).error.param
    assert.equal(param, named ~= cjson.null and named or nil)
  end

  local function names(events)
    local list = {}
    for i, event in ipairs(events) do list[i] = event[1] end
    return table.concat(list, " ")
  end

  -- The latest result of a tool that the model read.
  local function read_result()
    local messages = cjson.decode(server:last_body()).messages
    for i = #messages, 1, -1 do
      if messages[i].role == "tool" then return messages[i].content end
    end
  end

  local function logs(pattern)
    local text
    assert.is_truthy(nginxes.wait_for(function()
      text = nginxes.read_file(nginx.prefix .. "/access.log")
      return text:find(pattern)
    end), text)
  end

  it("streams its text and its tools, and asks; the next request approves, even after a reload", function()
    begin(LOOK, REFUND, DONE)
    local events = ask { task = "Refund 1001" }
    assert.equal("start tool approval", names(events))
    assert.same({ name = "get_order", input = { order = "1001" } }, events[2][2])
    assert.equal('{"is_refunded":false,"item":"kettle","paid":40}', read_result())
    local id = events[1][2].id
    assert.same({ id = id, calls = { { name = "refund", input = { order = "1001" } } } }, events[3][2])

    local worker = nginx:worker()
    nginx:signal "HUP"
    assert.is_truthy(nginxes.wait_for(function() return nginx:worker() ~= worker end))
    events = ask { id = id, approve = true }
    assert.equal("start tool text done", names(events))
    assert.equal("It is done.", events[3][2].text)
    assert.equal("completed", events[4][2].stop)
    assert.equal("refunded", read_result())
    assert.equal(3, #server:log "request")
    logs "user=alice model=test%-model status=200"
  end)

  it("tells the model why a call was denied, and does nothing", function()
    begin(REFUND, answers.text "As you like.", LOOK, DONE)
    local id = ask({ task = "Refund 1001" })[1][2].id
    assert.equal("start text done", names(ask { id = id, approve = false, why = "ask the boss" }))
    assert.equal("Error: the call was denied: ask the boss", read_result())
    ask { id = id, task = "Was it refunded?" }
    assert.equal('{"is_refunded":false,"item":"kettle","paid":40}', read_result())
    assert.equal("Was it refunded?", (server:last_body():match 'Was it refunded%?'))
  end)

  it("an approval counts once, and for its own user only", function()
    begin(REFUND, { { "wait", 500 }, { "send", DONE }, "close" })
    local id = ask({ task = "Refund 1001" })[1][2].id
    refuses(404, "id", { id = id, approve = true }, "carol")
    local first = nginx:begin("/agent", post { id = id, approve = true })
    assert.is_truthy(server:wait_for(function() return #server:log "request" == 2 end))
    -- in the middle it is taken; at the end it waits for a task
    local status = nginx:request("/agent", post { id = id, approve = true })
    assert.is_true(status == 404 or status == 409, status)
    assert.matches("event: done", first.finish())
    refuses(409, "task", { id = id, approve = true })
    assert.equal(2, #server:log "request")
  end)

  it("refuses what it cannot be asked, and keeps the conversation", function()
    begin(REFUND, DONE)
    refuses(401, nil, { task = "x" }, "")
    refuses(400, "model", { task = "x" }, "bob")
    for param, list in pairs {
      task = { {}, { task = 5 }, { id = "ab", task = "x", approve = true } },
      id = { { id = 5, task = "x" }, { id = "../x", task = "x" }, { approve = true } },
      approve = { { id = "ab", approve = "yes" } },
    } do
      for _, members in ipairs(list) do refuses(400, param, members) end
    end
    refuses(404, "id", { id = "ab", task = "x" })
    assert.equal(0, #server:log "request")
    local id = ask({ task = "Refund 1001" })[1][2].id
    assert.equal(64, cjson.decode(server:last_body()).max_completion_tokens)
    refuses(409, "approve", { id = id, task = "and another thing" })
    assert.equal("start tool text done", names(ask { id = id, approve = true }))
  end)

  it("a client that leaves ends the run, and may go on with the conversation", function()
    local text = ("word "):rep(200) -- longer than all before it, so what is read ends within it
    begin(answers.silence(text), DONE)
    local received = servers.send(nginx.socket, nginxes.head("/agent", post { task = "Refund 1001" }), { read = 800 })
    local id = received:match '"id":"(%x+)"'
    assert.truthy(id, received)
    local record = server:wait_for(function(log)
      for _, entry in ipairs(log) do if entry.event == "close" and entry.midway then return entry end end
    end)
    assert.equal("client", record.by)
    logs "user=alice model=test%-model status=499 .* error=client_left"
    assert.equal("start text done", names(ask { id = id, task = "Go on" }))
    assert.truthy(server:last_body():find('"content":"' .. text .. '"', 1, true), server:last_body())
  end)

  it("says so if a conversation is too large to be kept", function()
    begin(DONE)
    assert.equal("start text error", names(ask { task = ("x"):rep(11 * 1024 * 1024) }))
    logs "status=200 .* error=overloaded"
    assert.matches("a conversation is lost: no memory", nginx:log(), 1, true)
  end)

  it("blocks no worker while the model is silent", function()
    begin(answers.silence())
    local waiting = nginx:begin("/agent", post { task = "Refund 1001" })
    assert.is_truthy(server:wait_for(function() return #server:log "request" == 1 end))
    assert.equal("pong\n", (select(3, nginx:request "/ping")))
    nginx:stop()
    waiting.finish()
  end)

  it("tells of a failure in the gateway's words; the conversation goes on", function()
    begin("HTTP/1.1 400 Bad Request\r\ncontent-length: 22\r\n\r\n" .. '{"message":"a secret"}', DONE)
    local events = ask { task = "Refund 1001" }
    assert.equal("start error", names(events))
    assert.same({ kind = "invalid_request", message = "the model server does not accept this request" }, events[2][2])
    logs "status=200 .* error=invalid_request"
    assert.equal("start text done", names(ask { id = events[1][2].id, task = "Once more" }))
  end)
end)
