
-- The test server and its driver: the other specs believe what they say. Only its own raw client looks at it here, and
-- one Lua.

local cjson = require "cjson"
local driver = require "spec.support.server"
local env = require "spec.support.env"

if _VERSION ~= "Lua 5.4" then return end

local function read_file(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function recordings()
  local pipe = assert(io.popen "cd spec/fixtures && ls vllm/*.http llama-server/*.http")
  local names = {}
  for line in pipe:lines() do names[#names + 1] = line:match "^(.*)%.http$" end
  pipe:close()
  return names
end

local function get(path, version)
  return ("GET %s HTTP/1.1\r\nhost: x\r\n%s\r\n"):format(path, version or "connection: close\r\n")
end

local function count(text, pattern)
  local _, found = text:gsub(pattern, "")
  return found
end

-- The chunks of a stream, decoded, and whether [DONE] was the last event.
local function chunks(body)
  local list, done = {}, false
  for data in body:gmatch "data: ([^\n]*)\n\n" do
    done = data == "[DONE]"
    if not done then list[#list + 1] = cjson.decode(data) end
  end
  return list, done
end

-- What a stream's chunks of one choice add up to.
local function gather(body, choice)
  local sum = { text = "", reasoning = "", calls = {} }
  local list, done = chunks(body)
  sum.done = done
  for _, chunk in ipairs(list) do
    if chunk.usage then sum.usage = chunk.usage end
    for _, part in ipairs(chunk.choices) do
      if part.index == (choice or 0) then
        local delta = part.delta
        if type(delta.content) == "string" then sum.text = sum.text .. delta.content end
        sum.reasoning = sum.reasoning .. (delta.reasoning or "")
        for _, piece in ipairs(delta.tool_calls or {}) do
          local call = sum.calls[piece.index + 1] or { arguments = "" }
          sum.calls[piece.index + 1] = call
          call.id, call.name = call.id or piece.id, call.name or piece["function"].name
          call.arguments = call.arguments .. (piece["function"].arguments or "")
        end
        if part.finish_reason ~= cjson.null then sum.finish, sum.stop = part.finish_reason, part.stop_reason end
      end
    end
  end
  return sum
end

local WEATHER = [[{"type":"function","function":{"name":"get_weather","description":"Weather of a city","parameters":
  {"type":"object","properties":{"city":{"type":"string"},"unit":{"type":"string","enum":["celsius","kelvin"]}},"required":["city"]}}}]]
local ADD = [[{"type":"function","function":{"name":"add","parameters":
  {"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"number"}},"required":["a","b"]}}}]]

local function ask(prompt, more)
  return ('{"model":"test-model","messages":[{"role":"user","content":%s}]%s}'):format(cjson.encode(prompt), more or "")
end

-- The same questions to the installed binary, and once to one built with sanitizers.
local function suite(binary)
  local server

  setup(function() server = driver.start { tls = true, mtls = true, unix = true, key = "sesame", binary = binary } end)
  teardown(function() server:stop() end)
  before_each(function() server:clear_log() end)

  describe("replays", function()
    it("every recording byte for byte, however it is split", function()
      local names = recordings()
      assert.is_true(#names > 90)
      for _, name in ipairs(names) do
        local wire = read_file("spec/fixtures/" .. name .. ".http")
        local path, fine = "/replay/" .. name .. "?end=keep&split=", #wire < 4096 and "1" or "97"
        local three = get(path .. "whole", "") .. get(path .. "reads", "") .. get(path .. fine)
        assert.is_true(wire:rep(3) == driver.send(server.port, three), name)
      end
    end)

    it("in writes of the recorded sizes: a read may join two, it never divides one", function()
      local ends, at = {}, 0
      for size in read_file("spec/fixtures/vllm/text.json"):match '"reads": %[(.-)%]':gmatch "%d+" do
        at = at + tonumber(size)
        ends[at] = true
      end
      local sizes = driver.send(server.port, get "/replay/vllm/text?split=reads&pace_ms=3", { sizes = true })
      local sum = 0
      for size in sizes:gmatch "%d+" do
        sum = sum + tonumber(size)
        assert.is_true(ends[sum], "a read ended at " .. sum)
      end
      assert.equals(at, sum)
    end)

    it("only the first bytes, and ends as it is told", function()
      local wire = read_file "spec/fixtures/vllm/text.http"
      for _, cut in ipairs { 1, 16, 229, 230, 231, 1000, #wire - 1 } do
        local got, complaint = driver.send(server.port, get("/replay/vllm/text?cut=" .. cut))
        assert.equals(wire:sub(1, cut), got)
        assert.equals("", complaint)
      end
      assert.equals("", (driver.send(server.port, get "/replay/vllm/text?cut=0")))
      local got, complaint = driver.send(server.port, get "/replay/vllm/text?cut=500&end=reset&split=100&pace_ms=5")
      assert.equals(wire:sub(1, #got), got)
      assert.matches("reset", complaint)
    end)

    it("the body in chunks of another size, and with the connection kept", function()
      local _, _, body = driver.parse((driver.send(server.port, get "/replay/vllm/text")))
      local again = driver.send(server.port,
        get("/replay/vllm/text?rechunk=1&split=7&keep=1", "") .. get "/replay/vllm/text")
      local first, second = again:match "^(.-\r\n0\r\n\r\n)(HTTP/1.*)$"
      assert.is_nil(first:find("connection: close", 1, true))
      assert.matches("\r\n7\r\n", first, 1, true)
      assert.equals(body, select(3, driver.parse(first)))
      assert.equals(body, select(3, driver.parse(second)))
      local _, headers, json = server:request("GET", "/replay/vllm/text-buffered?rechunk=1&split=10")
      assert.is_nil(headers["content-length"])
      assert.equals("chat.completion", cjson.decode(json).object)
    end)

    it("nothing outside the fixtures", function()
      for _, path in ipairs { "/replay/vllm/nothing", "/replay/../Makefile", "/replay/vllm/../../../etc/passwd",
        "/replay/", "/replay/vllm" } do
        assert.equals(404, (server:request("GET", path)), path)
      end
    end)
  end)

  describe("the scripted model", function()
    local function streamed(body, path, choice)
      local status, text = server:chat(body, path)
      assert.equals(200, status, text)
      return gather(text, choice)
    end

    local function whole(body)
      local status, text = server:chat(body)
      assert.equals(200, status, text)
      return cjson.decode(text)
    end

    it("answers in words, the same streamed and whole", function()
      local prompt = 'Grüße, "world" \\ 😀 and\nlines'
      local sum = streamed(ask(prompt, ',"stream":true,"stream_options":{"include_usage":true}'))
      local answer = whole(ask(prompt))
      assert.equals("You said: " .. prompt, sum.text)
      assert.equals(sum.text, answer.choices[1].message.content)
      assert.equals("stop", sum.finish)
      assert.equals("stop", answer.choices[1].finish_reason)
      assert.is_true(sum.done)
      assert.equals(answer.usage.total_tokens, sum.usage.total_tokens)
      assert.is_nil(streamed(ask("hi", ',"stream":true')).usage)
    end)

    it("begins with a role chunk, and ends with finish, usage, [DONE]", function()
      local _, text = server:chat(ask("hi", ',"stream":true,"stream_options":{"include_usage":true}'))
      local list = chunks(text)
      assert.equals("assistant", list[1].choices[1].delta.role)
      assert.equals("", list[1].choices[1].delta.content)
      assert.equals("stop", list[#list - 1].choices[1].finish_reason)
      assert.equals(0, #list[#list].choices)
    end)

    it("calls a fitting tool once per name, in fragments", function()
      local sum = streamed(ask("The weather in Paris and New York in kelvin, please",
        ',"stream":true,"tools":[' .. WEATHER .. "]"))
      assert.equals("tool_calls", sum.finish)
      assert.equals(2, #sum.calls)
      assert.equals("get_weather", sum.calls[2].name)
      assert.equals('{"city": "Paris", "unit": "kelvin"}', sum.calls[1].arguments)
      assert.equals('{"city": "New York", "unit": "kelvin"}', sum.calls[2].arguments)
      assert.is_true(sum.calls[1].id ~= sum.calls[2].id)
      local message = whole(ask("Weather in Rome?", ',"tools":[' .. WEATHER .. "]")).choices[1].message
      assert.equals(cjson.null, message.content)
      assert.equals('{"city": "Rome"}', message.tool_calls[1]["function"].arguments)
    end)

    it("obeys tool_choice", function()
      local tools = ',"stream":true,"tools":[' .. WEATHER .. "," .. ADD .. "]"
      assert.equals(0, #streamed(ask("Tell me a joke", tools)).calls)
      assert.equals(0, #streamed(ask("The weather in Paris", tools .. ',"tool_choice":"none"')).calls)
      assert.equals("get_weather", streamed(ask("A joke", tools .. ',"tool_choice":"required"')).calls[1].name)
      local sum = streamed(ask("Add 12 and -3.5",
        tools .. ',"tool_choice":{"type":"function","function":{"name":"add"}}'))
      assert.equals("add", sum.calls[1].name)
      assert.equals('{"a": 12, "b": -3.5}', sum.calls[1].arguments)
      assert.equals("stop", sum.finish)
    end)

    it("uses the results, or makes the next call where calls come one by one", function()
      local conversation = [[{"model":"test-model","messages":[{"role":"user","content":"Weather in Paris and Rome?"},
        {"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"get_weather","arguments":"{\"city\": \"Paris\"}"}}]},
        {"role":"tool","tool_call_id":"a","content":"18 °C, sunny"}],"stream":true,"tools":[]] .. WEATHER .. "]%s}"
      assert.equals("get_weather(Paris) says: 18 °C, sunny.", streamed(conversation:format "").text)
      local object = conversation:format(""):gsub("18 °C, sunny", [[{\"celsius\":18,\"sky\":\"sunny\"}]])
      assert.equals("get_weather(Paris) says: celsius 18, sky sunny.", streamed(object).text)
      local sum = streamed(conversation:format ',"parallel_tool_calls":false')
      assert.equals(1, #sum.calls)
      assert.equals('{"city": "Rome"}', sum.calls[1].arguments)
    end)

    it("thinks first when its name says so", function()
      local body = ask("hi", ',"stream":true'):gsub("test%-model", "test-reasoner")
      local sum = streamed(body)
      assert.matches("^\nThe user wrote 1 words", sum.reasoning)
      assert.equals("You said: hi", sum.text)
    end)

    it("honours n, stop, the token limit, logprobs and a schema", function()
      local two = ask("hi", ',"stream":true,"n":2')
      assert.equals("You said: hi", streamed(two).text)
      assert.equals("(1) You said: hi", streamed(two, nil, 1).text)
      local stopped = streamed(ask("one two three", ',"stream":true,"stop":["three"," two"]'))
      assert.equals("You said: one", stopped.text)
      assert.equals(" two", stopped.stop)
      local cut = streamed(ask("one two three", ',"stream":true,"max_completion_tokens":4'))
      assert.equals("You said: one", cut.text)
      assert.equals("length", cut.finish)
      local choice = whole(ask("hi", ',"logprobs":true,"top_logprobs":2')).choices[1]
      assert.equals(4, #choice.logprobs.content)
      assert.equals(2, #choice.logprobs.content[1].top_logprobs)
      assert.same({ 89, 111, 117 }, choice.logprobs.content[1].bytes)
      local shaped = streamed(ask("Mail to Anna and Bob",
        [[,"stream":true,"response_format":{"type":"json_schema","json_schema":{"name":"m",
        "schema":{"type":"object","properties":{"to":{"type":"array","items":{"type":"string"}},"urgent":{"type":"boolean"}}}}}]]))
      assert.same({ to = { "Anna", "Bob" }, urgent = true }, cjson.decode(shaped.text))
    end)

    it("refuses in vLLM's words", function()
      local cases = {
        { '{"messages":', 400, "body.12", "JSON decode error" },
        { "{}", 400, "body.messages", "Field required" },
        { '{"messages":[]}', 400, nil, "empty conversation" },
        { ask("hi"):gsub("test%-model", "nope"), 404, "model",
          "The model `nope` does not exist. Valid aliases: test-model." },
        { ask("hi", ',"tools":[]'), 400, "tools", "must not be an empty array" },
        { ask("hi", ',"tool_choice":"auto"'), 400, "tool_choice", "`tools` must be set" },
        { ask("hi", ',"tools":[' .. ADD .. '],"tool_choice":{"type":"function","function":{"name":"x"}}'), 400,
          "tool_choice", "does not match any" },
        { ask("hi", ',"stream_options":{"include_usage":true}'), 400, "stream_options", "stream=True" },
        { ask("hi", ',"n":0'), 400, "n", "between 1 and 16" },
      }
      for _, case in ipairs(cases) do
        local status, body = server:chat(case[1])
        local failure = cjson.decode(body).error
        assert.equals(case[2], status, case[1])
        assert.equals(case[2], failure.code)
        assert.equals(case[3] or cjson.null, failure.param)
        assert.is_truthy(failure.message:find(case[4], 1, true), failure.message)
      end
      local plain = { body = ask "hi", headers = { authorization = "Bearer sesame", ["content-type"] = "text/plain" } }
      assert.matches("Unsupported Media Type", select(3, server:request("POST", "/v1/chat/completions", plain)))
    end)

    it("wants its key under /v1 only", function()
      local status, _, body = server:request("POST", "/v1/chat/completions", { body = ask "hi" })
      assert.equals(401, status)
      assert.equals('{"error":"Unauthorized"}', body)
      assert.equals(401, (server:request("GET", "/v1/models", { headers = { authorization = "Bearer sesam" } })))
      assert.equals(200, (server:request("GET", "/v1/models", { headers = { authorization = "Bearer sesame" } })))
      assert.equals(200, (server:request("GET", "/health")))
      assert.equals('{"version":"0.32.0"}', server:get "/version")
      assert.matches('"count":2', select(3, server:request("POST", "/tokenize", { body = "two words" })), 1, true)
      assert.equals('{"detail":"Not Found"}', server:get "/nowhere")
      assert.equals(405, (server:request("GET", "/v1/chat/completions",
        { headers = { authorization = "Bearer sesame" } })))
    end)
  end)

  describe("reading requests", function()
    local function status_of(bytes)
      return (driver.parse((driver.send(server.port, bytes))))
    end

    it("takes bodies by length and by chunks, and several requests on one connection", function()
      local post = "POST /x HTTP/1.1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
      driver.send(server.port, post .. "5;note=1\r\nhello\r\n1\r\n\0\r\n0\r\ntrailer: 1\r\n\r\n")
      assert.equals("hello\0", server:last_body())
      local got = driver.send(server.port, get("/version", "") .. get("/version", "") .. get "/version")
      assert.equals(3, count(got, "HTTP/1.1 200 OK"))
      local requests = server:log "request"
      assert.equals(4, #requests)
      assert.equals(requests[2].connection, requests[4].connection)
      assert.is_true(requests[1].connection ~= requests[2].connection)
    end)

    it("refuses what is no request, and what is too much", function()
      local long = ("x"):rep(70000)
      local cases = {
        { "GARBAGE\r\n\r\n", 400 }, { "GET x HTTP/1.1\r\n\r\n", 400 }, { "GET / HTTP/2\r\n\r\n", 505 },
          { " / HTTP/1.1\r\n\r\n", 400 },
        { "GET / HTTP/1.1\r\nno colon\r\n\r\n", 400 }, { "GET / HTTP/1.1\r\na b: c\r\n\r\n", 400 },
          { "GET / HTTP/1.1\r\na: \0\r\n\r\n", 400 },
        { "GET / HTTP/1.1\r\na: b\nc: d\r\n\r\n", 400 },
        { "GET /" .. long, 431 }, { "GET / HTTP/1.1\r\na: " .. long .. "\r\n\r\n", 431 },
        { "POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400 },
          { "POST / HTTP/1.1\r\ncontent-length: 1x\r\n\r\n", 400 },
        { "POST / HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n", 400 },
        { "POST / HTTP/1.1\r\ncontent-length: 67108865\r\n\r\n", 413 },
        { "POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", 400 },
        { "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400 },
        { "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400 },
        { "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n", 413 },
        { "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\naXX", 400 },
      }
      for _, case in ipairs(cases) do assert.equals(case[2], status_of(case[1]), case[1]:sub(1, 80)) end
    end)

    it("takes 4 MiB, and logs every byte", function()
      local body = ("0123456789abcde\255"):rep(256 * 1024)
      assert.equals(404, (server:request("POST", "/upload", { body = body })))
      assert.is_true(body == server:last_body())
      assert.is_true(body == server:log("request")[1].body)
    end)

    it("answers before the body is there, and says 100 to whoever asks", function()
      local early = driver.send(server.port, "POST /fault/status/413?early=1 HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc")
      assert.equals(413, (driver.parse(early)))
      local polite = driver.send(server.port,
        "POST /version HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc")
      assert.matches("^HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404", polite)
    end)
  end)

  describe("faults", function()
    local DONE = "[DONE]"
    local cases = {
      { "refuse", nil, "", "reset" }, { "hangup", nil, "", "" }, { "reset", 200, "Hello", "reset" },
        { "early-close", 200, "Hello", "" },
      { "slow-headers?pace_ms=1", 200, DONE, "" }, { "wrong-length", 200, '{"id":', "" }, { "bad-chunk", 200, "", "" },
      { "garbage", nil, "not HTTP", "" }, { "redirect", 307, "", "" }, { "html", 502, "nginx", "" },
        { "html-ok", 200, "sign in", "" },
      { "no-finish", 200, " there", "" }, { "status/503", 503, '"code":503', "" },
        { "status/429/v1/chat/completions", 429, "", "" },
    }
    for _, case in ipairs(cases) do
      it(case[1] .. " is what it says", function()
        local raw, complaint = driver.send(server.port, get("/fault/" .. case[1]))
        assert.equals(case[2], (driver.parse(raw)))
        assert.is_truthy(raw:find(case[3], 1, true), raw)
        if case[3] ~= DONE then assert.is_nil(raw:find(DONE, 1, true)) end
        if case[4] == "" then assert.equals("", complaint) else assert.matches(case[4], complaint) end
      end)
    end

    it("stall and silence wait for the client to go, and the log says that it went midway", function()
      assert.equals("", (driver.send(server.port, get "/fault/silence", { limit_ms = 50 })))
      assert.matches("Hello", (driver.send(server.port, get "/fault/stall", { limit_ms = 50 })))
      local closes = server:wait_for(function(log)
        local found = {}
        for _, record in ipairs(log) do if record.event == "close" then found[#found + 1] = record end end
        return #found == 2 and found
      end)
      for _, close in ipairs(closes) do
        assert.equals("client", close.by)
        assert.is_true(close.midway)
      end
      assert.equals(0, closes[1].bytes_sent)
      assert.is_true(closes[2].bytes_sent > 100)
    end)

    it("comments and an endless head have no end; the client has", function()
      local raw = driver.send(server.port, get "/fault/comments?pace_ms=1", { read = 1000 })
      assert.is_true(count(raw, ": keep%-alive") > 10)
      raw = driver.send(server.port, get "/fault/endless-head", { read = 300000 })
      assert.equals(300000, #raw)
      assert.is_nil(raw:find("\r\n\r\n", 1, true))
    end)

    it("carries retry-after, and 103 comes before the answer", function()
      local _, headers = server:request("GET", "/fault/status/429?retry_after=1.5")
      assert.equals("1.5", headers["retry-after"])
      assert.matches("^HTTP/1.1 103 .-\r\n\r\nHTTP/1.1 200 OK", (driver.send(server.port, get "/fault/informational")))
    end)
  end)

  describe("scripts", function()
    it("play their steps, every byte as it was given", function()
      local bytes = "HTTP/1.1 200 OK\r\n\r\n\\x41\0\t\127\200 %"
      local path = server:script { { "send", bytes }, { "wait", 1 }, { "send", "ab" }, { "repeat", 3, 2 }, "close" }
      assert.equals(bytes .. ("ab"):rep(4), (driver.send(server.port, get(path .. "/v1/chat/completions?x=1"))))
    end)

    it("answer the k-th request with the k-th part, and go on with the last", function()
      local path = server:script {
        { "use", "/fault/status/503?retry_after=0" }, "next", { "send", "HTTP/1.1 204 No Content\r\n\r\n" }, "close",
          "next",
        { "use", "/replay/vllm/text?cut=40" },
      }
      assert.equals(503, (server:request("POST", path)))
      assert.equals(204, (server:request("POST", path)))
      for _ = 1, 2 do assert.equals(40, #driver.send(server.port, get(path))) end
    end)

    it("are refused when a line is wrong", function()
      for _, steps in ipairs { { "jump" }, { { "send", "" } }, { { "wait", "soon" } }, { { "repeat", 2, 1 } },
        { "close now" }, { "send \\q" } } do
        assert.has_error(function() server:script(steps) end)
      end
      assert.equals(404, (server:request("GET", "/run/999")))
    end)

    it("cannot use themselves for ever", function()
      local path = server:script { { "use", "/run/1" } }
      assert.equals(500, (server:request("GET", path)))
    end)
  end)

  describe("load", function()
    it("has as many events as were asked for, then finish, usage, [DONE]", function()
      for _, query in ipairs { "events=0", "events=1", "events=7&chunk=3", "events=20000", "events=3&interval_ms=1",
        "events=5&chunk=2&interval_ms=1" } do
        local events = tonumber(query:match "events=(%d+)")
        local raw = driver.send(server.port, get("/load?bytes=9&" .. query))
        local _, _, body = driver.parse(raw)
        assert.equals(events, count(body, '"content":" word wor"'), query)
        assert.equals(events + 3, count(body, "data: "), query)
        assert.matches('"completion_tokens":' .. events .. "}", body, 1, true)
        assert.matches("data: %[DONE%]\n\n$", body)
        assert.matches("\r\n0\r\n\r\n$", raw)
      end
      local text = cjson.decode((server:get "/load?whole=1&events=1000&bytes=12")).choices[1].message.content
      assert.equals(12000, #text)
    end)
  end)

  describe("the log", function()
    it("has requests with headers and bodies, and says who closed", function()
      server:request("POST", "/a?b=c", { body = "\0\255\"\\\n", headers = { ["X-One"] = "two  words" } })
      server:get "/version"
      local log = server:log()
      assert.equals("POST", log[1].method)
      assert.equals("/a?b=c", log[1].path)
      assert.equals("two  words", log[1].headers["x-one"])
      assert.equals("\0\255\"\\\n", log[1].body)
      assert.equals("tcp", log[1].via)
      local close = server:wait_for(function(all)
        for _, record in ipairs(all) do
          if record.event == "close" and record.connection == log[1].connection then return record end
        end
      end)
      assert.equals("server", close.by)
      assert.is_false(close.midway)
      assert.equals(1, close.requests)
      assert.is_true(close.at_ms >= log[1].at_ms)
      local json = cjson.decode((server:get "/log"))
      assert.equals("/a?b=c", json[1].path)
      assert.equals("\0\195\191\"\\\n", json[1].body_latin1)
      server:clear_log()
      assert.same({}, server:log())
    end)

    it("counts what is being sent, until the client goes", function()
      assert.equals(0, server:running())
      driver.send(server.port, get "/load?events=100000&interval_ms=20", { read = 500 })
      assert.is_truthy(server:wait_for(function() return server:running() == 0 end))
    end)
  end)

  describe("other ways in", function()
    it("a Unix socket", function()
      assert.equals(200, (driver.parse((driver.send(server.unix, get "/version")))))
      assert.equals("unix", server:log("request")[1].via)
    end)

    it("TLS with the authority it made, byte by byte and cut", function()
      local raw, complaint = driver.send(server.tls_port, get "/replay/vllm/text?split=1", { ca = server.ca_file })
      assert.equals(read_file "spec/fixtures/vllm/text.http", raw)
      assert.equals("", complaint)
      raw, complaint = driver.send(server.tls_port, get "/replay/vllm/text?cut=100&end=drop", { ca = server.ca_file })
      assert.equals(100, #raw)
      assert.matches("TLS", complaint)
    end)

    it("refuses an authority that did not sign, and a client without a certificate", function()
      local raw, complaint = driver.send(server.tls_port, get "/version", { ca = server.cert_file })
      assert.equals("", raw)
      assert.matches("handshake failed", complaint)
      assert.equals("", (driver.send(server.mtls_port, get "/version", { ca = server.ca_file })))
      assert.is_truthy(server:wait_for(function(log) return #log == 2 and log[1].by == "handshake"
        and log[2].by == "handshake" end))
      raw = driver.send(server.mtls_port, get "/version",
        { ca = server.ca_file, cert = server.cert_file, key = server.key_file })
      assert.equals(200, (driver.parse(raw)))
    end)
  end)
end

describe("the test server", function() suite() end)

describe("the test server's life", function()
  local function gone(port)
    local ends = os.time() + 10
    repeat
      local _, complaint = driver.send(port, get "/version")
      if complaint:find("cannot connect", 1, true) then return true end
    until os.time() > ends
    return false
  end

  it("ends with the process that started it, however that ends", function()
    for _, how in ipairs { "os.exit(0)", "error('x')", "io.popen('kill -9 $PPID'):read('*a')" } do
      local name = os.tmpname()
      local file = assert(io.open(name, "w"))
      file:write("local s = require('spec.support.server').start(); print(s.port); io.stdout:flush(); ", how)
      file:close()
      local pipe = assert(io.popen(("LUA_PATH='./?.lua;;' exec %s %s 2>/dev/null"):format(env.lua, name)))
      local port = pipe:read "*l"
      pipe:close()
      os.remove(name)
      assert.is_true(gone(assert(tonumber(port), how)), how)
    end
  end)

  it("stops, and removes its files", function()
    local server = driver.start { tls = true, unix = true }
    assert.is_truthy(io.open(server.ca_file))
    server:stop()
    server:stop()
    assert.is_nil(io.open(server.ca_file))
    assert.is_nil(io.open(server.unix))
    assert.is_true(gone(server.port))
  end)

  it("ends when nobody came for long", function()
    local server = driver.start { idle_s = 0 }
    assert.is_true(gone(server.port))
    server:stop()
  end)

  it("does not start with options that it does not know", function()
    for _, option in ipairs { "--idle-s soon", "--port 65536", "--port", "--what", "--unix " .. ("x"):rep(200) } do
      local pipe = io.popen("build/test-server " .. option .. " 2>&1")
      assert.matches("^test%-server: [%w ,]+\n$", pipe:read "*a", option)
      pipe:close()
    end
    assert.has_error(function() driver.start { binary = "true" } end, "the test server does not start: 'true'")
  end)
end)

-- Once is enough, and only here does closing a pipe say how the process ended.
if env.lua == "lua5.4" then
  describe("the test server under sanitizers", function()
    local BINARY = "build/test-server-sanitized"

    setup(function()
      local newer = io.popen("find spec/support/server -newer " .. BINARY .. " 2>&1"):read "*a"
      if newer == "" then return end
      assert(os.execute("mkdir -p build && cc -std=c99 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all "
        ..
        "spec/support/server/*.c -lssl -lcrypto -o " .. BINARY))
    end)

    suite(BINARY)

    it("ends without a finding", function()
      local server = driver.start { tls = true, unix = true, binary = BINARY }
      driver.send(server.tls_port, get "/fault/stall", { ca = server.ca_file, limit_ms = 20 })
      server:chat(ask("Weather in Paris?", ',"stream":true,"n":3,"tools":[' .. WEATHER .. "]"))
      server:script { "close", "next", { "use", "/version" } }
      assert.is_true(select(3, server:stop()) == 0)
    end)
  end)
end
