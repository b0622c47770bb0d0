-- `json`: the user's own JSON library for values that cross into his program, and never for the wire; and
-- `unwrap_arguments`.
local cjson = require "cjson"
local testing = require "vllm.testing"
local vllm = require "vllm"

local server = require "spec.support.server"

local WEATHER = { name = "get_weather", parameters = { type = "object", properties = { city = { type = "string" } } } }
local ARGUMENTS = '{"city":"Rome","days":[],"unit":null}'

local function call_of(arguments, options, reply)
  reply = reply or {}
  reply.tool_calls = { { id = "call00001", name = "get_weather", arguments = arguments } }
  local client, transport = testing.client({ reply, "done" }, options)
  local turn = client:turn { messages = { "x" }, tools = { WEATHER } }
  local seen
  for event in turn:events() do
    if event.type == "tool_call" then seen = event end
  end
  local result = assert(turn:result())
  return result.tool_calls[1], seen, result, client, transport
end

-- What the server is sent when the call has its result.
local function next_body(result, client, transport, value)
  assert(client:ask { messages = { "x", result.message,
    { role = "tool", call = result.tool_calls[1], result = value or "ok" } }, tools = { WEATHER } })
  return transport.requests[#transport.requests].body.messages
end

describe("the option json", function()
  it("reads the input of calls, in events and results alike", function()
    for _, option in ipairs { "cjson", cjson, { decode = cjson.decode } } do
      local call, event, result, client, transport = call_of(ARGUMENTS, { json = option })
      for _, each in ipairs { call, event } do
        assert.same({ city = "Rome", days = {}, unit = cjson.null }, each.input)
        assert.is_nil(getmetatable(each.input.days))
        assert.equal(ARGUMENTS, each.arguments)
      end
      assert.equal(ARGUMENTS, next_body(result, client, transport)[2].tool_calls[1]["function"].arguments)
    end
  end)

  it("writes results of tools and structured parts, and nothing of the wire", function()
    local written = {}
    local function encode(value)
      written[#written + 1] = value
      return "<" .. tostring(value.n) .. ">"
    end
    local _, _, result, client, transport = call_of(ARGUMENTS,
      { json = { encode = encode }, chat_template_kwargs = { n = 9 } })
    local sent = next_body(result, client, transport, { n = 7 })
    assert.equal("<7>", sent[3].content)
    assert.same({ { n = 7 } }, written)
    assert(client:body { messages = { { role = "user",
      content = { { type = "structured", value = { n = 8 } } } } } }:find("<8>", 1, true))
    assert.same({ n = 8 }, written[2])
    assert.equal(2, #written)
  end)

  it("what decode refuses, or gives that is no table, makes the call invalid, and the turn is not lost", function()
    local cases = {
      { function() error "no numbers" end, "no numbers" },
      { function() error({}) end, "json.decode" },
      { function() error() end, "json.decode" },
      { function() return nil, "at line 1" end, "json.decode: at line 1" },
      { function() return nil, 7, "at line 2" end, "json.decode" },
      { function() end, "json.decode gave nil" },
      { function() return "text" end, 'json.decode gave "text", not a table' },
      { function() return false end, "json.decode gave false, not a table" },
      { function() return cjson.null end, "json.decode gave null, not a table" },
      { function() return print end, "json.decode gave a function, not a table" },
      { function() return { "x" } end, "json.decode gave a list, not an object" },
    }
    for _, case in ipairs(cases) do
      local call, event, result = call_of(ARGUMENTS, { json = { decode = case[1] } }, { text = "Let me see." })
      for _, each in ipairs { call, event } do
        assert.is_nil(each.input)
        assert.truthy(each.invalid:find(case[2], 1, true), each.invalid)
      end
      assert.equal("Let me see.", result.text)
      assert.equal(ARGUMENTS, result.message.tool_calls[1]["function"].arguments)
    end
  end)

  it("what encode refuses, or gives that is no text, is an error with its place", function()
    local cases = {
      { function() error "no way" end, "no way" },
      { function() end, "json.encode gave nil" },
      { function() return nil, "too deep" end, "json.encode: too deep" },
      { function(value) return value end, "json.encode gave a table, not a text" },
      { function() return "\255" end, "UTF-8" },
    }
    for _, case in ipairs(cases) do
      local client = testing.client({ "never" }, { json = { encode = case[1] } })
      local _, message, err = client:ask { messages = {
        "x", { role = "assistant", calls = { { id = "call00001", name = "f", arguments = "{}" } } },
          { role = "tool", call = "call00001", result = { 1 } } } }
      assert.equal("invalid_request", err.kind)
      assert.truthy(message:find("messages[3]", 1, true), message)
      assert.truthy(message:find(case[2], 1, true), message)
    end
  end)

  it("is asked for arguments that are no object here; what it gave is what the model is shown", function()
    local function lenient(text)
      return cjson.decode((text:gsub("'", '"')))
    end
    local call, event, result, client, transport = call_of("{'city': 'Rome'}", { json = { decode = lenient } })
    for _, each in ipairs { call, event } do
      assert.is_nil(each.invalid)
      assert.same({ city = "Rome" }, each.input)
      assert.equal('{"city":"Rome"}', each.arguments)
    end
    assert.equal('{"city":"Rome"}', next_body(result, client, transport)[2].tool_calls[1]["function"].arguments)
    call = call_of("{'city': 'Rome'}", { json = "cjson" })
    assert.equal("the arguments are not valid JSON", call.invalid)
  end)

  it("is never asked for a call that was cut or has no name", function()
    local asked = 0
    local options = { json = { decode = function() asked = asked + 1 return {} end } }
    assert.truthy(call_of(ARGUMENTS, options, { finish_reason = "length" }).invalid)
    assert.truthy(call_of('{"city":', options, { cut = false, finish_reason = "content_filter" }).invalid)
    local reply = { tool_calls = { { name = "", arguments = "{}" } } }
    assert.truthy(assert(testing.client({ reply }, options):turn("x"):result()).tool_calls[1].invalid)
    assert.equal(0, asked)
  end)

  it("blank arguments are {} for it, too", function()
    assert.same({}, call_of("", { json = "cjson" }).input)
  end)

  it("is told when it cannot be used", function()
    local function why(json) return select(2, pcall(vllm.new, { model = "m", json = json })) end
    assert.truthy(why "dkjson":find('json: expected "cjson", or a table with encode and decode (such as require '
      .. '"dkjson"), got "dkjson"', 1, true), why "dkjson")
    assert.truthy(why(7):find("json: expected", 1, true))
    assert.truthy(why {}:find("json has neither encode nor decode", 1, true))
    assert.truthy(why { decode = 1 }:find("json.decode: expected a function, got 1", 1, true))
    assert.truthy(why { decode = print, endcode = print }:find("did you mean `encode`?", 1, true))
    local old = select(2, pcall(vllm.new, { model = "m", decode = print }))
    assert.truthy(old:find("unknown key `decode`: write json = { decode = … } for a client", 1, true), old)
    local _, message = vllm.new({ model = "m" }):ask("x", { json = "cjson" })
    assert.truthy(message:find("`json` belongs to the client", 1, true), message)
  end)

  it('"cjson" where there is none says how to get it', function()
    local loaded, path, cpath = package.loaded.cjson, package.path, package.cpath
    package.loaded.cjson, package.cpath = nil, ""
    local ok, why = pcall(vllm.new, { model = "m", json = "cjson" })
    package.loaded.cjson, package.path, package.cpath = loaded, path, cpath
    assert.is_false(ok)
    assert.truthy(why:find('json = "cjson": lua-cjson was not found', 1, true), why)
  end)

  it("can be taken away again", function()
    local client = testing.client({ { tool_calls = { { name = "get_weather", arguments = ARGUMENTS } } } },
      { json = "cjson" })
    local call = assert(client:with({ json = vllm.null }):turn({ messages = { "x" },
      tools = { WEATHER } }):result()).tool_calls[1]
    assert.is_nil(call.input.unit)
    assert.is_true(vllm.json.is_array(call.input.days))
  end)
end)

describe("arguments that are JSON inside a JSON string", function()
  local TWICE = '"{\\"city\\":\\"Rome\\",\\"unit\\":null}"'
  local INNER = '{"city":"Rome","unit":null}'

  it("are invalid, and a hint names the option", function()
    local call, _, result = call_of(TWICE)
    assert.equal("the arguments are not a JSON object", call.invalid)
    assert.truthy(result.hints[1]:find("unwrap_arguments", 1, true))
  end)

  it("are taken out with unwrap_arguments, for the program and for the wire", function()
    for _, json in ipairs { false, "cjson" } do
      local call, event, result, client, transport = call_of(TWICE, { unwrap_arguments = true, json = json or nil })
      for _, each in ipairs { call, event } do
        assert.is_nil(each.invalid)
        assert.same({ city = "Rome", unit = json and cjson.null or nil }, each.input)
        assert.equal(INNER, each.arguments)
      end
      assert.equal(INNER, next_body(result, client, transport)[2].tool_calls[1]["function"].arguments)
      assert.same({}, result.hints)
    end
  end)

  it("stay invalid where there is no object inside, or the answer was cut", function()
    for _, text in ipairs { '"Rome"', '"[1]"', '"{"', '"\\"{}\\""', "7", "[]", '{"a"' } do
      assert.truthy(call_of(text, { unwrap_arguments = true }).invalid, text)
    end
    assert.truthy(call_of(TWICE, { unwrap_arguments = true }, { finish_reason = "length" }).invalid)
  end)

  it("json.decode is asked for them", function()
    local asked
    local call = call_of(TWICE, { json = { decode = function(text) asked = text return cjson.decode(cjson.decode("["
      .. text .. "]")[1]) end } })
    assert.equal(TWICE, asked)
    assert.equal("Rome", call.input.city)
    assert.is_nil(call.invalid)
  end)
end)

describe("client:request", function()
  local running
  setup(function() running = server.start() end)
  teardown(function() running:stop() end)

  local function answer(body, json)
    local path = running:script { { "send",
      ("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"):format(#body, body) } }
    return assert(vllm.new({ model = "m", base_url = running.url .. "/v1", json = json }):request("GET", path))
  end

  it("gives json as the option reads it, and says why there is none", function()
    assert.same({ a = {}, b = cjson.null }, answer('{"a":[],"b":null}', "cjson").json)
    assert.equal("1", answer("1", { decode = function(text) return text end }).json)
    assert.equal(false, answer("1", { decode = function() return false end }).json)
    local broken = answer("1", { decode = function() error "no way" end })
    assert.is_nil(broken.json)
    assert.truthy(broken.invalid:find("no way", 1, true))
    broken = answer '{"a":'
    assert.equal('{"a":', broken.body)
    assert.is_nil(broken.json)
    assert.truthy(broken.invalid:find("at byte", 1, true), broken.invalid)
    assert.is_nil(answer("1").invalid)
  end)
end)
