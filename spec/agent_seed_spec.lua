-- The loop of agentkit, which this replaces: every feature of it that a user must have, and every defect of it that
-- must not be here. Each test is named by its row or by the defect's number.
require "spec.support.env"
local agents = require "spec.support.agents"
local transcripts = require "vllm.agent.transcript"
local vllm = require "vllm"

local calls, tool, results, roles, events = agents.calls, agents.tool, agents.results, agents.roles, agents.events

local function echo(name, more) return tool(name, function(input) return input.text or "done" end, more) end
local DOWN = { status = 503, body = "down" }

local function of_type(list, kind)
  local found = {}
  for _, event in ipairs(list) do
    if event.type == kind then found[#found + 1] = event end
  end
  return found
end

describe("4.1 streaming is on by default, and buffered gives the same events:", function()
  it("an agent's own events are the same", function()
    local function own(streaming)
      local agent = agents.new({ calls "f", "ok" }, { streaming = streaming, tools = { echo "f" } })
      return agents.own_types(events(agent:run "go"))
    end
    assert.equal(own(true), own(false))
  end)

  it("usage, finish reason, id and model are in each step", function()
    local agent = agents.new({ "ok" })
    local step = assert(agent:run("go"):result()).steps[1]
    assert.same({ "stop", "test-1", "test-model", 2 },
      { step.finish_reason, step.id, step.model, step.usage.total_tokens })
  end)
end)

describe("4.2 transcript and data model:", function()
  it("all kinds of messages, Context and Notification among them", function()
    local agent, transport = agents.new { "ok" }
    assert.equal("ok", agent:session({ messages = {
      { kind = "system", text = "s" }, { role = "context", content = "c" }, { role = "notification", content = "n" },
    } }):ask "go")
    local sent = transport.requests[1].body.messages
    assert.same({ "system", "system", "user", "user" }, { sent[1].role, sent[2].role, sent[3].role, sent[4].role })
    assert.truthy(sent[3].content:find("<system-reminder>", 1, true))
  end)

  it("messages have id, usage, finish_reason and created_at, which are not sent", function()
    local agent, transport = agents.new { "ok", "again" }
    local session = agent:session()
    session:ask { role = "user", content = "go", metadata = { mine = 1 } }
    session:ask "more"
    local messages = session:messages()
    for _, message in ipairs(messages) do assert.truthy(math.abs(message.created_at / 1000 - os.time()) < 60) end
    assert.same({ "test-1", "stop", 2 }, { messages[2].id, messages[2].finish_reason, messages[2].usage.total_tokens })
    assert.same({ mine = 1 }, messages[1].metadata)
    assert.same({ role = "assistant", content = "ok" }, transport.requests[2].body.messages[2])
  end)

  it("a program's own message is not changed", function()
    local mine = { role = "user", content = "go" }
    agents.new({ "ok" }):ask(mine)
    assert.same({ role = "user", content = "go" }, mine)
  end)

  it("a prior transcript is loaded without a word to the observers", function()
    local seen = {}
    local agent = agents.new({ "ok" }, {
      on_event = vllm.observe.transcript(function(message) seen[#seen + 1] = message.content end),
    })
    agent:session({ messages = { "old", { role = "assistant", content = "older" } } }):ask "new"
    assert.same({ "new", "ok" }, seen)
  end)

  it("a transcript survives JSON", function()
    local agent = agents.new { "ok", "again" }
    local session = agent:session()
    session:ask "go"
    local text = assert(vllm.json.encode(session:messages()))
    assert.equal("again", agent:session({ messages = vllm.json.decode(text) }):ask "more")
  end)
end)

describe("4.3 driving the loop:", function()
  it("step by step, with a stop after each round of tools that may be ignored", function()
    local agent, transport = agents.new({ calls "f", calls "f", "ok" }, { tools = { echo "f" } })
    local session = agent:session()
    local result = assert(session:step("go"):result())
    assert.same({ "stepped", 1, 3 }, { result.stop, #transport.requests, #session:messages() })
    result = assert(session:step():result())
    assert.same({ "stepped", 2 }, { result.stop, #transport.requests })
    assert.equal("ok", session:step():text())
  end)

  it("after a round of tools the program may add a message, which the next request has", function()
    local agent, transport = agents.new({ calls "f", "ok" }, { tools = { echo "f" } })
    local session = agent:session()
    session:step("go"):result()
    assert.equal("ok", session:ask "also this")
    assert.equal("also this", transport.requests[2].body.messages[4].content)
  end)

  it("the stop also comes after an approval", function()
    local agent, transport = agents.new({ calls "f", "ok" }, { tools = { echo("f", { approval = "ask" }) } })
    local session = agent:session()
    session:run("go"):result()
    session:approve_all()
    assert.equal("ok", session:step():text())
    assert.equal(2, #transport.requests)
  end)

  it("no request where there is nothing to answer: Completed, and the caller is told", function()
    local agent, transport = agents.new { "ok" }
    local session = agent:session()
    session:ask "go"
    local result = assert(session:run():result())
    assert.same({ "completed", 0, 1 }, { result.stop, #result.messages, #transport.requests })
    assert.truthy(result.hints[1]:find("there was nothing to ask", 1, true))
    assert.equal("completed", assert(agent:session():run():result()).stop)
  end)

  it("a transcript that ends with a user, a tool or a notification drives the model", function()
    for _, last in ipairs { { { role = "user", content = "x" } }, { { role = "notification", content = "x" } }, {
      { role = "user", content = "x" }, { role = "assistant",
        tool_calls = { { id = "a", name = "f", arguments = "{}" } } },
      { role = "tool", tool_call_id = "a", content = "y" },
    } } do
      assert.equal("ok", agents.new({ "ok" }):session({ messages = last }):ask())
    end
  end)

  it("unknown tool, failure, bad input and denial are error results, marked, and say whether the tool began", function()
    local agent = agents.new({ calls("nope", {}, "fails", {}, "strict", {}, "no", {}), "ok" }, { tools = {
      tool("fails", function() error("boom", 0) end), echo "no",
      tool("strict", print, { parameters = { type = "object", required = { "a" },
        properties = { a = { type = "string" } } } }),
    }, policy = function(call) if call.name == "no" then return "deny", "never" end end })
    local session = agent:session()
    session:ask "go"
    local found = {}
    for i = 3, 6 do
      local message = session:messages()[i]
      assert.is_true(message.is_error)
      found[i - 2] = message.metadata.failure .. (message.metadata.not_started and " not started" or "")
    end
    assert.same({ "retry not started", "failed", "retry not started", "denied not started" }, found)
  end)

  it("denial raised inside the tool counts as started", function()
    local agent = agents.new({ calls "f", "ok" }, { tools = { tool("f", function() return nil, "not allowed" end) } })
    local session = agent:session()
    session:ask "go"
    assert.is_nil(session:messages()[3].metadata.not_started)
  end)

  it("rounds are limited", function()
    local replies = {}
    for i = 1, 25 do replies[i] = calls("f", { text = tostring(i) }) end
    assert.equal("max_steps", assert(agents.new(replies, { tools = { echo "f" } }):run("go"):result()).stop)
  end)

  it("failed requests are tried again, as the client is told", function()
    local agent = agents.new({ DOWN, "ok" }, { retry = { max = 1, base_s = 0.001 } })
    assert.equal("ok", agent:ask "go")
  end)
end)

describe("4.4 tools and permissions:", function()
  it("a description may be a function, asked for each call of the model", function()
    local count = 0
    local agent, transport = agents.new({ calls "f", "ok" }, { tools = { echo("f", { description = function()
      count = count + 1
      return "try " .. count
    end }) } })
    agent:ask "go"
    assert.equal("try 2", transport.requests[2].body.tools[1]["function"].description)
  end)

  it("a change of the tools is told of", function()
    local step = 0
    local agent = agents.new({ calls "f", "ok" }, { tools = { { tools = function()
      step = step + 1
      return step == 1 and { echo "f" } or { echo "f", echo "g" }
    end } } })
    local changes = of_type(events(agent:run "go"), "tools_changed")
    assert.same({ 1, 2 }, { #changes, #changes[1].tools })
  end)

  it("permissions are composed: deny wins, then ask, then allow; the tool body never runs when denied", function()
    local count = 0
    local agent = agents.new({ calls "f", "ok" }, {
      tools = { tool("f", function() count = count + 1 end) },
      policy = { function() return "allow" end, function() return "deny" end, function() return "ask" end },
    })
    local list = events(agent:run "go")
    assert.same({ 0, 0, 1 }, { count, #of_type(list, "tool_start"), #of_type(list, "tool_result") })
  end)
end)

describe("4.5 concurrency:", function()
  it("one after another, in call order, where parallel = 1", function()
    local log = {}
    local function run(_, call)
      log[#log + 1] = "begin " .. call.name
      vllm.sleep(0.001)
      log[#log + 1] = "end " .. call.name
    end
    agents.new({ calls("a", {}, "b", {}), "ok" }, { parallel = 1, tools = { tool("a", run), tool("b", run) } }):ask "go"
    assert.same({ "begin a", "end a", "begin b", "end b" }, log)
  end)
end)

describe("4.6 cancellation:", function()
  it("an approval that waits is cancelled: every call is answered", function()
    local agent = agents.new({ calls("f", {}, "f", {}) },
      { loop_guard = false, tools = { echo("f", { approval = "ask" }) } })
    local session = agent:session()
    session:run("go"):result()
    session:cancel()
    assert.same({ "the call was cancelled", "the call was cancelled" }, results(session))
    assert.is_nil(transcripts.pair_fault(session:messages()))
  end)

  it("a tool that was approved runs even if the session was cancelled meanwhile: no, its call is answered", function()
    local count = 0
    local agent = agents.new({ calls "f", "ok" }, { tools = { tool("f", function() count = count + 1 end,
      { approval = "ask" }) } })
    local session = agent:session()
    session:run("go"):result()
    session:approve_all()
    session:cancel()
    assert.equal("ok", session:ask())
    assert.equal(0, count)
  end)
end)

describe("4.7 observability:", function()
  it("one callback is told everything, a failed run included", function()
    local seen = {}
    local agent = agents.new({ calls("f", {}, "g", {}), "ok", DOWN },
      { tools = { echo "f", echo("g", { approval = "ask" }) },
      on_event = function(event) seen[event.type] = (seen[event.type] or 0) + 1 end })
    local session = agent:session()
    session:run("go"):result()
    session:approve("call1_2", { input = { text = "changed" } })
    assert.equal("ok", session:ask())
    assert.equal("overloaded", select(3, session:ask "more").kind)
    for kind, count in pairs {
      step_start = 3, step_end = 2, tool_start = 2, tool_result = 2, approval_required = 1, approval_resolved = 1,
        usage = 2, run_end = 3,
    } do
      assert.equal(count, seen[kind], kind)
    end
  end)

  it("what was decided about an approval", function()
    local agent = agents.new({ calls("f", {}, "f", {}), "ok" },
      { loop_guard = false, tools = { echo("f", { approval = "ask" }) } })
    local session = agent:session()
    session:run("go"):result()
    session:approve("call1_1", { input = { text = "mine" } })
    session:deny("call1_2", "no")
    local resolved = of_type(events(session:run()), "approval_resolved")
    assert.same({ true, { text = "mine" }, false, "no" },
      { resolved[1].is_approved, resolved[1].input, resolved[2].is_approved, resolved[2].reason })
  end)
end)

describe("4.8 context management:", function()
  it("a hook runs before each model call, with the step; what it gives is checked", function()
    local steps = {}
    local agent = agents.new({ calls "f", "ok" }, { tools = { echo "f" }, before_request = function(messages, step)
      steps[#steps + 1] = step .. ":" .. #messages
    end })
    agent:ask "go"
    assert.same({ "1:1", "2:3" }, steps)
  end)

  it("compaction by count, by tokens and by a function of one's own", function()
    for _, trigger in ipairs { { messages = 2 }, { prompt_tokens = 100 },
      { when = function(messages) return #messages > 2 end } } do
      trigger[1] = vllm.compact.keep_recent(1)
      local agent = agents.new({ { text = "one", usage = { prompt_tokens = 200, completion_tokens = 1,
        total_tokens = 201 } }, "two" },
        { compact = trigger })
      local session = agent:session()
      session:ask "a"
      local compactions = of_type(events(session:run "b"), "compaction")
      assert.same({ 3, 1 }, { compactions[1].before, compactions[1].after })
    end
  end)
end)

describe("5.3 defects of the loop are not here:", function()
  it("D23 a provider error strands the turn", function()
    local agent, transport = agents.new({ calls "f", DOWN, "ok" }, { tools = { echo "f" } })
    local session = agent:session()
    local _, _, err = session:run("go"):result()
    assert.equal("overloaded", err.kind)
    assert.equal("ok", session:ask())
    assert.equal(3, #transport.requests)
  end)

  it("D24 cancelling discards the text the user saw", function()
    local agent = agents.new({ "one two three" }, nil, { split = 30 })
    local session = agent:session()
    local seen = ""
    session:run("go"):each(function(event)
      if event.type == "text_delta" then
        seen = seen .. event.text
        return false
      end
    end)
    assert.equal(seen, session:messages()[2].content)
  end)

  it("D25 an interrupt between steps is ignored", function()
    local agent, transport = agents.new({ calls "f", "never" }, { tools = { echo "f" } })
    local session = agent:session()
    local run = session:run "go"
    repeat local event = run:next() until event.type == "step_end"
    run:cancel()
    assert.equal("cancelled", assert(run:result()).stop)
    assert.equal(1, #transport.requests)
  end)

  it("D26 a running tool cannot be cancelled", function()
    local agent = agents.new({ calls "f" }, { tools = { tool("f", function() vllm.sleep(60) end) } })
    local run = agent:run "go"
    repeat local event = run:next() until event.type == "tool_start"
    run:cancel()
    assert.is_true(run:is_over())
  end)

  it("D28 a tool that raises hangs the turn", function()
    local agent = agents.new({ calls "f", "ok" }, { tools = { tool("f", function() error(nil) end) } })
    assert.equal("ok", agent:ask "go")
  end)

  it("D30 two policies that ask for one call can never be satisfied", function()
    local function ask() return "ask" end
    local agent = agents.new({ calls "f", "ok" }, { policy = { ask, ask },
      tools = { echo("f", { approval = "ask" }) } })
    local session = agent:session()
    session:run("go"):result()
    session:approve "call1_1"
    assert.equal("ok", session:ask())
  end)

  it("D31 usage is that of the last call", function()
    local function reply(prompt, text, list)
      return { text = text, tool_calls = list, usage = { prompt_tokens = prompt, completion_tokens = 4,
        total_tokens = prompt + 4 } }
    end
    local observer, totals = vllm.observe.usage()
    local agent = agents.new({ reply(3, nil, { { name = "f" } }), reply(5, "ok") },
      { tools = { echo "f" }, on_event = observer })
    local run = agent:run "go"
    local result = assert(run:result())
    assert.same({ 8, 8, 16 }, { result.usage.prompt_tokens, result.usage.completion_tokens, result.usage.total_tokens })
    assert.same({ 8, 16 }, { totals.prompt_tokens, totals.total_tokens })
    assert.same(result.usage, run.session:usage())
    assert.equal(5, result.steps[2].usage.prompt_tokens)
    assert.equal(4, #result.messages)
  end)

  it("D32 summaries never see calls and results", function()
    local agent, transport = agents.new({ calls("f", { text = "THE-KEY-IS-42" }), "ok", "a summary", "done" },
      { tools = { echo "f" }, compact = { vllm.compact.summarise { keep = 1 }, messages = 4 } })
    local session = agent:session()
    session:ask "go"
    session:ask "more"
    assert.truthy(transport.requests[3].body.messages[2].content:find("THE-KEY-IS-42", 1, true))
    assert.is_nil(transport.requests[3].body.tools)
  end)

  it("D33 a failing compactor blocks the agent", function()
    local agent = agents.new({ "one", "two" }, { compact = { function() return "nonsense" end, messages = 1 } })
    local session = agent:session()
    session:ask "a"
    local warnings = of_type(events(session:run "b"), "warning")
    assert.truthy(warnings[1].message:find("a compactor was left out", 1, true))
    assert.equal("two", session:messages()[4].content)
  end)

  it("D33 also where it raises", function()
    local agent = agents.new({ "one", "two" }, { compact = { function() error("boom", 0) end, messages = 1 } })
    local session = agent:session()
    session:ask "a"
    assert.equal("two", session:ask "b")
  end)

  it("D34 an open call is sent as it is, and no approval survives a restart", function()
    local agent, transport = agents.new({ calls "f", "ok" }, { tools = { echo("f", { approval = "ask" }) } })
    local session = agent:session()
    session:run("go"):result()
    local again = agent:session { state = vllm.json.decode(vllm.json.encode(session:state())) }
    assert.equal("call1_1", again:pending()[1].id)
    again:deny_all()
    assert.equal("ok", again:ask())
    assert.equal("tool", transport.requests[2].body.messages[3].role)
  end)

  it("D34 messages with an open call, too, are mended", function()
    local agent = agents.new { "ok" }
    local session = agent:session { messages = { "go",
      { role = "assistant", tool_calls = { { id = "a", name = "f", arguments = "{}" } } } } }
    assert.equal("ok", session:ask "go on")
    assert.equal("user assistant tool user assistant", roles(session))
  end)

  it("D35 start is told after the end, and results land as they come", function()
    local agent = agents.new({ calls("slow", {}, "quick", {}), "ok" }, { tools = {
      tool("slow", function() vllm.sleep(0.01); return "s" end), tool("quick", function() return "q" end),
    } })
    local run = agent:run "go"
    local list = events(run)
    local order = {}
    for _, event in ipairs(list) do
      if event.type == "tool_start" or event.type == "tool_result" then order[#order + 1] = event.type .. " "
        .. event.name end
    end
    assert.same({ "tool_start slow", "tool_start quick", "tool_result quick", "tool_result slow" }, order)
    assert.same({ "s", "q" }, results(run.session))
  end)
end)
