-- A key that a server or a proxy echoes, wherever it stands and wherever it is cut: no six bytes of it in any string
-- that can be reached from an error, an event, or what a program logs. Without sockets; secrets_spec.lua has the
-- connections.
require "spec.support.env"
local core = require "vllm.core"
local redact = require "vllm.base.redact"
local testing = require "vllm.testing"
local vllm = require "vllm"

local KEY = "sk-Q7/z&W<4+kY'x9\"Vm2Lp0"
local PASSWORD = "Pw:3rT~8uJq6"
local SHOWN_BYTES = 6

local function json(text) return core.json_encode(text):sub(2, -2) end

-- How a key comes back. Of base64 it is the credentials of the URL.
local SPELLINGS = {
  plain = KEY, json = json(KEY), slashes = json(KEY):gsub("/", "\\/"),
  go = KEY:gsub('[&<"]', { ["&"] = "\\u0026", ["<"] = "\\u003c", ['"'] = '\\"' }),
  dotnet = KEY:gsub("[&<>'\"+]", function(c) return ("\\u%04X"):format(c:byte()) end),
  html = KEY:gsub("&", "&amp;"):gsub("<", "&lt;"):gsub("'", "&#x27;"):gsub('"', "&quot;"),
  html_of_express = KEY:gsub("&", "&amp;"):gsub("<", "&lt;"):gsub("'", "&#39;"):gsub('"', "&quot;"),
  percent = KEY:gsub("[^%w%-._~]", function(c) return ("%%%02x"):format(c:byte()) end),
  password = PASSWORD, basic = core.base64_encode("me:" .. PASSWORD),
}

