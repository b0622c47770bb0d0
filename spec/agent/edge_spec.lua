-- What goes wrong at the edges: hooks that misbehave, runs that are cancelled or dropped at odd moments, two readers.
require "spec.support.env"
local agents = require "spec.support.agents"
local core = require "vllm.core"
local testing = require "vllm.testing"
local vllm = require "vllm"

local calls, tool = agents.calls, agents.tool

local PCALL_YIELDS = _VERSION ~= "Lua 5.1" or rawget(_G, "jit") ~= nil

local function value(result) return function() return result end end

-- A run's events until none comes at once.
local function read_what_is_there(run)
  repeat local event = run:next(0.005) until not event
end

describe("a hook that misbehaves", function()
  it("a reason that cannot become a text is a failure all the same", function()
    local bad = setmetatable({}, { __tostring = function() error "no" end })
    local session = agents.new({ calls "f", "ok" }, { tools = { tool("f", function() return nil, bad end) } }):session()
    assert.equal("ok", session:ask "go")
    assert.same({ "an error of type table" }, agents.results(session))
  end)

  it("an error that only sounds like Ctrl-C is a failure of its tool", function()
    local function run()
      local tools = { tool("f", function() error("the download was interrupted!", 0) end) }
      return agents.new({ calls "f", "ok" }, { tools = tools }):ask "go"
    end
    assert.equal("ok", run())
    assert.equal("ok", vllm.run(run))
  end)

  it("a loop_key may give anything", function()
    for _, key in ipairs { { print }, setmetatable({}, { __tostring = function() error "no" end }), 0 / 0 } do
      local more = { loop_key = value(key) }
      assert.equal("ok", agents.new({ calls "f", "ok" }, { tools = { tool("f", value "x", more) } }):ask "go")
    end
  end)

  it("a loop_key that yields says nothing", function()
    local more = { loop_key = function() coroutine.yield(); return 1 end }
    local agent = agents.new({ calls "f", "ok" }, { tools = { tool("f", value "x", more) } })
    assert.equal("ok", vllm.run(function() return agent:ask "go" end))
  end)

  it("a loop_key may cancel its run: the tool does not run", function()
    local run, count = nil, 0
    local function key()
      run:cancel()
      return 1
    end
    local agent = agents.new({ calls "f", "ok" }, { tools = { tool("f", function() count = count + 1 end,
      { loop_key = key }) } })
    run = agent:run "go"
    assert.equal("cancelled", assert(run:result()).stop)
    assert.equal(0, count)
    assert.equal("user assistant tool", agents.roles(run.session))
  end)

  it("an approval with an input that is not JSON is refused", function()
    local tools = { tool("f", value "x", { approval = "ask" }) }
    local session = agents.new({ calls "f", "ok" }, { tools = tools }):session()
    local id = assert(session:run("go"):result()).pending[1].id
    local _, message = session:approve(id, { input = { fn = print } })
    assert.truthy(message:find("a function is not a JSON value", 1, true), message)
    assert.equal(1, #session:pending())
  end)
end)

describe("an approval that is given while the run goes on", function()
  local function session_of(decide, reply)
    local session
    local agent = agents.new({ reply, "ok" }, { tools = { tool("f", value "done", { approval = "ask" }),
      tool("slow", function() vllm.sleep(0.005); return "slow" end) } })
    session = agent:session()
    local resolved = 0
    local result = assert(session:run("go"):each(function(event)
      if event.type == "approval_required" then assert(decide(session, event.id)) end
      if event.type == "approval_resolved" then resolved = resolved + 1 end
    end))
    return session, result, resolved
  end

  for name, reply in pairs { alone = calls "f", ["beside a tool that works"] = calls("f", {}, "slow", {}) } do
    it("lets the call run, " .. name, function()
      local session, result, resolved = session_of(function(s, id) return s:approve(id) end, reply)
      assert.same({ "completed", 0, 1 }, { result.stop, #result.pending, resolved })
      assert.equal("done", agents.results(session)[1])
    end)

    it("may deny it, " .. name, function()
      local session, result, resolved = session_of(function(s, id) return s:deny(id, "no") end, reply)
      assert.same({ "completed", 0, 1 }, { result.stop, #result.pending, resolved })
      assert.equal("the call was denied: no", agents.results(session)[1])
    end)
  end
end)

describe("cancelling", function()
  it("at the end of an answer keeps the answer", function()
    local function is_before_end(event) return event.type ~= "turn_end" end
    local session = agents.new({ "hello" }):session()
    local result = assert(session:run("go"):each(is_before_end))
    assert.same({ "cancelled", "hello", "user assistant" }, { result.stop, result.text, agents.roles(session) })
    session = agents.new({ calls "f" }, { tools = { tool("f", value "x") } }):session()
    assert.equal("cancelled", assert(session:run("go"):each(is_before_end)).stop)
    assert.equal("user assistant tool", agents.roles(session))
  end)

  it("ends the task of a policy that waits", function()
    local has_gone_on = false
    local agent = agents.new({ calls "f" }, { tools = { tool("f", value "x") }, policy = function()
      vllm.sleep(1)
      has_gone_on = true
    end })
    vllm.run(function()
      local run = agent:run "go"
      read_what_is_there(run)
      run:cancel()
    end)
    assert.is_false(has_gone_on)
  end)

  if PCALL_YIELDS then
    it("leaves nothing to a compactor or a hook that goes on", function()
      local function late(messages)
        pcall(vllm.sleep, 60)
        return { messages[1] }
      end
      for _, options in ipairs { { compact = { late, messages = 2 } }, { before_request = late } } do
        options.tools = { tool("f", value "x") }
        local session = agents.new({ calls "f", "ok" }, options):session { messages = { "a", "b" } }
        vllm.run(function()
          local run = session:run "go"
          read_what_is_there(run)
          run:cancel()
        end)
        assert.equal("user user user", agents.roles(session))
      end
    end)
  end

  it("comes with the end of the scope in which its tools and hooks run: nothing new begins", function()
    local count = 0
    local function fails()
      count = count + 1
      vllm.sleep(60)
    end
    for _, options in ipairs { {}, { policy = fails }, { prepare_step = fails } } do
      count = 0
      options.parallel, options.tools = 1, { tool("f", fails), tool("g", fails) }
      local run = agents.new({ calls("f", {}, "g", {}), "ok" }, options):run "go"
      assert.is_false((pcall(vllm.run, function()
        read_what_is_there(run)
        error("the scope ends", 0)
      end)))
      assert.equal(1, count)
      assert.equal("cancelled", assert(run:result()).stop)
      assert.is_nil(require("vllm.agent.transcript").pair_fault(run.session:messages()))
    end
  end)

  it("takes effect in a host that starts tasks at once", function()
    local hosts = require "vllm.hosts.scheduler"
    local eager = setmetatable({ name = "eager", spawn = function(fn, failed)
      local co = coroutine.create(fn)
      local ok, why = coroutine.resume(co)
      if not ok then failed(why, debug.traceback(co)) end
    end }, { __index = hosts })
    for name, options in pairs {
      tools = { tools = { tool("f", function() end) } }, prepare_step = {},
    } do
      local run, count = nil, 0
      local function cancel()
        count = count + 1
        run:cancel()
      end
      if name == "tools" then options.tools = { tool("f", cancel), tool("g", cancel) } else options[name] = cancel end
      local client = testing.client({ calls("f", {}, "g", {}), "ok" }, { host = eager })
      options.client = client
      run = vllm.agent(options):run "go"
      local result = vllm.run(function() return run:result() end)
      assert.same({ "cancelled", 1 }, { result and result.stop or tostring(run:error()), count })
    end
  end)
end)

describe("a store that only appends", function()
  local function session_with_store(more)
    local roles = {}
    local options = { on_event = vllm.observe.transcript(function(message) roles[#roles + 1] = message.role end) }
    options.tools = { tool("f", function() vllm.sleep(1) end, more) }
    return agents.new({ calls "f", "ok" }, options):session(), roles
  end

  it("has all of a run that was cancelled and read no further", function()
    local session, roles = session_with_store()
    local run = session:run "go"
    read_what_is_there(run)
    run:cancel()
    assert.equal("user assistant tool", table.concat(roles, " "))
    assert.equal("ok", session:ask())
    assert.equal(agents.roles(session), table.concat(roles, " "))
  end)

  it("has the results of calls that waited when the session was cancelled", function()
    local session, roles = session_with_store { approval = "ask" }
    assert(session:run("go"):result())
    session:cancel()
    assert.equal("user assistant tool", table.concat(roles, " "))
    assert.equal("ok", session:ask "go on")
    assert.equal(agents.roles(session), table.concat(roles, " "))
  end)

  it("hears nothing of a session that is closed after its work", function()
    local events = 0
    local session = agents.new({ "ok" }, { on_event = function() events = events + 1 end }):session()
    assert.equal("ok", session:ask "go")
    local before = events
    session:cancel()
    assert.equal(before, events)
  end)

  it("is told in order, and each event once, where an observer cancels", function()
    for at = 1, 40 do
      local run, first, second = nil, {}, {}
      local agent = agents.new({ calls("f", {}, "g", {}), "ok" }, { on_event = { function(event)
        first[#first + 1] = event
        if #first == at then run:cancel() end
      end, function(event) second[#second + 1] = event end }, tools = { tool("f", value "x"), tool("g", value "y") } })
      run = agent:run "go"
      local read = agents.events(run)
      assert.same(#read, #first)
      for i, event in ipairs(read) do assert.is_true(event == first[i] and event == second[i]) end
    end
  end)
end)

describe("a run that was dropped", function()
  local function dropped(run)
    read_what_is_there(run)
  end

  it("while a tool worked has its call answered, once", function()
    local count = 0
    local session = agents.new({ calls("f", {}, "f", {}), "ok" }, { parallel = 1, tools = { tool("f", function()
      count = count + 1
      vllm.sleep(0.05)
    end) } }):session()
    dropped(session:run "go")
    collectgarbage()
    collectgarbage()
    assert.equal("ok", session:ask())
    assert.equal("user assistant tool tool assistant", agents.roles(session))
    assert.equal(1, count)
  end)

  it("while a policy was asked runs its tool no more", function()
    local count = 0
    local session = agents.new({ calls "f", "ok" }, { tools = { tool("f", function() count = count + 1 end) },
      policy = function() vllm.sleep(0.02) end }):session()
    vllm.run(function()
      dropped(session:run "go")
      collectgarbage()
      collectgarbage()
      assert.equal("ok", session:ask())
      vllm.sleep(0.03)
    end)
    assert.equal(0, count)
  end)
end)

describe("two readers of a run", function()
  local function slow_agent(replies)
    return agents.new(replies, { tools = { tool("f", function() vllm.sleep(0.02); return "x" end) } })
  end

  it("the second is told so, and the first goes on", function()
    local function slow_reply() vllm.sleep(0.02); return "ok" end
    for _, replies in ipairs { { calls "f", "ok" }, { slow_reply } } do
      local run = slow_agent(replies):run "go"
      local text, second
      vllm.run(function()
        vllm.spawn(function() text = run:text() end)
        vllm.spawn(function()
          vllm.sleep(0.001)
          second = select(3, run:result())
          assert.is_false(run:poll())
        end)
      end)
      assert.same({ "ok", "busy" }, { text, second and second.kind })
      assert.equal("ok", run:text())
    end
  end)

  it("on_ready waits beside one", function()
    local run, called, text = slow_agent({ calls "f", "ok" }):run "go", 0, nil
    vllm.run(function()
      repeat local event = run:next() until event.type == "tool_start"
      run:on_ready(function() called = called + 1 end)
      vllm.spawn(function() text = run:text() end)
    end)
    assert.same({ "ok", 1 }, { text, called })
  end)

  it("on_ready calls back in a task that is cancelled", function()
    local called = 0
    pcall(vllm.run, function()
      local run = slow_agent({ calls "f", "ok" }):run "go"
      repeat local event = run:next() until event.type == "tool_start"
      run:on_ready(function() called = called + 1 end)
      vllm.sleep(0.001)
      error("the scope ends", 0)
    end)
    assert.equal(1, called)
  end)

  it("start calls on_done where on_event raises", function()
    local done, stop = 0, nil
    local ok, why = pcall(vllm.run, function()
      agents.new({ "ok" }):run("go"):start(function() error("on_event failed", 0) end, function(result)
        done, stop = done + 1, result.stop
      end)
    end)
    assert.is_false(ok)
    assert.truthy(tostring(why):find("on_event failed", 1, true))
    assert.same({ 1, "cancelled" }, { done, stop })
  end)
end)

describe("polling, where no loop runs", function()
  it("sees what a tool waits for in a socket", function()
    local server = require("spec.support.server").start()
    local inner = vllm.new { model = "test-model", base_url = server.url .. "/replay/vllm/text" }
    local agent = agents.new({ calls "f", "ok" }, { tools = { tool("f", function() return inner:ask "hi" end) } })
    local run, began = agent:run "go", core.now()
    local event
    repeat event = run:poll() until event == nil or core.now() - began > 20
    server:stop()
    assert.is_nil(event)
    assert.equal("ok", run:text())
  end)

  it("a tool that waits for its own run is told that it cannot", function()
    local run, kind
    run = agents.new({ calls "f", "ok" }, { tools = { tool("f", function()
      kind = (select(3, run:result())).kind
    end) } }):run "go"
    assert.equal("ok", run:text())
    assert.equal("busy", kind)
  end)
end)

describe("input that cannot be sent", function()
  it("is refused, and spoils nothing", function()
    local open_call = { role = "assistant", tool_calls = { { id = "a", name = "f", arguments = "{}" } } }
    local orphan = { role = "tool", tool_call_id = "a", content = "x" }
    for _, bad in ipairs { "\255", { role = "user", content = 5 }, open_call, orphan } do
      local session = agents.new({ "ok" }):session()
      local _, message, err = session:run(bad):result()
      assert.same({ "invalid_request", message }, { err.kind, err.message })
      assert.is_nil((session:steer(bad)))
      assert.equal("invalid_request", (select(3, session:queue(bad))).kind)
      assert.equal("ok", session:ask "go")
    end
    local session = agents.new({ "ok" }):session()
    assert.equal("ok", session:ask { open_call, orphan, "and now?" })
  end)
end)

describe("tool_choice", function()
  it("is for the first step of a task, however it is driven", function()
    local agent, transport = agents.new({ calls "f", calls "f", "ok" }, { tool_choice = "required", tools = {
      tool("f", value "x") } })
    local session = agent:session()
    assert(session:step("go"):result())
    assert(session:step():result())
    assert(session:step():result())
    local choices = {}
    for i, request in ipairs(transport.requests) do choices[i] = tostring(request.body.tool_choice) end
    assert.equal("required nil nil", table.concat(choices, " "))
  end)
end)
