-- `system`: a message before the messages, as an option of clients, sessions and calls.
local core = require "vllm.core"
local testing = require "vllm.testing"

local client = testing.client {}
local french = client:with { system = "Answer in French." }

local SYSTEM, USER = { role = "system", content = "Answer in French." }, { role = "user", content = "Why?" }

local function sent(by, request, more)
  return core.json_decode(assert(by:body(request, more))).messages
end

describe("system", function()
  it("of a call is the first message, and no field of the body", function()
    assert.same({ SYSTEM, USER }, sent(client, "Why?", { system = "Answer in French." }))
    assert.same({ SYSTEM, USER }, sent(client, { messages = { USER }, system = "Answer in French." }))
    assert.same({ SYSTEM, USER }, sent(client, { messages = "Why?", system = "Answer in French." }))
    assert.is_nil(core.json_decode(assert(client:body("Why?", { system = "x" }))).system)
    assert.same({ SYSTEM, USER }, core.json_decode(client:turn("Why?",
      { system = "Answer in French." })._effort.built.body).messages)
  end)

  it("of a client is a default, which a call replaces and null or false take away", function()
    assert.same({ SYSTEM, USER }, sent(french, "Why?"))
    assert.same({ { role = "system", content = "In English." }, USER },
      sent(french, "Why?", { system = "In English." }))
    assert.same({ USER }, sent(french, "Why?", { system = core.null }))
    assert.same({ USER }, sent(french, "Why?", { system = false }))
    assert.same({ USER }, sent(french:with { system = core.null }, "Why?"))
    assert.same({ USER }, sent(french:with { system = false }, "Why?"))
    assert.same({ USER }, sent(testing.client({}, { system = false }), "Why?"))
  end)

  it("of a client is left out where the messages have their own", function()
    for _, role in ipairs { "system", "developer" } do
      local own = { { role = role, content = "Be brief." }, USER }
      assert.same(own, sent(french, { messages = own }))
      assert.same(own, sent(french, { messages = { { kind = role, text = "Be brief." }, USER } }))
    end
    assert.same({ SYSTEM, USER, { role = "system", content = "Be brief." } },
      sent(french, { messages = { USER, { role = "system", content = "Be brief." } } }))
  end)

  it("of a call beside messages that have their own is a contradiction", function()
    for _, role in ipairs { "system", "developer" } do
      local body, message, err = client:body { messages = { { role = role, content = "a" }, "b" }, system = "c" }
      assert.is_nil(body)
      assert.equal("invalid_request: system is given, but the messages already begin with a system message: give one "
        .. "of "
        .. "them", message)
      assert.equal("system", err.param)
    end
  end)

  it("may be a list of parts", function()
    local parts = { "Answer in French.", { type = "text", text = "Be brief." } }
    assert.same({ role = "system", content = "Answer in French.\n\nBe brief." },
      sent(client, "Why?", { system = parts })[1])
  end)

  it("does not move the numbers of the messages in an error", function()
    local _, message, err = french:body { messages = { USER, { role = "usr", content = "x" } } }
    assert.truthy(message:find("messages[2].role", 1, true), message)
    assert.equal("messages[2].role", err.param)
    assert.equal("messages[1].content",
      select(3, french:body { messages = { { role = "user", content = "\255" } } }).param)
    assert.equal("messages[1].tool_calls[1].function.arguments", select(3, french:body { messages = {
      { role = "assistant", tool_calls = { { id = "a", type = "function",
        ["function"] = { name = "f", arguments = "{" } } } } } }).param)
  end)

  it("is named by its own errors", function()
    assert.equal("system[2]", select(3, client:body("Why?", { system = { "a", 7 } })).param)
    assert.equal("system", select(3, client:body("Why?", { system = "\255" })).param)
    assert.equal("system[2].text", select(3,
      client:body("Why?", { system = { "a", { type = "text", text = "\255" } } })).param)
  end)

  it("does not make a request of no messages", function()
    assert.equal("messages", select(3, french:body { messages = {} }).param)
    assert.equal("messages", select(3, french:session():turn():result()).param)
  end)

  it("joins the folding of system messages", function()
    local folding = french:with { strict_alternating_roles = { system = "fold" } }
    local list = sent(folding, { messages = { USER, { role = "system", content = "Be brief." } } })
    assert.equal(2, #list)
    assert.equal("Answer in French.\n\nBe brief.", list[1].content)
  end)

  it("stands before an answer that is continued, too", function()
    local partial = { choices = { { text = "Parce", message = { role = "assistant", content = "Parce" } } } }
    assert.same({ SYSTEM, USER, { role = "assistant", content = "Parce" } },
      sent(french, { messages = { USER }, continue = partial }))
  end)

  it("changes neither a ready-made body nor messages that are JSON already", function()
    local body = '{"messages":[],"model":"m"}'
    assert.equal(body, french:body { body = body })
    assert.equal("system", select(3, client:body { body = body, system = "x" }).param)
    local raw = require("vllm").raw '[{"role":"user","content":"Why?"}]'
    assert.same({ USER }, sent(french, { messages = raw }))
    assert.equal("system", select(3, client:body { messages = raw, system = "x" }).param)
  end)

  it("is a text or a list of parts", function()
    local expected = "system: expected a non-empty string (the text of the system message) or a list of parts, got "
    for _, case in ipairs { { 7, "7" }, { "", '""' }, { true, "true" }, { {}, "a table" },
      { { role = "system", content = "x" }, 'a table; a message is not needed: system = "…"' } } do
      assert.equal("invalid_request: " .. expected .. case[2], select(2, client:body("Why?", { system = case[1] })))
      local _, why = pcall(client.with, client, { system = case[1] })
      assert.truthy(why:find("client:with: " .. expected .. case[2], 1, true), why)
    end
  end)
end)
