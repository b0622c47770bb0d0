-- Numbers do not depend on the locale: the same bytes go out and the same values come in where the decimal point is a
-- comma.
require "spec.support.env"
local child = require "spec.support.child"
local server = require "spec.support.server"

-- Prints one line for everything that writes or reads a number.
local PROGRAM = [[
local name = os.getenv "WANTED"
assert(os.setlocale(name), "no such locale: " .. name)
local is_comma = ("%.1f"):format(0.5) == "0,5"
assert(is_comma == (name ~= "C") or rawget(_G, "jit"), "the decimal point of " .. name) -- LuaJIT writes numbers itself

local core, retry_after, vllm = require "vllm.core", require "vllm.base.retry_after", require "vllm"
local json = vllm.json

local function show(...) io.write((select("#", ...) > 0 and table.concat({ ... }, " ") or ""):gsub(",", ";") .. "\n") end

-- A number as text that no locale touches.
local function exactly(value)
  if type(value) == "number" then return (core.json_encode(value)) end
  return tostring(value)
end

for _, value in ipairs { 0.5, -1.25e-7, 1e300, 5e-324, 1.7976931348623157e308, 0.1, 2 ^ 53, -2 ^ 53, 123456789.123456789 } do
  show("out", (assert(json.encode(value))))
end
for _, text in ipairs { "0.5", "-1.25e-7", "1E300", "5e-324", "1.7976931348623157e308", "9007199254740993", "9223372036854775807", "-9223372036854775808",
  "9223372036854775808", "18446744073709551615", "0.30000000000000004", "1e-400" } do
  show("in", text, exactly((assert(json.decode(text)))))
end
for _, text in ipairs { "0,5", "1,2", "[0,5]" } do
  local value = json.decode(text)
  show("comma", type(value) == "table" and #value or tostring(value))
end

local client = vllm.new { model = "test-model", base_url = os.getenv "URL" .. "/v1", temperature = 0.7, top_p = 0.95,
  timeout = { total_s = 20.5 }, retry = false }
show(assert(client:body { messages = { "Hi" }, tools = {}, logit_bias = { [17] = -1.5 }, min_p = 1e-3,
  extra_body = { factor = 0.25, list = { 0.5, 1.5 } } }))
for _, text in ipairs { "1.5", "0", "12", "0.25 ", "1,5", "Sun, 06 Nov 1994 08:49:40 GMT" } do show("after", text, exactly(retry_after.seconds({ ["retry-after"] = text }, 784111777))) end
show("after-ms", exactly(select(3, client:with { base_url = os.getenv "URL" .. os.getenv "BUSY" }:ask "x").retry_after_s))
local result = assert(client:turn { messages = { "one two" }, temperature = 0.25 }:result())
show(result.text, exactly(result.usage.total_tokens))
local decoder = vllm.decoder()
assert(decoder:feed 'data: {"id":"1","choices":[{"index":0,"delta":{"content":"a"},"logprobs":{"content":[{"token":"a","logprob":-0.125}]},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
for event in function() return decoder:next() or nil end do
  if event.type == "tokens" then show("logprob", exactly(event.logprobs.content[1].logprob)) end
end
]]

describe("with a decimal comma", function()
  local running

  setup(function() running = server.start {} end)
  teardown(function() running:stop() end)

  local function printed_in(locale)
    local busy = running:script { { "send", "HTTP/1.1 503 X\r\nretry-after-ms: 1500.5\r\ncontent-length: 0\r\n\r\n" } }
    -- The C library keeps 29 bytes of LOCPATH for ever, which the leak checker of `make asan` would report.
    local environment = { WANTED = locale, LOCPATH = "build/locale", LC_ALL = "", URL = running.url, BUSY = busy,
      ASAN_OPTIONS = "detect_leaks=0" }
    local printed, status = child.lua(PROGRAM, environment)
    assert.equal(0, status, printed)
    return printed, running:last_body()
  end

  it("the same bytes go out, and the same values come in", function()
    local plain, body = printed_in "C"
    local comma, body_then = printed_in "de_DE.UTF-8"
    assert.equal(plain, comma)
    assert.equal(body, body_then)
    assert.matches('"temperature":0.25', body, 1, true)
    assert.matches("after 1.5 1.5\nafter 0 0\nafter 12 12\nafter 0.25  0.25\nafter 1;5 nil\n", plain, 1, true)
    assert.matches("after-ms 1.5005\n", plain, 1, true)
    assert.matches("logprob -0.125\n", plain, 1, true)
    if _VERSION ~= "Lua 5.1" then assert.matches("in 9223372036854775807 9223372036854775807\n", plain, 1, true) end
  end)
end)
