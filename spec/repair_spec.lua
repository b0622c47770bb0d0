-- vllm.repair: a transcript that was cut short can be sent again, and nothing of it is changed.

local core = require "vllm.core"
local messages = require "vllm.request.messages"
local repair = require("vllm.request.repair").repair

local function call(...)
  local calls = {}
  for i = 1, select("#", ...) do calls[i] = { id = select(i, ...), name = "now", arguments = "{}" } end
  return { role = "assistant", calls = calls }
end
local function result(id, text) return { role = "tool", tool_call_id = id, content = text or id } end
local function synthetic(id)
  return { role = "tool", tool_call_id = id, content = "this call was interrupted and has no result", is_error = true }
end

local cases = {
  { "a sound transcript stays", { "q", call "a", result "a", { role = "assistant", text = "x" } },
    { "q", call "a", result "a", { role = "assistant", text = "x" } } },
  { "an open call at the end is answered", { "q", call "a" }, { "q", call "a", synthetic "a" } },
  { "an open call in the middle is answered", { call "a", "q" }, { call "a", synthetic "a", "q" } },
  { "one of two is answered", { call("a", "b"), result "b" }, { call("a", "b"), result "b", synthetic "a" } },
  { "an orphan is dropped", { "q", result "a", "r" }, { "q", "r" } },
  { "an orphan of an older round is dropped", { call "a", result "a", call "b", result "a", result "b" },
    { call "a", result "a", call "b", result "b" } },
  { "a second result is dropped", { call "a", result("a", "1"), result("a", "2") }, { call "a", result("a", "1") } },
  { "a late result moves up, it is not lost", { call "a", "meanwhile", result "a" },
    { call "a", result "a", "meanwhile" } },
  { "a late result behind an answer of the assistant moves up",
    { call "a", { role = "assistant", text = "x" }, result "a" },
    { call "a", result "a", { role = "assistant", text = "x" } } },
  { "an id that returns belongs to the nearest call before it", { call "a", call "a", result("a", "2") },
    { call "a", synthetic "a", call "a", result("a", "2") } },
  { "an id twice in one message needs two results", { call("a", "a"), result "a" },
    { call("a", "a"), result "a", synthetic "a" } },
  { "wire shape", { { role = "assistant", content = core.null,
    tool_calls = { { id = "a", type = "function", ["function"] = { name = "now", arguments = "{" } } } } },
    { { role = "assistant", content = core.null,
      tool_calls = { { id = "a", type = "function", ["function"] = { name = "now", arguments = "{" } } } },
      synthetic "a" } },
  { "calls as parts, results as parts",
    { { kind = "assistant", content = { "x", { type = "tool_call", id = "a", name = "now" },
    { type = "tool_call", id = "b", name = "now" } } },
    { kind = "tool", content = { { type = "tool_result", call_id = "z", output = 0 },
      { type = "tool_result", call_id = "b", output = 1 } } } },
    { { kind = "assistant", content = { "x", { type = "tool_call", id = "a", name = "now" },
      { type = "tool_call", id = "b", name = "now" } } },
      { role = "tool", content = { { type = "tool_result", call_id = "b", output = 1 } } }, synthetic "a" } },
  { "a result that names its call", { call "a", { role = "tool", call = { id = "a" }, result = 1 } },
    { call "a", { role = "tool", call = { id = "a" }, result = 1 } } },
  { "nothing", {}, {} },
}

describe("repair", function()
  for _, case in ipairs(cases) do
    it(case[1], function()
      local before = core.json_encode(case[2])
      local repaired = repair(case[2])
      assert.same(case[3], repaired)
      assert.equal(before, core.json_encode(case[2]))
      assert.are_not.equal(case[2], repaired)
      if #repaired > 0 then assert.is_string((messages.encode(repaired))) end
    end)
    it(case[1] .. "; and again changes nothing", function()
      local once = repair(case[2])
      assert.same(once, repair(once))
    end)
  end

  it("keeps the very tables of the caller", function()
    local list = { call "a", result "a" }
    local repaired = repair(list)
    assert.equal(list[1], repaired[1])
    assert.equal(list[2], repaired[2])
  end)

  it("lets the model see that the call failed", function()
    assert.equal('[{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":"now"},"id":"a",'
      .. '"type":"function"}]},'
      .. '{"content":"Error: this call was interrupted and has no result","role":"tool","tool_call_id":"a"}]',
        messages.encode(repair { call "a" }))
  end)

  it("leaves what it does not understand to the error it deserves", function()
    local list = { 5, { role = "wizard" }, { role = "assistant", calls = { 7, { name = "now" } } }, { role = "tool" } }
    assert.same({ 5, { role = "wizard" }, { role = "assistant", calls = { 7, { name = "now" } } } }, repair(list))
  end)

  it("throws on anything but a list", function()
    assert.has_error(function() repair("x") end, "vllm.repair: expected a list of messages, got string")
  end)
end)
