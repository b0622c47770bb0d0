-- Which host waits: the choice at each wait, hosts of a program's own, the option `host`.
require "spec.support.env"
local hosts = require "vllm.hosts"
local server = require "spec.support.server"
local toy_host = require "spec.support.toy_host"
local vllm = require "vllm"

describe("the host in charge", function()
  it("is none in plain Lua, in a coroutine, too", function()
    assert.is_nil((hosts.here()))
    coroutine.wrap(function() assert.is_nil((hosts.here())) end)()
  end)

  it("inside vllm.run is the scheduler; its token is the task", function()
    vllm.run(function()
      local host, token = hosts.here()
      assert.equal("scheduler", host.name)
      assert.equal(coroutine.running(), token)
      local inner, none = coroutine.wrap(function() return hosts.here() end)()
      assert.equal(host, inner)
      assert.is_nil(none)
      assert.is_nil((hosts.here "block"))
      assert.equal(host, (hosts.here "scheduler"))
    end)
    assert.is_nil((hosts.here "scheduler"))
  end)
end)

describe("vllm.host.register", function()
  it("names what is wrong at the caller's line", function()
    local function misuse(message, ...)
      local arguments = { ... }
      local ok, why = pcall(function() vllm.host.register(arguments[1], arguments[2]) end)
      assert.is_false(ok)
      assert.truthy(why:find("hosts_spec.lua:%d+: vllm.host.register: " .. message), why)
    end
    local whole = toy_host.new().host
    misuse("expected a name as the first argument", nil, whole)
    misuse("expected a name as the first argument", "", whole)
    misuse("`luv` is a host already", "luv", whole)
    misuse("`block` is a host already", "block", whole)
    misuse("expected a host %(a table of functions%), got nil", "mine")
    for _, member in ipairs { "running", "current", "park", "wake", "spawn", "report" } do
      local cut = toy_host.new().host
      cut[member] = nil
      misuse("`" .. member .. "`: expected a function, got nil", "mine", cut)
      cut[member] = true
      misuse("`" .. member .. "`: expected a function, got boolean", "mine", cut)
    end
    for _, member in ipairs { "watch", "block", "active", "is_stuck", "give_way", "preload" } do
      local odd = toy_host.new().host
      odd[member] = true
      misuse("`" .. member .. "`: expected a function, got boolean", "mine", odd)
    end
    assert.is_false(hosts.is_known "mine")
  end)

  it("again under the same name replaces; the name is known to the option `host`", function()
    local first, second = toy_host.new(), toy_host.new()
    vllm.host.register("toy", first.host)
    vllm.host.register("toy", second.host)
    assert.is_true(hosts.is_known "toy")
    assert.truthy(hosts.names():find("toy", 1, true))
    assert.is_nil(hosts.names():find("toy.*toy"))
    first.enter(function() assert.is_nil((hosts.here())) end)
    second.enter(function() assert.equal(second.host, (hosts.here())) end)
  end)

  it("of two in charge the first registered is asked first; the scheduler before both", function()
    local first, second = toy_host.new(), toy_host.new()
    vllm.host.register("toy", first.host)
    vllm.host.register("toy two", second.host)
    first.enter(function()
      second.enter(function()
        assert.equal(first.host, (hosts.here()))
        assert.equal(second.host, (hosts.here "toy two"))
        assert.equal(second.host, (hosts.here(second.host)))
      end)
    end)
    vllm.run(function() first.enter(function() assert.equal("scheduler", hosts.here().name) end) end)
  end)
end)

describe("the option `host`", function()
  it("is checked", function()
    local function refused(host, message)
      local ok, why = pcall(vllm.new, { model = "m", host = host })
      assert.is_false(ok)
      assert.truthy(why:find(message, 1, true), why)
    end
    refused("plan9", 'unknown host "plan9"; known hosts: block, scheduler, nginx, neovim, cqueues, copas, ')
    refused({}, "host: `running`: expected a function, got nil")
    refused(7, "host: expected a table or the name of a host")
    vllm.new { model = "m", host = "block" }
    vllm.new { model = "m", host = toy_host.new().host }
  end)

  it("may name a program that is not there: then it is in charge of nothing", function()
    for _, name in ipairs { "neovim", "nginx", "copas", "scheduler" } do
      if not package.loaded[name] then assert.is_nil((hosts.here(name))) end
    end
  end)
end)

