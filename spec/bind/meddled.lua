-- Finalizers run at any allocation of Lua. What memory_test.c runs besides jobs.lua: a list of { name, fn }; each fn calls one function of
-- the binding again and again, with a finalizer at its first chance to run, then at its second, and so on, until the call gives no more of
-- them. The finalizer takes away what the call has in hand. The call gives what it gives without, or what its objects hold by then, and
-- never bytes of memory that is gone: memory_test.c fills that with rubbish meanwhile, and `make asan` sees each read of it.

local core = require "vllm.core"
local codes = core.message_codes
local meddle_at = require "spec.support.meddle"

local MAX_CHANCES = 3000

local jobs = {}

-- `prepare()` gives what a call needs, fresh: f, a, b, meddle. `judge(ok, …)` says what is wrong with its outcome, or nothing.
local function job(name, prepare, judge)
  jobs[#jobs + 1] = { name, function()
    for at = 1, MAX_CHANCES do
      local f, a, b, meddle = prepare()
      local came, ok, first, second, third, fourth = meddle_at(at, meddle, f, a, b)
      local why = judge(ok, first, second, third, fourth)
      if why then error(("%s, at chance %d: %s"):format(name, at, why), 0) end
      if not came then
        if at == 1 then error(name .. ": no finalizer ever ran", 0) end
        return "fine"
      end
    end
    error(name .. ": it never ends", 0)
  end }
end

local function nothing() end

local function expect(...)
  local wanted = { true, ... }
  return function(...)
    for i = 1, 5 do
      if select(i, ...) ~= wanted[i] then return ("value %d is %s"):format(i, tostring(select(i, ...)):sub(1, 200)) end
    end
  end
end

local function empty(t)
  for key, value in pairs(t) do
    if type(value) == "table" then empty(value) end
    t[key] = nil
  end
end

-- Long, and made anew each time: nobody else may hold it.
local function long(name, i)
  return name .. ("%03d"):format(i) .. ("x"):rep(60)
end

local WORDS = { member = true, inner = true, value = true, element = true }

local function is_long(text)
  local word, tail = text:match "^(%l+)%d%d%d(x+)$"
  return WORDS[word] and #tail == 60
end

-- JSON -----------------------------------------------------------------------------------------------------------------

local function tree()
  local t = { tools = { { parameters = { properties = {}, required = {} } } }, logit_bias = { [7] = 1, [50256] = -100 } }
  for i = 1, 5 do
    t[long("member", i)] = long("value", i)
    t[long("member", i + 5)] = { [long("inner", i)] = long("value", i), list = { long("element", i), long("element", i + 1) } }
    t.tools[1].parameters.properties[long("inner", i)] = { type = long("value", i) }
    t.tools[1].parameters.required[i] = long("inner", 6 - i)
  end
  return t
end

local FIXED = { tools = true, parameters = true, properties = true, required = true, logit_bias = true, list = true, type = true,
  ["7"] = true, ["50256"] = true, bad = true }

local function fault_in(value)
  if type(value) == "string" then return not is_long(value) and "an unknown text: " .. value end
  if type(value) ~= "table" then return nil end
  for key, member in pairs(value) do
    local why = type(key) == "string" and not is_long(key) and not FIXED[key] and "an unknown name: " .. key or fault_in(member)
    if why then return why end
  end
end

local function judge_text(ok, text, message)
  if not ok then return "it raised " .. tostring(text) end
  if not text then return message end
  local value, why = core.json_decode(text)
  return not value and why .. ": " .. text or fault_in(value)
end

for name, options in pairs { ["json_encode"] = {}, ["json_encode for a request"] = { request = true, indent = 2 } } do
  job(name .. " of a table that is emptied", function()
    local t = tree()
    return core.json_encode, t, options, function() empty(t) end
  end, judge_text)
end

