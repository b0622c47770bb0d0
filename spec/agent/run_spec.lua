-- A run's verbs, which are a turn's; and how it is cancelled.
require "spec.support.env"
local agents = require "spec.support.agents"
local interrupt = require "vllm.hosts.interrupt"
local testing = require "vllm.testing"
local vllm = require "vllm"

local calls, tool, results = agents.calls, agents.tool, agents.results

local function waiting_agent(replies, seconds)
  return agents.new(replies, { tools = { tool("f", function()
    vllm.sleep(seconds)
    return "done"
  end) } })
end

local PCALL_YIELDS = _VERSION ~= "Lua 5.1" or rawget(_G, "jit") ~= nil

describe("a run", function()
  it("sends nothing before its first verb", function()
    local agent, transport = agents.new { "ok" }
    local run = agent:run "go"
    assert.equal(0, #transport.requests)
    assert.equal("vllm.run (step 0)", tostring(run))
    assert.equal("ok", run:text())
    assert.equal("vllm.run (completed)", tostring(run))
  end)

  it("gives its events to each, events and next alike", function()
    local function types(read)
      local list = {}
      read(agents.new({ calls "f", "ok" }, { tools = { tool("f", function() return "x" end) } }):run "go", list)
      return table.concat(list, " ")
    end
    local by_each = types(function(run, list) run:each(function(event) list[#list + 1] = event.type end) end)
    local by_events = types(function(run, list) for event in run:events() do list[#list + 1] = event.type end end)
    local by_next = types(function(run, list)
      local event = run:next()
      while event do
        list[#list + 1] = event.type
        event = run:next()
      end
    end)
    local by_poll = types(function(run, list)
      local event = run:poll()
      while event ~= nil do
        if event then list[#list + 1] = event.type end
        event = run:poll()
      end
    end)
    assert.equal(by_each, by_events)
    assert.equal(by_each, by_next)
    assert.equal(by_each, by_poll)
  end)

  it("waits no longer than it is told, while a tool works", function()
    local may_end = false
    local run = agents.new({ calls "f", "ok" }, { tools = { tool("f", function()
      repeat vllm.sleep(0.001) until may_end
    end) } }):run "go"
    local event
    repeat event = run:next() until event.type == "tool_start"
    assert.is_false(run:poll())
    assert.is_false(run:next(0.001)) -- with the tool's end it would never return
    may_end = true
    assert.equal("tool_result", run:next().type)
    assert.equal("ok", run:text())
  end)

  it("may be asked for its result again", function()
    local run = agents.new({ "ok" }):run "go"
    local result = assert(run:result())
    assert.equal(result, run:result())
    assert.is_nil(run:next())
    assert.is_true(run:is_over())
  end)

  it("raises its failure from events(), and gives it to the others", function()
    local run = agents.new({ { status = 400, body = "bad" } }):run "go"
    local ok, why = pcall(function() for _ in run:events() do end end) -- luacheck: ignore 542
    assert.is_false(ok)
    assert.equal(run:error().message, why)
    local _, message, err = run:next()
    assert.same({ why, "invalid_request" }, { message, err.kind })
    assert.equal(why, (select(2, run:each(print))))
  end)

  it("is one at a time in a session", function()
    local session = agents.new({ "one", "two" }):session()
    local first = session:run "a"
    local _, message = session:run("b"):result()
    assert.truthy(message:find("this session's last run has not ended", 1, true))
    assert.equal("one", first:text())
    assert.equal("two", session:ask "c")
    assert.equal("user assistant user assistant", agents.roles(session))
  end)

  it("is over when it was dropped", function()
    local session = agents.new({ "one" }):session()
    session:run "a"
    collectgarbage()
    collectgarbage()
    assert.equal("one", session:ask())
  end)

  it("tells observers of each event; one that fails is dropped, and told of", function()
    local seen, warned = {}, 0
    local agent = agents.new({ "ok" }, { on_event = {
      function(event, session)
        seen[#seen + 1] = event.type
        assert(session.ask)
        if #seen == 2 then error("bad observer", 0) end
      end,
      function(event) if event.type == "warning" then warned = warned + 1 end end,
    } })
    assert.equal("ok", agent:ask "go")
    assert.same({ 2, 1 }, { #seen, warned })
  end)

  it("says when a method is called with a dot, or with another kind of argument", function()
    local run = agents.new({ "ok" }):run "go"
    for _, name in ipairs { "next", "each", "events", "result", "text", "start", "on_ready", "cancel" } do
      local ok, why = pcall(run[name])
      assert.is_false(ok)
      assert.truthy(why:find("run:" .. name .. ": call it with a colon", 1, true), why)
    end
    for _, bad in ipairs { { "next", "x" }, { "each", 3 } } do
      local ok, why = pcall(run[bad[1]], run, bad[2])
      assert.is_false(ok)
      assert.truthy(why:find("run:" .. bad[1] .. ": expected", 1, true), why)
    end
    local ok, why = pcall(function() for _ in run do end end) -- luacheck: ignore 542
    assert.is_false(ok)
    assert.truthy(why:find("a run is not an iterator", 1, true))
  end)
end)

describe("in tasks", function()
  it("a run waits without holding up the others", function()
    local order = {}
    vllm.run(function()
      vllm.spawn(function()
        assert.equal("ok", waiting_agent({ calls "f", "ok" }, 0.02):ask "go")
        order[#order + 1] = "run"
      end)
      vllm.spawn(function()
        vllm.sleep(0.001)
        order[#order + 1] = "other"
      end)
    end)
    assert.same({ "other", "run" }, order)
  end)

  it("two hundred agents run at once", function()
    local count, working = 0, 0
    vllm.run(function()
      for i = 1, 200 do
        vllm.spawn(function()
          local text = agents.new({ calls("f", { i = i }), "done " .. i }, { tools = { tool("f", function()
            working = working + 1
            repeat vllm.sleep(0.001) until working == 200 -- each waits for all the others
          end) } }):ask "go"
          if text == "done " .. i then count = count + 1 end
        end)
      end
    end)
    assert.equal(200, count)
  end)

  it("start() calls back, and on_done exactly once", function()
    local types, done = {}, 0
    vllm.run(function()
      waiting_agent({ calls "f", "ok" }, 0.001):run("go"):start(function(event) types[#types + 1] = event.type end,
        function(result)
        done = done + 1
        assert.equal("ok", result.text)
      end)
    end)
    assert.equal(1, done)
    assert.equal("run_end", types[#types])
  end)

  it("on_ready calls back when there is news", function()
    local events = 0
    vllm.run(function()
      local run = waiting_agent({ calls "f", "ok" }, 0.001):run "go"
      local function ready()
        local event = run:poll()
        while event do
          events = events + 1
          event = run:poll()
        end
        if event == false then run:on_ready(ready) end
      end
      run:on_ready(ready)
    end)
    assert.is_true(events > 10)
  end)

  it("a task that is cancelled cancels its run, and the transcript is whole", function()
    local session = waiting_agent({ calls "f", "ok" }, 60):session()
    local task
    vllm.run(function()
      task = vllm.spawn(function() return session:run("go"):result() end)
      vllm.spawn(function()
        vllm.sleep(0.01)
        task:cancel()
      end)
      pcall(task.join, task)
    end)
    assert.equal("user assistant tool", agents.roles(session))
    assert.equal("ok", session:ask())
  end)

  if PCALL_YIELDS then
    it("a tool may catch an error across a wait", function()
      local agent = agents.new({ calls "f", "ok" }, { tools = { tool("f", function()
        local ok = pcall(function() vllm.sleep(0.001); error "x" end)
        return ok and "no" or "caught"
      end) } })
      local session = agent:session()
      session:ask "go"
      assert.same({ "caught" }, results(session))
    end)
  end
end)

describe("cancelling a run", function()
  -- A client whose transport traps Ctrl-C, as that of libcurl does.
  local function trapping(replies)
    local transport = testing.transport(replies)
    function transport.interrupt() return interrupt.trap(require "vllm.curl") end
    return vllm.new { model = "m", base_url = "http://127.0.0.1:9/v1", transport = transport, interrupt = "cancel" }
  end

  for _, where in ipairs { "in plain Lua", "in a task" } do
    it("by Ctrl-C ends its tools, if the client asked for it: " .. where, function()
      local agent = vllm.agent { client = trapping { calls "f", "never" }, tools = { tool("f", function()
        vllm.sleep(0.001)
        io.popen("kill -INT $PPID"):close()
        vllm.sleep(60)
      end) } }
      local session, result = agent:session(), nil
      local function go() result = assert(session:run("go"):result()) end
      if where == "in a task" then vllm.run(go) else go() end
      assert.equal("cancelled", result.stop)
      assert.same({ "the call was interrupted before it had a result" }, results(session))
    end)
  end

  local function check(session, roles)
    assert.equal(roles, agents.roles(session))
  end

  it("before it begins sends nothing", function()
    local agent, transport = agents.new { "ok" }
    local run = agent:run "go"
    run:cancel()
    run:cancel()
    assert.equal("cancelled", assert(run:result()).stop)
    assert.equal(0, #transport.requests)
    local _, message = run:text()
    assert.equal("no_output: the run was cancelled", message)
  end)

  it("in the middle of an answer keeps what was said, marked", function()
    local agent = agents.new({ "one two three four", "after" }, nil, { split = 40 })
    local session = agent:session()
    local run = session:run "go"
    local result = assert(run:each(function(event) return event.type ~= "text_delta" end))
    assert.equal("cancelled", result.stop)
    local message = session:messages()[2]
    assert.same({ "assistant", { interrupted = true } }, { message.role, message.metadata })
    assert.equal(message.content, result.text)
    assert.equal("after", session:ask "go on")
  end)

  it("in the middle of a call answers it", function()
    local agent = agents.new({ { text = "I will", tool_calls = { { name = "f",
      arguments = { text = ("x"):rep(100) } } } }, "after" },
      { tools = { tool("f", print) } }, { split = 40 })
    local session = agent:session()
    assert(session:run("go"):each(function(event) return event.type ~= "tool_call_delta" end))
    check(session, "user assistant tool")
    assert.equal("after", session:ask "go on")
  end)

  it("while tools work gives every call a result, and keeps those that were there", function()
    local ended = 0
    local agent = agents.new({ calls("quick", {}, "slow", {}, "slow", {}), "after" }, { loop_guard = false, tools = {
      tool("quick", function() return "q" end), tool("slow", function() vllm.sleep(60); ended = ended + 1 end),
    } })
    local session = agent:session()
    local run = session:run "go"
    repeat local event = run:next() until event.type == "tool_result"
    run:cancel "enough"
    check(session, "user assistant tool tool tool")
    assert.same({ "q", "the call was interrupted before it had a result",
      "the call was interrupted before it had a result" },
      results(session))
    assert.equal("cancelled", assert(run:result()).stop)
    assert.equal("after", session:ask "go on")
    assert.equal(0, ended)
  end)

  it("works from inside a tool", function()
    local session, run, was_cancelled
    local agent = agents.new({ calls "f", "after" }, { tools = { tool("f", function(_, call)
      run:cancel()
      was_cancelled = call:is_cancelled()
      call:progress "too late"
      return "never seen"
    end) } })
    session = agent:session()
    run = session:run "go"
    assert.equal("cancelled", assert(run:result()).stop)
    assert.is_true(was_cancelled)
    check(session, "user assistant tool")
    assert.equal("after", session:ask())
  end)

  it("works while a hook or a policy is waited for", function()
    local function slow() vllm.sleep(60) end
    for _, options in ipairs {
      { before_request = slow }, { prepare_step = slow }, { instructions = slow }, { policy = slow },
        { stop_when = slow },
      { final_check = slow }, { tools = { { tools = slow } } },
    } do
      options.tools = options.tools or { tool("f", function() return "x" end) }
      local agent = agents.new({ options.final_check and "text" or calls "f", "ok" }, options)
      local session = agent:session()
      local run = session:run "go"
      repeat local event = run:next(0.01) until not event
      session:cancel()
      assert.equal("cancelled", assert(run:result()).stop)
      local fault = require("vllm.agent.transcript").pair_fault(session:messages())
      assert.is_nil(fault)
    end
  end)

  it("by session:cancel, and by <close>, is the same", function()
    local session = agents.new({ "one" }):session()
    local run = session:run "go"
    session:cancel()
    assert.equal("cancelled", assert(run:result()).stop)
    assert.equal(getmetatable(run).__close, run.cancel)
  end)
end)
