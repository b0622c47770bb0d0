-- Approvals: who decides that a call may run, and what becomes of it until then.
require "spec.support.env"
local agents = require "spec.support.agents"
local vllm = require "vllm"

local calls, tool, results = agents.calls, agents.tool, agents.results

local function asking(run)
  return { tool("rm", run or function(input) return "removed " .. tostring(input.path) end, { approval = "ask" }),
    tool("ls", function() return "a b" end) }
end

describe("an approval", function()
  it("is waited for; what needs none has run by then", function()
    local agent, transport = agents.new({ calls("rm", { path = "/x" }, "ls", {}), "gone" }, { tools = asking() })
    local session = agent:session()
    local required
    local run = session:run "go"
    run:each(function(event) if event.type == "approval_required" then required = event end end)
    local result = assert(run:result())
    assert.equal("awaiting_approval", result.stop)
    assert.same({ { id = "call1_1", name = "rm", arguments = '{"path":"/x"}', input = { path = "/x" },
      wants = "approval" } },
      result.pending)
    assert.same({ "call1_1", "rm", { path = "/x" } }, { required.id, required.name, required.input })
    assert.equal("user assistant", agents.roles(session)) -- results join together
    assert.same(result.pending, session:pending())
    local text, message, err = run:text()
    assert.same({ "no_output: the run waits for approval of `rm`", "no_output" }, { message, err.kind })
    assert.is_nil(text)
    assert.equal(1, #transport.requests)
    assert.is_true(session:approve "call1_1")
    assert.equal("gone", session:ask())
    assert.same({ "removed /x", "a b" }, results(session))
  end)

  it("is denied with a reason, which the model reads; the tool never runs", function()
    local count = 0
    local agent = agents.new({ calls "rm", "fine" }, { tools = asking(function() count = count + 1 end) })
    local session = agent:session()
    session:run("go"):result()
    assert.is_true(session:deny("call1_1", "not today"))
    assert.equal("fine", session:ask())
    assert.same({ 0, "the call was denied: not today" }, { count, results(session)[1] })
    assert.equal("denied", session:messages()[3].metadata.failure)
  end)

  it("may change the arguments; the transcript keeps the model's", function()
    local agent, transport = agents.new({ calls("rm", { path = "/x" }), "ok" }, { tools = asking() })
    local session = agent:session()
    session:run("go"):result()
    assert.is_true(session:approve("call1_1", { input = { path = "/y" } }))
    assert.equal("ok", session:ask())
    assert.same({ "removed /y" }, results(session))
    assert.equal('{"path":"/x"}', transport.requests[2].body.messages[2].tool_calls[1]["function"].arguments)
  end)

  it("refuses changed arguments that break the schema", function()
    local strict = tool("rm", print, { approval = "ask", parameters = {
      type = "object", required = { "path" }, properties = { path = { type = "string" } },
    } })
    local agent = agents.new({ calls("rm", { path = "/x" }) }, { tools = { strict } })
    local session = agent:session()
    session:run("go"):result()
    local ok, message, err = session:approve("call1_1", { input = {} })
    assert.is_nil(ok)
    assert.same({ "invalid_request", "input" }, { err.kind, err.param })
    assert.truthy(message:find("path", 1, true), message)
    assert.equal(1, #session:pending())
    local _, why = pcall(session.approve, session, "call1_1", { input = 3 })
    assert.truthy(why:find("expected a table as input, got 3", 1, true), why)
  end)

  it("is for one call of those that wait, in any order, or for all", function()
    local agent = agents.new({ calls("rm", { path = "a" }, "rm", { path = "b" }, "rm", { path = "c" }), "ok",
      calls("rm", {}, "rm", {}), "ok" },
      { tools = asking() })
    local session = agent:session()
    session:run("go"):result()
    assert.is_true(session:approve "call1_3")
    assert.is_true(session:deny "call1_1")
    local result = assert(session:run():result())
    assert.same({ "awaiting_approval", 1, "call1_2" }, { result.stop, #result.pending, result.pending[1].id })
    assert.equal(1, session:approve_all())
    assert.equal("ok", session:ask())
    assert.same({ "the call was denied", "removed b", "removed c" }, results(session))
    session:run("again"):result()
    assert.equal(2, session:deny_all "no")
    assert.equal("ok", session:ask())
  end)

  it("comes before new input", function()
    local agent = agents.new({ calls "rm" }, { tools = asking() })
    local session = agent:session()
    session:run("go"):result()
    local run = session:run "and this"
    local _, message, err = run:result()
    assert.equal("busy", err.kind)
    assert.equal("busy: the call `call1_1` of `rm` waits, and comes before new input: approve or deny it", message)
    assert.equal(message, run:error().message)
    assert.equal("user assistant", agents.roles(session))
  end)

  it("of a call that does not wait is an error that lists those that do", function()
    local agent = agents.new({ calls "rm" }, { tools = asking() })
    local session = agent:session()
    local _, message = session:approve "x"
    assert.equal('invalid_request: no call "x" waits for approval: none is waiting', message)
    session:run("go"):result()
    _, message = session:deny "x"
    assert.equal('invalid_request: no call "x" waits for approval: waiting are `call1_1` (rm)', message)
    _, message = session:answer("call1_1", "done")
    assert.truthy(message:find("it waits for approval: session:approve(id)", 1, true), message)
    assert.is_true(session:approve "call1_1")
    _, message = session:approve "call1_1"
    assert.equal('invalid_request: no call "call1_1" waits for approval: it was approved already', message)
  end)

  it("ends when the session is cancelled", function()
    local agent = agents.new({ calls "rm", "ok" }, { tools = asking() })
    local session = agent:session()
    session:run("go"):result()
    session:cancel()
    assert.equal("user assistant tool", agents.roles(session))
    assert.same({ "the call was cancelled" }, results(session))
    assert.equal("ok", session:ask "go on")
  end)
end)

describe("policies", function()
  local function run_with(policy, more)
    local agent = agents.new({ calls("f", { x = 1 }), "ok" },
      { policy = policy, tools = { tool("f", function() return "ran" end, more) } })
    local session = agent:session()
    local result = assert(session:run("go"):result())
    return result.stop == "awaiting_approval" and "asked: " .. tostring(result.pending[1].reason) or results(session)[1]
  end
  local function says(decision, why) return function() return decision, why end end

  it("allow where none has an opinion", function()
    assert.equal("ran", run_with(nil))
    assert.equal("ran", run_with(says(nil)))
    assert.equal("ran", run_with(says "allow"))
    assert.equal("ran", run_with(nil, { approval = false }))
  end)

  it("are composed: deny wins over ask, and ask over allow", function()
    assert.equal("asked: why", run_with { says "allow", says("ask", "why") })
    assert.equal("the call was denied: b", run_with { says("ask", "a"), says("deny", "b"), says "allow" })
    assert.equal("the call was denied: b", run_with(says("deny", "b"), { approval = "ask" }))
    assert.equal("asked: nil", run_with(says "allow", { approval = "ask" }))
    assert.equal("the call was denied: it is not allowed", run_with(says "deny"))
  end)

  it("see the call and the session, may wait, and may be the tool's own", function()
    local seen
    assert.equal("ran", run_with(function(call, session)
      vllm.sleep(0.001)
      seen = { call.id, call.name, call.arguments, call.input.x, session ~= nil }
    end))
    assert.same({ "call1_1", "f", '{"x":1}', 1, true }, seen)
    assert.equal("asked: big", run_with(nil, { approval = function(input) if input.x > 0 then return "ask",
      "big" end end }))
  end)

  it("that fail deny: they never let a call through", function()
    assert.equal("the call was denied: the policy failed: boom", run_with(function() error("boom", 0) end))
    assert.equal('the call was denied: the policy failed: a policy: expected nil, "allow", "ask" or "deny", got yes',
      run_with(says "yes"))
  end)

  it("are asked for each call, and not again for one that was approved", function()
    local count = 0
    local agent = agents.new({ calls "f", "ok" }, { tools = { tool("f", function() return "ran" end) },
      policy = function() count = count + 1; return "ask" end })
    local session = agent:session()
    session:run("go"):result()
    session:approve_all()
    assert.equal("ok", session:ask())
    assert.equal(1, count)
  end)
end)

describe("a tool without run", function()
  it("leaves its result to the program", function()
    local agent = agents.new({ calls("ext", {}, "ls", {}), "thanks" },
      { tools = { { name = "ext" }, tool("ls", function() return "x" end) } })
    local session = agent:session()
    local result = assert(session:run("go"):result())
    assert.same({ "awaiting_result", "answer" }, { result.stop, result.pending[1].wants })
    local _, message = session:answer("nope", 1)
    assert.equal('invalid_request: no call "nope" waits for its result: waiting are `call1_1` (ext)', message)
    _, message = session:run("more"):result()
    assert.truthy(message:find("answer it", 1, true))
    assert.is_true(session:answer("call1_1", { ok = true }))
    assert.equal("thanks", session:ask())
    assert.same({ '{"ok":true}', "x" }, results(session))
  end)

  it("may have failed", function()
    local agent = agents.new({ calls "ext", "oh" }, { tools = { { name = "ext" } } })
    local session = agent:session()
    session:run("go"):result()
    assert.is_true(session:answer("call1_1", nil, "no network"))
    assert.equal("oh", session:ask())
    assert.is_true(session:messages()[3].is_error)
  end)
end)
