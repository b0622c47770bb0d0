-- Compressed answers, which nobody asked for: the transport over libcurl undoes one gzip or deflate, and says what it
-- does not undo.
require "spec.support.env"
local core = require "vllm.core"
local gzip = require "spec.support.gzip"
local server = require "spec.support.server"
local transports_curl = require "vllm.transports.curl"
local vllm = require "vllm"

local function delta(text)
  return ('data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n')
    :format(text)
end
local STOP = 'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
  .. 'data: [DONE]\n\n'
local STREAM = delta "Hel" .. delta "lo" .. STOP

local function head(status, kind, more, body)
  return ("HTTP/1.1 %d X\r\ncontent-type: %s\r\n%s%s\r\n"):format(status, kind, more,
    -- %s of Lua 5.1 ends at a NUL
    body and ("content-length: %d\r\n"):format(#body) or "connection: close\r\n") .. (body or "")
end

-- Lines that hardly repeat, so that a compressed one is still large; `padding` of what compresses well.
local function long_text(count, padding)
  local state, parts, rest = 1, {}, ("="):rep(padding or 0) .. "\n"
  for i = 1, count do
    state = (state * 16807) % 2147483647
    -- apart: Lua 5.1 hashes long texts by few of their bytes
    parts[2 * i - 1], parts[2 * i] = ("%08x"):format(state), rest
  end
  return table.concat(parts)
end

for _, mode in ipairs { "inline", "thread" } do
  describe("an answer that is compressed, " .. mode, function()
    local running, transport
    setup(function()
      running = server.start {}
      transport = transports_curl.new { mode = mode }
    end)
    teardown(function() running:stop() end)

    local function client_of(steps, options)
      local all = { model = "m", base_url = running.url .. running:script(steps) .. "/v1", retry = false,
        transport = transport,
        timeout = { total_s = 20 } }
      for name, value in pairs(options or {}) do all[name] = value end
      return vllm.new(all)
    end

    it("as a stream is undone: text, headers, and what is relayed", function()
      for _, coding in ipairs { "gzip", "x-gzip", "GZIP" } do
        local bytes = gzip.of(STREAM)
        local client = client_of { { "send",
          head(200, "text/event-stream", "content-encoding: " .. coding .. "\r\n", bytes) } }
        local relayed = {}
        local result = assert(client:turn("x"):relay(function(some) relayed[#relayed + 1] = some end))
        assert.equal("Hello", result.text)
        assert.equal(STREAM, table.concat(relayed))
        assert.is_nil(result.headers["content-encoding"])
        assert.is_nil(result.headers["content-length"])
      end
    end)

    it("as a whole, and as an error, is read", function()
      local completion = '{"id":"1","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},'
        .. '"finish_reason":"stop"}]}'
      local GZIP = "content-encoding: gzip\r\n"
      assert.equal("Hello", client_of({ { "send", head(200, "application/json", GZIP, gzip.of(completion)) } }):ask "x")
      local refusal = '{"error":{"message":"no such tenant","type":"x","code":401}}'
      local _, message, err = client_of({ { "send", head(401, "application/json", GZIP, gzip.of(refusal)) } }):ask "x"
      assert.same({ "auth", 401 }, { err.kind, err.status })
      assert.truthy(message:find("no such tenant", 1, true), message)
      assert.equal(refusal, err.body)
      local client = client_of { { "send", head(200, "application/json", GZIP, gzip.of '{"a":[1]}') } }
      assert.same({ 1 }, assert(client:request("GET", client.config.url:match "^%w+://[^/]+(/.*)/v1")).json.a)
    end)

    it("is the same, slowly taken, paused and gone on with many times", function()
      local text = long_text(100000)
      local bytes = gzip.of(text)
      local path = running:script { { "send", head(200, "text/plain", "content-encoding: gzip\r\n", bytes) } }
      local stream = assert(transport:open { url = running.url .. path, method = "GET", proxy = "",
        max_buffer_bytes = 20000 })
      assert.equal(200, (stream:head(core.now() + 20)))
      local parts, largest = {}, 0
      while true do
        local some, failure = stream:read(core.now() + 20)
        assert.is_nil(failure)
        if not some then break end
        parts[#parts + 1], largest = some, math.max(largest, #some)
      end
      stream:close()
      assert.equal(text, table.concat(parts))
      assert.is_true(largest <= 20000, largest)
    end)

    if mode == "thread" then
      it("waits where nobody takes it, and then comes whole", function()
        local text = long_text(40000, 200)
        local path = running:script { { "send", head(200, "text/plain", "content-encoding: gzip\r\n", gzip.of(text)) } }
        local stream = assert(transport:open { url = running.url .. path, method = "GET", proxy = "",
          max_buffer_bytes = 20000 })
        assert.equal(200, (stream:head(core.now() + 20)))
        while stream:info().body_bytes < 4000 do core.sleep(0.01) end
        core.sleep(0.1)
        local parts = {}
        while true do
          local bytes, failure = stream:read(core.now() + 20)
          assert.is_nil(failure)
          if not bytes then break end
          parts[#parts + 1] = bytes
        end
        stream:close()
        assert.is_true(text == table.concat(parts))
      end)
    end

    it("in a way that is not supported fails, and names its status", function()
      for _, coding in ipairs { "br", "zstd", "gzip, gzip", "identity, gzip", "gzip\r\ncontent-encoding: gzip",
        "compress" } do
        local line = "content-encoding: " .. coding .. "\r\n"
        local _, message, err = client_of({ { "send", head(200, "text/event-stream", line, "\1\2\3") } }):ask "x"
        assert.same({ "protocol", 200 }, { err.kind, err.status }, coding)
        assert.truthy(message:find("compressed", 1, true), message)
        local client = client_of { { "send", head(503, "application/json", line, "\1\2\3") }, "next",
          { "send", head(503, "application/json", line, "\1\2\3") } }
        _, message, err = client:ask "x"
        assert.same({ "overloaded", 503 }, { err.kind, err.status }, coding)
        assert.truthy(message:find("compressed", 1, true), message)
        _, message, err = client:request("GET", client.config.url:match "^%w+://[^/]+(/.*)/v1")
        assert.same({ "overloaded", 503 }, { err.kind, err.status }, coding)
        assert.truthy(message:find("compressed", 1, true), message)
      end
    end)

    it("that is no gzip, or ends early, is an error and what had come is kept", function()
      local _, message, err = client_of({ { "send",
        head(200, "text/event-stream", "content-encoding: gzip\r\n", STREAM) } }):ask "x"
      assert.equal("protocol", err.kind)
      assert.truthy(message:find("coding", 1, true), message)
      local cut = gzip.of(delta "Hello" .. long_text(2000)):sub(1, -2000)
      err = select(3, client_of({ { "send", head(200, "text/event-stream", "content-encoding: gzip\r\n") .. cut },
        "close" }):ask "x")
      assert.equal("truncated", err.kind)
      assert.equal("Hello", err.partial.text)
    end)

    it("was not asked for: identity is, unless the program says otherwise", function()
      local client = vllm.new { model = "test-model", base_url = running.url .. "/v1", transport = transport }
      for _, case in ipairs { { nil, "identity" }, { { ["accept-encoding"] = "gzip" }, "gzip" },
        { { ["Accept-Encoding"] = false }, nil } } do
        running:clear_log()
        assert(client:ask { text = "Hi", headers = case[1] })
        assert.equal(case[2], running:log("request")[1].headers["accept-encoding"])
      end
    end)
  end)
end