-- Every piece of six bytes of every spelling.
local PIECES, is_piece = {}, {}
for _, text in pairs(SPELLINGS) do
  for i = 1, #text - SHOWN_BYTES + 1 do
    local piece = text:sub(i, i + SHOWN_BYTES - 1)
    if not is_piece[piece] then PIECES[#PIECES + 1], is_piece[piece] = piece, true end
  end
end

-- All texts that can be reached.
local function collect(value, texts, seen)
  if seen[value] then return end
  if type(value) == "string" then texts[#texts + 1] = value end
  if type(value) == "string" or type(value) == "table" then seen[value] = true end
  if type(value) ~= "table" then return end
  for key, member in pairs(value) do
    collect(key, texts, seen)
    collect(member, texts, seen)
  end
end

local function assert_clean(where, ...)
  local texts, seen = {}, { [false] = true }
  for i = 1, select("#", ...) do collect(select(i, ...) or false, texts, seen) end
  local all = table.concat(texts, "\n"):gsub("__+", "_") -- what pads it
  for _, piece in ipairs(PIECES) do
    local at = all:find(piece, 1, true)
    if at then error(("%s: %q is in %q"):format(where, piece, all:sub(math.max(1, at - 40), at + 60)), 2) end
  end
end

local ERROR_BYTES = 120 -- limits.max_error_bytes here

-- A turn over a script: whatever it gives, and its events, its log and on_retry's event.
local function check(where, replies, options, call)
  local seen = {}
  local all = { api_key = KEY, base_url = "http://me:" .. PASSWORD:gsub(":", "%%3A") .. "@h/v1",
    limits = { max_error_bytes = ERROR_BYTES },
    retry = { max = #replies - 1, base_s = 0.001, on_retry = function(event) seen[#seen + 1] = event end } }
  for key, value in pairs(options or {}) do all[key] = value end
  local turn = testing.client(replies, all):turn("Hi", call)
  local event, message, err = turn:next()
  while event do
    if event.type == "retry" then seen[#seen + 1] = event end
    event, message, err = turn:next()
  end
  assert_clean(where, seen, message, err, turn:error(), turn.headers)
  return turn, err
end

local function stream(...)
  return table.concat({ ... }, "\n\n") .. "\n\n"
end

local function delta(content)
  return 'data: {"id":"1","choices":[{"index":0,"delta":{"content":' .. core.json_encode(content) .. "}}]}"
end

-- An answer that contains the key, spelled in some way, after so many bytes. `at`: where something is cut, if it is.
local KINDS = {
  { "an error's message", function(pad, key) return { status = 400,
    body = '{"error":{"message":"' .. pad .. key .. '"}}' } end, at = ERROR_BYTES },
  { "an error's detail", function(pad, key)
    return { status = 422, body = '{"detail":[{"loc":["body","x"],"msg":"' .. pad .. key .. '","input":"' .. key
      .. '"}]}' }
  end, at = ERROR_BYTES },
  { "other members of an error", function(pad, key)
    return { status = 500, body = '{"error":{"message":"m","code":"' .. key .. '","type":"' .. key .. '","param":"'
      .. pad .. key .. '"}}' }
  end },
  { "plain text", function(pad, key) return { status = 500, body = pad .. key } end, at = ERROR_BYTES },
  { "plain text, larger", function(pad, key) return { status = 401, body = pad .. key } end, at = 300, max = 1000 },
  { "a text as JSON", function(pad, key) return { status = 401, body = '"' .. pad .. key .. '"' } end, at = 2000,
    max = 4000 },
  { "a page", function(pad, key) return { status = 502, body = "<html><title>" .. pad .. key .. "</title></html>" } end,
    at = 200, max = 1000 },
  { "a page's title that has no end", function(pad, key) return { status = 502,
    body = "<html><title>" .. pad .. key } end },
  { "headers", function(pad, key)
    return { status = 503, headers = { ["x-request-id"] = pad .. key, location = "http://h/" .. key }, body = "" }
  end },
  { "a redirect", function(_, key) return { status = 307, headers = { location = "http://" .. key .. "/" },
    body = "" } end },
  { "an error event", function(pad, key)
    return { bytes = stream('data: {"error":{"message":"' .. pad .. key .. '","code":500}}', "data: [DONE]") }
  end, at = ERROR_BYTES },
  { "an error event after text", function(pad, key)
    return { bytes = stream(delta("so far " .. KEY), 'data: {"error":{"message":"' .. pad .. key .. '","code":500}}',
      "data: [DONE]") }
  end, at = ERROR_BYTES },
  { "a chunk that is not JSON", function(pad, key) return { bytes = stream("data: {" .. pad .. key) } end,
    at = ERROR_BYTES },
  { "a whole body that is not a completion", function(pad, key)
    return { headers = { ["content-type"] = "application/json" }, bytes = '{"message":"' .. pad .. key .. '"}' }
  end, at = ERROR_BYTES },
  { "a page with status 200", function(pad, key)
    return { headers = { ["content-type"] = "text/html" }, bytes = "<html>" .. pad .. key .. "</html>" }
  end, at = ERROR_BYTES },
  { "plain text under text/event-stream", function(pad, key) return { bytes = pad .. key } end, at = ERROR_BYTES },
  { "an error's JSON there", function(pad, key) return { bytes = '{"error":{"message":"' .. pad .. key .. '"}}' } end,
    at = ERROR_BYTES },
  { "a field named error", function(pad, key) return { bytes = "error: " .. pad .. key .. "\n\n" } end,
    at = ERROR_BYTES },
  { "an event without choices", function(pad,
    key) return { bytes = stream('data: {"detail":"' .. pad .. key .. '"}') } end, at = ERROR_BYTES },
  { "lines between the events", function(pad, key) return { bytes = stream(delta "hi", pad .. key) } end,
    at = ERROR_BYTES },
  { "JSON in a string of JSON", function(pad, key)
    return { status = 500, body = core.json_encode { detail = '{"error":{"message":"' .. pad .. key .. '"}}' } }
  end, at = ERROR_BYTES },
  { "text that ends too early", function(pad) return { bytes = stream(delta(pad .. KEY)) } end },
  { "text that ends within the key", function(pad) return { bytes = stream(delta(pad .. KEY:sub(1, -5))) } end },
  { "a call that ends too early", function(pad)
    return { bytes = stream('data: {"id":"1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c",'
      .. '"function":{"name":"f","arguments":'
      .. core.json_encode('{"' .. KEY .. '":"' .. json(pad .. KEY) .. '"') .. "}}]}}]}") }
  end },
  { "extras of a partial answer", function(pad, key)
    return { bytes = stream('data: {"id":"1","choices":[{"index":0,"delta":{"content":"x"}}],"debug":{"' .. key
      .. '":["' .. pad .. key .. '"]}}') }
  end },
  { "a transport's words", function(pad, key) return { fail = "closed", detail = pad .. key } end, at = 256 },
}

describe("a key that comes back", function()
  -- A bad JSON text is one more kind of plain text.
  for _, kind in ipairs(KINDS) do
    it("as part of " .. kind[1], function()
      local reply = kind[2]("", KEY)
      local before = (reply.body or reply.bytes or reply.detail):find(KEY, 1, true) or 1
      local at = math.max(0, (kind.at or 0) - before)
      local options = { limits = { max_error_bytes = kind.max or ERROR_BYTES } }
      for name, key in pairs(SPELLINGS) do
        for pad = math.max(0, at - #key - 2), at + 8, name == "plain" and 1 or 23 do -- 8: `data: `, which is cut away
          check(("%s, %s at %d"):format(kind[1], name, pad), { kind[2](("_"):rep(pad), key) }, options)
        end
        check(kind[1] .. ", retried", { kind[2]("", key), kind[2]("", key) }, options)
      end
    end)
  end

  it("is not in a retry event, nor in what on_retry is given", function()
    local events = {}
    local client = testing.client({ { status = 503, body = "you sent " .. KEY }, "fine" }, { api_key = KEY,
      retry = { max = 1, base_s = 0.001, on_retry = function(event) events[1] = event end } })
    for event in client:turn("Hi"):events() do
      if event.type == "retry" then events[2] = event end
    end
    for i = 1, 2 do assert.equal("overloaded: you sent *** (status 503)", events[i].message) end
  end)

  it("is out of the log of attempts and the headers of an answer that came after all", function()
    local headers = { ["x-request-id"] = "for " .. KEY, ["content-type"] = "text/event-stream" }
    local bytes = stream('data: {"id":"1","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}],'
      .. '"debug":"' .. json(KEY) .. '"}',
      "data: [DONE]")
    local turn = check("after all", { { status = 500, body = KEY, headers = headers },
      { bytes = bytes, headers = headers } })
    local result = assert(turn:result())
    assert.equal("hi", result.text)
    assert_clean("result", result)
    assert.equal("for ***", result.attempts[1].request_id)
    assert.equal("for ***", result.attempts[2].request_id)
    assert.equal("***", result.extra.debug)
  end)

  -- The words of these parts go through a transport's failure.
  it("where the parts below cut it", function()
    local curl_errors = require "vllm.transports.curl_errors"
    for pad = 0, 60 do
      local http1 = core.http1 {}
      local _, failure = http1:feed("HTTP/9.9 " .. ("_"):rep(pad) .. KEY .. "\r\n\r\n")
      failure = failure or select(2, http1:head())
      check("http1 at " .. pad, { { fail = failure.kind, detail = "the answer breaks HTTP: " .. failure.detail } })
      local text = (("_"):rep(200 + pad) .. KEY .. ("_"):rep(100)):sub(1, 255)
      failure = curl_errors.of({ code = 8, text = text, verify = 0, bytes = 0 }, { url = "http://h/" })
      check("libcurl at " .. pad, { { fail = failure.kind, detail = failure.detail .. " (and so on)" } })
    end
  end)

  it("of a call's own headers is redacted, too, with or without a scheme, and as credentials", function()
    local basic = "Basic " .. core.base64_encode("you:" .. KEY)
    for _, value in ipairs { KEY, "Bearer " .. KEY, basic } do
      check("a call's header", { { status = 403, body = "for you: " .. value .. ", " .. KEY } },
        { api_key = "" }, { headers = { ["X-Key"] = value } })
    end
  end)

  it("of a proxy that the environment names is out, too", function()
    local getenv = os.getenv
    for _, address in ipairs { "http://me:" .. PASSWORD .. "@proxy:3128", "me:" .. PASSWORD .. "@proxy:3128" } do
      os.getenv = function(name) return name == "https_proxy" and address or nil end -- luacheck: ignore 122
      local ok, why = pcall(check, "the environment's proxy",
        { { status = 407, body = "you are me:" .. PASSWORD .. "; " .. SPELLINGS.basic } },
        { base_url = "http://h/v1" })
      os.getenv = getenv -- luacheck: ignore 122
      assert(ok, why)
    end
  end)

  it("in a cookie is out, too", function()
    check("a cookie", { { status = 403, body = "your session is " .. KEY } },
      { api_key = "", headers = { Cookie = "a=b; session=" .. KEY .. "; c=d" } })
  end)

  it("at another endpoint is out of the error", function()
    local status = 400
    local transport = { name = "echo", options = {}, open = function()
      return { head = function() return status, { ["x-request-id"] = KEY } end, close = function() end,
        info = function() return {} end,
        read = function(self)
          self.count = (self.count or 0) + 1
          return self.count == 1 and ("_"):rep(ERROR_BYTES - 12) .. KEY or nil
        end }
    end }
    local client = vllm.new { model = "m", api_key = KEY, transport = transport,
      limits = { max_error_bytes = ERROR_BYTES } }
    local _, message, err = client:request("GET", "/x")
    assert.equal(400, err.status)
    assert_clean("request", message, err)
    status = 200
    local answer = assert(client:request("GET", "/x"))
    assert.equal("***", answer.headers["x-request-id"])
    assert.equal(KEY, answer.body:sub(-#KEY)) -- the program's own business
  end)

  it("of four letters stays in a model's words", function()
    local client = testing.client({ { bytes = stream(delta "an EMPTY list",
      'data: {"error":{"message":"EMPTY","code":500}}') } },
      { api_key = "EMPTY" })
    local _, message, err = client:ask "Hi"
    assert.equal("an EMPTY list", err.partial.text)
    assert.is_nil(message:find("EMPTY", 1, true))
  end)
end)

describe("a key that is a word", function()
  it("keeps no error from being understood, and is in none", function()
    local body = '{"error":{"message":"This model\'s maximum context length is 4096 tokens. However, you requested '
      .. '5000 tokens","type":"token"}}'
    local client = testing.client({ { status = 400, body = body } }, { api_key = "token" })
    local _, message, err = client:ask "Hi"
    assert.equal("context_length", err.kind)
    assert.same({ 4096, 5000 }, { err.context.limit, err.context.requested })
    assert.is_nil(message:find("token", 1, true))
    assert.is_nil(err.body:find("token", 1, true))
  end)
end)

describe("a redactor", function()
  local redactor = redact.new({ KEY, "short", "abc" }, { "Bearer-like-token" })

  it("takes out secrets, their spellings and their beginnings, and nothing else", function()
    for _, case in ipairs {
      { "a " .. KEY .. " b " .. KEY, "a *** b ***" }, { "ends with " .. KEY:sub(1, 9), "ends with ***" },
      { "cut: " .. KEY:sub(1, 9) .. "… and on", "cut: ***… and on" },
        { "cut: " .. KEY:sub(1, 9) .. "... and on", "cut: ***... and on" },
      { KEY:sub(1, 9) .. " in the middle", KEY:sub(1, 9) .. " in the middle" }, { "abc", "abc" }, { "shor", "***" },
        { "shorter", "***er" },
      { "", "" }, { "…", "…" }, { KEY .. "…" .. KEY:sub(1, 5) .. "…", "***…***…" }, { "\0" .. KEY .. "\0", "\0***\0" },
    } do
      assert.equal(case[2], redactor:text(case[1]))
    end
  end)

  it("takes out the longer of two secrets that begin alike", function()
    for _, secrets in ipairs { { "token-12", "token-12-and-more" }, { "token-12-and-more", "token-12" } } do
      assert.equal("a *** b ***", redact.new(secrets):text "a token-12-and-more b token-12")
    end
  end)

  it("takes time in proportion to a hostile text", function()
    local long = redact.new { ("a"):rep(500) .. "b" }
    local began = os.clock()
    long:text(("a"):rep(65536))
    long:text(("aaaa…"):rep(10000))
    assert.is_true(os.clock() - began < 2)
  end)

  it("goes as deep as tables go, round cycles, and into names", function()
    local value = { list = { { KEY } }, [KEY] = { n = 1 } }
    value.self = value
    redactor:value(value)
    assert.equal("***", value.list[1][1])
    assert.equal(1, value["***"].n)
  end)
end)
