-- What a new user writes wrong with agents: each is told at once, with what to write; nothing is sent and lost.
require "spec.support.env"
local agents = require "spec.support.agents"
local testing = require "vllm.testing"
local vllm = require "vllm"

local tool = agents.tool
local client, transport = testing.client {}
local function agent(options)
  options.client = options.client or client
  return vllm.agent(options)
end
local function with_tool(member, value)
  return agent { tools = { { name = "f", run = print, [member] = value } } }
end

local A = agent { tools = { tool("f", print) } }

-- { what is written, what is told }
local CASES = {
  { function() A:ask("hi", { temperature = 0 }) end, "agent:ask: takes the input alone, got a table beside it" },
  { function() A:run("hi", {}) end, "agent:run: takes the input alone" },
  { function() A:session():run("hi", {}) end, "options are the agent's: agent:with { … }" },
  { function() A:session():ask("hi", "there") end, 'session:ask: takes the input alone, got "there" beside it' },
  { function() A:session():step("hi", 1) end, "session:step: takes the input alone" },
  { function() A:run("hi"):events(print) end, "run:each(fn) calls a function" },
  { function() A:turn "hi" end, "agent.turn is not here: write agent:ask(…)" },
  { function() A:events() end, "a run has it: agent:run(…)" },
  { function() A:approve "x" end, "a session has it: agent:session()" },
  { function() A:session():turn "hi" end, "session.turn is not here: write session:ask(…)" },
  { function() A:session():append "hi" end, "session:steer(input)" },
  { function() A:session():result() end, "a run has it: session:run(…)" },
  { function() A:session():reject "x" end, "write session:deny(id, why)" },
  { function() A:run("hi"):text_deltas() end, "events of type `text_delta`" },
  { function() A:run("hi"):relay(print) end, "a turn has it" },
  { function() return A:run("hi").usage end, "its result has it: run:result()" },
  { function() A:run("hi"):approve "x" end, "its session has it: run.session" },
  { function() client:agent {} end, "write vllm.agent { client = client }" },
  { function() vllm.agent(client) end, "vllm.agent { client = client }" },
  { function() agent { client = { model = "m" } } end, "client: expected a client (vllm.new { … }), got a table" },
  { function() agent { system = "a", instructions = "b" } end, "write instructions" },
  { function() agent { tools = { A } } end, "tools[1]: expected a tool, got an agent: write agent:tool { name = … }" },
  { function() agent { tools = { { tool("f", print) } } } end, "tools[1]: expected a tool, got a list" },
  { function() agent { tools = { f = tool("f", print) } } end, "expected a list of tools" },
  { function() agent { tools = { tool("f", print) }, active_tools = { "ff", "g" } } end,
    "active_tools: there is no tool `ff`" },
  { function() with_tool("handler", print) end, "unknown key `handler`: write run = function(input, call) … end" },
  { function() with_tool("input_schema", {}) end, "write parameters" },
  { function() with_tool("timeout", 5) end, "write timeout_s" },
  { function() with_tool("needsApproval", true) end, 'write approval = "ask"' },
  { function() with_tool("parameters", { city = "string" }) end, "parameters: expected a JSON Schema" },
  { function() with_tool("parameters", { type = { type = "string" } }) end, "parameters: expected a JSON Schema" },
  { function() with_tool("parameters", { type = "array" }) end, 'parameters: expected type = "object", got "array"' },
  { function() with_tool("parameters", { type = "object", city = { type = "string" } }) end,
    "parameters: `city` belongs into properties = { city = … }" },
  { function() agent { tool_choice = "required" } end, "tool_choice: there are no tools" },
  { function() agent { on_event = vllm.observe.usage } end, "on_event: write vllm.observe.usage(…)" },
  { function() agent { on_event = { print, vllm.observe.jsonl } } end, "on_event: write vllm.observe.jsonl(…)" },
  { function() agent { on_event = { text_delta = print } } end, "on_event: expected a function or a list of" },
  { function() agent { compact = vllm.compact.keep_recent } end, "compact: write vllm.compact.keep_recent(…)" },
  { function() agent { compact = { vllm.compact.summarise } } end, "compact: write vllm.compact.summarise(…)" },
  { function() agent { compact = { messages = 20 } } end, "compact: expected compactors beside what triggers them" },
  { function() vllm.observe.jsonl(print, true) end, "vllm.observe.jsonl: expected a table of options, got true" },
  { function() vllm.observe.jsonl(print, { delta = true }) end, "unknown key `delta` (did you mean `deltas`?)" },
  { function() A:ask { text = "hi" } end, "expected a text or a message { role = …, content = … }, got a table" },
  { function() return A:run("hi").stop end, "in its result: run:result().stop" },
  { function() A:tool "x" end, 'agent:tool: expected a table with `name`, got "x"' },
  { function() vllm.retry() end, "vllm.retry: expected a text that says why, got nil" },
  { function() vllm.compact.summarize() end, "write vllm.compact.summarise" },
  { function() vllm.compact.clear_results(3) end, "vllm.compact.clear_results: expected a table of options, got 3" },
  { function() vllm.compact.clear_results { kep = 3 } end, "unknown key `kep`; known are exclude, keep" },
  { function() vllm.compact.summarise { model = "m" } end, "unknown key `model`" },
}

describe("a mistake with an agent", function()
  it("is told at its line, with what to write", function()
    for i, case in ipairs(CASES) do
      local ok, message = pcall(case[1])
      assert.is_false(ok, "case " .. i)
      assert.truthy(message:find("^spec/agent/mistakes_spec.lua:%d+: "), message)
      assert.truthy(message:find(case[2], 1, true), message)
    end
    assert.equal(0, #transport.requests)
  end)

  it("in a tool reaches the model as the tool's failure, and the program as a hint", function()
    local session = agents.new({ agents.calls("f", {}, "g"), "ok" }, { tools = {
      tool("f", function(_, call) call.progress "half" end), tool("g", function(_, call) call:progress {} end),
    } }):session()
    local hints = assert(session:run("go"):result()).hints
    assert.truthy(hints[1]:find("call:progress: call it with a colon", 1, true), hints[1])
    assert.truthy(hints[2]:find("call:progress: expected a text, got a table", 1, true), hints[2])
  end)

  it("is no reason to refuse a schema of another kind", function()
    for _, parameters in ipairs { {}, { type = "object" }, { anyOf = { { type = "object" } } }, { properties = {} },
      { type = "object", additionalProperties = { type = "string" } }, assert(vllm.json.raw '{"type":"object"}') } do
      assert.equal("vllm.agent (1 tools)", tostring(with_tool("parameters", parameters)))
    end
  end)
end)
