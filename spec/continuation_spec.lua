-- Going on with an answer that broke off.
local testing = require "vllm.testing"
local vllm = require "vllm"

local QUESTION = { { role = "system", content = "Be brief." }, { role = "user", content = "Tell a story." } }

local function broken(reply)
  local _, _, err = testing.client({ reply }):turn({ messages = QUESTION }):result()
  return err
end

describe("err.resumable", function()
  it("goes by the finish reason, in any case of letters", function()
    for reason, is_resumable in pairs { abort = true, ABORT = true, Error = true, network_error = true } do
      local bytes = ('data: {"choices":[{"index":0,"delta":{"content":"Once"},"finish_reason":"%s"}]}\n\n')
        :format(reason)
      assert.equal(is_resumable, broken({ bytes = bytes }).resumable, reason)
    end
    local client = testing.client {}
    for reason, is_cut in pairs { LENGTH = true, MAX_TOKENS = true, model_length = true, STOP = false,
      sensitive = false } do
      local result = { choices = { { text = "Once", finish_reason = reason } }, text = "Once",
        message = { role = "assistant", content = "Once" } }
      assert.equal(is_cut, client:body("Tell a story.", { continue = result }) ~= nil, reason)
    end
  end)

  it("is true for text that broke off", function()
    local err = broken { text = "Once upon", cut = true }
    assert.equal("truncated", err.kind)
    assert.is_true(err.resumable)
    assert.is_true((broken { text = "Once upon", error = { message = "engine died", code = 500 } }).resumable)
  end)

  it("is false where only reasoning, or a call, had come", function()
    assert.is_false((broken { reasoning = "Let me see", cut = true }).resumable)
    assert.is_false((broken { text = "I call", tool_calls = { { name = "now", arguments = { a = 1 } } },
      cut = true }).resumable)
  end)

  it("is absent where nothing had come", function()
    assert.is_nil((broken { status = 500, body = "x" }).resumable)
  end)
end)

