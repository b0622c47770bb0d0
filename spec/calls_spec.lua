-- Tool calls as servers really send them: which call a fragment belongs to, when none may be run, and what its id and
-- its name are. Each stream that has a whole message of the same meaning is told both ways.

local core = require "vllm.core"
local testing = require "vllm.testing"
local vllm = require "vllm"

local DONE = "data: [DONE]\n\n"

-- A fragment { index, id, name, arguments } on the wire; false: absent.
local function wire(fragment)
  local index, id, name, arguments = fragment[1], fragment[2], fragment[3], fragment[4]
  return { index = index or nil, id = id or nil, type = "function",
    ["function"] = { name = name or nil, arguments = arguments or nil } }
end

local function chunk(delta, finish)
  return "data: " .. core.json_encode { id = "r1",
    choices = { { index = 0, delta = delta, finish_reason = finish or core.null } } } .. "\n\n"
end

local function stream_of(fragments, finish, usage)
  local out = {}
  for i, fragment in ipairs(fragments) do out[i] = chunk { tool_calls = { wire(fragment) } } end
  out[#out + 1] = chunk(core.json_decode "{}", finish)
  if usage then
    out[#out + 1] = "data: " .. core.json_encode { choices = core.json_decode "[]", usage = usage } .. "\n\n"
  end
  return table.concat(out) .. DONE
end

local function completion_of(fragments, finish, usage)
  local list = {}
  for i, fragment in ipairs(fragments) do list[i] = wire(fragment) end
  return core.json_encode { id = "r1", usage = usage,
    choices = { { index = 0, message = { role = "assistant", tool_calls = list }, finish_reason = finish } } }
end

local function result_of(decoder)
  local event, failure
  repeat event, failure = decoder:next() until not event
  assert(event == nil and not failure, failure and failure.detail)
  return decoder:result()
end

local function streamed(fragments, finish, options, usage)
  local decoder = core.decoder(options)
  assert(decoder:feed(stream_of(fragments, finish or "tool_calls", usage)))
  return result_of(decoder)
end

local function buffered(fragments, finish, options, usage)
  local decoder = core.decoder(options)
  assert(decoder:body(completion_of(fragments, finish or "tool_calls", usage)))
  return result_of(decoder)
end

-- "f {}; g !": name and arguments of each call, or ! where it must not be run.
local function shown(result)
  local out = {}
  for i, call in ipairs(result.tool_calls) do
    assert(type(call.id) == "string" and call.id ~= "", "every call has an id")
    for k = 1, i - 1 do assert(result.tool_calls[k].id ~= call.id, "the ids of a message differ") end
    assert(result.message.tool_calls[i].id == call.id)
    assert((call.input == nil) == (call.invalid ~= nil))
    out[i] = call.name .. " " .. (call.invalid and "!" or call.arguments)
  end
  return table.concat(out, "; ")
end

local WHERE = '{"where":"id = 7"}'

describe("a call is whole or not run:", function()
  local cases = {
    { "an id of its own in the second fragment", { { 0, "A1", "delete_all", "" }, { 0, "B1", false, WHERE } },
      "delete_all " .. WHERE },
    { "an id of its own in every fragment",
      { { 0, "A1", "f", "" }, { 0, "B1", false, '{"a"' }, { 0, "C1", false, ":1}" } }, 'f {"a":1}' },
    { "the same without indexes", { { false, "A1", "f", "" }, { false, "B1", false, WHERE } }, "f " .. WHERE },
    { "an id of its own and the name in the second fragment", { { 0, "A1", "f", "" }, { 0, "B1", "f", WHERE } },
      "f !; f " .. WHERE },
    { "an id of its own and the name within the arguments", { { 0, "A1", "f", '{"a"' }, { 0, "B1", "f", ":1}" } },
      'f {"a":1}' },
    { "arguments of nobody under another index", { { 0, "A1", "delete_all", "" }, { 1, "B1", false, WHERE } },
      "delete_all !; (no name) !" },
    { "the same without an id", { { 0, "A1", "delete_all", "" }, { 1, false, false, WHERE } },
      "delete_all !; (no name) !" },
    { "arguments of nobody beside a call that has its own", { { 0, "A1", "f", "{}" }, { 1, "B1", false, WHERE } },
      "f {}; (no name) !" },
    { "empty fragments with ids of their own",
      { { 0, "A1", "now", "" }, { 0, "B1", false, "" }, { 0, "C1", false, " " } }, "now {}" },
    { "two tools without arguments", { { 0, "A1", "now", "" }, { 1, "B1", "here", "" } }, "now {}; here {}" },
    { "one tool twice without arguments, and one index for both", { { 0, "A1", "now", "" }, { 0, "B1", "now", "" } },
      "now {}; now {}" },
    { "one index for two tools", { { 0, "A1", "now", "" }, { 0, "B1", "f", WHERE } }, "now {}; f " .. WHERE },
    { "an id and the name in every fragment, no index", { { false, "A1", "f", "" }, { false, "B1", "f", WHERE } },
      "f !; f " .. WHERE },
    { "blanks for arguments, then those of another tool", { { 0, false, "f", " " }, { 0, false, "g", WHERE } },
      "fg  " .. WHERE },
    { "arguments, and then something else", { { 0, "A1", "f", "{}" }, { 0, false, false, "{" } }, "f !" },
  }
  for _, case in ipairs(cases) do
    it(case[1], function() assert.equal(case[3], shown(streamed(case[2]))) end)
  end

  it("a whole message with arguments of nobody", function()
    assert.equal("delete_all !; (no name) !",
      shown(buffered { { false, "A1", "delete_all", "" }, { false, "B1", false, WHERE } }))
  end)

  it("a message behind the deltas brings nothing new", function()
    local fragments = { { 0, "A1", "f", '{"a":1}' }, { 1, "A1", "g", "{}" } }
    local decoder = core.decoder()
    local message = { role = "assistant", tool_calls = { wire(fragments[1]), wire(fragments[2]) } }
    decoder:feed((stream_of(fragments, "tool_calls"):gsub("data: %[DONE%]\n\n", function()
      return "data: " .. core.json_encode { choices = { { index = 0, message = message } } } .. "\n\n" .. DONE
    end)))
    assert.equal('f {"a":1}; g {}', shown(result_of(decoder)))
  end)
end)

-- Deltas, the message behind them, and what becomes of both.
describe("a message that does not say what its deltas said gives no call the arguments of another:", function()
  local A, B, BARE = { 0, "A1", "f", '{"a":1}' }, { 1, "B1", "g", WHERE }, { 0, "A1", "f", "" }
  local cases = {
    { "another tool", { BARE }, { B }, "f !; g " .. WHERE },
    { "another order", { A, B }, { B, A }, 'f {"a":1}; g ' .. WHERE },
    { "only the second", { BARE, B }, { B }, "f {}; g " .. WHERE },
    { "another order of one tool", { BARE, { 1, "B1", "f", WHERE } }, { { 0, "B1", "f", WHERE }, { 1, "A1", "f", "" } },
      "f {}; f " .. WHERE },
    { "other ids", { A, B }, { { 0, "C1", "f", '{"a":1}' }, { 1, "D1", "g", WHERE } }, 'f {"a":1}; g ' .. WHERE },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      local decoder, list = core.decoder(), {}
      for i, fragment in ipairs(case[3]) do list[i] = wire(fragment) end
      decoder:feed((stream_of(case[2], "tool_calls"):gsub("data: %[DONE%]\n\n", function()
        local message = "data: " .. core.json_encode { choices = { { index = 0,
          message = { role = "assistant", tool_calls = list } } } } .. "\n\n"
        return message .. message .. DONE
      end)))
      assert.equal(case[4], shown(result_of(decoder)))
    end)
  end
end)

describe("one id for several calls, streamed and whole:", function()
  local cases = {
    { "two indexes, names of their own", { { 0, "x", "f", '{"a":1}' }, { 1, "x", "g", "{}" } }, 'f {"a":1}; g {}' },
    { "names of their own, without arguments", { { 0, "x", "f", "" }, { 1, "x", "g", "" } }, "f {}; g {}" },
    { "one name, arguments of their own", { { 0, "x", "f", '{"a":1}' }, { 1, "x", "f", '{"a":2}' } },
      'f {"a":1}; f {"a":2}' },
    { "whole arguments twice", { { 0, "x", "f", '{"a":1}' }, { 0, "x", "f", '{"a":1}' } }, 'f {"a":1}' },
    { "the same twice, and another", { { 0, "x", "f", "{}" }, { 1, "x", "f", "{}" }, { 2, "y", "g", "{}" } },
      "f {}; g {}" },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      local result = streamed(case[2])
      assert.equal(case[3], shown(result))
      assert.same(result.tool_calls, buffered(case[2]).tool_calls)
    end)
  end

  it("one call in the old and in the new spelling", function()
    local both = '{"choices":[{"index":0,"%s":{"function_call":{"name":"f","arguments":"{}"},"tool_calls":[{"index":0,'
      .. '"id":"a","function":'
      .. '{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}'
    local stream, whole = core.decoder(), core.decoder()
    assert(stream:feed("data: " .. both:format "delta" .. "\n\n" .. DONE))
    assert(whole:body(both:format "message"))
    assert.equal("f {}", shown(result_of(stream)))
    assert.equal("f {}", shown(result_of(whole)))
  end)

  it("one name, arguments of their own in pieces, as in the whole message", function()
    local result = streamed { { 0, "x", "f", "" }, { 0, false, false, '{"a"' }, { 0, false, false, ":1}" },
      { 1, "x", "f", "" }, { 1, false, false, '{"a"' }, { 1, false, false, ":2}" } }
    assert.equal('f {"a":1}; f {"a":2}', shown(result))
    assert.same(result.tool_calls, buffered({ { 0, "x", "f", '{"a":1}' }, { 1, "x", "f", '{"a":2}' } }).tool_calls)
  end)

  it("fragments find their call by index", function()
    assert.equal('f {"a":1}; g {"b":2}',
      shown(streamed { { 0, "x", "f", "" }, { 1, "x", "g", "" }, { 0, "x", false, '{"a"' },
      { 1, "x", false, '{"b"' }, { 0, false, false, ":1}" }, { 1, false, false, ":2}" } }))
  end)

  it("the events of a call have one id from beginning to end", function()
    local decoder, ids = core.decoder(), {}
    decoder:feed(stream_of({ { 0, "x", "f", "{}" }, { 1, "x", "g", "{" }, { 1, "x", false, "}" } }, "tool_calls"))
    for event in decoder.next, decoder do
      if event.index == 1 then ids[event.id] = true end
    end
    local id = next(ids)
    assert.is_nil(next(ids, id))
    assert.are_not.equal("x", id)
  end)
end)

describe("whole arguments that come twice are those of one call:", function()
  local cases = {
    { "at the end, under the index", { { 0, "a", "f", "" }, { 0, false, false, '{"a":1}' },
      { 0, false, false, '{"a":1}' } } },
    { "both times in pieces", { { 0, "a", "f", '{"a"' }, { 0, false, false, ":1}" }, { 0, false, false, '{"' },
      { 0, false, false, 'a":1}' } } },
    { "with the id, under another index", { { 0, "a", "f", '{"a":1}' }, { 1, "a", "f", '{"a":1}' } } },
    { "under an id of their own", { { 0, "a", "f", '{"a":1}' }, { 0, "b", false, '{"a":1}' } } },
    { "three times", { { 0, "a", "f", '{"a":1}' }, { 0, "a", "f", '{"a":1}' }, { 0, "a", false, '{"a":1}' } } },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      local decoder, json = core.decoder(), {}
      decoder:feed(stream_of(case[2], "tool_calls"))
      for event in decoder.next, decoder do
        if event.type == "tool_call_delta" then json[#json + 1] = event.json end
      end
      assert.equal('f {"a":1}', shown(decoder:result()))
      assert.equal('{"a":1}', table.concat(json))
    end)
  end

  it("but not of a call that only begins alike: nothing of it is lost", function()
    local result = streamed { { 0, "a", "f", '{"a":1}' }, { 0, false, false, '{"a"' }, { 0, false, false, ":2}" } }
    assert.equal('{"a":1}{"a":2}', result.tool_calls[1].arguments)
    assert.is_string(result.tool_calls[1].invalid)
  end)

  it("and two calls without ids stay two: a tool may be asked twice", function()
    assert.equal("roll {}; roll {}", shown(streamed { { 0, false, "roll", "{}" }, { 0, false, "roll", "{}" } }))
  end)
end)

describe("a call is trusted only where its answer is whole:", function()
  local CALL = { { 0, "a", "f", '{"a":1}' } }
  for _, reason in ipairs { "stop", "tool_calls", "function_call", "tool_use", "end_turn", "eos_token", "STOP" } do
    it(reason .. " is", function()
      assert.equal('f {"a":1}', shown(streamed(CALL, reason)))
      assert.equal('f {"a":1}', shown(buffered(CALL, reason)))
    end)
  end
  for _, reason in ipairs { "length", "content_filter", "model_length", "max_tokens", "insufficient_system_resource",
    "sensitive", "of nobody" } do
    it(reason .. " is not", function()
      assert.equal("f !", shown(streamed(CALL, reason)))
      assert.equal("f !", shown(buffered(CALL, reason)))
      assert.equal("f !", shown(streamed({ { 0, "a", "f", "" } }, reason)))
    end)
  end

  it("as many tokens as were allowed are not", function()
    local usage, allowed = { prompt_tokens = 1, completion_tokens = 16, total_tokens = 17 },
      { max_completion_tokens = 16 }
    assert.equal("f !", shown(streamed(CALL, "tool_calls", allowed, usage)))
    assert.equal("f !", shown(buffered(CALL, "tool_calls", allowed, usage)))
    allowed.max_completion_tokens = 17
    assert.equal('f {"a":1}', shown(streamed(CALL, "tool_calls", allowed, usage)))
  end)

  it("of two choices nobody knows how many tokens each has", function()
    local other = 'data: {"choices":[{"index":1,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n'
    local decoder = core.decoder { max_completion_tokens = 16 }
    assert(decoder:feed(other .. stream_of(CALL, "tool_calls", { completion_tokens = 20 })))
    assert.equal('f {"a":1}', shown(result_of(decoder)))
  end)

  for _, name in ipairs { "max_completion_tokens", "max_tokens" } do
    it("a turn knows what it allowed: " .. name, function()
      local client = testing.client({ { bytes = stream_of(CALL, "tool_calls", { completion_tokens = 5 }) } },
        { temperature = 0 })
      local result = assert(client:turn({ text = "x", [name] = 5 }):result())
      assert.truthy(result.tool_calls[1].invalid:find("as many tokens as were allowed", 1, true))
      assert.truthy(table.concat(result.hints, "\n"):find("raise max_completion_tokens", 1, true))
    end)
  end
end)

describe("the id of a call is its own in the whole transcript", function()
  -- What `count` turns of one session call their calls, when every answer is `bytes`.
  local function ids_of(bytes, count, more)
    local replies = {}
    for i = 1, count do replies[i] = { bytes = bytes } end
    local client = testing.client(replies, more)
    local session, ids = client:session(), {}
    for i = 1, count do
      local result = assert(session:turn("x"):result())
      for _, call in ipairs(result.tool_calls) do
        ids[#ids + 1] = call.id
        session:append { role = "tool", call = call, result = { n = i } }
      end
    end
    local seen = {}
    for _, id in ipairs(ids) do
      assert(not seen[id], id .. " is there twice")
      seen[id] = true
    end
    return ids
  end

  local function answer(id, call_id)
    return (stream_of({ { 0, call_id, "f", "{}" }, { 1, call_id, "g", "{}" } }, "tool_calls"):gsub('"id":"r1"',
      function() return id end))
  end

  it("where the server begins its numbers again in every answer", function()
    local ids = ids_of(answer('"id":"r1"', "call_0"), 3)
    assert.equal("call_0", ids[1])
    assert.equal(6, #ids)
  end)

  it("where it has none, and every answer has the same id, or none", function()
    assert.equal(6, #ids_of(answer('"id":"always"', false), 3))
    assert.equal(6, #ids_of(answer('"x":1', false), 3))
  end)

  it("and the same again where the same is asked again", function()
    assert.same(ids_of(answer('"id":"r1"', "call_0"), 3), ids_of(answer('"id":"r1"', "call_0"), 3))
  end)

  it("also in what came of an answer that broke off: it can be mended and sent", function()
    local bytes = stream_of({ { 0, false, "f", "{" }, { 1, "", "f", "{" } }, "stop"):match "^(.-)data: [^\n]*stop"
    local client, transport = testing.client { { bytes = bytes }, "Yes." }
    local _, _, err = client:turn("x"):result()
    local ids = { err.partial.tool_calls[1].id, err.partial.tool_calls[2].id }
    assert.are_not.equal(ids[1], ids[2])
    assert.equal("Yes.", client:ask { messages = vllm.repair { "x", err.partial.message } })
    local sent = transport.requests[2].body.messages
    assert.same(ids, { sent[2].tool_calls[1].id, sent[2].tool_calls[2].id })
    assert.same(ids, { sent[3].tool_call_id, sent[4].tool_call_id })
  end)

  it("under a ready-made body, too", function()
    local client = testing.client { { bytes = stream_of({ { 0, "call_0", "f", "{}" } }, "tool_calls") } }
    local body = core.json_encode { model = "m", stream = true, messages = { { role = "user", content = "x" },
      { role = "assistant", tool_calls = { { id = "call_0", type = "function",
        ["function"] = { name = "f", arguments = "{}" } } } },
      { role = "tool", tool_call_id = "call_0", content = "1" } } }
    assert.are_not.equal("call_0", assert(client:turn({ body = body }):result()).tool_calls[1].id)
  end)

  it("whatever stands in the transcript: messages of any shape do no harm", function()
    local body = '{"model":"m","stream":true,"messages":[1,"x",null,{"tool_calls":3},{"tool_calls":[1,{"id":7},'
      .. '{"id":"call_0"}]}]}'
    local client = testing.client { { bytes = stream_of({ { 0, "call_0", "f", "{}" } }, "tool_calls") } }
    assert.are_not.equal("call_0", assert(client:turn({ body = body }):result()).tool_calls[1].id)
  end)
end)

it("a call without a name has one that can be printed, and no tool is called so", function()
  local decoder, last = core.decoder(), nil
  decoder:feed(stream_of({ { 0, "a", false, "{}" } }, "tool_calls"))
  for event in decoder.next, decoder do
    if event.type == "tool_call" then last = event end
  end
  assert.equal("(no name)", last.name)
  assert.equal("the call names no tool", last.invalid)
  local result = decoder:result()
  assert.equal("(no name)", result.tool_calls[1].name)
  assert.equal("", result.message.tool_calls[1]["function"].name)
end)
