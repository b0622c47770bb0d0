-- One engine under many waits: who watches it and how long, deadlines by its alarm, waits that begin when all is over.
require "spec.support.env"
local core = require "vllm.core"
local curl_transport = require "vllm.transports.curl"
local server = require "spec.support.server"
local toy_host = require "spec.support.toy_host"
local vllm = require "vllm"

local LONG_S = 60

describe("the reactor", function()
  local running, client, toy

  setup(function() running = server.start {} end)
  teardown(function() running:stop() end)
  before_each(function()
    toy = toy_host.new()
    client = vllm.new { model = "test-model", base_url = running.url .. "/v1", host = toy.host, retry = { max = 0 },
      transport = curl_transport.new { max_starts = 4 } }
  end)

  local function count(set)
    local found = 0
    for _ in pairs(set) do found = found + 1 end
    return found
  end

  local function stalling()
    local path = running:script { { "send", "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n"
      .. 'data: {"id":"1","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n' }, "stall" }
    return client:with { base_url = running.url .. path }
  end

  it("has one watcher in a host, however many wait, which holds the loop only while one does", function()
    local most = 0
    toy.run(function()
      assert.equal(0, count(toy.watches))
      for i = 1, 10 do
        toy.host.spawn(function()
          local turn = client:turn("number " .. i)
          while turn:next() do
            most = math.max(most, count(toy.watches))
            assert.is_true(count(toy.holds) <= 1)
          end
        end)
      end
    end)
    assert.equal(1, most)
    assert.equal(0, count(toy.holds))
  end)

  it("stops watching when no request is open", function()
    toy.run(function()
      local turn = stalling():turn "x"
      assert(turn:next())
      assert.equal(1, count(toy.watches))
      turn:cancel()
      assert.equal(0, count(toy.watches))
      turn = stalling():turn "x"
      assert(turn:next())
      assert.equal(1, count(toy.watches))
      turn:cancel()
    end)
  end)

  it("keeps deadlines of any order with no timer of the host's", function()
    local turns, order, started = {}, {}, core.now()
    local function wait_once(i, seconds)
      turns[i] = stalling():turn "x"
      repeat local event = turns[i]:next() until not event or event.type == "text_delta"
      local began = core.now()
      local event = turns[i]:next(seconds)
      order[#order + 1] = i
      if seconds == LONG_S then return assert.is_nil(event) end
      assert.is_false(event)
      assert.is_true(core.now() - began >= seconds - 0.001)
    end
    toy.run(function()
      for i, seconds in ipairs { LONG_S, 0.04, LONG_S, 0.02, LONG_S } do
        toy.host.spawn(function()
          wait_once(i, seconds)
          if #order == 2 then
            for _, turn in ipairs(turns) do turn:cancel() end
          end
        end)
      end
    end)
    assert.same({}, toy.reported)
    assert.equal(5, #order)
    assert.same({ [2] = true, [4] = true }, { [order[1]] = true, [order[2]] = true })
    for i = 1, 5 do assert.equal("cancelled", turns[i]:error().kind) end
    assert.is_true(core.now() - started < LONG_S / 2)
  end)

  it("a deadline that has passed never suspends the coroutine", function()
    toy.run(function()
      local turn = client:turn "x"
      local parks, polls = toy.parks, 0
      while not turn.status do
        assert.is_true(turn:poll() ~= nil)
        polls = polls + 1
        assert.is_true(polls < 5e6)
      end
      assert.equal(parks, toy.parks)
      turn:cancel()
    end)
    assert.same({}, toy.reported)
  end)

  it("whoever waits for a turn that ends elsewhere goes on at once", function()
    local kind
    toy.run(function()
      local turn = stalling():turn "x"
      toy.host.spawn(function() kind = select(3, turn:result()).kind end)
      toy.host.spawn(function() turn:cancel() end)
    end)
    assert.equal("cancelled", kind)
  end)

  it("serves two hosts at once: each wakes its own", function()
    local other = toy_host.new()
    local texts = {}
    other.enter(function()
      toy.run(function()
        local slow = client:with({ host = other.host, base_url = running.url .. "/load?events=3&interval_ms=10" })
        toy.host.spawn(function() texts[1] = assert(client:ask "mine") end)
        other.host.spawn(function() texts[2] = assert(slow:ask "other's") end)
      end)
      other.run()
    end)
    assert.equal("You said: mine", texts[1])
    assert.equal(" word word word", texts[2])
  end)

  it("a waiting task that is cancelled in the engine's own step fails once", function()
    local kinds = {}
    vllm.run(function()
      local task
      local slow = stalling():with { host = "scheduler" }
      local turn = slow:turn "x"
      task = vllm.spawn(function()
        while true do
          local event, _, err = turn:next()
          if err then
            kinds[#kinds + 1] = err.kind
            return
          end
          if event.type == "text_delta" then task:cancel() end
        end
      end)
      task:join()
    end)
    assert.same({ "cancelled" }, kinds)
  end)

  it("a host that cannot watch is refused a wait that would hold it up", function()
    toy.with_block()
    toy.host.watch = nil
    local _, message, err
    toy.enter(function() _, message, err = client:ask "x" end)
    assert.equal("config", err.kind)
    assert.truthy(message:find("libcurl would hold up this event loop", 1, true), message)
    local parks = toy.parks
    toy.run(function() _, _, err = client:ask "x" end)
    assert.equal("config", err.kind)
    assert.equal(parks, toy.parks)
    vllm.host.register("blind", toy.host)
  end)

  it("the end of vllm.run leaves no wait of a minute behind", function()
    local began = core.now()
    vllm.run(function()
      local turn = stalling():with({ host = "scheduler", timeout = { idle_s = LONG_S } }):turn "x"
      assert(turn:next())
      vllm.spawn(function() turn:result() end)
      vllm.sleep(0.02)
      turn:cancel()
    end)
    vllm.run(vllm.sleep, 0.01)
    assert.is_true(core.now() - began < LONG_S / 2)
  end)
end)