job("json_encode of a table that gets other keys", function()
  local t = tree()
  return core.json_encode, t, nil, function()
    for _, place in ipairs { t, t[long("member", 6)], t.tools[1].parameters.properties } do
      place[true], place[print] = 1, 2
    end
  end
end, function(ok, text, message)
  if not ok then return not tostring(text):find "next" and text end
  if text then return judge_text(ok, text) end
  return not message:find "^a table whose keys are" and not message:find "^a key is not a token id" and message
end)

job("json_encode that fails deep inside", function()
  local t = tree()
  t[long("member", 6)].list[2] = print
  return core.json_encode, t, nil, function() empty(t) end
end, function(ok, text, message, path)
  if text then return judge_text(ok, text) end
  return not (message == "a function is not a JSON value" and path:find "^%[\"member006x+%.%.%.\"%]%.list%[2%]$") and message .. " " .. path
end)

local function with_escapes()
  local out = {}
  for i = 1, 5 do out[i] = ('"a\\u00e9\\n%s":["%s","b\\t%s",null,%d.5]'):format(long("member", i), long("value", i), long("inner", i), i) end
  return "{" .. table.concat(out, ",") .. "}"
end

job("json_decode", function()
  local options = { null = setmetatable({}, {}) }
  return core.json_decode, with_escapes(), options, function() empty(options) end
end, function(ok, value)
  if not ok then return value end
  for i = 1, 5 do
    local list = value["a\195\169\n" .. long("member", i)]
    if not list or list[1] ~= long("value", i) or list[2] ~= "b\t" .. long("inner", i) or list[4] ~= i + 0.5 then return "wrong" end
  end
end)

