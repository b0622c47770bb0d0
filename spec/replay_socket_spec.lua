-- The recordings once more, over a real socket: test server, libcurl, transport, turn. What comes out is what the
-- decoder alone gives (replay_spec.lua), however the server's writes fall.

local events = require "spec.support.events"
local fixtures = require "spec.support.fixtures"
local server = require "spec.support.server"
local vllm = require "vllm"

local BYTE_BY_BYTE_BELOW_BYTES = 8192

-- What a stream's own error event becomes: by its code, never by its type. (Statuses: errors_spec.lua.)
local KIND_OF_EVENT = {
  ["vllm/engine-death"] = "server", ["vllm/error-schema"] = "invalid_request",
    ["vllm/error-bad-regex"] = "invalid_request",
}
describe("over a real socket", function()
  local running, base

  setup(function()
    running = server.start()
    base = vllm.new { model = "smollm2", timeout = { first_event_s = 60, idle_s = 60 } }
  end)

  teardown(function() running:stop() end)

  local function turn_of(name, query)
    return base:with({ base_url = ("%s/replay/%s?%s"):format(running.url, name, query) }):turn "hi"
  end

  local function check(found, name)
    if found then error(name .. ": " .. found, 2) end
  end

  -- A failure's kind is the public one; that of the expectation is the decoder's.
  local function check_replay(response, query)
    local name, expect, turn, list = response.name, response.expect, turn_of(response.name, query), {}
    local event, message, err = turn:next()
    while event do
      list[#list + 1] = event
      event, message, err = turn:next()
    end
    check(events.difference(events.plain(list), expect.events, "events"), name)
    if not expect.failure then
      assert.is_nil(message)
      check(events.difference(events.plain_result(turn:result()), expect.result, "result"), name)
      return
    end
    assert.equals(KIND_OF_EVENT[name] or "truncated", err.kind, name)
    if #expect.result.choices > 0 then
      check(events.difference(events.plain_result(err.partial), expect.result, "partial"), name)
    else
      assert.is_nil(err.partial)
    end
  end

  for _, response in ipairs(fixtures.chat()) do
    it(response.name .. " arrives whole and in the recorded writes", function()
      check_replay(response, "split=whole")
      check_replay(response, "split=reads")
    end)

    if #response.raw < BYTE_BY_BYTE_BELOW_BYTES then
      it(response.name .. " arrives byte by byte", function() check_replay(response, "split=1") end)
    end
  end

  it("an answer that is chunked anew is the same answer", function()
    for _, name in ipairs { "vllm/text-unicode", "vllm/tool-auto-two", "vllm/text-buffered" } do
      check_replay(fixtures.load(name), "split=7&rechunk=1")
    end
  end)

  it("every recorded error status brings its body and the server's words", function()
    local seen = 0
    for _, set in ipairs { "vllm", "llama-server" } do
      for _, name in ipairs(fixtures.names(set)) do
        local response = fixtures.load(name)
        if response.expect and response.status ~= 200 then
          seen = seen + 1
          local result, message, err = turn_of(name, "split=reads"):result()
          assert.is_nil(result, name)
          assert.equals(response.status, err.status, name)
          assert.equals(response.body, err.body, name)
          local said = response.expect.error
          said = said.detail or type(said.error) == "table" and said.error.message or said.error
          assert.truthy(message:find(said:sub(1, 40), 1, true), name .. ": " .. message)
          assert.equals(1, message:find(err.kind, 1, true), name)
        end
      end
    end
    assert.equals(28, seen)
  end)

  local broken = fixtures.load "vllm/text"

  -- Offsets after the first text and before the finish reason.
  local function each_break(ending, check_error)
    local first = broken.raw:find('"content":"The"', 1, true) + 200
    for cut = first, broken.raw:find('"finish_reason":"stop"', 1, true), 97 do
      local result, _, err = turn_of("vllm/text", ("cut=%d&end=%s"):format(cut, ending)):result()
      assert.is_nil(result)
      check_error(err)
    end
  end

  local function is_beginning(text)
    return #text > 0 and broken.expect.result.choices[1].text:sub(1, #text) == text
  end

  it("a stream that breaks off is truncated, with what had come, wherever it breaks", function()
    each_break("close", function(err)
      assert.equals("truncated", err.kind)
      assert.is_true(is_beginning(err.partial.text))
    end)
  end)

  it("a stream that is reset is a failure, with what had come", function()
    each_break("reset", function(err) -- a reset may take with it what the kernel had not handed over yet
      assert.is_true(err.kind == "truncated" or err.kind == "closed", err.message)
      if err.partial and err.partial.text then assert.is_true(is_beginning(err.partial.text)) end
    end)
  end)
end)
