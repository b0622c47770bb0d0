-- A session as JSON, and back, in another process.
require "spec.support.env"
local agents = require "spec.support.agents"
local vllm = require "vllm"

local calls, tool, results = agents.calls, agents.tool, agents.results

local function through_json(session)
  return assert(vllm.json.decode(assert(vllm.json.encode(session:state()))))
end

local function tools(count)
  return { tool("rm", function(input)
    count.rm = (count.rm or 0) + 1
    return "removed " .. tostring(input.path)
  end, { approval = "ask" }), tool("ls", function()
    count.ls = (count.ls or 0) + 1
    return "a b"
  end) }
end

describe("a session's state", function()
  it("carries an approval into another process, and runs nothing twice", function()
    local count = {}
    local agent = agents.new({ calls("ls", {}, "rm", { path = "/x" }) }, { tools = tools(count) })
    local session = agent:session { id = "s1" }
    session:run("go"):result()
    local other = agents.new({ "gone" }, { tools = tools(count) })
    local again = other:session { state = through_json(session) }
    assert.equal("s1", again.id)
    assert.same(session:pending(), again:pending())
    assert.is_true(again:approve "call1_2")
    local third = other:session { state = through_json(again) }
    assert.equal("gone", third:ask())
    assert.same({ ls = 1, rm = 1 }, count)
    assert.same({ "a b", "removed /x" }, results(third))
    assert.same({ total_tokens = 3, prompt_tokens = 2, completion_tokens = 1 }, third:usage())
  end)

  it("answers a call that was running when it was written: it is not run again", function()
    local state, session
    local agent = agents.new({ calls "f", "ok" }, { tools = { tool("f", function()
      state = through_json(session)
      return "done"
    end) } })
    session = agent:session()
    assert.equal("ok", session:ask "go")
    assert.equal("running", state.calls[1].status)
    local count = 0
    local other = agents.new({ "I see" }, { tools = { tool("f", function() count = count + 1 end) } })
    local again = other:session { state = state }
    assert.equal("I see", again:ask())
    assert.equal(0, count)
    assert.same({ "the call was interrupted before it had a result" }, results(again))
  end)

  it("has input that still waits", function()
    local agent = agents.new { "one", "two", "three" }
    local session = agent:session()
    session:steer("first", "k")
    session:queue { role = "user", content = "then" }
    local again = agent:session { state = through_json(session) }
    assert.equal("two", again:ask "go")
    assert.equal("user user assistant user assistant", agents.roles(again))
  end)

  it("is refused where it does not fit, naming the place", function()
    local agent = agents.new({ calls("ls", {}, "rm", {}) }, { tools = tools {} })
    local session = agent:session()
    session:run("go"):result()
    local function fault(change)
      local state = through_json(session)
      change(state)
      local ok, why = pcall(agent.session, agent, { state = state })
      assert.is_false(ok)
      return (why:gsub("^.-agent:session: ", ""))
    end
    assert.equal("state.version: this module reads version 1, got 2: a newer one wrote it",
      fault(function(s) s.version = 2 end))
    assert.equal("state.version: expected a number, got nil", fault(function(s) s.version = nil end))
    assert.equal("state.messages: expected a list, got nil", fault(function(s) s.messages = nil end))
    assert.equal("state.messages[1]: expected a message, got 3", fault(function(s) s.messages[1] = 3 end))
    assert.equal("state.calls: expected 2, as in the last message, got 1", fault(function(s) s.calls[2] = nil end))
    assert.equal('state.calls[1]: status: unknown, "ready"', fault(function(s) s.calls[1].status = "ready" end))
    assert.equal("state.calls[1]: message is missing", fault(function(s) s.calls[1].message = nil end))
    assert.equal("state.calls[2]: arguments is not that of the call in the last message",
      fault(function(s) s.calls[2].arguments = '{"path":"/"}' end))
    assert.equal("state.calls[2]: id is not that of the call in the last message",
      fault(function(s) s.calls[2].id = "x" end))
    assert.equal("state.calls[2]: name: expected string, got 3", fault(function(s) s.calls[2].name = 3 end))
    assert.equal("state.steered[1].message: expected a message", fault(function(s) s.steered = { {} } end))
    assert.equal("state: expected a table, got 3", (function()
      local _, why = pcall(agent.session, agent, { state = 3 })
      return (why:gsub("^.-agent:session: ", ""))
    end)())
    local _, why = pcall(agent.session, agent, { state = through_json(session), messages = {} })
    assert.truthy(why:find("messages and state are both given", 1, true))
  end)

  local function waiting(count, replies)
    local agent = agents.new(replies or { calls("rm", { path = "/x" }, "ls", {}), "ok" }, { tools = tools(count) })
    local session = agent:session()
    session:run("go"):result()
    return agent, through_json(session)
  end

  it("shows and runs what the call says, whatever is written beside it", function()
    local count = {}
    local agent, state = waiting(count)
    state.calls[1].input = { path = "/etc" }
    local session = agent:session { state = state }
    assert.equal("/x", session:pending()[1].input.path)
    state.calls[1].status, state.calls[1].message = "new", { role = "tool", tool_call_id = "call1_1", content = "?" }
    session = agent:session { state = state }
    assert.equal("awaiting_approval", assert(session:run():result()).stop)
    assert.is_nil(count.rm)
  end)

  it("holds no result but that of the call, and no null in place of anything", function()
    local agent, state = waiting {}
    state.calls[1].status = "done"
    for _, message in ipairs { vllm.null, { role = "system", content = "x" }, { role = "tool", tool_call_id = "y" } } do
      state.calls[1].message = message
      local ok, why = pcall(agent.session, agent, { state = state })
      assert.is_false(ok)
      assert.truthy(why:find("state.calls[1]: message is ", 1, true), why)
    end
    agent, state = waiting {}
    state.messages[2].tool_calls[1]["function"] = 5
    assert.is_false((pcall(agent.session, agent, { state = state })))
    state.id = 5
    local _, why = pcall(agent.session, agent, { state = state })
    assert.truthy(why:find("state.id: expected a string, got 5", 1, true), why)
  end)

  it("survives JSON with images, and whatever a tool does to its input", function()
    local png = "\137PNG\r\n\026\n" .. ("\0"):rep(20)
    local lines = {}
    local agent = agents.new({ calls "f", "ok" }, { tools = { tool("f", function(input)
      input.fn = print
      vllm.sleep(0)
      return vllm.image { bytes = png, mime = "image/png" }
    end) }, on_event = vllm.observe.jsonl(function(line) lines[#lines + 1] = line end) })
    local session = agent:session()
    session:run { role = "user", content = { vllm.image { bytes = png, mime = "image/png" } } }:each(function()
      through_json(session)
    end)
    assert(vllm.json.encode(session:messages()))
    for _, line in ipairs(lines) do
      local event = assert(vllm.json.decode(line))
      if event.type == "message" then assert.is_nil(event.invalid) end
    end
    local again = agents.new({ "yes" }):session { state = through_json(session) }
    assert.equal("yes", again:ask "And now?")
  end)

  it("is mended before the open calls, too", function()
    local agent, state = waiting({}, { calls("rm", {}), "ok" })
    local call = { id = "q", type = "function", ["function"] = { name = "ls", arguments = "{}" } }
    table.insert(state.messages, 2, { role = "assistant", tool_calls = { call } })
    local session = agent:session { state = state }
    assert.equal("user assistant tool assistant", agents.roles(session))
    session:deny_all()
    assert.equal("ok", session:ask())
  end)

  it("carries an approval past those who ask, not past those who deny", function()
    for said, expected in pairs { ask = "removed /y", deny = "the call was denied: never" } do
      local function policy(call)
        if call.input.path == "/y" then return said, "never" end
      end
      local agent, state = waiting {}
      agent = agents.new({ "ok" }, { tools = agent._own.tools, policy = policy })
      local session = agent:session { state = state }
      assert.is_true(session:approve("call1_1", { input = { path = "/y" } }))
      assert.equal("ok", session:ask())
      assert.equal(expected, agents.results(session)[1])
    end
  end)

  it("is not another session's: nothing is shared", function()
    local agent = agents.new { "one", "two" }
    local session = agent:session { messages = { "before" } }
    local again = agent:session { state = through_json(session) }
    session:ask "a"
    assert.equal(1, #again:messages())
  end)
end)
