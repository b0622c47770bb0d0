-- What memory_test.c runs while allocations fail: a list of { name, fn }. Each fn does the same work at every call and returns a text
-- that says what came out. Failures that are values become errors, so that the test sees their sentence. Nothing here keeps anything
-- between two calls, and no pcall hides an error. Runs on every Lua.

local core = require "vllm.core"
local testing = require "vllm.testing"
local vllm = require "vllm"

local function read(path)
  local file = assert(io.open("spec/fixtures/" .. path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- The body of a recorded answer, its chunked framing undone.
local function body_of(name)
  local response = core.http1 {}
  assert(response:feed(read(name .. ".http")))
  return assert(response:read())
end

local function show(value)
  if type(value) ~= "table" then return tostring(value) end
  local keys, out = {}, {}
  for key in pairs(value) do keys[#keys + 1] = tostring(key) end
  table.sort(keys)
  for _, key in ipairs(keys) do
    if key ~= "timing" then
      local item = value[key]
      if item == nil then item = value[tonumber(key)] end
      out[#out + 1] = key .. "=" .. show(item)
    end
  end
  return "{" .. table.concat(out, ",") .. "}"
end

-- The text alone: a failure is a table here, and its sentence is what counts.
local function detail_of(failure)
  return type(failure) == "table" and failure.kind .. ": " .. failure.detail or tostring(failure)
end

local function events_of(decoder, out)
  while true do
    local event, failure = decoder:next()
    if not event then
      if failure then out[#out + 1] = detail_of(failure) end
      return event == false and failure == nil
    end
    out[#out + 1] = show(event)
  end
end

local function decode(stream, step, options)
  local decoder, out = core.decoder(options), {}
  for at = 1, #stream, step do
    local fed, failure = decoder:feed(stream:sub(at, at + step - 1))
    if not fed then error(detail_of(failure), 0) end
    if not events_of(decoder, out) then break end
  end
  if not decoder:state() then error("no state", 0) end
  decoder:finish()
  events_of(decoder, out)
  out[#out + 1] = show(decoder:result())
  return table.concat(out, "\n")
end

local function of_stream(name, step, options)
  local stream = body_of(name)
  return { "decoder: " .. name, function() return decode(stream, step, options) end }
end

local function of_body(name)
  local json = body_of(name)
  return { "decoder: " .. name, function()
    local decoder, out = core.decoder(), {}
    assert(decoder:body(json))
    events_of(decoder, out)
    return table.concat(out, "\n") .. show(decoder:result())
  end }
end

local jobs = {
  of_stream("vllm/text", 100),
  of_stream("vllm/reasoning-two-tools", 1400),
  of_stream("vllm/tool-auto-two", 64, { chunks = true }),
  of_stream("vllm/tool-named-nested", 4096),
  of_stream("vllm/text-logprobs", 1400),
  of_stream("vllm/text-two-choices", 1400),
  of_stream("vllm/engine-death", 1400),
  of_stream("vllm/json-schema-cut", 1400),
  of_stream("llama-server/tool-auto", 1400),
  of_stream("vllm/tool-auto-cut", 1400),
  of_stream("vllm/text-logprobs", 1400, { max_event_bytes = 500 }),
  of_body "vllm/text-logprobs-buffered",
  of_body "vllm/tool-auto-two-buffered",
  of_body "vllm/text-two-choices-buffered",
}

local function job(name, fn)
  jobs[#jobs + 1] = { name, fn }
end

local unicode, tools = body_of "vllm/text-unicode", body_of "vllm/tool-auto"

job("decoder: text alone", function()
  local decoder, out = vllm.decoder(), {}
  assert(decoder:feed(unicode))
  for event in decoder.next, decoder do out[#out + 1] = event.text end
  decoder = core.decoder {}
  assert(decoder:feed(unicode))
  for text in decoder.next_text, decoder do out[#out + 1] = text end
  return table.concat(out)
end)

job("sse", function()
  local sse, out = core.sse { lenient_end = true }, {}
  for at = 1, #tools, 300 do
    assert(sse:feed(tools:sub(at, at + 299)))
    local data, type_name, id = sse:next()
    while data do
      out[#out + 1] = data .. "|" .. type_name .. "|" .. id
      data, type_name, id = sse:next()
    end
    if data == nil and type_name then error(type_name, 0) end
  end
  assert(sse:finish())
  return table.concat(out, "\n")
end)

local answer = read "vllm/text-buffered.http"

job("http1", function()
  local response, out = core.http1 {}, {}
  for at = 1, #answer, 200 do
    local fed, failure = response:feed(answer:sub(at, at + 199))
    if not fed then error(detail_of(failure), 0) end
    local bytes, why = response:read()
    if why then error(detail_of(why), 0) end
    out[#out + 1] = bytes or ""
  end
  local status, headers = response:head()
  return status .. show(headers) .. table.concat(out)
end)

local request_text = read "vllm/tool-named-nested.json"

job("json", function()
  local value = assert(core.json_decode(request_text))
  local text = assert(core.json_encode(value, { request = true, indent = 2 }))
  value = assert(core.json_decode(text, { drop_nulls = true, array_mt = false }))
  assert(core.json_check(text))
  return text .. assert(core.json_encode(value)) .. assert(core.json_encode {
    logit_bias = { [50256] = -100 }, ["a\n"] = { 1.5, true, core.null, "\1" }, raw = core.raw '{"b":1}',
    properties = { b = {}, a = {} }, required = { "b", "a" }, __jsonorder = { "required" },
  })
end)

job("json that is wrong", function()
  local out = {}
  local function failed(value, message, place)
    if value ~= nil then error("it must fail", 0) end
    if message:find "not enough memory" then error(message, 0) end
    out[#out + 1] = message .. " " .. tostring(place)
  end
  failed(core.json_decode '{"a":[1,2,{"b":"\\u00e9\\n')
  failed(core.json_decode("[[[[]]]]", { max_depth = 2 }))
  failed(core.json_encode { tools = { { ["a name"] = { x = print } } } })
  failed(core.json_encode { a = { "fine", "\255" } })
  failed(core.json_check "[1,]")
  return table.concat(out, "\n")
end)

job("text", function()
  return core.repair_utf8(("a\255\226\130"):rep(50)) .. core.repair_utf8 "fine"
end)

job("splice", function()
  local body = assert(core.splice(request_text, '{"model":"other","temperature":0.5,"added":[1,2]}'))
  local raw = core.raw(assert(core.json_encode { a = 1 }))
  return body .. core.raw_text(raw) .. assert(core.splice("{}", '{"a":"b"}'))
end)

local WEATHER = { name = "get_weather", description = "Weather of a city",
  parameters = { type = "object", properties = { city = { type = "string" } }, required = { "city" } } }

local function ask_for(client, request, out)
  local turn = client:turn(request)
  while true do
    local event, message = turn:next()
    if not event then
      out[#out + 1] = tostring(message)
      break
    end
    out[#out + 1] = event.type .. (event.text or "")
  end
  local result, message = turn:result()
  if not result and message:find "not enough memory" then error(message, 0) end -- in the guard of the failure path it is a value
  if not result then return message end
  return show(result.message) .. show(result.usage)
end

-- The wall clock and the ids of retries are in no answer of these.
job("a turn", function()
  local out = {}
  local client = testing.client({ { reasoning = "Let me see.", text = "It is Paris, Grüße." } }, { split = 50 })
  out[#out + 1] = ask_for(client, "Capital of France?", out)
  return table.concat(out, "\n")
end)

job("a turn with tools, and its answer", function()
  local out = {}
  local client, transport = testing.client {
    { tool_calls = { { name = "get_weather", arguments = { city = "Paris" } }, { name = "get_weather", arguments = { city = "Rome" } } } },
    "Sunny in both.",
  }
  local session = client:session()
  local result = assert(session:turn("Weather in Paris and Rome?", { tools = { WEATHER }, temperature = 0 }):result())
  for _, call in ipairs(result.tool_calls) do
    session:append { role = "tool", call = call, result = { city = call.input.city, sky = "blue" } }
  end
  result = assert(session:turn(nil, { tools = { WEATHER } }):result())
  for _, request in ipairs(transport.requests) do out[#out + 1] = request.text end
  return table.concat(out, "\n") .. result.text
end)

job("patterns", function()
  local pattern = assert(core.pattern "^(?:[a-z]+|\\p{L}{2,40}|x?){3}$")
  return tostring(pattern:find "abc") .. select(2, core.pattern "a(?=b)")
end)

job("a completion that is not streamed", function()
  local client = testing.client { { text = "ok", tool_calls = { { name = "get_weather" } } } }
  local result = assert(client:turn({ text = "hi", stream = false, tools = { WEATHER } }):result())
  return show(result.message) .. show(result.tool_calls)
end)

job("a body", function()
  local client = testing.client {}
  return assert(client:body { max_tokens = 5, tools = { WEATHER }, messages = {
    { role = "system", content = "Be brief." },
    { role = "user", content = { "What is this?", { type = "image_url", image_url = { url = "data:image/png;base64,aGk=" } } } },
    { role = "assistant", text = "Let me look.", calls = { { id = "c1", name = "get_weather", arguments = '{"city":"Oslo"}' } } },
    { role = "tool", tool_call_id = "c1", result = "rain", is_error = true },
    { role = "notification", text = "The sun came out." },
    "And now?",
  } })
end)

job("what only the server knows", function()
  local decoder, out = core.decoder(), {}
  assert(decoder:body('{"choices":[{"w":[1],"finish_reason":"tool_calls","message":{"x":"y","d":[{"a":null}],"tool_calls":[{"id":"c1","e":{"f":1},'
    .. '"function":{"name":"now","arguments":"{}"}}]}}],"m":1}'))
  events_of(decoder, out)
  local result = decoder:result()
  return table.concat(out, "\n") .. show(result) .. assert(testing.client({}):body { messages = {
    result.message, { role = "tool", call = "c1", result = { type = "image", bytes = "\137PNG\r\n\26\n", uuid = "u" } },
    { role = "critic", content = { "a", { type = "tool_reference", name = "n" } }, prefix = true },
  } })
end)

job("turns that fail", function()
  local out = {}
  local client = testing.client { { status = 500, body = { error = { message = "broken", type = "x", code = 500 } } },
    { text = "half", cut = true }, { text = "some", error = { message = "gone", code = 500 } }, { fail = "connect" } }
  for i = 1, 4 do
    local result, message, err = client:turn("try " .. i):result()
    if result ~= nil or type(err) ~= "table" then error("it must fail", 0) end
    if message:find "not enough memory" then error(message, 0) end
    if message:find "could not be redacted" then error("not enough memory to redact", 0) end -- the rule: rather no words than a secret
    out[#out + 1] = err.kind .. ": " .. message
  end
  return table.concat(out, "\n")
end)

return jobs
