-- The edges of vllm.core itself: what its own Lua layers never ask of it, and another program may.
local core = require "vllm.core"

local function nested(depth, inner)
  return ("["):rep(depth) .. (inner or "") .. ("]"):rep(depth)
end

local has_close = (rawget(_G, "loadstring") or load) "local x <close> = nil" ~= nil

-- Ends an object as a `local x <close>` would, which only Lua 5.4 can write down.
local function close(object)
  local chunk = assert(load "local object = ... local guard <close> = object")
  chunk(object)
end

describe("objects that were closed", function()
  if not has_close then return end

  it("say so, and may be closed again", function()
    for name, class in pairs {
      decoder = { core.decoder {}, "this decoder is closed" }, sse = { core.sse {}, "this event reader is closed" },
      http1 = { core.http1 {}, "this response reader is closed" },
    } do
      local object, sentence = class[1], class[2]
      close(object)
      local ok, message = pcall(object.feed, object, "x")
      assert.is_false(ok, name)
      assert.matches(sentence, message, 1, true)
      close(object)
    end
  end)
end)

describe("the JSON inside of an answer", function()
  local function event_of(line, wanted)
    local decoder = core.decoder { max_depth = 128 }
    assert(decoder:feed("data: " .. line .. "\n\ndata: [DONE]\n\n"))
    for event in decoder.next, decoder do
      if event.type == wanted then return event end
    end
  end

  it("makes a call invalid that is nested too deeply to be decoded", function()
    local arguments = '{\\"a\\":' .. nested(140) .. "}"
    local event = event_of('{"choices":[{"delta":{"tool_calls":[{"id":"c","function":{"name":"f","arguments":"'
      .. arguments
      .. '"}}]},"finish_reason":"tool_calls"}]}', "tool_call")
    assert.is_nil(event.input)
    assert.equal("string", type(event.invalid))
    assert.equal('{"a":' .. nested(140) .. "}", event.arguments)
  end)

  it("is absent where a number of it is beyond every double", function()
    local result = event_of('{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}],"fine":1,"huge":1e999}',
      "turn_end").result
    assert.same({ fine = 1 }, result.extra)
    local call = event_of('{"choices":[{"delta":{"tool_calls":[{"id":"c","function":{"name":"f","arguments":"{\\"a\\":1e999}"}}]},'
      .. '"finish_reason":"tool_calls"}]}', "tool_call")
    assert.is_nil(call.input)
    assert.equal("the arguments cannot be decoded", call.invalid)
  end)
end)

describe("core.json_decode", function()
  it("refuses what begins like null, also where nulls are dropped", function()
    for _, options in ipairs { { drop_nulls = true }, { drop_nulls = false } } do
      local value, message, position = core.json_decode('{"a":nul}', options)
      assert.is_nil(value)
      assert.equal("string", type(message))
      assert.equal(6, position)
    end
  end)

  it("drops a null that follows a value of the same name", function()
    assert.same({ b = 2 }, core.json_decode('{"a":1,"b":2,"a":null}', { drop_nulls = true }))
  end)
end)

