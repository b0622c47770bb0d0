-- Results that are longer than the model is shown: cut, refused, or kept and read on.
require "spec.support.env"
local agents = require "spec.support.agents"
local stored = require "vllm.agent.stored"
local vllm = require "vllm"

local calls, tool, results = agents.calls, agents.tool, agents.results

local function long() return ("0123456789"):rep(5) end

describe("output_excess", function()
  it("fail makes the call fail, and says how much there was", function()
    local agent = agents.new({ calls "f", "ok" }, { tools = { tool("f", long,
      { output_limit = 20, output_excess = "fail" }) } })
    local session = agent:session()
    assert.equal("ok", session:ask "go")
    assert.same({ "the result has 50 bytes, more than the 20 that can be shown: ask for less" }, results(session))
    assert.is_true(session:messages()[3].is_error)
  end)

  it("store keeps the rest, for a tool of ours that is offered from the beginning", function()
    local agent, transport = agents.new({
      calls "f", calls("read_output", { id = "call1_1", offset = 20 }),
        calls("read_output", { id = "call1_1", offset = 45 }),
      calls("read_output", { id = "nope", offset = 0 }), "ok",
    }, { output_limit = 20, output_excess = "store", tools = { tool("f", long) } })
    local session = agent:session()
    assert.equal("ok", session:ask "go")
    assert.same({
      "01234567890123456789\n[cut here: 20 of 50 bytes are shown; "
        .. 'read_output { "id": "call1_1", "offset": 20 } reads on]',
      "01234567890123456789\n[bytes 20 to 40 of 50]", "56789\n[bytes 45 to 50 of 50]", "no result `nope` is kept",
    }, results(session))
    for i = 1, 5 do assert.equal(2, #transport.requests[i].body.tools) end
  end)

  it("store survives JSON, and tables are kept as their JSON", function()
    local options = { active_tools = { "f" }, tools = { tool("f", function() return { long() } end,
      { output_limit = 4, output_excess = "store" }) } }
    local agent = agents.new({ calls "f", "ok", calls("read_output", { id = "call1_1", offset = 4 }), "done" }, options)
    local session = agent:session()
    session:ask "go"
    local again = agent:session { state = assert(vllm.json.decode(assert(vllm.json.encode(session:state())))) }
    assert.equal("done", again:ask "read on")
    assert.equal(long():sub(3) .. '"]\n[bytes 4 to 54 of 54]', results(again)[2])
  end)

  it("is refused where it is another word, and so is a state that holds something else", function()
    local client = vllm.new { model = "m" }
    local _, why = pcall(vllm.agent, { client = client, output_excess = "drop" })
    assert.truthy(why:find('output_excess: expected "cut", "fail" or "store", got "drop"', 1, true), why)
    _, why = pcall(vllm.tool, { name = "f", run = print, output_excess = "drop" })
    assert.truthy(why:find('vllm.tool: output_excess: expected "cut", "fail" or "store", got "drop"', 1, true), why)
    local agent = agents.new {}
    local state = agent:session():state()
    state.stored = { { id = 1, text = "x" } }
    _, why = pcall(agent.session, agent, { state = state })
    assert.truthy(why:find("state.stored: entry 1: expected { id, text }", 1, true), why)
  end)
end)

describe("what is kept", function()
  it("is cut between code points", function()
    assert.same({ "é", 2, 4 }, { stored.slice("éé", 1, 3) })
    assert.same({ "", 4, 4 }, { stored.slice("éé", 9, 3) })
    assert.same({ "", 0, 0 }, { stored.slice("éé", 0, 1) })
    assert.same({ "éé", 0, 4 }, { stored.slice("éé", 0, 4) })
  end)

  it("has a bound: the oldest are forgotten", function()
    local store = stored.new()
    local large = ("x"):rep(3000000)
    for _, id in ipairs { "a", "b", "c" } do store:put(id, large) end
    assert.same({ 2, "b", "c" }, { #store.list, store.list[1].id, store.list[2].id })
  end)
end)
