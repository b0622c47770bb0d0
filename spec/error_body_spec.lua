-- What a server says in an error body, of any shape, through the parser and through a turn.
local core = require "vllm.core"
local error_body = require "vllm.base.error_body"
local errors = require "vllm.base.errors"
local testing = require "vllm.testing"

describe("the words of an error body:", function()
  local PAGE = "<html><head><title>502 Bad Gateway</title></head></html>"
  local cases = {
    { "nested object", '{"error":{"message":"m","type":"t","param":"p","code":400}}', "m", 400, "t", "p" },
    { "flat object, old vLLM", '{"object":"error","message":"m","type":"t","param":null,"code":400}', "m", 400, "t" },
    { "string error", '{"error":"Unauthorized"}', "Unauthorized" },
    { "string error, TGI", '{"error":"Input validation error","error_type":"validation"}', "Input validation error" },
    { "list of errors", '{"error":[{"message":"first","code":"c"},{"message":"second"}]}', "first; second", "c" },
    { "string code, Rust front end", '{"error":{"message":"m","code":"model_not_found"}}', "m", "model_not_found" },
    { "detail string", '{"detail":"Not Found"}', "Not Found" },
    { "detail list, FastAPI", '{"detail":[{"loc":["body","messages",0,"role"],"msg":"field required"}]}',
      "body.messages.0.role: field required" },
    { "detail list with a null in its place", '{"detail":[{"loc":["body",null],"msg":"bad"}]}', "body: bad" },
    { "detail list with a boolean in its place", '{"detail":[{"loc":[true,{"a":1},["b"]],"msg":"bad"}]}', "bad" },
    { "detail object", '{"detail":{"error":"busy","reason":"queue full"}}', "busy; queue full" },
    { "list at the top, Google", '[{"error":{"code":400,"message":"bad key","status":"INVALID_ARGUMENT"}}]', "bad key",
      400 },
    { "code and msg", '{"code":50001,"msg":"no quota"}', "no quota", 50001 },
    { "error_code and error_msg", '{"error_code":17,"error_msg":"Open api daily request limit reached"}',
      "Open api daily request limit reached", 17 },
    { "camel case", '{"errorCode":"E1","errorMessage":"no"}', "no", "E1" },
    { "capitals, Amazon", '{"__type":"ThrottlingException","Message":"slow down"}', "slow down", nil,
      "ThrottlingException" },
    { "RFC 9457", '{"type":"about:blank","title":"Forbidden","detail":"no credit","status":403}',
      "no credit; Forbidden", 403, "about:blank" },
    { "RFC 6749", '{"error":"invalid_grant","error_description":"expired"}', "invalid_grant; expired" },
    { "Spring", '{"timestamp":1,"status":404,"error":"Not Found","message":"No handler","path":"/v1"}',
      "Not Found; No handler", 404 },
    { "errors beside success", '{"success":false,"errors":[{"code":7003,"message":"no route"}],"messages":[]}',
      "no route", 7003 },
    { "a list of strings", '{"errors":["a","b",3,null,{"msg":"c"}]}', "a; b; c" },
    { "under unknown names", '{"base_resp":{"status_code":1004,"status_msg":"login fail"},"id":""}', "login fail",
      1004 },
    { "what a proxy was told",
      '{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"{\\"error\\":\\"slow down\\"}"}}}',
      "Provider returned error; slow down", 429 },
    { "what a proxy was told, as a number", '{"error":{"message":"x","metadata":{"raw":5}}}', "x" },
    { "JSON in a string", '{"detail":"{\\"error\\":{\\"message\\":\\"inner\\",\\"code\\":503}}"}', "inner", 503 },
    { "the same words twice", '{"error":"no","message":"no"}', "no" },
    { "bare JSON string", '"no healthy upstream"', "no healthy upstream" },
    { "plain text", "upstream  connect\nerror", "upstream connect error" },
    { "HTML page", PAGE, "the server returned an HTML page (502 Bad Gateway); is there a proxy in between?" },
    { "nothing", "" }, { "white space", " \n" },
    { "a number", "17", "17" },
    { "no words at all: the body itself", '{"error":{"message":{"a":1}}}', '{"error":{"message":{"a":1}}}' },
    { "an empty error: the body itself", '{"error":{}}', '{"error":{}}' },
    { "JSON that is cut: the body itself", '{"error":{"message":"m', '{"error":{"message":"m' },
    { "no echo of the request", '{"ok":false,"request":{"messages":[{"error":"mine"}]}}',
      '{"ok":false,"request":{"messages":[{"error":"mine"}]}}' },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      local parts = error_body.parse(case[2])
      assert.same({ case[3], case[4], case[5], case[6] }, { parts.message, parts.code, parts.type, parts.param })
    end)
  end

  it("text that is long is cut in the message", function()
    local message = error_body.parse(("x"):rep(100000)).message
    assert.equal(("x"):rep(300) .. "…", message)
  end)

  it("of many words, some are shown", function()
    local list = {}
    for i = 1, 1000 do list[i] = '"e' .. i .. '"' end
    assert.equal("e1; e2; e3; e4; e5; e6; e7; e8",
      error_body.parse('{"errors":[' .. table.concat(list, ",") .. "]}").message)
  end)
end)

