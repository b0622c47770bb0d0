-- What a program decides about calls that wait: told where it is wrong, and told of by events where it is done.
require "spec.support.env"
local agents = require "spec.support.agents"

local calls, tool = agents.calls, agents.tool

local function misuse(fn, ...)
  local ok, why = pcall(fn, ...)
  assert.is_false(ok)
  return (why:gsub("^spec/agent/decisions_spec.lua:%d+: ", ""))
end

-- A session whose call of `rm` waits for approval, and that of `ask` for its result.
local function waiting()
  local agent = agents.new({ calls("rm", { path = "a" }, "ask"), "ok" }, {
    tools = { tool("rm", function(input) return "removed " .. input.path end, { approval = "ask" }), tool "ask" },
  })
  local session = agent:session()
  local pending = assert(session:run("go"):result()).pending
  return session, pending[1].id, pending[2].id
end

describe("a decision", function()
  it("is refused where it would be lost", function()
    local session, id = waiting()
    local function approve(...) return misuse(session.approve, session, ...) end
    assert.equal("session:approve: expected the id of a call (result.pending[i].id), got nil", approve())
    assert.equal("session:approve: expected the id of a call (result.pending[i].id), got a table", approve { id = id })
    assert.equal("session:approve: unknown key `path`; other arguments go in as { input = { … } }",
      approve(id, { path = "b" }))
    assert.equal("session:approve: expected a table { input = … }, got \"b\"", approve(id, "b"))
    assert.equal("session:approve: expected a table as input, got \"b\"", approve(id, { input = "b" }))
    assert.equal("session:deny: expected a text that says why, got a table", misuse(session.deny, session, id, {}))
    assert.equal("session:deny_all: expected a text that says why, got 3", misuse(session.deny_all, session, 3))
    assert.equal(2, #session:pending())
  end)

  it("says what a call waits for instead, or what was decided before", function()
    local session, rm, ask = waiting()
    local function why(_, message) return message:match "waits for [%a ]+: (.*)" end
    assert.equal("it waits for its result: session:answer(id, value)", why(session:approve(ask)))
    assert.equal("it waits for approval: session:approve(id) or session:deny(id, why)", why(session:answer(rm, "x")))
    assert.is_true(session:deny(rm, "no"))
    assert.is_true(session:answer(ask, "x"))
    assert.equal("it was denied already", why(session:approve(rm)))
    assert.equal("it was answered already", why(session:answer(ask, "y")))
  end)

  it("is told of in the next run, and its result like any other", function()
    local session, rm, ask = waiting()
    session:deny(rm, "no")
    session:answer(ask, "42")
    local told = {}
    session:run():each(function(event)
      if event.type == "approval_resolved" then told[#told + 1] = { event.id, event.is_approved, event.reason } end
      if event.type == "tool_result" then told[#told + 1] = { event.id, event.failure, event.message.content } end
    end)
    assert.same({ { rm, false, "no" }, { rm, "denied", "the call was denied: no" }, { ask, nil, "42" } }, told)
  end)
end)
