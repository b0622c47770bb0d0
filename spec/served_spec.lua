-- The list of models that a 404 asks for: a help for people, which costs no caller more time than he gave.
local core = require "vllm.core"
local vllm = require "vllm"

local MISSING = '{"error":{"message":"The model `x` does not exist.","param":"model","code":404}}'
local LIST = '{"data":[{"id":"qwen"},{"id":"llama"}]}'

-- A transport whose list of models is not answered before `answer` is called. A wait that is asked for is one that
-- never ends, so it must have a deadline: the clock is turned to it.
local function slow_server()
  local server = { name = "slow", options = {}, waits = {}, opened = 0, closed = 0 }
  local function wait(deadline)
    local now = core.now()
    if deadline and deadline > now then
      server.waits[#server.waits + 1] = deadline - now
      server.ahead = server.ahead + (deadline - now)
    end
    return false
  end
  function server.open(_, request)
    local is_list = request.method == "GET"
    server.opened = server.opened + 1
    local bodies = { is_list and LIST or MISSING }
    return {
      head = function(_, deadline)
        if is_list and not server.is_answered then return wait(deadline) end
        return is_list and 200 or 404, { ["content-type"] = "application/json" }
      end,
      read = function() return table.remove(bodies) end,
      info = function() return {} end, close = function() server.closed = server.closed + 1 end,
    }
  end
  server.ahead = 0
  return server
end

describe("the list of models behind a 404", function()
  local real, server, client = core.now, nil, nil
  before_each(function()
    server = slow_server()
    core.now = function() return real() + server.ahead end
    client = vllm.new { model = "x", transport = server, retry = false }
  end)
  after_each(function() core.now = real end)

  -- What a turn says at last, and that it is the server's own error.
  local function assert_missing(turn, message, err)
    assert.equal("not_found", err.kind)
    assert.equal(404, err.status)
    assert.truthy(message:find("does not exist", 1, true), message)
    assert.equal(err, turn:error())
    assert.equal(server.opened, server.closed)
  end

  it("is named where it comes", function()
    server.is_answered = true
    local turn = client:turn "hi"
    local _, message, err = turn:result()
    assert_missing(turn, message, err)
    assert.truthy(message:find("the server serves: qwen, llama", 1, true), message)
  end)

  it("never makes poll wait", function()
    local turn = client:turn "hi"
    for _ = 1, 20 do assert.is_false(turn:poll()) end
    assert.same({}, server.waits)
    server.is_answered = true
    local event, message, err
    repeat event, message, err = turn:poll() until event ~= false
    assert_missing(turn, message, err)
    assert.truthy(message:find("qwen", 1, true), message)
  end)

  it("never makes next wait longer than it was told", function()
    local turn = client:turn "hi"
    assert.is_false(turn:next(0.25))
    assert.equal(1, #server.waits)
    assert.is_true(server.waits[1] <= 0.25)
  end)

  it("is given up with total_s, and the server's error stays what it was", function()
    local turn = client:turn("hi", { timeout = { total_s = 0.5 } })
    local _, message, err = turn:result()
    assert_missing(turn, message, err)
    assert.is_true(server.ahead <= 0.5, server.ahead)
  end)

  it("is given up with first_event_s, too", function()
    local turn = client:turn("hi", { timeout = { first_event_s = 0.5 } })
    local _, message, err = turn:result()
    assert_missing(turn, message, err)
    assert.is_true(server.ahead <= 0.5, server.ahead)
  end)

  it("is given up after two seconds by itself", function()
    local turn = client:turn "hi"
    local _, message, err = turn:result()
    assert_missing(turn, message, err)
    assert.is_true(server.ahead <= 2, server.ahead)
    assert.is_nil(message:find("the server serves", 1, true))
  end)

  it("is given up when the turn is cancelled", function()
    local turn = client:turn "hi"
    for _ = 1, 3 do turn:poll() end
    turn:cancel()
    assert.equal("cancelled", turn:error().kind)
    assert.same({ 2, 2 }, { server.opened, server.closed })
  end)

  it("does not hide the error where it cannot be asked for", function()
    local open = server.open
    function server.open(self, request)
      if request.method == "GET" then return nil, { kind = "connect", detail = "no" } end
      return open(self, request)
    end
    local turn = client:turn "hi"
    local _, message, err = turn:result()
    assert_missing(turn, message, err)
  end)
end)