describe("core.json_encode", function()
  it("says what no part of JSON is", function()
    for shown, value in pairs { ["a function"] = print, ["a coroutine"] = coroutine.create(function() end),
      ["a userdata"] = io.stdout } do
      local text, message, path = core.json_encode { a = { value } }
      assert.is_nil(text)
      assert.equal(shown .. " is not a JSON value", message)
      assert.equal("a[1]", path)
    end
  end)

  it("takes names of an order only where they are strings", function()
    assert.equal('{"b":1,"c":3,"a":2}', core.json_encode { a = 2, b = 1, c = 3, __jsonorder = { "b", 7, false, "c" } })
  end)

  it("names a token id that stands there twice, or is none", function()
    local _, twice = core.json_encode({ logit_bias = { [5] = 1, ["5"] = 2 } }, { request = true })
    assert.equal("the same token id stands there as a number and as a string", twice)
    local _, half = core.json_encode({ logit_bias = { [0.5] = 1 } }, { request = true })
    assert.equal("a key is not a token id", half)
    local _, other = core.json_encode({ logit_bias = { [true] = 1 } }, { request = true })
    assert.equal("a key is not a token id", other)
  end)

  it("refuses a raw text that lost its text", function()
    local raw = core.raw "1"
    rawset(raw, 1, nil)
    local _, message = core.json_encode { a = raw }
    assert.equal("raw JSON without its text", message)
    assert.is_nil(core.raw_text(raw))
  end)

  it("is written as it is, however long it is and however many there are", function()
    local list, texts = {}, {}
    for i = 1, 100 do
      local text = '"' .. ("x"):rep(i % 3 == 0 and 70000 or i) .. '"'
      list[i], texts[i] = { core.raw(text), i }, ("[%s,%d]"):format(text, i)
    end
    assert.equal("[" .. table.concat(texts, ",") .. "]", core.json_encode(list))
    assert.equal(texts[3], core.json_encode(list[3]))
    assert.equal(70002, #core.json_encode(list[3][1]))
  end)
end)

describe("core.is_null and core.is_empty_array", function()
  it("know those of other libraries", function()
    local cjson = require "cjson"
    assert.same({ true, true, false, false },
      { core.is_null(core.null), core.is_null(cjson.null), core.is_null(nil), core.is_null(io.stdout) })
    assert.same({ false, false, false },
      { core.is_empty_array(core.null), core.is_empty_array {}, core.is_empty_array(io.stdout) })
    if cjson.empty_array then assert.is_true(core.is_empty_array(cjson.empty_array)) end
  end)
end)

describe("core.raw_text", function()
  it("gives nothing for what core.raw did not make", function()
    for _, value in ipairs { "1", 1, {}, setmetatable({ "1" }, {}),
      core.array_mt } do assert.is_nil(core.raw_text(value)) end
    assert.equal("[1]", core.raw_text(core.raw "[1]"))
  end)
end)

describe("core.splice", function()
  it("says what it cannot do", function()
    local function why(body, set)
      local text, message = core.splice(body, set)
      assert.is_nil(text)
      return message
    end
    local SET = '{"b":1}'
    assert.equal("a member occurs twice", why('{"a":1,"\\u0061":2}', SET))
    assert.equal("the members to set are not a JSON object", why("{}", '{"b":1,}'))
    assert.equal("the members to set are not a JSON object", why("{}", "[1]"))
    assert.equal("string", type(why('{"a":tru}', SET)))
    assert.equal("string", type(why('{"a":1', SET)))
    assert.equal("string", type(why('{"a":1} x', SET)))
    assert.equal("string", type(why("[]", SET)))
  end)
end)

describe("core.messages", function()
  it("raises for a list that messages.lua does not write", function()
    for sentence, list in pairs {
      ["operand 3 is not a text"] = { 4, 1, true }, ["operand 2 is not a number"] = { 4, "1" },
        ["unknown operation at 1"] = { 99 },
      ["unknown operation at 4"] = { 4, 1, false, 0 },
        ["a piece that its message cannot hold"] = { 1, 1, false, 11, "why" },
    } do
      local ok, message = pcall(core.messages, list, {})
      assert.is_false(ok, sentence)
      assert.matches(sentence, message, 1, true)
    end
    assert.is_false(pcall(core.messages, {}, { filler = 1 }))
    assert.is_false(pcall(core.messages, {}, { reasoning_field = {} }))
    assert.equal("[]", core.messages({}, {}))
  end)
end)

describe("core.base64_encode and core.base64_decode", function()
  it("are each other's inverse", function()
    for text, bytes in pairs { [""] = "", ["Zg=="] = "f", ["Zm8="] = "fo", ["Zm9v"] = "foo", ["//79"] = "\255\254\253",
      ["AAA="] = "\0\0" } do
      assert.equal(text, core.base64_encode(bytes))
      assert.equal(bytes, core.base64_decode(text))
    end
    local all = {}
    for i = 0, 255 do all[i + 1] = string.char(i) end
    all = table.concat(all)
    assert.equal(all, core.base64_decode(core.base64_encode(all)))
  end)

  it("take blanks and missing padding, and nothing else", function()
    assert.equal("foob", core.base64_decode "Zm9v\r\n Yg =\t= ")
    assert.equal("f", core.base64_decode "Zg")
    for _, text in ipairs { "Z", "Zm9v!", "Z===Zg==", "Zm9vY", "Zg===", "Zg=", "Zm9v=", "Zh==", "Zm9\0v", "Zm9v=\0",
      ("="):rep(1000000) .. "x" } do
      assert.is_nil(core.base64_decode(text))
    end
  end)

  it("want a string", function()
    assert.error_matches(function() core.base64_encode {} end, "string expected")
    assert.error_matches(function() core.base64_decode() end, "string expected")
  end)
end)

describe("core.poll", function()
  it("waits for nothing that is there already, whatever the time", function()
    local waited, readable = core.poll({}, 0)
    assert.is_true(waited)
    assert.same({}, readable)
    for _, seconds in ipairs { 1e9, math.huge } do
      waited, readable = core.poll({ 987654 }, seconds) -- no such descriptor: it is ready at once, to be found out
      assert.is_true(waited)
      assert.same({ [987654] = true }, readable)
    end
    waited, readable = core.poll({ 987654 })
    assert.is_true(waited)
    assert.is_true(readable[987654])
  end)

  it("takes as many descriptors as a process may have", function()
    local fds = {}
    for i = 1, 200 do fds[i] = 987654 end
    assert.is_true(core.poll(fds, 0))
    for i = 1, 65537 do fds[i] = 987654 end
    assert.is_false(pcall(core.poll, fds, 0))
  end)

  it("does not wait for less than nothing", function()
    assert.is_true(core.sleep(-1))
    assert.is_true(core.sleep(0 / 0))
    assert.is_true(core.poll({}, -math.huge))
  end)
end)
