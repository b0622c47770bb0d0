-- The loop: when it goes on, when it ends, and what it does meanwhile.
require "spec.support.env"
local agents = require "spec.support.agents"
local vllm = require "vllm"

local calls, tool, events_of = agents.calls, agents.tool, agents.events

local function echo(name, more)
  return tool(name, function(input) return input.text or "done" end, more)
end

local function many(count, make)
  local list = {}
  for i = 1, count do list[i] = make(i) end
  return list
end

local TOO_LONG = { status = 400, body = { error = {
  message = "This model's maximum context length is 100 tokens. However, you requested 200 tokens", code = 400,
} } }

describe("a run", function()
  it("tells of each step in order", function()
    local agent = agents.new({ calls "f", "ok" }, { tools = { echo "f" } })
    local run = agent:run "go"
    local events = events_of(run)
    assert.equal("message step_start message tool_start tool_result message step_end step_start message step_end "
      .. "run_end",
      agents.own_types(events))
    assert.same({ 0, 1 }, { events[1].step, events[2].step })
    assert.equal("run_end", events[#events].type)
    assert.equal(run:result(), events[#events].result)
    for _, event in ipairs(events) do assert.is_number(event.step) end
  end)

  it("goes on by the presence of calls, whatever the finish reason", function()
    local reply = calls "f"
    reply.finish_reason = "stop"
    local agent = agents.new({ reply, "ok" }, { tools = { echo "f" } })
    assert.equal("ok", agent:ask "go")
  end)

  it("gives the text, the sums and the messages", function()
    local agent = agents.new({ calls "f", "ok now" }, { tools = { echo "f" } })
    local result = assert(agent:run("go"):result())
    assert.equal("completed", result.stop)
    assert.equal("ok now", result.text)
    assert.equal(result.message, result.messages[4])
    assert.equal(4, #result.messages)
    assert.equal(2, #result.steps)
    assert.same({ prompt_tokens = 2, completion_tokens = 2, total_tokens = 4 }, result.usage)
    assert.same({}, result.pending)
  end)

  it("stops after max_steps, and says so if that was the default", function()
    local function again(i) return calls("f", { text = tostring(i) }) end
    local agent = agents.new(many(30, again), { tools = { echo "f" } })
    local result = assert(agent:run("go"):result())
    assert.same({ "max_steps", 20 }, { result.stop, #result.steps })
    assert.equal("the run was stopped after 20 steps; max_steps allows more", result.hints[1])
    agent = agents.new(many(30, again), { tools = { echo "f" }, max_steps = 2 })
    result = assert(agent:run("go"):result())
    assert.same({ "max_steps", 2, 0 }, { result.stop, #result.steps, #result.hints })
    local text, message, err = agents.new(many(3, again), { tools = { echo "f" }, max_steps = 2 }):ask "go"
    assert.is_nil(text)
    assert.equal("no_output: the run was stopped at max_steps", message)
    assert.equal("max_steps", err.partial.stop)
  end)

  it("may answer once more without tools at max_steps", function()
    local agent, transport = agents.new({ calls "f", "so far" },
      { tools = { echo "f" }, max_steps = 1, last_answer = true })
    local result = assert(agent:run("go"):result())
    assert.same({ "max_steps", "so far" }, { result.stop, result.text })
    assert.equal("none", transport.requests[2].body.tool_choice)
    assert.equal(1, #transport.requests[2].body.tools) -- the prefix stays what it was
    local stubborn = agents.new({ calls "f", calls "f" }, { tools = { echo "f" }, max_steps = 1, last_answer = true })
    local run = stubborn:run "go"
    assert.equal("max_steps", assert(run:result()).stop)
    assert.equal("the call was not run: the run had to end", agents.results(run.session)[2])
  end)

  it("stops when its tokens or its time are used up", function()
    local agent = agents.new({ calls "f", "never" }, { tools = { echo "f" }, budget = { total_tokens = 1 } })
    assert.equal("token_budget", assert(agent:run("go"):result()).stop)
    agent = agents.new({ calls "f", "never" }, {
      budget = { total_s = 0.001 }, tools = { tool("f", function() vllm.sleep(0.002) end) },
    })
    assert.equal("time_budget", assert(agent:run("go"):result()).stop)
  end)

  it("stops when the program says so", function()
    local agent = agents.new({ calls "f", "never" }, {
      tools = { echo "f" }, stop_when = { function(steps) return #steps == 1 end, function() return false end },
    })
    local result = assert(agent:run("go"):result())
    assert.same({ "stop_when", 1 }, { result.stop, #result.steps })
  end)

  it("says that the model refused, or was cut", function()
    assert.equal("refused", assert(agents.new({ { refusal = "no" } }):run("go"):result()).stop)
    assert.equal("length", assert(agents.new({ { text = "half a",
      finish_reason = "length" } }):run("go"):result()).stop)
  end)

  it("never runs a call of an answer that was cut", function()
    local count = 0
    local reply = calls "f"
    reply.finish_reason = "length"
    local agent = agents.new({ reply, "ok" }, { tools = { tool("f", function() count = count + 1 end) } })
    local run = agent:run "go"
    assert.equal("ok", run:text())
    assert.equal(0, count)
    assert.truthy(agents.results(run.session)[1]:find("the call was not run: ", 1, true))
  end)

  it("keeps the transcript when a request fails, and goes on from there without running a tool twice", function()
    local count = 0
    local agent = agents.new({ calls "f", { status = 503, body = "down" }, "ok" }, {
      tools = { tool("f", function() count = count + 1; return "x" end) },
    })
    local session = agent:session()
    local result, message, err = session:run("go"):result()
    assert.is_nil(result)
    assert.equal(message, err.message)
    assert.equal("overloaded", err.kind)
    assert.equal(3, #err.partial.messages)
    assert.equal(1, #err.partial.steps)
    assert.equal("user assistant tool", agents.roles(session))
    assert.equal("ok", session:ask())
    assert.equal(1, count)
    assert.equal("user assistant tool assistant", agents.roles(session))
  end)

  it("lets a forced tool be forced once", function()
    local agent, transport = agents.new({ calls "f", "ok" }, { tools = { echo "f" }, tool_choice = "required" })
    assert.equal("ok", agent:ask "go")
    assert.equal("required", transport.requests[1].body.tool_choice)
    assert.is_nil(transport.requests[2].body.tool_choice)
  end)

  it("sends no list of tools where there are none", function()
    local agent, transport = agents.new({ "ok" }, {
      tool_choice = "auto", tools = { { tools = function() return {} end } },
    })
    assert.equal("ok", agent:ask "go")
    assert.is_nil(transport.requests[1].body.tools)
    assert.is_nil(transport.requests[1].body.tool_choice)
  end)

  it("takes up messages that were steered in, and those queued after the task", function()
    local session, steered, again, queued
    local agent = agents.new({ calls "f", "one", "two" }, { tools = { tool("f", function()
      steered, again = session:steer("hurry", "k"), session:steer("hurry", "k")
      queued = session:queue { role = "user", content = "then this" }
    end) } })
    session = agent:session()
    assert.equal("two", session:ask "go")
    assert.equal(steered, again)
    assert.same({ "delivered", 2 }, { steered.outcome, steered.step })
    assert.same({ "delivered", 3 }, { queued.outcome, queued.step })
    assert.equal("user assistant tool user assistant user assistant", agents.roles(session))
  end)

  it("begins with what was queued where nothing else is to be done", function()
    local agent, transport = agents.new { "one", "two" }
    local session = agent:session()
    session:ask "go"
    local queued = session:queue "later"
    assert.equal("two", session:ask())
    assert.same({ "delivered", 1 }, { queued.outcome, queued.step })
    assert.equal("later", transport.requests[2].body.messages[3].content)
    assert.equal(2, #transport.requests)
  end)

  it("tells what became of input that it could not take", function()
    local session, steered
    local agent = agents.new({ calls "f" }, { max_steps = 1,
      tools = { tool("f", function() steered = session:steer "hurry" end) } })
    session = agent:session()
    assert.equal("max_steps", assert(session:run("go"):result()).stop)
    assert.equal("max_steps", steered.outcome)
  end)

  it("asks a hook for another transcript, and keeps it", function()
    local agent, transport = agents.new({ "one", "two" }, { before_request = function(messages, step)
      vllm.sleep(0)
      if #messages > 1 then return { { role = "user", content = "short " .. step } } end
    end })
    local session = agent:session()
    assert.equal("one", session:ask "first")
    assert.equal("two", session:ask "second")
    assert.same({ { role = "user", content = "short 1" } }, transport.requests[2].body.messages)
    assert.equal("user assistant", agents.roles(session))
  end)

  it("refuses a transcript from a hook that could not be sent", function()
    local agent = agents.new({ "never" }, { before_request = function()
      return { { role = "assistant", tool_calls = { { id = "a", name = "f", arguments = "{}" } } } }
    end })
    local _, message = agent:ask "go"
    assert.equal("config: before_request: message 1 has a call without a result", message)
  end)

  it("lets a step have its own fields, tools and messages", function()
    local agent, transport = agents.new({ calls "f", "ok" },
      { tools = { echo "f", echo "g" }, prepare_step = function(step)
      if step.number == 2 then
        step.temperature, step.tools, step.tool_choice = 0.5, { "g" }, "none"
        step.messages[#step.messages + 1] = { role = "user", content = "only now" }
      end
    end })
    local session = agent:session()
    assert.equal("ok", session:ask "go")
    local body = transport.requests[2].body
    assert.same({ 0.5, 1, "g", "none", 4 },
      { body.temperature, #body.tools, body.tools[1]["function"].name, body.tool_choice, #body.messages })
    assert.equal("user assistant tool assistant", agents.roles(session))
  end)

  it("sends an answer back that the program does not take, as often as retries allow", function()
    local agent = agents.new({ "bad", "bad", "bad" }, { final_check = function(result)
      if result.text == "bad" then return "say something else" end
    end })
    local session = agent:session()
    assert.equal("bad", session:ask "go")
    assert.equal("user assistant user assistant user assistant", agents.roles(session))
    agent = agents.new({ "bad", "good" }, { final_check = function(result) return result.text == "bad" and "no"
      or nil end })
    assert.equal("good", agent:ask "go")
  end)

  it("fails where a function of the program fails, or decides nothing that can be understood", function()
    local function failure(reply, option, fn)
      local agent = agents.new({ reply, "never" }, { tools = { echo "f" }, [option] = fn })
      local run = agent:run "go"
      local _, message, err = run:result()
      assert.equal("config", err.kind)
      assert.equal("user assistant" .. (reply == "ok" and "" or " tool"), agents.roles(run.session))
      return message, err.partial.text
    end
    assert.same({ "config: stop_when: boom" }, { failure(calls "f", "stop_when", function() error("boom", 0) end) })
    assert.same({ "config: final_check: boom", "ok" },
      { failure("ok", "final_check", function() error("boom", 0) end) })
    for _, value in ipairs { true, false, 3 } do
      assert.equal("config: final_check: expected nil or a text that says why not, got " .. tostring(value),
        (failure("ok", "final_check", function() return value end)))
    end
  end)

  it("fails before a request where a function gives what cannot be used", function()
    local function failure(options)
      options.tools = options.tools or { echo "f" }
      local agent, transport = agents.new({ "never" }, options)
      local _, message = agent:ask "go"
      assert.equal(0, #transport.requests)
      return message
    end
    local function step(fn) return failure { prepare_step = fn } end
    assert.equal("config: instructions: expected a text, got a table",
      failure { instructions = function() return {} end })
    assert.equal("config: prepare_step: expected it to change `step` and return nothing, got a table",
      step(function() return { temperature = 0 } end))
    assert.equal("config: prepare_step: tools: expected names in the list, got a table",
      step(function(it) it.tools = { echo "f" } end))
    assert.equal("config: prepare_step: `max_steps` is the agent's, not a step's",
      step(function(it) it.max_steps = 3 end))
    assert.equal("config: before_request: it changed its list and returned nothing; what it returns is the transcript",
      failure { before_request = function(messages) messages[#messages + 1] = "more" end })
    local toolset = { { tools = function() return echo "f" end } }
    assert.equal("config: tools[1].tools: expected a list of tools, got a table", failure { tools = toolset })
    toolset[1].tools = function() end
    assert.equal("config: tools[1].tools: expected a list of tools, got nil", failure { tools = toolset })
  end)

  it("gives each warning as a hint, too", function()
    local agent = agents.new({ calls("f", {}, "g"), "ok" }, {
      active_tools = { "f", "h" }, on_event = function() error("deaf", 0) end,
      tools = {
        { tools = function() return { echo "g" } end }, tool("f", function() return print end),
      },
      policy = function(call) return call.name == "g" and "perhaps" or nil end,
    })
    assert.same({
      "an observer failed and is told nothing more: deaf",
      "to be offered: there is no tool `h`",
      'what `f` returned cannot be sent: a function is not a JSON value',
      '`g` was denied: the policy failed: a policy: expected nil, "allow", "ask" or "deny", got perhaps',
    }, assert(agent:run("go"):result()).hints)
    agent = agents.new({ calls "f", "ok" }, { tools = { tool("f", function() error("a bug", 0) end) } })
    assert.same({ "`f` raised an error: a bug" }, assert(agent:run("go"):result()).hints)
  end)

  it("gives hints that are fit to be shown, and not too many", function()
    local count = 0
    local agent = agents.new(many(120, function() return calls "f" end), { max_steps = 120, loop_guard = false,
      tools = { tool("f", function()
        count = count + 1
        error(("%d \27[2J"):format(count) .. ("x"):rep(2000), 0)
      end) },
    })
    local hints = assert(agent:run("go"):result()).hints
    assert.same({ 120, 100 }, { count, #hints })
    assert.equal("`f` raised an error: 1 ?[2Jx", hints[1]:sub(1, 28))
    assert.equal(1000 + #"…", #hints[1])
  end)

  it("shortens a transcript that is too long, tells of it, and asks again", function()
    local agent, transport = agents.new({ calls("f", {}, "f", {}, "f", {}, "f", {}, "f", {}), TOO_LONG, "ok" }, {
      loop_guard = false, tools = { tool("f", function() return ("x"):rep(200) end) },
    })
    local run = agent:run "go"
    local compactions = {}
    run:each(function(event) if event.type == "compaction" then compactions[#compactions + 1] = event end end)
    assert.equal("ok", run:text())
    assert.equal("context_length", compactions[1].why)
    assert.equal(7, #transport.requests[3].body.messages)
    assert.equal("[this result was removed to save space]", transport.requests[3].body.messages[3].content)
    assert.equal(200, #transport.requests[3].body.messages[7].content)
  end)

  it("gives up where nothing can be shortened, or was forbidden", function()
    local _, message = agents.new({ TOO_LONG }):ask "go"
    assert.truthy(message:find("^context_length: "))
    local agent = agents.new({ TOO_LONG, "never" }, { compact = false })
    assert.equal("context_length", select(3, agent:ask "go").kind)
  end)

  it("shortens by its own triggers before a request", function()
    local seen
    local agent, transport = agents.new({ "1", "2", "3" }, { compact = { vllm.compact.keep_recent(2), messages = 3 } })
    local session = agent:session()
    session:ask "a"
    session:ask "b"
    session:run("c"):each(function(event) if event.type == "compaction" then seen = event end end)
    assert.same({ "messages", 5, 2 }, { seen.why, seen.before, seen.after })
    assert.equal(2, #transport.requests[3].body.messages)
  end)

  it("leaves out a compactor that spoils the pairs or fails, with a warning", function()
    local warnings = {}
    local function bad() return { { role = "tool", tool_call_id = "x", content = "" } } end
    local agent = agents.new({ "1", "2" }, { compact = { bad, vllm.compact.keep_recent(1), messages = 1 } })
    local session = agent:session()
    session:ask "a"
    session:run("b"):each(function(event)
      if event.type == "warning" then warnings[#warnings + 1] = event.message end
    end)
    assert.same({ "a compactor was left out: message 1 answers no call of the message before it" }, warnings)
    assert.equal(2, #session:messages())
  end)
end)
