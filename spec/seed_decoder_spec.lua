-- The defects known of the Rust adapter whose job this module takes over, as far as they concern responses: the same
-- input, and what we do with it. Those that concern requests are in seed_spec.lua; the rest stands at the end.

local core = require "vllm.core"
local events = require "spec.support.events"

local FINISH = { stop = "stop", calls = "tool_calls", length = "length" }

local function chunk(delta, finish_reason, more)
  local choice = { index = 0, delta = delta, finish_reason = finish_reason }
  for key, value in pairs(more or {}) do choice[key] = value end
  return { id = "r1", model = "m", choices = { choice } }
end

local function text(piece, finish_reason) return chunk({ content = piece }, finish_reason) end
local function calls(...) return chunk { tool_calls = { ... } } end
local function fragment(index, id, name, arguments)
  return { index = index, id = id, ["function"] = { name = name, arguments = arguments } }
end
local function finish(reason) return chunk({}, reason) end

local function run(...) return events.run { events.stream { ... } } end

local function whole(message, finish_reason)
  message.role = "assistant"
  return events.run({ events.write { id = "r1", model = "m",
    choices = { { index = 0, message = message, finish_reason = finish_reason } } } },
    { body = true })
end

local function types(list)
  local out = {}
  for i, event in ipairs(events.join(list)) do out[i] = event.type end
  return table.concat(out, " ")
end

