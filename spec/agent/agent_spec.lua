-- vllm.agent: its options, and what it makes.
require "spec.support.env"
local agents = require "spec.support.agents"
local vllm = require "vllm"

local calls, tool = agents.calls, agents.tool

local function misuse(fn, ...)
  local ok, why = pcall(fn, ...)
  assert.is_false(ok)
  assert.truthy(why:find "^spec/agent/agent_spec.lua:%d+: ", why)
  return (why:gsub("^[^ ]+ ", ""))
end

describe("an agent", function()
  it("asks, runs the tools and gives the text", function()
    local agent, transport = agents.new({ calls("weather", { city = "Paris" }), "18 degrees." }, {
      instructions = "Be brief.", tools = { tool("weather",
        function(input) return { city = input.city, celsius = 18 } end) },
    })
    assert.equal("18 degrees.", agent:ask "Weather in Paris?")
    assert.equal(2, #transport.requests)
    local messages = transport.requests[2].body.messages
    assert.same({ role = "system", content = "Be brief." }, messages[1])
    assert.equal("Weather in Paris?", messages[2].content)
    assert.equal('{"celsius":18,"city":"Paris"}', messages[4].content)
    assert.equal("weather", transport.requests[1].body.tools[1]["function"].name)
  end)

  it("takes a client, the options of one, or the environment's server", function()
    local client = vllm.new { model = "m", base_url = "http://127.0.0.1:9/v1" }
    assert.equal(client, vllm.agent({ client = client }).client)
    local agent = vllm.agent { model = "n", base_url = "http://127.0.0.1:9/v1", temperature = 0 }
    assert.equal("n", agent.client.config.model)
    assert.equal(0, agent.client.config.fields.temperature)
    local derived = vllm.agent { client = client, temperature = 1 }
    assert.equal(1, derived.client.config.fields.temperature)
    assert.truthy(misuse(vllm.agent, {}):find("VLLM_MODEL", 1, true))
  end)

  it("refuses what it does not know, and says what was meant", function()
    local client = vllm.new { model = "m" }
    local function fault(option, value) return misuse(vllm.agent, { client = client, [option] = value }) end
    assert.equal("vllm.agent: unknown key `tols` (did you mean `tools`?)", fault("tols", {}))
    assert.equal("vllm.agent: unknown key `max_turns`: write max_steps", fault("max_turns", 3))
    assert.truthy(fault("tempurature", 1):find("did you mean `temperature`?", 1, true))
    assert.truthy(fault("messages", {}):find("agent:session", 1, true))
    assert.equal("vllm.agent: max_steps: expected a whole number, 1 or more, got 0", fault("max_steps", 0))
    assert.equal("vllm.agent: parallel: expected a whole number, 1 or more, got 1.5", fault("parallel", 1.5))
    assert.equal("vllm.agent: instructions: expected a text or a function, got 3", fault("instructions", 3))
    assert.equal("vllm.agent: budget: unknown key `tokens`; known are total_s, total_tokens",
      fault("budget", { tokens = 1 }))
    assert.equal("vllm.agent: budget: budget.total_s: expected a number above 0, got 0",
      fault("budget", { total_s = 0 }))
    assert.equal("vllm.agent: policy: expected a function or a list of functions, got \"ask\"", fault("policy", "ask"))
    assert.equal("vllm.agent: active_tools: expected names in the list, got a table", fault("active_tools", { 1 }))
    assert.truthy(fault("compact", 20):find("expected compactors", 1, true))
    assert.truthy(fault("compact", { 20 }):find("expected compactors", 1, true))
    assert.truthy(fault("compact", { mesages = 20 }):find("unknown key `mesages`", 1, true))
    assert.truthy(misuse(vllm.agent, "x"):find("expected a table of options", 1, true))
    assert.truthy(misuse(vllm.agent, vllm):find("call it with a dot", 1, true))
  end)

  it("refuses tools that cannot be offered or run, naming the member", function()
    local client = vllm.new { model = "m" }
    local function fault(...) return misuse(vllm.agent, { client = client, tools = { ... } }) end
    assert.equal("vllm.agent: tools[1]: unknown key `aproval` (did you mean `approval`?)",
      fault { name = "x", aproval = "ask" })
    assert.equal("vllm.agent: tools[1]: name: expected 1 to 64 of a-z A-Z 0-9 _ -, got nil", fault {})
    assert.equal("vllm.agent: tools[1]: run: expected function, got \"x\"", fault { name = "x", run = "x" })
    assert.equal("vllm.agent: tools[1]: timeout_s: expected 0 or more, got -1", fault { name = "x", timeout_s = -1 })
    assert.equal('vllm.agent: tools[1]: approval: expected "ask", false or a function, got true',
      fault { name = "x", approval = true })
    assert.equal('vllm.agent: tools[2].name: there is a second tool "x"', fault({ name = "x" }, { name = "x" }))
    assert.truthy(fault("x"):find("expected a tool", 1, true))
    assert.truthy(misuse(vllm.agent, { client = client, tools = { name = "x" } }):find("expected a list of tools", 1,
      true))
    assert.truthy(misuse(vllm.tool, { name = "a b" }):find("vllm.tool: name", 1, true))
    local good = { name = "x" }
    assert.equal(good, vllm.tool(good))
  end)

  it("does not change; with() makes another one", function()
    local agent = agents.new({ calls "f", "never asked" }, { tools = { tool("f", function() return 1 end) } })
    assert.truthy(misuse(function() agent.max_steps = 3 end):find("agent:with { max_steps = … }", 1, true))
    assert.truthy(misuse(function() agent.client = 3 end):find("does not change", 1, true))
    local result = assert(agent:with({ max_steps = 1 }):run("go"):result())
    assert.equal("max_steps", result.stop)
    assert.equal("vllm.agent (1 tools)", tostring(agent))
  end)

  it("says when a method is called with a dot", function()
    local agent = agents.new {}
    for _, name in ipairs { "ask", "run", "session", "with", "tool" } do
      assert.truthy(misuse(agent[name], "x"):find("call it with a colon: agent:" .. name, 1, true))
    end
  end)

  it("has instructions that a function writes, for each step", function()
    local count = 0
    local agent, transport = agents.new({ calls "f", "ok" }, {
      tools = { tool("f", function() return 1 end) },
      instructions = function(session)
        count = count + 1
        vllm.sleep(0) -- it may wait
        return ("session %s, step %d"):format(session.id, count)
      end,
    })
    assert.equal("ok", agent:session({ id = "s" }):ask "go")
    assert.equal("session s, step 2", transport.requests[2].body.messages[1].content)
  end)

  it("leaves a transcript's own system message alone", function()
    local agent, transport = agents.new({ "ok" }, { instructions = "mine" })
    agent:session({ messages = { { role = "system", content = "its own" } } }):ask "go"
    assert.equal("its own", transport.requests[1].body.messages[1].content)
    assert.equal(2, #transport.requests[1].body.messages)
  end)

  it("is a tool of another agent", function()
    local inner, outer
    local agent = agents.new({ "inner" }, {})
    inner = agent:tool { name = "helper", description = "Helps." }
    outer = agents.new({ calls("helper", { task = "t" }), "outer" }, { tools = { inner } })
    local run = outer:run "go"
    assert.equal("outer", run:text())
    assert.same({ "inner" }, agents.results(run.session))
  end)

  it("cannot wait for an approval as a tool, and tells both the model and the program", function()
    local inner = agents.new({ calls "rm" }, { tools = { tool("rm", print, { approval = "ask" }) } })
    local outer = agents.new({ calls("helper", { task = "t" }), "ok" }, { tools = { inner:tool { name = "helper" } } })
    local run = outer:run "go"
    assert.same({ "`helper` raised an error: a call of `rm` waits, which an agent as a tool cannot" },
      assert(run:result()).hints)
    assert.same({ "the tool failed: a call of `rm` waits, which an agent as a tool cannot" },
      agents.results(run.session))
  end)
end)
