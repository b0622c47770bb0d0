-- Compactors: each shortens a transcript and keeps every call with its result.
require "spec.support.env"
local testing = require "vllm.testing"
local transcripts = require "vllm.agent.transcript"
local vllm = require "vllm"

local compact = vllm.compact

local function call(id, name)
  return { id = id, type = "function", ["function"] = { name = name or "f", arguments = "{}" } }
end

local function assistant(...)
  return { role = "assistant", content = "", tool_calls = { ... } }
end

local function result(id, content, more)
  local message = { role = "tool", tool_call_id = id, name = "f", content = content }
  for key, value in pairs(more or {}) do message[key] = value end
  return message
end

local function conversation()
  return {
    { role = "system", content = "Be brief." },
    { role = "user", content = "one" },
    { role = "assistant", content = "1", reasoning = "think" },
    { role = "user", content = "two" },
    assistant(call "a", call "b"),
    result("a", ("x"):rep(100)),
    result("b", "boom", { is_error = true }),
    { role = "assistant", content = { { type = "thinking", thinking = "hm" }, { type = "text", text = "2" } } },
    { role = "user", content = "three" },
  }
end

local function contents(messages)
  local list = {}
  for i, message in ipairs(messages) do list[i] = message.role .. ":" .. tostring(message.content) end
  return list
end

describe("keep_recent", function()
  it("keeps the system's messages and the last ones, never a result without its call", function()
    local messages = conversation()
    local kept = compact.keep_recent(1)(messages)
    assert.same({ "system:Be brief.", "user:three" }, contents(kept))
    kept = compact.keep_recent(3)(messages) -- would begin with a result
    assert.equal(6, #kept)
    assert.equal(messages[5], kept[2])
    assert.is_nil(transcripts.pair_fault(kept))
    assert.is_nil(compact.keep_recent(8)(messages))
    assert.is_nil(compact.keep_recent(20)(messages))
    assert.equal(9, #messages)
  end)

  it("is told a whole number", function()
    for _, bad in ipairs { 0, 1.5, "3" } do
      local ok, why = pcall(compact.keep_recent, bad)
      assert.is_false(ok)
      assert.truthy(why:find("vllm.compact.keep_recent: expected a whole number, 1 or more", 1, true), why)
    end
  end)
end)

describe("drop_reasoning", function()
  it("drops what was thought, as a member or as a part, and nothing else", function()
    local messages = conversation()
    local kept = compact.drop_reasoning()(messages)
    assert.is_nil(kept[3].reasoning)
    assert.equal("1", kept[3].content)
    assert.same({ { type = "text", text = "2" } }, kept[8].content)
    assert.equal(messages[5], kept[5])
    assert.equal("think", messages[3].reasoning)
    assert.is_nil(compact.drop_reasoning()(kept))
  end)
end)

describe("drop_failed", function()
  it("drops failed results with their calls", function()
    local kept = compact.drop_failed()(conversation())
    assert.equal(8, #kept)
    assert.equal(1, #kept[5].tool_calls)
    assert.equal("a", kept[5].tool_calls[1].id)
    assert.is_nil(transcripts.pair_fault(kept))
    local alone = { { role = "user", content = "x" }, assistant(call "a"), result("a", "no", { is_error = true }) }
    assert.same({ "user:x" }, contents(compact.drop_failed()(alone)))
    alone[2].content = "I try"
    assert.same({ "user:x", "assistant:I try" }, contents(compact.drop_failed()(alone)))
    assert.is_nil(compact.drop_failed()(kept))
  end)

  it("keeps what went well under the same id", function()
    local messages = { assistant(call "a"), result("a", "good"), assistant(call "a"),
      result("a", "bad", { is_error = true }) }
    assert.same({ messages[1], messages[2] }, compact.drop_failed()(messages))
  end)
end)

describe("clear_results", function()
  it("empties all but the latest results, and those that are too short to matter", function()
    local messages = { assistant(call "a", call "b", call "c"), result("a", ("x"):rep(90)), result("b", "short"),
      result("c", ("y"):rep(90)) }
    local kept = compact.clear_results { keep = 1 }(messages)
    assert.same({ "[this result was removed to save space]", "short", ("y"):rep(90) },
      { kept[2].content, kept[3].content, kept[4].content })
    assert.equal("a", kept[2].tool_call_id)
    assert.is_nil(compact.clear_results { keep = 1 }(kept))
    assert.is_nil(compact.clear_results { keep = 1, exclude = { "f" } }(messages))
    assert.is_nil(compact.clear_results()(messages))
  end)
end)

describe("summarise", function()
  it("puts what a model wrote in place of the old messages; the model sees calls and results", function()
    local client, transport = testing.client { "They spoke of numbers." }
    local messages = conversation()
    local kept = compact.summarise { keep = 2 }(messages, { client = client })
    assert.same({ "system", "user", "assistant", "user" }, { kept[1].role, kept[2].role, kept[3].role, kept[4].role })
    assert.equal("Summary of the conversation so far:\nThey spoke of numbers.", kept[2].content)
    local asked = transport.requests[1].body
    assert.is_nil(asked.tools)
    assert.is_nil(asked.tool_choice)
    local text = asked.messages[2].content
    for _, part in ipairs { "user: one", "assistant: 1", "calls f {}", "tool: boom" } do
      assert.truthy(text:find(part, 1, true), part)
    end
    assert.is_nil(compact.summarise { keep = 8 }(messages, { client = client }))
  end)

  it("may have a client, a prompt and a limit of its own, and fails with the model's error", function()
    local client, transport = testing.client { "short", { status = 503, body = "down" } }
    local other = testing.client {}
    local summarise = compact.summarise { keep = 1, client = client, prompt = "In one word.",
      max_completion_tokens = 5 }
    assert(summarise(conversation(), { client = other }))
    assert.equal("In one word.", transport.requests[1].body.messages[1].content)
    assert.equal(5, transport.requests[1].body.max_completion_tokens)
    local ok, why = pcall(summarise, conversation(), { client = other })
    assert.is_false(ok)
    assert.truthy(why:find("no summary: overloaded", 1, true), why)
  end)
end)

describe("pair_fault", function()
  it("names the message whose call has no result, or whose result has no call", function()
    local fault = transcripts.pair_fault
    assert.is_nil(fault {})
    assert.is_nil(fault { "text", { role = "user", content = "x" } })
    assert.is_nil(fault { assistant(call "a"), result "a" })
    assert.equal("message 1 has a call without a result", fault { assistant(call "a") })
    assert.equal("message 1 has a call without a result",
      fault { assistant(call "a", call "b"), result "a", { role = "user" } })
    assert.equal("message 2 answers no call of the message before it", fault { { role = "user" }, result "a" })
    assert.equal("message 3 answers no call of the message before it",
      fault { assistant(call "a"), result "a", result "a" })
    assert.is_nil(fault { { role = "assistant", calls = { { id = "a" } } }, { role = "tool", call = { id = "a" } } })
  end)
end)