local function of_type(list, kind)
  local out = {}
  for _, event in ipairs(list) do
    if event.type == kind then out[#out + 1] = event end
  end
  return out
end

describe("a defect of the seed, answered:", function()
  describe("D1: a call with empty arguments is a call with {}", function()
    it("when a stream sends an empty string", function()
      local list, failure, decoder = run(calls(fragment(0, "c1", "now", "")), finish(FINISH.calls))
      assert.is_nil(failure)
      local call = of_type(list, "tool_call")[1]
      assert.same({ "c1", "now", "{}", {} }, { call.id, call.name, call.arguments, call.input })
      assert.is_nil(call.invalid)
      assert.equals("{}", decoder:result().tool_calls[1].arguments)
      assert.equals("{}", decoder:result().message.tool_calls[1]["function"].arguments)
    end)

    it("when a stream sends none, or blanks", function()
      for _, arguments in ipairs { false, " \n" } do
        local _, failure, decoder = run(calls(fragment(0, "c1", "now", arguments or nil)), finish(FINISH.stop))
        assert.is_nil(failure)
        assert.equals("{}", decoder:result().tool_calls[1].arguments)
        assert.same({}, decoder:result().tool_calls[1].input)
      end
    end)

    it("when a completion has an empty string", function()
      local _, failure, decoder = whole({ tool_calls = { fragment(nil, "c1", "now", "") } }, FINISH.calls)
      assert.is_nil(failure)
      assert.same({}, decoder:result().tool_calls[1].input)
    end)
  end)

  it("D2: a character split over two reads arrives whole", function()
    local bytes = events.stream { text "€ 🙂", finish(FINISH.stop) }
    for offset = 1, #bytes - 1 do
      local list, failure = events.run { bytes:sub(1, offset), bytes:sub(offset + 1) }
      assert.is_nil(failure)
      assert.equals("€ 🙂", of_type(list, "text_delta")[1].text)
    end
  end)

  describe("D3: a malformed call is an invalid call, not the end of the turn", function()
    it("when its arguments do not parse", function()
      local list, failure, decoder = run(text "Wait.", calls(fragment(0, "c1", "now", "{bad")), finish(FINISH.calls))
      assert.is_nil(failure)
      local call = of_type(list, "tool_call")[1]
      assert.equals("{bad", call.arguments)
      assert.is_string(call.invalid)
      assert.is_nil(call.input)
      assert.equals("Wait.", decoder:result().text)
    end)

    it("when the token limit cut it, even where the server closed its JSON", function()
      for _, arguments in ipairs { '{"a":', '{"a":1}', "" } do
        local _, failure, decoder = run(text "Wait.", calls(fragment(0, "c1", "now", arguments)), finish(FINISH.length))
        assert.is_nil(failure)
        local call = decoder:result().tool_calls[1]
        assert.equals(arguments, call.arguments)
        assert.is_string(call.invalid)
        assert.is_nil(call.input)
      end
    end)

    it("and the call beside it can be run", function()
      local _, _, decoder = run(calls(fragment(0, "c1", "x", "{bad"), fragment(1, "c2", "x", '{"a":1}')),
        finish(FINISH.calls))
      local list = decoder:result().tool_calls
      assert.is_string(list[1].invalid)
      assert.same({ a = 1 }, list[2].input)
    end)
  end)

  describe("D4: a stream has usage", function()
    it("because it is asked for unless the caller says no", function()
      local testing = require "vllm.testing"
      local client, transport = testing.client { "yes", "yes" }
      assert(client:ask "hi")
      assert.is_true(transport.requests[1].body.stream_options.include_usage)
      assert(client:with({ include_usage = false }):ask "hi")
      assert.is_nil(transport.requests[2].body.stream_options)
    end)

    it("once, the last one, when every chunk brings it", function()
      local usage = { prompt_tokens = 3, completion_tokens = 1, total_tokens = 4 }
      local first, last = text "a", finish(FINISH.stop)
      first.usage, last.usage = usage, { prompt_tokens = 3, completion_tokens = 2, total_tokens = 5 }
      local list, _, decoder = run(first, last)
      assert.equals(1, #of_type(list, "usage"))
      assert.equals(2, of_type(list, "usage")[1].completion_tokens)
      assert.equals(5, decoder:result().usage.total_tokens)
    end)
  end)

  describe("D5: a finish reason is the end of an answer", function()
    local complete = events.stream({ text "all", finish(FINISH.stop) }, true)

    it("without [DONE], and with a [DONE] that lacks its empty line", function()
      for _, tail in ipairs { "", "data: [DONE]", "data: [DONE]\n", "data: [DONE]\r\n\r\n" } do
        local list, failure, decoder = events.run { complete .. tail }
        assert.is_nil(failure)
        assert.equals("turn_end", list[#list].type)
        assert.is_true(decoder:result().complete)
        assert.equals("all", decoder:result().text)
      end
    end)

    it("and [DONE] without one is an end, but not a complete answer", function()
      local list, failure, decoder = run(text "half")
      assert.is_nil(failure)
      assert.equals("turn_end", list[#list].type)
      assert.is_false(decoder:result().complete)
    end)

    it("and a stream without either is truncated, its text kept", function()
      local list, failure, decoder = events.run { events.stream({ text "half" }, true) }
      assert.equals("truncated", failure.kind)
      assert.equals("turn_start part_start text_delta", types(list))
      assert.equals("half", decoder:result().text)
      assert.is_false(decoder:result().complete)
    end)
  end)

  it("D6: what came before an error is delivered, whether or not it came in the same read", function()
    local before, after = events.stream({ text "so far" }, true),
      events.stream { { error = { message = "boom", code = 500 } } }
    local together, failure_together, decoder = events.run { before .. after }
    local apart, failure_apart = events.run { before, after }
    assert.equals("turn_start part_start text_delta", types(together))
    assert.same(together, apart)
    assert.same(failure_together, failure_apart)
    assert.equals("stream", failure_together.kind)
    assert.equals("so far", decoder:result().text)
  end)

  describe("D7: nothing is not a success", function()
    it("when [DONE] is all that comes", function()
      local _, _, decoder = events.run { "data: [DONE]\n\n" }
      assert.is_false(decoder:result().complete)
      local client = require("vllm.testing").client { { bytes = "data: [DONE]\n\n" } }
      local answer, message = client:ask "hi"
      assert.is_nil(answer)
      assert.is_string(message)
    end)

    it("when a frame is an error by its shape only", function()
      local list, failure = run { object = "error", message = "boom", code = 400 }
      assert.equals(0, #list)
      assert.equals("stream", failure.kind)
      assert.truthy(failure.body:find("boom", 1, true))
    end)

    it("when a 200 carries an error body instead of an answer", function()
      local _, failure = events.run({ '{"error":{"message":"boom","code":400}}' }, { body = true })
      assert.equals("stream", failure.kind)
      assert.truthy(failure.body:find("boom", 1, true))
    end)
  end)

  describe("D8: all framings that the standard allows give the same events", function()
    local frames = { events.write(text "one"), events.write(text " two"), events.write(finish(FINISH.stop)), "[DONE]" }
    local reference = events.run { "data: " .. table.concat(frames, "\n\ndata: ") .. "\n\n" }

    local function same_as_reference(bytes)
      for _, pieces in ipairs { { bytes }, { bytes:sub(1, 7), bytes:sub(8) } } do
        local list, failure = events.run(pieces)
        assert.is_nil(failure)
        assert.same(reference, list)
      end
    end

    local framings = {
      ["CRLF and LF mixed"] = { "data: ", "\r\n\r\n", "data: ", "\n\n", "data: ", "\r\n\n", "data: ", "\n\r\n" },
      ["CR alone"] = { "data: ", "\r\r", "data: ", "\r\r", "data: ", "\r\r", "data: ", "\r\r" },
      ["event: message"] = { "event: message\ndata: ", "\n\n", "event: message\ndata: ", "\n\n", "data: ", "\n\n",
        "data: ", "\n\n" },
      ["a byte order mark"] = { "\239\187\191data: ", "\n\n", "data: ", "\n\n", "data: ", "\n\n", "data: ", "\n\n" },
      ["empty data, comments, ids"] = { "data:\n\n: hello\n\ndata: ", "\n\n", "id: 7\ndata:", "\n\n",
        "retry: 3\n\ndata: ", "\n\n", "data:", "\n\n" },
    }
    for name, parts in pairs(framings) do
      it(name, function()
        local bytes = {}
        for i, frame in ipairs(frames) do bytes[i] = parts[2 * i - 1] .. frame .. parts[2 * i] end
        same_as_reference(table.concat(bytes))
      end)
    end

    it("and error: null is no error", function()
      local first = text "one"
      same_as_reference(("data: %s\n\n"):format(events.write(first):gsub('^{', '{"error":null,')) .. "data: "
        .. table.concat(frames, "\n\ndata: ", 2) .. "\n\n")
    end)

    it("and event: error is one, whatever it holds", function()
      local list, failure = events.run { 'data: ' .. frames[1] .. '\n\nevent: error\ndata: {"message":"boom"}\n\n' }
      assert.equals("turn_start part_start text_delta", types(list))
      assert.equals("stream", failure.kind)
    end)
  end)

  describe("D9: reasoning is kept, and kept in its place", function()
    it("under its old name, with the new name null, streamed and whole", function()
      local _, _, decoder = run('{"choices":[{"index":0,"delta":{"reasoning":null,"reasoning_content":"think"}}]}',
        finish(FINISH.stop))
      assert.equals("think", decoder:result().reasoning)
      _, _, decoder = whole({ content = "ok", reasoning_content = "think" }, FINISH.stop)
      assert.equals("think", decoder:result().reasoning)
    end)

    it("once where a server sends both names", function()
      local _, _, decoder = run(chunk { reasoning = "think", reasoning_content = "think" }, finish(FINISH.stop))
      assert.equals("think", decoder:result().reasoning)
    end)

    it("in rounds: each is a part of its own", function()
      local list = run(chunk { reasoning = "a" }, text "b", chunk { reasoning = "c" }, text "d", finish(FINISH.stop))
      local parts = {}
      for i, event in ipairs(of_type(list, "part_end")) do parts[i] = event.part .. "=" .. event.value end
      assert.same({ "part-0-reasoning-0=a", "part-0-text-0=b", "part-0-reasoning-1=c", "part-0-text-1=d" }, parts)
    end)

    it("and never becomes text of the message", function()
      local _, _, decoder = run(chunk { reasoning = "think" }, text "ok", finish(FINISH.stop))
      assert.equals("ok", decoder:result().message.content)
      assert.equals("ok", decoder:result().text)
    end)
  end)

  describe("D10: calls are put together as servers really send them", function()
    it("two calls without an index are two calls", function()
      local _, _, decoder = run(calls(fragment(nil, "a", "x", "{}")), calls(fragment(nil, "b", "x", "{}")),
        finish(FINISH.calls))
      local list = decoder:result().tool_calls
      assert.same({ "a", "{}", "b", "{}" }, { list[1].id, list[1].arguments, list[2].id, list[2].arguments })
    end)

    it("a repeated name is not appended", function()
      local list, _, decoder = run(calls(fragment(0, "a", "now")), calls(fragment(0, nil, "now", "{}")),
        finish(FINISH.calls))
      assert.equals(1, #decoder:result().tool_calls)
      assert.equals("now", decoder:result().tool_calls[1].name)
      assert.equals("now", of_type(list, "tool_call")[1].name)
    end)

    it("arguments sent as an object are arguments", function()
      local _, _, decoder = run(calls(fragment(0, "a", "x", { city = "Rome" })), finish(FINISH.calls))
      assert.same({ city = "Rome" }, decoder:result().tool_calls[1].input)
      assert.is_string(decoder:result().tool_calls[1].arguments)
    end)

    it("a missing id is made, the same in events, result and message, and another in another answer", function()
      local list, _, decoder = run(calls(fragment(0, nil, "x", "{}"), fragment(1, "", "x", "{}")), finish(FINISH.calls))
      local result, ids = decoder:result(), {}
      for i, event in ipairs(of_type(list, "tool_call")) do
        ids[i] = event.id
        assert.equals(event.id, result.tool_calls[i].id)
        assert.equals(event.id, result.message.tool_calls[i].id)
      end
      assert.truthy(#ids[1] > 0 and ids[1] ~= ids[2])
      -- the server could still send it
      for _, event in ipairs(of_type(list, "tool_call_delta")) do assert.is_nil(event.id) end
      local other = calls(fragment(0, nil, "x", "{}"))
      other.id = "r2"
      _, _, decoder = events.run { events.stream { other, finish(FINISH.calls) } }
      assert.are_not.equal(ids[1], decoder:result().tool_calls[1].id)
    end)
  end)

  describe("D11: refusals and content in parts are not lost", function()
    it("refusal", function()
      local list, _, decoder = run(chunk { refusal = "I will" }, chunk { refusal = " not." }, finish(FINISH.stop))
      assert.equals("turn_start part_start refusal_delta part_end choice_end turn_end", types(list))
      assert.equals("I will not.", decoder:result().refusal)
      assert.is_nil(decoder:result().text)
    end)

    it("content as an array of text parts", function()
      local _, _, decoder = run(chunk { content = { { type = "text", text = "one" },
        { type = "text", text = " two" } } }, finish(FINISH.stop))
      assert.equals("one two", decoder:result().text)
    end)
  end)

  it("D12: null where a list could be is nothing", function()
    local _, failure, decoder = events.run({
      '{"id":"r1","model":"m","choices":[{"index":0,"message":{"content":"ok","tool_calls":null},'
        .. '"finish_reason":"stop"}]}' }, { body = true })
    assert.is_nil(failure)
    assert.equals("ok", decoder:result().text)
    assert.same({}, decoder:result().tool_calls)
    _, failure, decoder = run('{"choices":[{"index":0,"delta":{"tool_calls":null,"content":"ok"}}],"usage":null}',
      finish(FINISH.stop))
    assert.is_nil(failure)
    assert.equals("ok", decoder:result().text)
  end)

  it("D13: a generated image is a part, and its message can be sent back", function()
    local image = { type = "image_url", image_url = { url = "data:image/png;base64,AAAA" } }
    local list, failure, decoder = run(text "Look:", chunk { images = { image } }, finish(FINISH.stop))
    assert.is_nil(failure)
    local part = of_type(list, "part_end")[2]
    assert.equals("media", part.kind)
    assert.truthy(events.write(part.value):find("AAAA", 1, true))
    local client, transport = require("vllm.testing").client { "yes" }
    local user = { role = "user", content = "hi" }
    assert(client:ask { messages = { user, decoder:result().message, user } })
    assert.equals("Look:", transport.requests[1].body.messages[2].content)
  end)

  it("D14: every bracket names its part, whole answers have brackets, and each choice keeps its own finish reason",
    function()
    local list = whole({ reasoning = "r", content = "t", tool_calls = { fragment(nil, "a", "x", "{}") } }, FINISH.calls)
    local open, closed = {}, 0
    for _, event in ipairs(list) do
      if event.type == "part_start" then open[event.part] = event.kind end
      if event.type:find "_delta$" then assert.truthy(open[event.part]) end
      if event.type == "part_end" then
        assert.equals(open[event.part], event.kind)
        open[event.part], closed = nil, closed + 1
      end
    end
    assert.equals(3, closed)
    assert.is_nil(next(open))
    local _, _, decoder = run(text("a", FINISH.stop), chunk({ content = "b" }, FINISH.length, { index = 1 }))
    assert.equals("stop", decoder:result().choices[1].finish_reason)
    assert.equals("length", decoder:result().choices[2].finish_reason)
  end)

  it("D15: eight times the bytes in one event cost about eight times the work, not sixty-four", function()
    local function cost(bytes)
      local frame = "data: " .. events.write(text(("x"):rep(bytes))) .. "\n\n"
      local pieces = {}
      for at = 1, #frame, 1400 do pieces[#pieces + 1] = frame:sub(at, at + 1399) end
      pieces[#pieces + 1] = events.stream { finish(FINISH.stop) }
      local best = math.huge
      for _ = 1, 7 do
        local began = os.clock()
        local _, failure, decoder = events.run(pieces)
        best = math.min(best, os.clock() - began)
        assert.is_nil(failure)
        assert.equals(bytes, #decoder:result().text)
      end
      return best
    end
    local small, large = cost(512 * 1024), cost(8 * 512 * 1024)
    assert.is_true(large < 40 * math.max(small, 0.002), ("%g s against %g s"):format(large, small))
  end)

  it("D17: numbers keep their value, in both directions", function()
    assert.equals('{"temperature":0.7,"top_p":0.95}', core.json_encode { temperature = 0.7, top_p = 0.95 })
    local _, _, decoder = run(calls(fragment(0, "a", "x", '{"a":0.7,"b":1e2,"c":9007199254740991}')),
      finish(FINISH.calls))
    local call = decoder:result().tool_calls[1]
    assert.same({ a = 0.7, b = 100, c = 9007199254740991 }, call.input)
    assert.equals('{"a":0.7,"b":1e2,"c":9007199254740991}', call.arguments)
  end)

  it("D23: a failed turn keeps its input, and the session's next turn tries again", function()
    local client, transport = require("vllm.testing").client {
      { text = "Par", error = { message = "the engine died", code = 500 } }, "Paris." }
    local session = client:session()
    local answer, message, err = session:turn("Capital of France?"):text()
    assert.is_nil(answer)
    assert.is_string(message)
    assert.equals("server", err.kind)
    assert.equals("Par", err.partial.text)
    assert.equals(1, #session:messages())
    assert.equals("Paris.", session:turn():text())
    assert.same(transport.requests[1].body.messages, transport.requests[2].body.messages)
    assert.equals(2, #session:messages())
  end)

  it("D24: cancelling keeps the text that was seen, and invents none", function()
    local client = require("vllm.testing").client({ "one two three four five" }, { split = 200 })
    local session = client:session()
    local turn = session:turn "Count."
    local seen = ""
    while seen == "" do
      local event = assert(turn:next())
      if event.type == "text_delta" then seen = seen .. event.text end
    end
    turn:cancel()
    local result, _, err = turn:result()
    assert.is_nil(result)
    assert.equals("cancelled", err.kind)
    assert.equals(seen, err.partial.text)
    assert.is_false(err.partial.complete)
    assert.equals(1, #session:messages())
  end)
end)

-- Not shown here, because they concern an agent loop or parts around it that this module does not have yet. What the
-- design answers, where it does; `no part` means that nothing of it exists:
--
--   D25 interrupt between steps is ignored        turn:cancel() works at any time; between turns there is no loop to interrupt: no part
--   D26 a running tool cannot be cancelled        tools are run by the caller: no part
--   D27 background calls leave calls unanswered   vllm.repair answers open calls (seed_spec.lua); background tools: no part
--   D28 a panicking tool hangs the turn           no part
--   D29 cancelling a task answers nothing         vllm.repair, again; tasks: no part
--   D30 two permission prompts on one call        no part
--   D31 usage is counted wrongly over a turn      one turn is one model call, its usage is the server's last word (D4); sums: no part
--   D32, D33 compaction                           no part
--   D35 order of tool events, copies, unbounded   one turn at a time, events in the order of the stream, every buffer bounded; tools: no part
--   D36 files and commands                        outside this module for good