job("json_decode that fails", function() return core.json_decode, with_escapes() .. "}", nil, nothing end,
  expect(nil, "more text after the value at byte " .. #with_escapes() + 1, #with_escapes() + 1))

local function members()
  local set = {}
  for i = 1, 8 do set[i] = ('"%s":"%s"'):format(long("member", i), long("value", i)) end
  return "{" .. table.concat(set, ",") .. "}"
end

job("splice", function()
  return core.splice, ('{"%s":1,"%s":[2],"\\u0069nner":3}'):format(long("member", 1), long("inner", 1)), members(), nothing
end, function(ok, text, message)
  FIXED.inner = true
  return judge_text(ok, text, message)
end)

job("splice that fails", function()
  return core.splice, ('{"%s":1,"%s":2,}'):format(long("member", 1), long("inner", 1)), members(), nothing
end, function(ok, text, message)
  if not ok or text then return "it must fail" end
  return not message:find " at byte 149$" and message
end)

job("raw", function() return core.raw, with_escapes(), nil, nothing end, function(ok, raw)
  return not ok and raw or core.raw_text(raw) ~= with_escapes() and "another text" or nil
end)

job("base64_encode", function() return core.base64_encode, ("abc"):rep(100), nil, nothing end, expect(("YWJj"):rep(100)))
job("base64_decode", function() return core.base64_decode, ("YWJj"):rep(100), nil, nothing end, expect(("abc"):rep(100)))

-- Messages -------------------------------------------------------------------------------------------------------------

-- The flat list of messages.lua: a text of the user, an assistant's, one more, one of a role of its own.
local function transcript(last)
  local user, assistant, other, text = codes.user, codes.assistant, codes.other, codes.text
  return { user, 1, long("member", 1), text, long("value", 1), assistant, 2, false, text, long("value", 2), user, 3, false, text, last,
    other, 4, false, long("inner", 1), text, long("value", 5) }
end

job("messages", function()
  local list, options = transcript(long("value", 3)), { filler = long("value", 4), merge_users = true }
  return core.messages, list, options, function()
    empty(list)
    empty(options)
  end
end, function(ok, text)
  if not ok then return not tostring(text):find "no text$" and not tostring(text):find "no number$" and text end
  for word in text:gmatch "%l+%d%d%dx+" do
    if not is_long(word) then return word end
  end
  return not core.json_check(text) and text
end)

for name, change in pairs { ["a text"] = { 15 }, ["a name"] = { 3 } } do
  job("messages of which " .. name .. " is not UTF-8", function()
    local list = transcript(long("value", 3))
    list[change[1]] = "\255" .. long("value", 9)
    return core.messages, list, {}, function() empty(list) end
  end, function(ok, text, message, number, fault)
    if not ok then return text end
    if text then return text ~= "[]" and text end
    return not (message == "not valid UTF-8 at byte 1" and number and fault == "\255" .. long("value", 9)) and message .. " " .. fault
  end)
end

-- Readers --------------------------------------------------------------------------------------------------------------

-- Feeds more, reads what there is, and closes: each is refused while something is handed out.
local function misuse(object, more)
  return function()
    for _ = 1, 2 do
      pcall(object.feed, object, more)
      pcall(object.next or object.read, object)
    end
    pcall(debug.getmetatable(object).__close, object, nil)
  end
end

job("the event reader's next", function()
  local reader = core.sse()
  reader:feed("event: " .. long("member", 1) .. "\nid: " .. long("inner", 1) .. "\ndata: " .. long("value", 1) .. "\n\n")
  return reader.next, reader, nil, misuse(reader, ("data: meddled\n\n"):rep(500))
end, expect(long("value", 1), long("member", 1), long("inner", 1)))

local ANSWER = "HTTP/1.1 200 OK\r\nAlpha: " .. long("value", 1) .. "\r\nBeta: " .. long("value", 2) .. "\r\nalpha: " .. long("value", 3)
  .. "\r\nTransfer-Encoding: chunked\r\n\r\n3f\r\n" .. long("", 1) .. "\r\n"
local MORE = "7d0\r\n" .. ("m"):rep(2000) .. "\r\n0\r\nC: " .. ("t"):rep(2000) .. "\r\n\r\n"

local function answer(bytes)
  local reader = core.http1()
  reader:feed(bytes)
  return reader
end

job("the response reader's head", function()
  local reader = answer(ANSWER)
  return reader.head, reader, nil, misuse(reader, MORE)
end, function(ok, status, headers)
  return not (ok and status == 200 and headers.alpha == long("value", 1) .. ", " .. long("value", 3) and headers.beta == long("value", 2))
    and tostring(status)
end)

job("the response reader's read", function()
  local reader = answer(ANSWER)
  return reader.read, reader, nil, misuse(reader, MORE)
end, expect(long("", 1)))

job("the response reader's feed that fails", function()
  local reader = core.http1()
  return reader.feed, reader, "HTTP/1.1 200 OK\r\nContent-Length: " .. long("z", 1):sub(1, 30) .. "\r\n\r\n", misuse(reader, MORE)
end, function(ok, fed, failure)
  if not ok or fed then return tostring(fed) end
  local wanted = "Content-Length is not one decimal number: `" .. long("z", 1):sub(1, 30) .. "`"
  return not (failure.kind == "protocol" and failure.detail == wanted and failure.body_bytes == 0 and failure.fresh == false) and failure.detail
end)

-- The decoder ----------------------------------------------------------------------------------------------------------

local function delta(text)
  return 'data: {"id":"' .. long("member", 1) .. '","model":"' .. long("member", 2) .. '","choices":[{"index":0,"delta":' .. text .. "}]}\n\n"
end

local STREAM = delta('{"reasoning":"' .. long("value", 1) .. '"}') .. delta('{"content":"' .. long("value", 2) .. '"}')
  .. delta('{"content":"' .. long("value", 3) .. '"},"logprobs":{"content":[{"token":"' .. long("element", 1) .. '","logprob":-0.5}]}')
  .. delta('{"tool_calls":[{"index":0,"id":"' .. long("inner", 1) .. '","type":"function","function":{"name":"' .. long("inner", 2)
    .. '","arguments":"{\\"a\\\\n\\":[\\"' .. long("value", 4) .. '\\"]}"}}]}')
  .. delta('{"refusal":"' .. long("value", 5) .. '"},"finish_reason":"' .. long("element", 2) .. '","stop_reason":"' .. long("element", 3) .. '"')
  .. 'data: {"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3},"' .. long("member", 3) .. '":"'
  .. long("value", 6) .. '"}\n\ndata: [DONE]\n\n'

local function show(value)
  if type(value) ~= "table" then return tostring(value) end
  local keys, out = {}, {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for i, key in ipairs(keys) do out[i] = tostring(key) .. "=" .. show(value[key]) end
  return "{" .. table.concat(out, ",") .. "}"
end

local function fed(stream, options)
  local decoder = core.decoder(options)
  decoder:feed(stream)
  return decoder
end

local function judge_event(wanted)
  return function(ok, event)
    local shown = ok and show(event) or tostring(event)
    return shown ~= wanted and shown
  end
end

local MORE_EVENTS = delta('{"content":"' .. ("meddled "):rep(400) .. '"}'):rep(4)

local function decoder_jobs()
  local all = fed(STREAM, { chunks = true })
  local number = 0
  for event in all.next, all do
    if not event then break end
    number = number + 1
    local before = number - 1
    job(("the decoder's next, event %d (%s)"):format(number, event.type), function()
      local decoder = fed(STREAM, { chunks = true })
      for _ = 1, before do decoder:next() end
      return decoder.next, decoder, nil, misuse(decoder, MORE_EVENTS)
    end, judge_event(show(event)))
  end
  if number < 20 then error "too few events" end
end
decoder_jobs()

job("the decoder's next_text", function()
  local decoder = fed(STREAM)
  return decoder.next_text, decoder, nil, misuse(decoder, MORE_EVENTS)
end, expect(long("value", 2)))

local RESULT
do
  local decoder = fed(STREAM)
  for _ = 1, 20 do decoder:next() end
  RESULT = show(decoder:result())
end
job("the decoder's result", function()
  local decoder = fed(STREAM)
  for _ = 1, 20 do decoder:next() end
  return decoder.result, decoder, nil, misuse(decoder, MORE_EVENTS)
end, judge_event(RESULT))

local BROKEN = '{"error":{"message":"' .. long("value", 1) .. '","code":500}}'
job("the decoder's next that fails", function()
  local decoder = fed("data: " .. BROKEN .. "\n\n")
  return decoder.next, decoder, nil, misuse(decoder, MORE_EVENTS)
end, function(ok, event, failure)
  return not (ok and event == nil and failure.kind == "stream" and failure.body == BROKEN) and show(failure)
end)

job("the decoder's body that fails", function()
  local decoder = core.decoder { max_event_bytes = 100 }
  return decoder.body, decoder, '{"a":"' .. ("y"):rep(300) .. '"}', misuse(decoder, MORE_EVENTS)
end, function(ok, taken, failure) return not (ok and taken == nil and failure.kind == "limit") and show(failure) end)

-- Constructors and waits -----------------------------------------------------------------------------------------------

for name, make in pairs { decoder = core.decoder, sse = core.sse, http1 = core.http1 } do
  job("making " .. name, function()
    local options = { max_event_bytes = 5000, max_header_bytes = 5000 }
    return make, options, nil, function() empty(options) end
  end, function(ok, made) return not (ok and type(made) == "userdata") and tostring(made) end)
end

job("making a decoder that knows ids", function()
  return core.decoder, setmetatable({}, { __index = function(_, name) return name == "taken_ids" and long("value", 1) or nil end }), nil, nothing
end, function(ok, decoder)
  if not ok then return decoder end
  decoder:feed(delta('{"tool_calls":[{"id":"' .. long("value", 1) .. '","function":{"name":"f"}}]}'))
  while decoder:next() do end
  local id = decoder:result().tool_calls[1].id
  return #id ~= 9 and "an id that is taken"
end)

job("poll", function()
  local fds = {}
  return core.poll, fds, 0, function() fds[1] = 100000 end
end, function(ok, waited, readable) return not (ok and waited == true and next(readable) == nil) and tostring(waited) end)

return jobs