describe("a host of a program's own", function()
  local running, client, toy

  setup(function() running = server.start {} end)
  teardown(function() running:stop() end)
  before_each(function()
    toy = toy_host.new()
    client = vllm.new { model = "test-model", base_url = running.url .. "/v1", host = toy.host }
  end)

  it("waits for turns, each in its coroutine, and its loop ends", function()
    local texts = {}
    local reported = toy.run(function()
      for i = 1, 20 do toy.host.spawn(function() texts[i] = assert(client:ask("number " .. i)) end) end
    end)
    assert.same({}, reported)
    for i = 1, 20 do assert.equal("You said: number " .. i, texts[i]) end
    assert.is_true(toy.parks > 0)
    assert.is_nil(next(toy.holds))
  end)

  it("runs tasks: spawn, join, sleep, map, start, on_ready", function()
    vllm.host.register("toy", toy.host)
    local seen = {}
    local reported = toy.run(function()
      local task = vllm.spawn(function()
        vllm.sleep(0.01)
        return client:ask "task"
      end)
      seen.task = task:join()
      seen.values = vllm.map({ "a", "b", "c" }, { concurrency = 2 }, function(text) return client:ask(text) end)
      seen.run = vllm.run(function() return vllm.spawn(function() return client:ask "run" end):join() end)
      client:turn("start"):start(nil, function(result) seen.start = result.text end)
      local turn = client:turn "ready"
      turn:on_ready(function() seen.ready = turn:poll().type end)
    end)
    assert.same({}, reported)
    assert.same({ task = "You said: task", values = { "You said: a", "You said: b", "You said: c" },
      run = "You said: run",
      start = "You said: start", ready = "turn_start" }, seen)
  end)

  it("shows errors that nobody waits for, once; those that somebody waits for are his", function()
    vllm.host.register("toy", toy.host)
    local reported = toy.run(function()
      vllm.spawn(error, "nobody's", 0)
      local task = vllm.spawn(function() vllm.sleep(0.01) error("somebody's", 0) end)
      assert.same({ nil, "somebody's" }, { task:join() })
      client:turn("x"):start(function() error("callback's", 0) end, function() end)
    end)
    assert.equal(2, #reported)
    assert.truthy(reported[1]:find "^nobody's\nstack traceback:", reported[1])
    assert.truthy(reported[2]:find "^callback's\nstack traceback:", reported[2])
  end)

  it("a joiner that was cancelled waits no more: then the error is shown", function()
    vllm.host.register("toy", toy.host)
    local reported = toy.run(function()
      local joiner
      local failing = vllm.spawn(function()
        repeat vllm.sleep(0.001) until joiner.state == "cancelled"
        error("lost?", 0)
      end)
      joiner = vllm.spawn(function() failing:join() end)
      vllm.sleep(0)
      joiner:cancel()
    end)
    assert.equal(1, #reported)
    assert.truthy(reported[1]:find "^lost?", reported[1])
  end)

  it("a turn that was left keeps its loop from nothing", function()
    local path = running:script { { "send", "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n"
      .. 'data: {"id":"1","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n' }, "stall" }
    local turn = client:with({ base_url = running.url .. path }):turn "x"
    toy.run(function() assert(turn:next()) end)
    turn:cancel()
  end)

  it("whose coroutine cannot be suspended: without `block` the thread waits, with it the loop goes on", function()
    toy.enter(function() assert.equal("You said: x", client:ask "x") end)
    assert.equal(0, toy.parks)
    toy.with_block()
    local other
    toy.enter(function()
      toy.host.spawn(function() other = client:ask "other" end)
      assert.equal("You said: y", client:ask "y")
      assert.equal("You said: slow", client:with({ base_url = running.url .. "/v1?delay_ms=50" }):ask "slow")
    end)
    assert.equal("You said: other", other)
  end)

  it("beside the scheduler, on one engine: a turn goes from one to the other", function()
    vllm.host.register("toy", toy.host)
    local free = client:with { host = "toy" }
    local turn = vllm.new({ model = "test-model", base_url = running.url .. "/v1" }):turn "one two three four"
    vllm.run(function() assert(turn:next()) end)
    toy.run(function() assert(turn:next()) end)
    vllm.run(function() assert(turn:next()) end)
    assert(turn:next())
    local text
    toy.run(function() text = turn:text() end)
    assert.equal("You said: one two three four", text)
    assert.equal("You said: alone", free:ask "alone")
  end)

  it("beside the scheduler: a turn that waited for a place or between two attempts in one waits in the other",
    function()
    vllm.host.register("toy", toy.host)
    local failing = vllm.new { model = "m", base_url = running.url .. "/fault/status/503?retry_after=0.05",
      retry = { max = 2 } }
    local turn, began = failing:turn "x", nil
    vllm.run(function()
      assert.equal("retry", turn:next().type)
      assert.equal("retry", turn:next().type)
    end)
    toy.run(function()
      turn:start(nil, function(_, _, err) began = err.kind end)
    end)
    assert.equal("overloaded", began)
    assert.is_true(toy.parks > 0)
  end)
end)
