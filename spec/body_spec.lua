-- What a head announces, and what a body turns out to be.
local body = require "vllm.turn.body"
local core = require "vllm.core"

local DONE = "data: [DONE]\n\n"
local ANSWER = '{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},'
  .. '"finish_reason":"stop"}]}'

describe("a head announces", function()
  local cases = {
    { 200, { ["content-type"] = "text/event-stream" }, "stream" },
    { 206, { ["content-type"] = "Text/Event-Stream; charset=utf-8" }, "stream" },
    { 200, { ["content-type"] = "application/json" }, "sniff" },
    { 200, {}, "sniff" },
    { 199, { ["content-type"] = "text/event-stream" }, "refused" },
    { 300, {}, "refused" },
    { 404, { ["content-type"] = "application/json" }, "refused" },
  }
  for _, case in ipairs(cases) do
    it(("with status %d and %s: %s"):format(case[1], case[2]["content-type"] or "no type", case[3]), function()
      assert.same({ case[3] }, { body.announced(case[1], case[2]) })
    end)
  end

  it("a compressed answer, which cannot be read", function()
    local phase, why = body.announced(200, { ["content-encoding"] = "br" })
    assert.same({ nil, "string" }, { phase, type(why) })
    phase, why = body.announced(500, { ["content-encoding"] = "br" })
    assert.same({ "refused", "string" }, { phase, type(why) })
  end)
end)

describe("a body", function()
  it("is an event stream where it begins like one", function()
    for _, text in ipairs { "data: x", "data:", "event: a", ": ping", "id: 1", "retry: 5", "\239\187\191data: x" } do
      assert.is_true(body.is_event_stream(text), text)
    end
    for _, text in ipairs { "", "{}", " data: x", "dat", "DATA: x", "<html>", "\239\187\191{}" } do
      assert.is_false(body.is_event_stream(text), text)
    end
  end)

  it("can be told apart after 64 bytes", function()
    local own = body.new()
    own:add(("x"):rep(63))
    assert.is_false(own:can_be_told())
    own:add "y"
    assert.is_true(own:can_be_told())
    assert.same({ 64, ("x"):rep(63) .. "y" }, { own.bytes, own:text() })
  end)

  it("seems whole where its last piece ends like a JSON value, and is JSON where it is one", function()
    local own = body.new()
    assert.is_false(own:seems_whole())
    own:add '{"a":[1'
    assert.is_false(own:seems_whole())
    own:add "] \n"
    assert.same({ true, false }, { own:seems_whole(), own:is_json() })
    own:add "}"
    assert.same({ true, true }, { own:seems_whole(), own:is_json() })
  end)

  for name, text in pairs { bare = ANSWER, ["with a mark of the end"] = ANSWER .. "\n\n" .. DONE,
    ["with a mark in front"] = "\239\187\191" .. ANSWER } do
    it("is decoded " .. name, function()
      local decoder = core.decoder {}
      assert(body.decode(decoder, text))
      repeat local event = assert(decoder:next()) until event.type == "turn_end"
      assert.equal("Hi", decoder:result().text)
    end)
  end

  it("that is not an answer is refused as the decoder has it", function()
    local decoder = core.decoder {}
    local ok, failure = body.decode(decoder, '{"choices":')
    if ok then ok, failure = decoder:next() end
    assert.same({ nil, "protocol" }, { ok, failure.kind })
  end)
end)
