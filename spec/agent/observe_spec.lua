-- Ready observers.
require "spec.support.env"
local agents = require "spec.support.agents"
local vllm = require "vllm"

local calls, tool = agents.calls, agents.tool

local function run_with(...)
  local agent = agents.new({ calls("f", {}, "nope", {}), "ok" },
    { on_event = { ... }, tools = { tool("f", function() return "x" end) } })
  local session = agent:session { id = "s" }
  assert.equal("ok", session:ask "go")
  return session
end

describe("jsonl", function()
  it("writes a line for each event but deltas, with time and session", function()
    local lines = {}
    run_with(vllm.observe.jsonl(function(line) lines[#lines + 1] = line end, { clock = function() return 7 end }))
    local types = {}
    for i, line in ipairs(lines) do
      assert.equal("\n", line:sub(-1))
      local event = assert(vllm.json.decode(line))
      assert.same({ 7, "s" }, { event.time, event.session })
      types[i] = event.type
    end
    local all = table.concat(types, " ")
    assert.truthy(all:find("^message step_start turn_start "), all)
    assert.truthy(all:find("tool_start tool_result", 1, true) or all:find("tool_result tool_start", 1, true), all)
    assert.is_nil(all:find("delta", 1, true))
    local last = vllm.json.decode(lines[#lines])
    assert.same({ "run_end", "completed", "ok", 2 }, { last.type, last.stop, last.text, last.steps })
  end)

  it("tells of a failure without what was written before it", function()
    local last
    local agent = agents.new({ calls "f", { status = 400, body = "bad" } }, {
      tools = { tool("f", function() return "x" end) }, on_event = vllm.observe.jsonl(function(line) last = line end),
    })
    assert.is_nil((agent:ask "go"))
    last = assert(vllm.json.decode(last))
    assert.same({ "run_end", "invalid_request", 400, nil }, { last.type, last.error.kind, last.error.status,
      last.error.partial })
  end)

  it("may have the deltas", function()
    local count = 0
    run_with(vllm.observe.jsonl(function(line) if line:find('"text_delta"', 1, true) then count = count + 1 end end,
      { deltas = true }))
    assert.equal(1, count)
  end)

  it("is told a function that writes", function()
    local ok, why = pcall(vllm.observe.jsonl, "file")
    assert.is_false(ok)
    assert.truthy(why:find('vllm.observe.jsonl: expected a function that writes, got "file"', 1, true), why)
  end)
end)

describe("usage", function()
  it("sums tokens and calls over every run", function()
    local observer, totals = vllm.observe.usage()
    run_with(observer)
    run_with(observer)
    assert.same({ 4, 4, 2, 6 }, { totals.requests, totals.tool_calls, totals.failed_calls, totals.total_tokens })
  end)
end)

describe("transcript", function()
  it("is told each message once, in order", function()
    local seen = {}
    local session = run_with(vllm.observe.transcript(function(message, from)
      seen[#seen + 1] = message
      assert.equal("s", from.id)
    end))
    assert.same(session:messages(), seen)
  end)
end)
