-- How an answer ends: what its finish reason says, errors that stand in it, and silence behind it.

local testing = require "vllm.testing"

local DONE = "data: [DONE]\n\n"

local function chunk(choices, more)
  return 'data: {"id":"r1","model":"m","choices":[' .. choices .. "]" .. (more or "") .. "}\n\n"
end
local function say(text, more) return chunk('{"index":0,"delta":{"content":"' .. text .. '"}' .. (more or "") .. "}") end

-- A client whose answers are `bodies`, in this order: streams, or completions.
local function client_of(bodies, options)
  local replies = {}
  for i, bytes in ipairs(bodies) do replies[i] = bytes:find "^{" and { status = 200, body = bytes } or { bytes = bytes } end
  return testing.client(replies, options)
end

local function whole(choice, more)
  return '{"id":"r1","model":"m","choices":[' .. choice .. "]" .. (more or "") .. "}"
end

describe("an answer that the server broke off is an error, what came of it is kept:", function()
  local cases = {
    { "abort", say "Once" .. say(" upon", ',"finish_reason":"abort"') .. DONE, "aborted" },
    { "abort, without [DONE]", say "Once" .. say(" upon", ',"finish_reason":"abort"'), "aborted" },
    { "abort, and the text behind it", say("Once", ',"finish_reason":"abort"') .. say " upon" .. DONE, "aborted" },
    { "error", say "Once" .. say(" upon", ',"finish_reason":"error"') .. DONE, "failed" },
    { "an error in the choice", say "Once" .. say(" upon", ',"finish_reason":"error","error":{"message":"upstream died"}') .. DONE, "upstream died" },
    { "an error in the choice that says stop", say "Once" .. say(" upon", ',"finish_reason":"stop","error":"boom"') .. DONE, "boom" },
    { "an error beside the text", say "Once"
      .. chunk('{"index":0,"delta":{"content":" upon"},"finish_reason":"error"}', ',"error":{"message":"upstream died"}') .. DONE, "upstream died" },
    { "an event of type error, with text", say "Once" .. "event: error\n" .. chunk('{"index":0,"delta":{"content":" upon"}}', ',"error":"boom"'), "boom" },
    { "whole: abort", whole '{"index":0,"message":{"content":"Once upon"},"finish_reason":"abort"}', "aborted" },
    { "whole: an error in the choice", whole '{"index":0,"message":{"content":"Once upon"},"finish_reason":"error","error":{"message":"died"}}', "died" },
    { "whole: an error beside the choices",
      whole('{"index":0,"message":{"content":"Once upon"},"finish_reason":"stop"}', ',"error":{"message":"died"}'), "died" },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      local session = client_of({ case[2], say "Again" .. say("!", ',"finish_reason":"stop"') .. DONE }):session()
      local turn = session:turn "Tell a story."
      local result, message, err = turn:result()
      assert.is_nil(result)
      assert.equal("server", err.kind)
      assert.truthy(message:find(case[3], 1, true), message)
      assert.equal("Once upon", err.partial.text)
      assert.is_false(err.partial.complete)
      assert.is_true(err.resumable)
      assert.is_true(err.retryable)
      assert.equal(1, #session:messages())
      assert.equal("Again!", session:turn():text())
      assert.equal(2, #session:messages())
    end)
  end

  it("with a code, its kind is that of the code", function()
    local _, _, err = client_of({ say("Hi", ',"error":{"message":"slow down","code":429}') }):turn("x"):result()
    assert.same({ "rate_limited", "Hi", 429 }, { err.kind, err.partial.text, err.code })
  end)

  it("calls of it must not be run", function()
    local call = chunk('{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"abort"}')
    local _, _, err = client_of({ call .. DONE }):turn("x"):result()
    assert.equal("server", err.kind)
    assert.is_string(err.partial.tool_calls[1].invalid)
  end)

  it("one of several choices: the others come to their end first", function()
    local _, _, err = client_of({ say("a", ',"finish_reason":"abort"') .. chunk '{"index":1,"delta":{"content":"b"}}'
      .. chunk '{"index":1,"delta":{"content":"c"},"finish_reason":"stop"}' .. DONE }):turn({ text = "x", n = 2 }):result()
    assert.same({ "server", "a", "bc" }, { err.kind, err.partial.choices[1].text, err.partial.choices[2].text })
  end)

  it("as the very first event it is asked again, as an error alone is", function()
    local client = client_of({ chunk('{"index":0,"delta":{"content":""},"finish_reason":"error"}', ',"error":{"message":"busy","code":502}'),
      say("Hi", ',"finish_reason":"stop"') .. DONE }, { retry = { max = 1, base_s = 0.001 } })
    assert.equal("Hi", client:ask "x")
  end)

  it("its text can be gone on with", function()
    local client, transport = client_of { say("Once", ',"finish_reason":"abort"') .. DONE, say(" upon", ',"finish_reason":"stop"') .. DONE }
    local messages = { { role = "user", content = "x" } }
    local _, _, err = client:turn({ messages = messages }):result()
    local result = assert(client:turn({ messages = messages, continue = err.partial }):result())
    assert.equal("Once upon", result.text)
    assert.equal("Once", transport.requests[2].body.messages[2].content)
  end)
end)

describe("no finish reason", function()
  for _, text in ipairs { "null", "None", "" } do
    it(("is the text %q"):format(text), function()
      local bytes = say("Hi", ',"finish_reason":"' .. text .. '"')
      local _, _, err = client_of({ bytes }):turn("x"):result()
      assert.equal("truncated", err.kind)
      local result = assert(client_of({ bytes .. say("!", ',"finish_reason":"stop"') .. DONE }):turn("x"):result())
      assert.same({ "Hi!", "stop" }, { result.text, result.finish_reason })
    end)
  end

  it("that nobody knows makes an error of an answer", function()
    local result = assert(client_of({ say("Hi", ',"finish_reason":"model_length"') .. DONE }):turn("x"):result())
    assert.same({ "Hi", "model_length", true }, { result.text, result.finish_reason, result.complete })
  end)
end)