local COMPLETION = '{"id":"1","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},'
  .. '"finish_reason":"stop"}]}'
local HI = 'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
local DONE = "data: [DONE]\n\n"

-- The same, in any cut.
local function each_split(bytes, check)
  for _, split in ipairs { #bytes, 1, 7 } do
    local result, message, err = testing.client({ { bytes = bytes } }, { split = split }):turn("x"):result()
    check(result, message, err)
  end
end

describe("what comes as an event stream with status 200 and is none:", function()
  local answers = {
    { "a whole completion", COMPLETION }, { "a completion and [DONE]", COMPLETION .. "\n\n" .. DONE },
    { "a completion in lines", (COMPLETION:gsub(",", ",\n\n  ")) }, { "a list of it", "[" .. COMPLETION .. "]" },
  }
  for _, case in ipairs(answers) do
    it(case[1] .. ", which is the answer", function()
      each_split(case[2], function(result, message)
        assert(result, message)
        assert.equal("hi", result.text)
        assert.is_true(result.complete)
      end)
    end)
  end

  -- kind, words of the message, body
  local failures = {
    { "an error", '{"error":{"message":"busy","code":503}}', "overloaded", "busy (in the stream)" },
    { "an error and [DONE]", '{"error":{"message":"busy","code":503}}\n\n' .. DONE, "overloaded", "busy" },
    { "an error in lines", '{\r\n"error":\r\n{"message":"busy",\r\n"code":503}}', "overloaded", "busy" },
    { "a list with an error", '[{"error":{"message":"busy","code":429}}]', "rate_limited", "busy" },
    { "FastAPI's words", '{"detail":"no such model"}', "stream", "no such model" },
    { "code and msg", '{"code":50001,"msg":"no quota"}', "stream", "no quota" },
    { "a page", "<html>\n<title>Login</title>\n</html>", "protocol",
      "not a completion (text/event-stream; charset=utf-8): the server returned an HTML page (Login)" },
    { "plain text", "upstream connect error\nreset", "protocol",
      "not a completion (text/event-stream; charset=utf-8): upstream connect error reset" },
    { "JSON of another kind", '{"object":"list","data":[]}', "protocol", '{"object":"list","data":[]}' },
    { "a field named error", "error: no slot\n\n", "stream", "no slot", "no slot" },
    { "a field named error, with JSON", 'error: {"code":503,"message":"busy"}\n\n' .. DONE, "overloaded", "busy" },
    { "an event with FastAPI's words", 'data: {"detail":"no such model"}\n\n' .. DONE, "stream", "no such model" },
    { "an event with error_msg", 'data: {"error_code":503,"error_msg":"busy"}\n\n', "overloaded", "busy",
      '{"error_code":503,"error_msg":"busy"}' },
    { "an event with code and msg beside an id", 'data: {"id":"","code":50001,"msg":"no quota"}\n\n', "stream",
      "no quota" },
    { "an event with a list", 'data: [{"error":{"message":"busy","code":503}}]\n\n', "overloaded", "busy" },
    { "an event with a page", "data: <html><title>Login</title>\n\n", "protocol",
      "the server returned an HTML page (Login)" },
    { "an event with plain text", "data: Internal Server Error\n\n", "protocol", "Internal Server Error",
      "Internal Server Error" },
    { "an event with a broken chunk", 'data: {"id":"1","choices":[{"delta":{"con\n\n', "protocol",
      '{"id":"1","choices":[{"delta":{"con' },
    { "a broken chunk after a text", HI .. "data: {oops}\n\n", "protocol", "the server's answer breaks the protocol",
      "{oops}", "hi" },
    { "an error's JSON after a text", HI .. '{"error":{"message":"busy","code":503}}\n\n' .. DONE, "overloaded", "busy",
      nil, "hi" },
    { "a field named error after a text", HI .. "error: died\n\n" .. DONE, "stream", "died", "died", "hi" },
    { "FastAPI's words after a text", HI .. 'data: {"detail":"engine died"}\n\n', "truncated", "engine died",
      '{"detail":"engine died"}', "hi" },
    { "plain text after a text", HI .. "upstream reset\n", "truncated", "upstream reset", "upstream reset\n", "hi" },
  }
  for _, case in ipairs(failures) do
    it(case[1] .. ", which the message shows", function()
      each_split(case[2], function(result, message, err)
        assert.is_nil(result)
        assert.equal(case[3], err.kind, message)
        assert.truthy(message:find(case[4], 1, true), message)
        if case[5] then assert.equal(case[5], err.body) end
        assert.equal(case[6], err.partial and err.partial.text)
        assert.equal(200, err.status)
      end)
    end)
  end

  it("is kept up to limits.max_error_bytes", function()
    for _, bytes in ipairs { ("x"):rep(5000), "data: " .. ("x"):rep(5000) .. "\n\n",
      'data: {"error":"' .. ("x"):rep(5000) .. '"}\n\n' } do
      local _, _, err = testing.client({ { bytes = bytes } },
        { limits = { max_error_bytes = 1000 } }):turn("x"):result()
      assert.equal(1000, #err.body)
      assert.is_true(err.body_cut)
    end
  end)

  it("does no harm beside a whole answer: pings, unknown fields, and what a proxy adds", function()
    local finish = 'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    local stream = 'x-trace: 1\ndata: {"type":"ping","message":"wait"}\n\n' .. HI .. "junk\n" .. finish
      .. '{"error":"late"}\n\n' .. DONE
    each_split(stream, function(result, message) assert.equal("hi", assert(result, message).text) end)
  end)
end)

describe("the same body, not as a stream:", function()
  local cases = {
    { '{"error":{"message":"busy","code":503}}', "overloaded", "busy (status 200)" },
    { '{"detail":"no such model"}', "stream", "no such model (status 200)" },
    { '{"code":50001,"msg":"no quota"}', "stream", "no quota" },
    { '[{"error":{"message":"busy","code":503}}]', "overloaded", "busy", '{"error":{"message":"busy","code":503}}' },
    { '{"message":"Welcome"}', "protocol", "not a completion (application/json): Welcome" },
    { '{"code":0,"msg":"success","data":{}}', "protocol", "success" },
    { '{"id":"1","choices":[]}', "protocol", '{"id":"1","choices":[]}' },
    { '{"id":"1","choi', "protocol", '{"id":"1","choi' },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      local _, message, err = testing.client({ { status = 200, body = case[1] } }):turn("x"):result()
      assert.equal(case[2], err.kind, message)
      assert.truthy(message:find(case[3], 1, true), message)
      assert.equal(case[4] or case[1], err.body)
    end)
  end
end)

-- The same numbers on every Lua.
local function generator(seed)
  local state = seed
  return function(limit) -- 1 … limit
    state = (state * 16807) % 2147483647
    return state % limit + 1
  end
end

local NAMES = {
  "error", "errors", "message", "msg", "detail", "loc", "code", "type", "param", "status", "metadata", "raw", "reason",
    "title", "object",
  "choices", "usage", "id", "model", "delta", "request", "data", "x", "error_msg", "Error-Message", "object",
    "status_code", "finish_reason",
}
local SCALARS = {
  "null", "true", "false", "0", "17", "-1", "1.5", "1e400", "503", "429", "404", "12345678901234567890", '""', '" "',
    '"words"', '"error"', '"503"',
  '"nan"', '"inf"', '"0x1F7"', '"\\u0000\\u001b[2J"', '"\\ud83d"', '"caf\195\169"', '"\255"', '"model"',
    '"maximum context length"', '"input_tokens"', '"insufficient_quota"',
  '"{\\"error\\":[null,{\\"message\\":5}]}"', "{}", "[]",
}

local function random_json(random, depth)
  local shape = depth == 0 and 1 or random(5)
  if shape <= 2 then return SCALARS[random(#SCALARS)] end
  local items = {}
  for i = 1, random(4) - 1 do
    items[i] = (shape == 3 and "" or '"' .. NAMES[random(#NAMES)] .. '":') .. random_json(random, depth - 1)
  end
  local text = table.concat(items, ",")
  return shape == 3 and "[" .. text .. "]" or "{" .. text .. "}"
end

local STATUSES = { 200, 302, 400, 401, 404, 413, 422, 429, 500, 503 }

-- The same bytes as a body with a status, as events in every spelling, and as a stream without any.
local function reply_of(random, json)
  local way = random(6)
  if way == 1 then return { status = STATUSES[random(#STATUSES)], body = json } end
  if way == 2 then return { bytes = "data: " .. json .. "\n\n" } end
  if way == 3 then return { bytes = "event: error\ndata: " .. json .. "\n\n" } end
  if way == 4 then return { bytes = 'data: {"error":' .. json .. "}\n\ndata: [DONE]\n\n" } end
  if way == 5 then return { bytes = "error: " .. json .. "\n\n" } end
  return { bytes = json }
end

local function is_whole(err, message)
  return errors.is(err) and errors.kinds[err.kind] ~= nil and err.message == message
    and message:find(err.kind .. ": ", 1, true) == 1
    and core.json_encode(message) ~= nil and not message:find("[%z\1-\9\11-\31]") and #message < 3000
end

describe("JSON of any shape", function()
  it("makes a failed turn or an answer, and never raises", function()
    local random = generator(20261)
    for round = 1, 1500 do
      local json = random_json(random, 5)
      local turn = testing.client({ reply_of(random, json) }):turn("x")
      local ok, result, message, err = pcall(turn.result, turn)
      if not ok then error(("round %d: %s\nraises: %s"):format(round, json, tostring(result)), 0) end
      if not result and not (is_whole(err, message) and turn:error() == err) then
        error(("round %d: %s\ngives: %s"):format(round, json, tostring(message)), 0)
      end
    end
  end)
end)
