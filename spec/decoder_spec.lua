-- core.decoder for Lua: tables, values, returns. What the events are is tested in spec/c/decoder_test.c and on the
-- recordings.

local core = require "vllm.core"

local function chunk(choice, more)
  return 'data: {"id":"r1","model":"m"' .. (more or "") .. ',"choices":[' .. choice .. ']}\n\n'
end
local function delta(fields) return chunk('{"index":0,"delta":{' .. fields .. "}}") end
local function say(text) return delta('"content":"' .. text .. '"') end
local function finish(reason) return chunk('{"index":0,"delta":{},"finish_reason":"' .. reason .. '"}') end
local DONE = "data: [DONE]\n\n"

-- Appends to `list`; returns what ended it: false, or nil and perhaps a failure.
local function drain(decoder, list)
  while true do
    local event, failure = decoder:next()
    if not event then return event, failure end
    list[#list + 1] = event
  end
end

local function run(bytes, options)
  local decoder, list = core.decoder(options), {}
  assert(decoder:feed(bytes))
  local last, failure = drain(decoder, list)
  if last == false then
    assert(decoder:finish())
    failure = select(2, drain(decoder, list))
  end
  return list, failure, decoder
end

local function types(list)
  local out = {}
  for i, event in ipairs(list) do out[i] = event.type end
  return table.concat(out, " ")
end

local CALL = delta('"tool_calls":[{"index":0,"id":"c1","function":{"name":"f","arguments":"{\\"city\\":\\"Rome\\",'
  .. '\\"unit\\":null,'
  .. '\\"n\\":[1,null]}"}}]')

describe("core.decoder", function()
  it("gives events as tables with exactly their fields", function()
    local list = run(say "hi" .. finish "stop" .. DONE)
    assert.equals("turn_start part_start text_delta part_end choice_end turn_end", types(list))
    assert.same({ type = "turn_start", id = "r1", model = "m" }, list[1])
    assert.same({ type = "part_start", choice = 0, part = "part-0-text-0", kind = "text" }, list[2])
    assert.same({ type = "text_delta", choice = 0, part = "part-0-text-0", text = "hi" }, list[3])
    assert.same({ type = "part_end", choice = 0, part = "part-0-text-0", kind = "text", value = "hi" }, list[4])
    assert.same({ type = "choice_end", choice = 0, finish_reason = "stop" }, list[5])
  end)

  it("a tool call has its input decoded, null members left out, raw arguments kept", function()
    local list, _, decoder = run(CALL .. finish "tool_calls" .. DONE)
    assert.equals("turn_start part_start tool_call_delta tool_call part_end choice_end turn_end", types(list))
    local call, arguments = list[4], '{"city":"Rome","unit":null,"n":[1,null]}'
    assert.equals(arguments, call.arguments)
    assert.equals("Rome", call.input.city)
    assert.is_nil(call.input.unit)
    assert.equals(core.null, call.input.n[2])
    assert.is_nil(call.invalid)
    assert.same({ type = "tool_call_delta", choice = 0, part = "part-0-tool-0", index = 0, id = "c1", name = "f",
      json = arguments }, list[3])
    assert.equals(arguments, list[5].value)
    local result = decoder:result()
    assert.same({ role = "assistant", tool_calls = { { id = "c1", type = "function",
      ["function"] = { name = "f", arguments = arguments } } } },
      result.message)
    assert.equals("c1", result.tool_calls[1].id)
    assert.equals(0, result.tool_calls[1].index)
    assert.equals("Rome", result.tool_calls[1].input.city)
    assert.is_nil(result.text)
  end)

  it("a call that must not be run says why, in the event and in the result", function()
    local list, _, decoder = run(CALL .. finish "length" .. DONE)
    assert.matches("length limit", list[4].invalid)
    assert.is_nil(list[4].input)
    assert.equals(list[4].invalid, decoder:result().tool_calls[1].invalid)
    local open = core.decoder {}
    open:feed(CALL)
    drain(open, {})
    assert.equals("unfinished", open:result().tool_calls[1].invalid)
  end)

  it("tokens, usage and stop reason are decoded", function()
    local list, _,
      decoder = run(chunk('{"index":0,"delta":{"content":"a"},"logprobs":{"content":[{"token":"a","logprob":-0.5}]},'
        .. '"token_ids":[7]}')
      .. chunk('{"index":0,"delta":{},"finish_reason":"stop","stop_reason":42}')
      .. chunk("",
        ',"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,'
          .. '"prompt_tokens_details":{"cached_tokens":2},"x":null}') .. DONE)
    assert.equals("turn_start part_start text_delta tokens part_end choice_end usage turn_end", types(list))
    assert.equals(-0.5, list[4].logprobs.content[1].logprob)
    assert.equals(7, list[4].token_ids[1])
    assert.equals(42, list[6].stop_reason)
    local usage = list[7]
    assert.same({ 3, 4, 7, 2 }, { usage.prompt_tokens, usage.completion_tokens, usage.total_tokens,
      usage.cached_tokens })
    assert.is_nil(usage.reasoning_tokens)
    assert.same({ prompt_tokens = 3, completion_tokens = 4, total_tokens = 7,
      prompt_tokens_details = { cached_tokens = 2 } }, usage.raw)
    local result = decoder:result()
    assert.equals(7, result.usage.total_tokens)
    assert.equals("a", result.logprobs[1].token)
    assert.equals(7, result.token_ids[1])
  end)

  it("media comes whole", function()
    local list, _, decoder = run(delta '"images":[{"image_url":{"url":"u"}}]' .. finish "stop" .. DONE)
    assert.equals("turn_start part_start part_end choice_end turn_end", types(list))
    assert.equals("media", list[3].kind)
    assert.equals("u", list[3].value.image_url.url)
    assert.equals("u", decoder:result().media[1].image_url.url)
  end)

  it("the result mirrors the lowest choice, and turn_end carries it", function()
    local list, _, decoder = run(chunk '{"index":2,"delta":{"content":"c"},"finish_reason":"stop"}'
      .. chunk '{"index":1,"delta":{"content":"b","reasoning":"r"},"finish_reason":"length"}' .. DONE)
    local result = decoder:result()
    assert.same(result, list[#list].result)
    assert.same({ 1, 2 }, { result.choices[1].choice, result.choices[2].choice })
    assert.equals("b", result.text)
    assert.equals("r", result.reasoning)
    assert.equals("length", result.finish_reason)
    assert.same({ role = "assistant", content = "b", reasoning = "r" }, result.message)
    assert.equals("c", result.choices[2].text)
    assert.same({}, result.tool_calls)
    assert.is_true(result.complete)
    assert.same({ "r1", "m" }, { result.id, result.model })
  end)

  it("a result can be asked for before anything came", function()
    assert.same({ complete = false, choices = {}, extra = {} }, core.decoder({}):result())
  end)

  it("extra has what the server says beside the standard: the last value of each, null members left out", function()
    local stop = '{"index":0,"delta":{},"finish_reason":"stop"}'
    local _, _, decoder = run(chunk("",
      ',"created":1,"object":"chat.completion.chunk","prompt_token_ids":[1,2],"prompt_text":null')
      .. chunk('{"index":0,"delta":{"content":"a"}}', ',"system_fingerprint":"b1"')
      .. chunk('{"index":0,"delta":{"content":"b"}}', ',"system_fingerprint":"b1"')
      .. chunk(stop, ',"system_fingerprint":null,"service_tier":"default","timings":{"n":1,"x":null}')
      .. chunk("", ',"service_tier":"flex","usage":{"prompt_tokens":1}') .. DONE)
    assert.same({ prompt_token_ids = { 1, 2 }, system_fingerprint = "b1", service_tier = "flex", timings = { n = 1 } },
      decoder:result().extra)
    assert.same({}, select(3, run(say "a" .. finish "stop" .. DONE)):result().extra)
  end)

  it("extra of a whole completion, and of a stream that fails", function()
    local decoder = core.decoder {}
    decoder:body('{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"kv_transfer_params":{"a":1},'
      .. '"metrics":null,"n\\u0061":1,"x y":true}')
    local list = {}
    drain(decoder, list)
    assert.same({ kv_transfer_params = { a = 1 }, ["x y"] = true }, list[#list].result.extra)
    local _, failure, broken = run(chunk("", ',"service_tier":"default"')
      .. 'data: {"error":"boom","service_tier":"flex"}\n\n')
    assert.equals("stream", failure.kind)
    assert.same({ service_tier = "default" }, broken:result().extra)
  end)

  describe("what only the server knows", function()
    local MESSAGE = '"reasoning_details":[{"text":"a","id":null},{"text":"b"}],"signature":"s\\u00e4t","task":{"n":1}'
    local TOOL = '{"index":0,"id":"c1","type":"function","extra_content":{"google":{"thought_signature":"x","y":null}},'
      .. '"function":{"name":"f","arguments":"{}"}}'
    local WHOLE = '{"choices":[{"index":0,"weight_versions":[1],"finish_reason":"tool_calls",'
      .. '"message":{"role":"assistant",' .. MESSAGE
      .. ',"tool_calls":[' .. TOOL .. "]}}]}"
    local STREAM = delta '"reasoning_details":[{"text":"a","id":null}],"signature":"s"'
      .. delta '"signature":"\\u00e4t","task":{"n":1}'
      .. delta('"reasoning_details":[{"text":"b"}],"tool_calls":[' .. TOOL .. "]")
      .. chunk '{"index":0,"delta":{},"weight_versions":[1],"finish_reason":"tool_calls"}' .. DONE

    local function whole()
      local decoder = core.decoder {}
      decoder:body(WHOLE)
      drain(decoder, {})
      return decoder:result()
    end

    it("is kept at its level, streamed as whole", function()
      local streamed = select(3, run(STREAM)):result()
      for _, result in ipairs { whole(), streamed } do
        local choice = result.choices[1]
        assert.same({ weight_versions = { 1 } }, choice.extra)
        assert.same({ reasoning_details = { { text = "a", id = core.null }, { text = "b" } }, signature = "s\195\164t",
          task = { n = 1 } }, choice.message.extra)
        assert.same({ extra_content = { google = { thought_signature = "x", y = core.null } } },
          choice.tool_calls[1].extra)
        assert.equal(choice.tool_calls[1].extra, choice.message.tool_calls[1].extra)
        assert.same({}, result.extra)
      end
      assert.same(whole().choices, streamed.choices)
    end)

    it("is in the event of a call", function()
      for _, event in ipairs((run(STREAM))) do
        if event.type == "tool_call" then assert.same("x", event.extra.extra_content.google.thought_signature) end
      end
    end)

    it("goes back with the message", function()
      local sent = core.json_decode(assert(require("vllm.request.messages").encode { "x", whole().message,
        { role = "tool", call = "c1", result = "ok" } }))
      assert.same({ role = "assistant", reasoning_details = { { text = "a", id = core.null }, { text = "b" } },
        signature = "s\195\164t",
        task = { n = 1 }, tool_calls = { { id = "c1", type = "function",
          extra_content = { google = { thought_signature = "x", y = core.null } },
          ["function"] = { name = "f", arguments = "{}" } } } }, sent[2])
    end)

    it("is absent when there is nothing but nulls and empty values", function()
      local decoder = core.decoder {}
      decoder:body('{"choices":[{"index":0,"logprobs":null,"stop_reason":null,"routed_experts":null,'
        .. '"finish_reason":"stop","message":{"role":"assistant",'
        .. '"content":"a","annotations":[],"audio":null,"function_call":null,"tool_calls":[],"reasoning":null,"x":{},'
        .. '"y":"","z":false}}]}')
      drain(decoder, {})
      assert.same({ role = "assistant", content = "a" }, decoder:result().message)
      assert.is_nil(decoder:result().choices[1].extra)
    end)
  end)

  it("thinking in the content is reasoning, streamed as whole", function()
    local THOUGHT = '{"type":"thinking","thinking":[{"type":"text","text":"Let me "},{"type":"text","text":"see."}]}'
    local decoder, list = core.decoder {}, {}
    decoder:body('{"choices":[{"finish_reason":"stop","message":{"content":[' .. THOUGHT
      .. ',{"type":"text","text":"Paris."}]}}]}')
    drain(decoder, list)
    local _, _, streamed = run(delta '"content":[{"type":"thinking","thinking":[{"text":"Let me "}]}]'
      .. delta '"content":[{"type":"thinking","thinking":"see."}]'
      .. say "Paris." .. finish "stop" .. DONE)
    for _, result in ipairs { decoder:result(), streamed:result() } do
      assert.equal("Let me see.", result.reasoning)
      assert.equal("Paris.", result.text)
      assert.is_nil(result.media)
    end
  end)

  it("extra counts against max_message_bytes, but a value that is replaced does not", function()
    local bytes = {}
    for i = 1, 100 do bytes[i] = chunk("", (',"timings":{"n":%d}'):format(100 + i)) end
    local stream = table.concat(bytes) .. finish "stop" .. DONE
    local _, failure, decoder = run(stream, { max_message_bytes = 40 })
    assert.is_nil(failure)
    assert.same({ timings = { n = 200 } }, decoder:result().extra)
    _, failure = run(chunk("", ',"timings":"' .. ("x"):rep(50) .. '"'), { max_message_bytes = 40 })
    assert.equals("limit", failure.kind)
  end)

  it("tool call deltas and texts of several kinds keep their own ids and names", function()
    local function fragment(index, id, name, text)
      return delta(('"tool_calls":[{"index":%d,"id":%s,"function":{"name":%s,"arguments":"%s"}}]')
        :format(index, id, name, text))
    end
    local long = ("i"):rep(300)
    local list = run(delta '"reasoning":"r"' .. delta '"refusal":"n"' .. fragment(0, '"a"', '"f"', "{")
      .. fragment(1, '"' .. long .. '"', '"g"', "{") .. fragment(0, "null", "null", "}")
        .. fragment(1, "null", "null", "}")
      .. finish "tool_calls" .. DONE)
    local deltas = {}
    for _, event in ipairs(list) do
      if event.type:find "_delta$" then deltas[#deltas + 1] = event end
    end
    local function call(part, index, id, name, json)
      return { type = "tool_call_delta", choice = 0, part = part, index = index, id = id, name = name, json = json }
    end
    assert.same({
      { type = "reasoning_delta", choice = 0, part = "part-0-reasoning-0", text = "r" },
      { type = "refusal_delta", choice = 0, part = "part-0-refusal-0", text = "n" },
      call("part-0-tool-0", 0, "a", "f", "{"), call("part-0-tool-1", 1, long, "g", "{"),
      call("part-0-tool-0", 0, "a", "f", "}"), call("part-0-tool-1", 1, long, "g", "}"),
    }, deltas)
  end)

  it("next_text gives the text of choice 0 and passes over everything else", function()
    local decoder = core.decoder {}
    assert.is_false(decoder:next_text())
    decoder:feed(delta '"reasoning":"r"' .. say "a" .. chunk '{"index":1,"delta":{"content":"x"}}' .. say "b")
    assert.equals("a", decoder:next_text())
    assert.equals("b", decoder:next_text())
    assert.is_false(decoder:next_text())
    decoder:feed(finish "stop" .. DONE)
    local got, failure = decoder:next_text()
    assert.is_nil(got)
    assert.is_nil(failure)
    assert.equals("ab", decoder:result().text)
  end)

  it("failures are tables, come after the events before them, and stay", function()
    local list, failure, decoder = run(say "hi" .. 'data: {"error":{"message":"boom","code":500}}\n\n' .. say "x")
    assert.equals("turn_start part_start text_delta", types(list))
    assert.same({ kind = "stream", detail = "the server reported an error",
      body = '{"error":{"message":"boom","code":500}}' }, failure)
    local _, again = decoder:next()
    assert.same(failure, again)
    local ok, on_feed = decoder:feed "x"
    assert.is_nil(ok)
    assert.same(failure, on_feed)
    assert.equals("hi", decoder:result().text)
    assert.is_false(decoder:result().complete)
  end)

  it("the kinds of failure", function()
    local function kind(bytes, options)
      local _, failure = run(bytes, options)
      return failure and failure.kind
    end
    assert.equals("truncated", kind(say "hi"))
    assert.equals("protocol", kind "data: nonsense\n\n")
    assert.equals("limit", kind(say "hello", { max_event_bytes = 8 }))
    assert.equals("limit", kind(say "hello", { max_message_bytes = 4 }))
    assert.equals("limit", kind(CALL, { max_tool_calls = 0 }))
    assert.equals("limit", kind(chunk '{"index":0},{"index":1}', { max_choices = 1 }))
    assert.equals("limit", kind(say "hello", { max_depth = 2 }))
    assert.is_nil(kind(say "hi" .. finish "stop"))
  end)

  local LONG = ("x"):rep(50)
  local function call(fields) return delta('"tool_calls":[{"index":0,' .. fields .. "}]") end
  local function choice(fields) return chunk('{"index":0,"delta":{}' .. fields .. "}") end
  for name, bytes in pairs {
    ["text"] = say(LONG), ["reasoning"] = delta('"reasoning":"' .. LONG .. '"'),
      ["a refusal"] = delta('"refusal":"' .. LONG .. '"'),
    ["a call's id"] = call('"id":"' .. LONG .. '","function":{"name":"f","arguments":""}'),
    ["ids of calls together"] = call('"id":"1' .. LONG:sub(30) .. '","function":{"name":"f"}')
      .. call('"id":"2' .. LONG:sub(30) .. '","function":{"name":"g"}'),
    ["a call's name"] = call('"id":"c","function":{"name":"' .. LONG .. '","arguments":""}'),
    ["a call's arguments"] = call('"id":"c","function":{"name":"f","arguments":"' .. LONG .. '"}'),
    ["a finish reason"] = finish(LONG),
      ["a stop reason"] = choice(',"finish_reason":"stop","stop_reason":"' .. LONG .. '"'),
    ["log probabilities"] = choice(',"logprobs":{"content":[{"token":"' .. LONG .. '"}]}'),
    ["token ids"] = choice(',"token_ids":[' .. ("11111,"):rep(8) .. "1]"),
    ["the answer's id"] = 'data: {"id":"' .. LONG .. '","choices":[]}\n\n',
      ["the model"] = 'data: {"model":"' .. LONG .. '","choices":[]}\n\n',
    ["an unknown member's name"] = 'data: {"choices":[],"' .. LONG .. '":1}\n\n',
  } do
    it("max_message_bytes counts " .. name, function()
      local _, failure = run(bytes, { max_message_bytes = 40 })
      assert.equal("limit", failure and failure.kind)
      _, failure = run(bytes, { max_message_bytes = 500 })
      assert.not_equal("limit", failure and failure.kind)
    end)
  end

  it("a lone half of a surrogate pair in an id or a name is repaired, so that the message can be sent back", function()
    local client = require("vllm").new { model = "m" }
    local stream = [[data: {"id":"r\ud83d","model":"m\ud83d","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c\ud83d","function":]]
      .. [[{"name":"f\ud83d","arguments":"{}"}}]},"finish_reason":"tool_calls\ud83d"}]}]] .. "\n\n" .. DONE
    local whole = stream:gsub("^data: ", ""):gsub("\n\ndata.*$", ""):gsub('"delta"', '"message"')
    local body = core.decoder()
    assert(body:body(whole))
    drain(body, {})
    for _, decoder in ipairs { select(3, run(stream)), body } do
      local result = decoder:result()
      local made = result.tool_calls[1]
      assert.same({ "r\239\191\189", "m\239\191\189", "c\239\191\189", "f\239\191\189", "tool_calls\239\191\189" },
        { result.id, result.model, made.id, made.name, result.finish_reason })
      local text = assert(client:body { messages = { "Hi", result.message,
        { role = "tool", call = made, result = "ok" } } })
      assert.truthy(text:find("c\239\191\189", 1, true))
    end
  end)

  it("texts of a list that the last chunk repeats are not new", function()
    local parts = { "one ", "two and ", "three, one " }
    local stream, list = "", {}
    for i, text in ipairs(parts) do stream, list[i] = stream .. say(text), { type = "text", text = text } end
    local again = chunk('{"index":0,"message":{"content":' .. core.json_encode(list) .. '},"finish_reason":"stop"}')
    local _, failure, decoder = run(stream .. again .. DONE)
    assert.is_nil(failure)
    assert.equal(table.concat(parts), decoder:result().text)
  end)

  it("takes a whole completion instead", function()
    local decoder = core.decoder {}
    assert.is_true(decoder:body '{"id":"r1","model":"m","choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}')
    local list = {}
    local last, failure = drain(decoder, list)
    assert.is_nil(last)
    assert.is_nil(failure)
    assert.same((run(say "hi" .. finish "stop" .. DONE)), list)
    local _, body_failure = (function()
      local other = core.decoder { max_event_bytes = 4 }
      return other:body "{      }"
    end)()
    assert.equals("limit", body_failure.kind)
  end)

  it("hands out raw chunks when asked", function()
    local list = run('data: {"x":1}\n\n' .. finish "stop" .. DONE, { chunks = true })
    assert.equals("chunk chunk turn_start choice_end turn_end", types(list))
    assert.equals('{"x":1}', list[1].raw)
  end)

  it("hands out no chunk that is an error: nothing was delivered then", function()
    local list, failure = run('data: {"error":{"message":"busy"}}\n\n', { chunks = true })
    assert.same({}, list)
    assert.equal("stream", failure.kind)
  end)

  it("ids and names that begin alike are kept apart in every delta", function()
    local calls = {}
    for i, name in ipairs { "get", "get_more", "get" } do
      calls[i] = delta(('"tool_calls":[{"index":%d,"id":"c%s","function":{"name":"%s","arguments":"{}"}}]')
        :format(i, ("1"):rep(i), name))
    end
    local seen = {}
    for _, event in ipairs((run(table.concat(calls) .. finish "tool_calls" .. DONE))) do
      if event.type == "tool_call_delta" then seen[#seen + 1] = event.id .. " " .. event.name end
    end
    assert.same({ "c1 get", "c11 get_more", "c111 get" }, seen)
  end)

  it("feeding before all events were taken loses and changes none of them", function()
    local text, late = ("word "):rep(400), {}
    local stream = {}
    for i = 1, 40 do stream[i] = say(text .. i) end
    stream[#stream + 1] = CALL
    stream[#stream + 1] = finish("stop") .. DONE
    local decoder = core.decoder()
    for _, piece in ipairs(stream) do
      assert(decoder:feed(piece))
      late[#late + 1] = assert(decoder:next())
    end
    assert(decoder:finish())
    drain(decoder, late)
    local whole = run(table.concat(stream))
    assert.same(whole, late)
    assert.equal("turn_end", late[#late].type)
  end)

  it("state counts bytes, events, and choices that have ended", function()
    local _, _, decoder = run(say "hi")
    assert.same({ #say "hi", 1, false, false, true, 0 }, { decoder:state() })
  end)

  it("misuse throws and names what is wrong", function()
    assert.error_matches(function() core.decoder { max_tool_calls = -1 } end, "max_tool_calls")
    assert.error_matches(function() core.decoder { max_depth = 1e9 } end, "max_depth")
    assert.error_matches(function() core.decoder { chunks = "yes" } end, "chunks")
    local decoder = core.decoder()
    assert.has_error(function() decoder:feed() end)
    assert.has_error(function() decoder.next {} end)
    assert.error_matches(function() decoder.next(io.stdout) end, "vllm.decoder expected")
    assert.error_matches(function() decoder.feed(core.sse(), "x") end, "vllm.decoder expected")
    decoder:feed "x"
    assert.has_error(function() decoder:body "{}" end)
  end)
end)

-- What looks at everything again for each event takes hours for these: the suite would meet its limit.
describe("a hostile stream is read in linear time:", function()
  local blanks = (" "):rep(8 * 1024 * 1024)

  it("lines of one event after megabytes of blanks", function()
    local decoder = core.decoder()
    assert(decoder:feed("data:" .. blanks .. "\n" .. ("data: {\ndata:\n"):rep(100000)))
    assert.is_false(decoder:next())
  end)

  it("fragments of one call after megabytes of blanks", function()
    local fragments = { delta('"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"' .. blanks
      .. '{"}}]') }
    for i = 1, 20000 do
      fragments[i + 1] = delta('"tool_calls":[{"index":0,"id":"b' .. i .. '","function":{"name":"f","arguments":"1"}}]')
    end
    local _, _, decoder = run(table.concat(fragments))
    assert.equal(#blanks + 20001, #decoder:result().tool_calls[1].arguments)
  end)
end)