describe("client:turn{ continue = err.partial }", function()
  local partial
  before_each(function() partial = broken({ text = "Once upon", cut = true }).partial end)

  it("sends the text so far as the last message, for the server to write on", function()
    local client, transport = testing.client { " a time." }
    local result = assert(client:turn({ messages = QUESTION, continue = partial, temperature = 0 }):result())
    local body = transport.requests[1].body
    assert.same({ role = "assistant", content = "Once upon" }, body.messages[3])
    assert.equal(3, #body.messages)
    assert.is_true(body.continue_final_message)
    assert.is_false(body.add_generation_prompt)
    assert.equal(0, body.temperature)
    assert.is_nil(body["continue"])
    assert.equal("Once upon a time.", result.text)
    assert.equal("Once upon a time.", result.choices[1].text)
    assert.equal("Once upon a time.", result.message.content)
    assert.is_true(result.complete)
    assert.equal(2, #QUESTION)
  end)

  it("does not say twice what the messages end with", function()
    for _, last in ipairs { { role = "assistant", content = "Once upon" }, partial.message } do
      local client, transport = testing.client { " a time." }
      local messages = { QUESTION[1], QUESTION[2], last }
      assert.equal("Once upon a time.", assert(client:turn({ messages = messages, continue = partial }):result()).text)
      assert.same({ role = "assistant", content = "Once upon" }, transport.requests[1].body.messages[3])
      assert.equal(3, #transport.requests[1].body.messages)
      assert.equal(3, #messages)
    end
    local client, transport = testing.client { " a time." }
    client:ask { messages = { QUESTION[2], { role = "assistant", content = "Another." }, "Go on." },
      continue = partial }
    assert.equal(4, #transport.requests[1].body.messages)
  end)

  it("gives only what is new as events, and the whole as the result", function()
    local turn = testing.client({ " a time." }):turn { messages = QUESTION, continue = partial }
    local new, last = {}, nil
    for event in turn:events() do
      if event.type == "text_delta" then new[#new + 1] = event.text end
      last = event
    end
    assert.equal(" a time.", table.concat(new))
    assert.equal("Once upon a time.", last.result.text)
    assert.equal("Once upon a time.", turn:text())
  end)

  it("may break off again, and be gone on with again", function()
    local client = testing.client { { text = " a time", cut = true }, " there was." }
    local _, _, err = client:turn({ messages = QUESTION, continue = partial }):result()
    assert.equal("Once upon a time", err.partial.text)
    assert.is_true(err.resumable)
    assert.equal("Once upon a time there was.", client:turn({ messages = QUESTION, continue = err.partial }):text())
  end)

  it("keeps what there is when nothing comes: the server is still away", function()
    local client = testing.client { { fail = "connect" }, { status = 503, body = "loading" }, { text = "", cut = true },
      " a time." }
    local so_far = partial
    for _, kind in ipairs { "connect", "overloaded", "truncated" } do
      local _, _, err = client:turn({ messages = QUESTION, continue = so_far }):result()
      assert.equal(kind, err.kind)
      assert.equal("Once upon", err.partial.text)
      assert.is_true(err.resumable)
      so_far = err.partial
    end
    local result = assert(client:turn({ messages = QUESTION, continue = so_far }):result())
    assert.equal("Once upon a time.", result.text)
  end)

  it("is resumable no more when the server refuses to go on, and keeps what there is", function()
    local _, _, err = testing.client({ { status = 400, body = "no" } }):turn({ messages = QUESTION,
      continue = partial }):result()
    assert.equal("invalid_request", err.kind)
    assert.equal("Once upon", err.partial.text)
    assert.is_false(err.resumable)
  end)

  it("keeps what there is when it is cancelled before a word", function()
    local turn = testing.client({ "never" }):turn { messages = QUESTION, continue = partial }
    turn:cancel()
    assert.equal("Once upon", turn:error().partial.text)
    assert.is_true(turn:error().resumable)
  end)

  it("keeps the reasoning of the first part", function()
    local first = broken({ reasoning = "Hm.", text = "Once upon", cut = true }).partial
    local result = assert(testing.client({ " a time." }):turn({ messages = QUESTION, continue = first }):result())
    assert.equal("Hm.", result.reasoning)
    assert.equal("Hm.", result.message.reasoning)
  end)

  it("goes on with an answer that was cut by its length, and takes text for messages", function()
    local cut = assert(testing.client({ { text = "Once upon",
      finish_reason = "length" } }):turn("Tell a story."):result())
    local client, transport = testing.client { " a time." }
    assert.equal("Once upon a time.", client:turn({ text = "Tell a story.", continue = cut }):text())
    assert.equal(2, #transport.requests[1].body.messages)
  end)

  for name, case in pairs {
    ["a complete answer"] = { function() return { messages = QUESTION,
      continue = testing.client({ "Done." }):turn("x"):result() } end,
      "continue: this answer cannot be continued: it is complete", "continue" },
    ["something else"] = { function() return { messages = QUESTION, continue = "Once" } end,
      'continue: expected err.partial or a result, got "Once"', "continue" },
    ["what was no result"] = { function() return { messages = QUESTION, continue = { choices = { 5 } } } end,
      "continue: this answer cannot be continued: its choice is not a table", "continue" },
    ["reasoning that is none"] = { function() return { messages = QUESTION,
      continue = { choices = { { text = "x", reasoning = {} } } } } end,
      "continue: this answer cannot be continued: its reasoning is not a string", "continue" },
    ["no messages"] = { function(from) return { continue = from } end,
      "continue needs the `messages` (a list) or the `text` of the interrupted call", "messages" },
    ["raw messages"] = { function(from) return { messages = vllm.raw "[]", continue = from } end,
      "continue needs the `messages` (a list) or the `text` of the interrupted call", "messages" },
    ["a ready-made body"] = { function(from) return { body = "{}", continue = from } end,
      "`body` cannot be given together with `continue`", "body" },
    ["the fields that it sets"] = { function(from) return { messages = QUESTION, continue = from,
      add_generation_prompt = true } end,
      "`add_generation_prompt` cannot be given together with `continue`", "add_generation_prompt" },
  } do
    it("is refused for " .. name, function()
      local client, transport = testing.client { "never" }
      local _, message, err = client:turn(case[1](partial)):result()
      assert.equal("invalid_request: " .. case[2], message)
      assert.equal(case[3], err.param)
      assert.equal(0, #transport.requests)
    end)
  end
end)
