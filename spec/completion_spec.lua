-- The law "completion = stream": an answer that comes whole and the same answer in chunks give equal results, and equal
-- events once grouped by choice with adjacent deltas joined. And what vLLM itself makes different between the two.

local cjson = require "cjson"
local events = require "spec.support.events"
local fixtures = require "spec.support.fixtures"

local SEEDS = 25

-- The same numbers on every Lua and every machine.
local function generator(seed)
  local state = seed * 7919 + 17
  return function(limit) -- 1 … limit
    state = (state * 1103515245 + 12345) % 2147483648
    return math.floor(state / 65536) % limit + 1
  end
end

local function code_points(text)
  local out = {}
  for point in text:gmatch "[%z\1-\127\194-\244][\128-\191]*" do out[#out + 1] = point end
  return out
end

-- Pieces of one to six code points each.
local function cut(text, random)
  local points, pieces, at = code_points(text), {}, 1
  while at <= #points do
    local count = random(6)
    pieces[#pieces + 1] = table.concat(points, "", at, math.min(at + count - 1, #points))
    at = at + count
  end
  return pieces
end

local function value_of(member)
  if member ~= cjson.null then return member end
end

local function call_deltas(call, index, random)
  local fragments = cut(call["function"].arguments, random)
  local first = { index = index, id = call.id, type = "function", ["function"] = { name = call["function"].name },
    extra_content = call.extra_content }
  if random(2) == 1 then first["function"].arguments = table.remove(fragments, 1) end
  local deltas = { { tool_calls = { first } } }
  for _, fragment in ipairs(fragments) do
    deltas[#deltas + 1] = { tool_calls = { { index = index, ["function"] = { arguments = fragment } } } }
  end
  return deltas
end

-- Thinking in the content, as a list of parts.
local function add_parts(deltas, parts, random)
  for _, part in ipairs(parts) do
    for _, thought in ipairs(part.thinking or {}) do
      for _, piece in ipairs(cut(thought.text, random)) do
        deltas[#deltas + 1] = { content = { { type = "thinking", thinking = { { type = "text", text = piece } } } } }
      end
    end
    for _, piece in ipairs(cut(part.text or "", random)) do
      deltas[#deltas + 1] = { content = { { type = "text", text = piece } } }
    end
  end
end

-- What nobody knows: texts and lists in pieces, anything else at once.
local function add_unknown(deltas, message, random)
  for _, key in ipairs { "signature", "details", "task" } do
    local value = message[key]
    if type(value) == "string" then
      for _, piece in ipairs(cut(value, random)) do deltas[#deltas + 1] = { [key] = piece } end
    elseif key == "details" then
      for _, item in ipairs(value or {}) do deltas[#deltas + 1] = { [key] = { item } } end
    elseif value then
      deltas[#deltas + 1] = { [key] = value }
    end
  end
end

local function message_deltas(message, random)
  local deltas = { { role = "assistant", content = "" } }
  for _, key in ipairs { "reasoning", "content", "refusal" } do
    local value = value_of(message[key])
    if type(value) == "table" then
      add_parts(deltas, value, random)
    else
      for _, piece in ipairs(cut(value or "", random)) do deltas[#deltas + 1] = { [key] = piece } end
    end
  end
  add_unknown(deltas, message, random)
  for i, call in ipairs(value_of(message.tool_calls) or {}) do
    for _, delta in ipairs(call_deltas(call, i - 1, random)) do deltas[#deltas + 1] = delta end
  end
  return deltas
end

-- Now and then two neighbours travel in one chunk, as they do when a server has fallen behind.
local function merge_some(deltas, random)
  local out = {}
  for _, delta in ipairs(deltas) do
    local last = out[#out]
    local key, value = next(delta)
    if last and random(4) == 1 and last.tool_calls and key == "tool_calls" then
      last.tool_calls[#last.tool_calls + 1] = value[1]
    elseif last and random(2) == 1 and key ~= "role" and last[key] == nil and not last.role then
      last[key] = value
    else
      out[#out + 1] = delta
    end
  end
  return out
end

-- The chunks of one choice, as the wire's choice objects; token data spread over them.
local function choice_chunks(choice, random)
  local out = {}
  for i, delta in ipairs(merge_some(message_deltas(choice.message, random), random)) do
    out[i] = { index = choice.index, delta = delta, finish_reason = cjson.null }
  end
  if random(2) == 1 then out[#out + 1] = { index = choice.index, delta = {} } end
  out[#out].finish_reason, out[#out].stop_reason = choice.finish_reason, choice.stop_reason
  out[random(#out)].weight_versions = choice.weight_versions
  local logprobs, token_ids = value_of(choice.logprobs), value_of(choice.token_ids)
  for i, entry in ipairs(logprobs and logprobs.content or {}) do
    local holder = out[math.min(i, #out)]
    holder.logprobs = holder.logprobs or { content = {} }
    table.insert(holder.logprobs.content, entry)
  end
  for i, id in ipairs(token_ids or {}) do
    local holder = out[math.min(i, #out)]
    holder.token_ids = holder.token_ids or {}
    table.insert(holder.token_ids, id)
  end
  return out
end

-- One choice to a chunk, the choices' chunks interleaved at random.
local function recut(completion, random)
  local queues, chunks = {}, {}
  for _, choice in ipairs(completion.choices) do queues[#queues + 1] = choice_chunks(choice, random) end
  local function chunk(choices, usage)
    local members = {} -- what is not standard goes along, too
    for key, value in pairs(completion) do members[key] = value end
    members.object, members.choices, members.usage = "chat.completion.chunk", events.array(choices), usage
    chunks[#chunks + 1] = members
  end
  while #queues > 0 do
    local pick = random(#queues)
    chunk { table.remove(queues[pick], 1) }
    if #queues[pick] == 0 then table.remove(queues, pick) end
  end
  if value_of(completion.usage) then chunk({}, completion.usage) end
  return events.stream(chunks)
end

local function check_law(name, json)
  local whole, whole_failure, whole_decoder = events.run({ json }, { body = true })
  assert.is_nil(whole_failure)
  local whole_groups, whole_result = events.by_choice(whole), whole_decoder:result()
  for seed = 1, SEEDS do
    local list, failure, decoder = events.run { recut(cjson.decode(json), generator(seed)) }
    local where = ("%s, seed %d"):format(name, seed)
    assert.is_nil(failure, where)
    local found = events.difference(events.by_choice(list), whole_groups, where)
      or events.difference(decoder:result(), whole_result, where .. " result")
    if found then error(found, 0) end
  end
  -- Where the events of a stream should be, it is the answer, too.
  for _, bytes in ipairs { json, json .. "\n\ndata: [DONE]\n\n", (json:gsub("^%s*{", "{\r\n\r\n  ")) } do
    local list, failure, decoder = events.run { bytes }
    assert.is_nil(failure, name)
    local found = events.difference(list, whole, name)
      or events.difference(decoder:result(), whole_result, name .. " result")
    if found then error(found, 0) end
  end
end

local function call(id, name, arguments)
  return { id = id, type = "function", ["function"] = { name = name, arguments = arguments } }
end

local function completion(...)
  local choices = {}
  for i, choice in ipairs { ... } do
    choices[i] = { index = i - 1, message = choice.message, finish_reason = choice.finish_reason,
      stop_reason = choice.stop_reason,
      logprobs = choice.logprobs, token_ids = choice.token_ids, weight_versions = choice.weight_versions }
    choice.message.role = "assistant"
  end
  return events.write { id = "chatcmpl-1", object = "chat.completion", created = 1, model = "m",
    choices = events.array(choices),
    usage = { prompt_tokens = 5, completion_tokens = 9, total_tokens = 14,
      completion_tokens_details = { reasoning_tokens = 3 } } }
end

local made = {
  ["an answer of every kind"] = completion { finish_reason = "tool_calls", message = {
    reasoning = "Hmm — \n\n", content = "naïve 🙂🚀 你好", refusal = "not that one",
    tool_calls = { call("a", "get_weather", '{"city": "Zürich \\ud83d\\ude42"}'), call("b", "now", ""),
      call("c", "now", "{}") } } },
  ["calls that share an id"] = completion { finish_reason = "tool_calls", message = {
    tool_calls = { call("x", "f", '{"a":1}'), call("x", "g", '{"b":2}'), call("x", "h", "{}") } } },
  ["calls of one tool that share an id"] = completion { finish_reason = "tool_calls", message = {
    tool_calls = { call("x", "f", '{"a":1}'), call("x", "f", '{"a":2}'), call("x", "f", '{"a":2,"b":[]}') } } },
  ["an ending that nobody knows"] = completion { finish_reason = "model_length",
    message = { tool_calls = { call("a", "f", "{}") } } },
  ["an answer cut by length within its second call"] = completion { finish_reason = "length", message = {
    content = "Two things. ", tool_calls = { call("a", "x", '{"a":1}'), call("b", "x", '{"a":') } } },
  ["calls whose arguments are not an object"] = completion { finish_reason = "tool_calls", message = {
    tool_calls = { call("a", "x", "{bad"), call("b", "x", "[1]"), call("c", "x", '"text"'), call("d", "x", "null"),
      call("e", "x", " ") } } },
  ["three choices that end differently"] = completion(
    { finish_reason = "stop", stop_reason = "5", message = { content = "one" } },
    { finish_reason = "length", message = { reasoning = "two" } },
    { finish_reason = "tool_calls", stop_reason = 30,
      message = { content = "three", tool_calls = { call("a", "x", '{"n":null,"m":[null]}') } } }),
  ["what only the server knows"] = completion(
    { finish_reason = "tool_calls", weight_versions = { { version = 1 } },
      message = { content = "one", signature = "abc Zürich 🙂 xyz",
      details = { { text = "a", id = cjson.null }, { text = "b" }, { text = "a", id = cjson.null } },
        task = { name = "query", tags = { "x" } },
      tool_calls = { { id = "a", type = "function", extra_content = { google = { thought_signature = "s" } },
        ["function"] = { name = "x", arguments = "{}" } } } } },
    { finish_reason = "stop", message = { signature = "z", content = "two" } }),
  ["thinking in the content"] = completion { finish_reason = "stop", message = { content = {
    { type = "thinking", thinking = { { type = "text", text = "Let me see. " },
      { type = "text", text = "Zürich 🙂?" } } },
    { type = "text", text = "Let me" }, { type = "text", text = "Let me see: Zürich." } } } },
  ["nothing at all"] = completion { finish_reason = "stop", message = { content = "" } },
  ["white space only"] = completion { finish_reason = "stop", message = { content = "\n \n" } },
  ["token ids and logprobs"] = completion { finish_reason = "stop", token_ids = { 1, 2, 3, 4, 5 },
    logprobs = { content = { { token = "a", logprob = -0.1 }, { token = "b", logprob = -9999 } } },
      message = { content = "abcdefgh" } },
}

describe("a completion and the same answer in chunks agree:", function()
  for _, set in ipairs { "vllm", "llama-server" } do
    for _, name in ipairs(fixtures.names(set)) do
      local response = fixtures.load(name)
      if response.expect and response.status == 200 and not response.stream then
        it(name, function() check_law(name, response.body) end)
      end
    end
  end
  for name, json in pairs(made) do
    it(name, function() check_law(name, json) end)
  end
end)

-- Pairs ---------------------------------------------------------------------------------------------------------------

local function without_ids(value, path, out)
  for key, member in pairs(value) do
    if key ~= "id" and key ~= "raw" then
      local at = path == "" and tostring(key) or path .. "." .. tostring(key)
      if type(member) == "table" and next(member) ~= nil then without_ids(member, at, out)
      elseif type(member) ~= "table" then out[at] = member end
    end
  end
  return out
end

-- Every field in which the two results differ: path = { streamed, buffered }.
local function differing(streamed, buffered)
  local a, b, out = without_ids(streamed, "", {}), without_ids(buffered, "", {}), {}
  for path, value in pairs(a) do
    if b[path] ~= value then out[path] = { value, b[path] } end
  end
  for path, value in pairs(b) do
    if a[path] == nil then out[path] = { nil, value } end
  end
  return out
end

local function result_of(name)
  local response = fixtures.load(name)
  local _, failure, decoder = events.run({ response.body }, { body = not response.stream })
  assert.is_nil(failure)
  return events.plain_result(decoder:result())
end

-- The same request, streamed and buffered. What differs is the server's doing; ids differ always.
-- A path is followed by { streamed, buffered }.
local SAME = {}
local NAMED = '{\n    "type": "function",\n    "description": "Weather of a city",\n    "parameters": {\n        '
  .. '"type": "object",\n'
  .. '        "properties": {\n            "city": {\n                "type": "string'
local CITIES = "Paris is the capital of France and is known for its beautiful atmosphere, rich culture, and stunning "
  .. "landmarks. Rome is "

local pairs_of_recordings = {
  ["vllm/text"] = SAME, ["vllm/text-length"] = SAME, ["vllm/text-unicode"] = SAME, ["vllm/text-logprobs"] = SAME,
  ["vllm/text-two-choices"] = SAME, ["vllm/tool-auto-two"] = SAME, ["vllm/reasoning"] = SAME,
    ["vllm/reasoning-only"] = SAME,
  -- the second request found the prompt in the prefix cache
  ["vllm/tool-auto"] = { ["usage.cached_tokens"] = { 0, 128 } },
  ["llama-server/text"] = { ["usage.cached_tokens"] = { 0, 36 } },
  -- A stream passes on the white space between reasoning and call before it can know that nothing else will come.
  ["vllm/reasoning-tool"] = { ["choices.1.text"] = { "\n\n", nil } },
  -- Cut by length: the stream calls it a (cut) call, the whole completion hands the raw markup out as text.
  ["vllm/tool-named"] = {
    ["choices.1.text"] = { nil, '<tool_call>\n{"name": "get_weather", "arguments": ' .. NAMED },
    ["choices.1.tool_calls.1.name"] = { "get_weather", nil },
    ["choices.1.tool_calls.1.arguments"] = { NAMED, nil },
    ["choices.1.tool_calls.1.invalid"] = { true, nil },
  },
  -- Sampled at temperature 1: two different answers (and a buffered call's arguments are written anew by the server).
  ["vllm/tool-required"] = {
    ["choices.1.tool_calls.1.arguments"] = { '{\n    "location": "Paris",\n    "city" : "Paris"\n}',
      '{"city": "Paris", "language": "en", "name": "Paris"}' },
    ["choices.1.tool_calls.1.input.location"] = { "Paris", nil },
    ["choices.1.tool_calls.1.input.language"] = { nil, "en" },
    ["choices.1.tool_calls.1.input.name"] = { nil, "Paris" },
    ["usage.cached_tokens"] = { 0, 256 }, ["usage.completion_tokens"] = { 43, 45 },
      ["usage.total_tokens"] = { 382, 384 },
  },
  ["llama-server/tool-required"] = {
    ["choices.1.text"] = {
      CITIES .. "a city in Italy and is famous for its architecture, history, and culture.\n\n" .. CITIES:sub(1, -2),
      CITIES
        .. "a city in Italy that is famous for its ancient history, architecture, and Roman culture. Both cities are "
        .. "located in the "
        .. "Mediterranean region, and both are steeped in history and culture.\n\nParis is a" },
    ["usage.cached_tokens"] = { 19, 165 },
  },
}

describe("the same request, streamed and buffered, differs only in what the server made different:", function()
  for name, expected in pairs(pairs_of_recordings) do
    it(name, function()
      local found = differing(result_of(name), result_of(name .. "-buffered"))
      local difference = events.difference(found, expected, name)
      if difference then error(difference, 0) end
    end)
  end
end)

describe("a stream that is called JSON", function()
  it("is read as a stream, whatever field it begins with", function()
    local testing = require "vllm.testing"
    local data = 'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    for _, first in ipairs { "", ": ping\n\n", "event: message\n", "id: 1\n", "retry: 5\n", "\239\187\191" } do
      -- shorter and longer than what is looked at
      for _, padding in ipairs { "", (": " .. ("x"):rep(100) .. "\n\n") } do
        local client = testing.client { { bytes = first .. data .. padding,
          headers = { ["content-type"] = "application/json" } } }
        assert.equal("Hi", client:ask "x")
      end
    end
  end)
end)

describe("a whole completion, through a turn", function()
  local testing = require "vllm.testing"
  local json = completion { message = { content = "Hi" }, finish_reason = "stop" }
  for _, kind in ipairs { "application/json", "text/plain", "text/event-stream" } do
    it("is read with a mark of the end behind it, or a byte order mark before it, under " .. kind, function()
      for _, bytes in ipairs { json, json .. "\ndata: [DONE]\n\n", "\239\187\191" .. json } do
        for _, split in ipairs { 1, 100000 } do
          local client = testing.client({ { bytes = bytes, headers = { ["content-type"] = kind } } }, { split = split })
          local relayed = {}
          local result, message = client:turn("Hi"):relay(function(piece) relayed[#relayed + 1] = piece end)
          assert(result, message)
          assert.same({ "Hi", "stop", bytes }, { result.text, result.finish_reason, table.concat(relayed) })
        end
      end
    end)
  end
end)
