-- Every recorded chat response through the decoder: whole, as the network cut it, byte by byte, in two at many offsets,
-- and broken off. What must come out was computed from the recording a second way (spec/fixtures/expect.py).

local events = require "spec.support.events"
local fixtures = require "spec.support.fixtures"
local cjson = require "cjson"
local core = require "vllm.core"

-- What is done at many offsets costs the square of the length: up to these lengths, and with whole events only for the
-- shortest.
local EVENTS_IN_TWO_BELOW_BYTES = 2100
local IN_TWO_BELOW_BYTES = 4000
local BROKEN_OFF_TIMES = 400
local STRIDE_BYTES = 67
local EVERY = 5 -- one in so many offsets; spec/c/replay_test.c tries each

local function check(found, response)
  if found then error(response.name .. ": " .. found, 2) end
end

local function check_failure(failure, expected, response)
  check(events.difference(failure and failure.kind, expected and expected.kind, "failure.kind"), response)
  if failure then
    check(events.difference(failure.body, expected.body, "failure.body"), response)
    assert.is_string(failure.detail)
  end
end

-- The message as it can be appended to the transcript: the wire's form, and nothing that the server did not send.
local function check_message(message, result, response)
  local expected = { role = "assistant", content = result.text, reasoning = result.reasoning, refusal = result.refusal }
  for i, call in ipairs(result.tool_calls) do
    expected.tool_calls = expected.tool_calls or {}
    expected.tool_calls[i] = { id = call.id, type = "function",
      ["function"] = { name = call.name, arguments = call.arguments } }
  end
  check(events.difference(message, expected, "message"), response)
end

local function check_run(response, list, failure, decoder)
  local expect = response.expect
  check_failure(failure, expect.failure, response)
  check(events.difference(events.plain(list), expect.events, "events"), response)
  local result = decoder:result()
  check(events.difference(events.plain_result(result), expect.result, "result"), response)
  if not failure then check(events.difference(list[#list].result, result, "turn_end.result"), response) end
  if #result.choices > 0 then check_message(result.message, result, response) end
end

local function bytes_of(text)
  local pieces = {}
  for i = 1, #text do pieces[i] = text:sub(i, i) end
  return pieces
end

-- The same events one by one is more than was promised (only joined deltas must be equal), and much faster to see.
local function check_same(list, reference, response, where)
  if events.same(list, reference) then return end
  check(events.difference(events.plain(list), events.plain(reference), where), response)
  check(events.difference(list[#list].result, reference[#reference].result, where .. " result"), response)
end

-- Pieces of `size` bytes, the first one `first` bytes: as `first` goes from 1 to `size`, every offset is cut once.
local function stride(text, first, size)
  local pieces = { text:sub(1, first) }
  for at = first + 1, #text, size do pieces[#pieces + 1] = text:sub(at, at + size - 1) end
  return pieces
end

-- The cheap way through a decoder: its text and its result, no event tables.
local function text_and_result(pieces)
  local decoder, texts = core.decoder {}, {}
  local piece, failure
  for i = 1, #pieces + 1 do
    if pieces[i] then decoder:feed(pieces[i]) else decoder:finish() end
    piece, failure = decoder:next_text()
    while piece do
      texts[#texts + 1] = piece
      piece, failure = decoder:next_text()
    end
    if failure then break end
  end
  return table.concat(texts), decoder:result(), failure
end

-- After which offsets the bytes hold a first finish reason (or `[DONE]`), one for every choice seen so far, or an
-- error.
local function marks(response)
  local found, seen, at = {}, {}, 1
  while true do
    local first, last = response.body:find("\n\n", at, true)
    if not first then return found end
    local data = response.body:sub(at, first - 1):match "^data: (.*)$"
    local chunk = data and data ~= "[DONE]" and cjson.decode(data)
    for _, choice in ipairs(chunk and chunk.choices or {}) do
      seen[choice.index] = seen[choice.index] or choice.finish_reason ~= nil and choice.finish_reason ~= cjson.null
    end
    local mark = { at = first - 1, complete = next(seen) ~= nil, error = chunk and chunk.error ~= nil }
    for _, finished in pairs(seen) do mark.complete = mark.complete and finished end
    mark.ended = mark.complete or data == "[DONE]"
    if data then found[#found + 1] = mark end
    at = last + 1
  end
end

-- The kind of the failure that a stream of so many bytes is, if it is one, and whether every choice seen has its
-- finish.
local function expected_end(list, offset)
  local last
  for _, mark in ipairs(list) do
    if mark.at <= offset then
      if mark.error then return "stream", false end
      last = mark
    end
  end
  return not (last and last.ended) and "truncated" or nil, last ~= nil and last.complete
end

local function is_beginning(text, whole)
  return text == nil or whole ~= nil and whole:sub(1, #text) == text
end

local function check_partial(result, response, where)
  for _, choice in ipairs(result.choices) do
    local whole
    for _, candidate in ipairs(response.expect.result.choices) do
      if candidate.choice == choice.choice then whole = candidate end
    end
    assert(is_beginning(choice.text, whole.text), where)
    assert(is_beginning(choice.reasoning, whole.reasoning), where)
    for i, call in ipairs(choice.tool_calls) do
      if not choice.finish_reason then
        assert(call.invalid, where .. ": a call that was cut off must not be run")
        assert(is_beginning(call.arguments, whole.tool_calls[i].arguments), where)
      end
    end
  end
end

describe("a recorded response", function()
  local responses = fixtures.chat()

  it("is there in both dialects, with what to expect of it", function()
    assert.is_true(#responses >= 77)
    for _, response in ipairs(responses) do assert.equals(response.body, table.concat(response.reads)) end
  end)

  for _, response in ipairs(responses) do
    local options = { body = not response.stream }

    describe(response.name, function()
      it("gives the expected events and result whole", function()
        check_run(response, events.run({ response.body }, options))
      end)

      it("gives its text alone through next_text, and counts its bytes", function()
        local decoder, pieces = core.decoder {}, {}
        assert(decoder[response.stream and "feed" or "body"](decoder, response.body))
        decoder:finish()
        local piece = decoder:next_text()
        while piece do
          pieces[#pieces + 1] = piece
          piece = decoder:next_text()
        end
        local first = response.expect.result.choices[1]
        assert.equals(first and first.text or "", table.concat(pieces))
        assert.equals(#response.body, (decoder:state()))
      end)

      if not response.stream then return end

      it("gives them in the reads of the network", function()
        check_run(response, events.run(response.reads, options))
      end)

      it("gives them byte by byte", function()
        check_run(response, events.run(bytes_of(response.body), options))
      end)

      it("gives the same events cut every few bytes, from many offsets", function()
        local reference = events.run { response.body }
        for first = 1, STRIDE_BYTES, EVERY do
          check_same(events.run(stride(response.body, first, STRIDE_BYTES)), reference, response, "cut from " .. first)
        end
      end)

      if #response.body < EVENTS_IN_TWO_BELOW_BYTES then
        it("gives the same events cut in two at many offsets", function()
          local reference = events.run { response.body }
          for offset = 1, #response.body - 1, EVERY do
            local list = events.run { response.body:sub(1, offset), response.body:sub(offset + 1) }
            check_same(list, reference, response, "cut at " .. offset)
          end
        end)
      elseif #response.body < IN_TWO_BELOW_BYTES then
        it("gives the same text and result cut in two at many offsets", function()
          local text, result, failure = text_and_result { response.body }
          for offset = 1, #response.body - 1, EVERY do
            local where = "cut at " .. offset
            local cut_text, cut_result, cut_failure = text_and_result { response.body:sub(1, offset),
              response.body:sub(offset + 1) }
            if cut_text ~= text then error(response.name .. ": other text, " .. where) end
            if not events.same(cut_result, result) then
              check(events.difference(cut_result, result, where), response)
            end
            if not events.same(cut_failure, failure) then error(response.name .. ": another failure, " .. where) end
          end
        end)
      end

      it("is never a success when it breaks off before its finish reason, and keeps what came", function()
        local list = marks(response)
        for offset = 0, #response.body - 1, math.ceil(#response.body / BROKEN_OFF_TIMES) do
          local _, result, failure = text_and_result { response.body:sub(1, offset) }
          local where = response.name .. " broken off after " .. offset
          local kind, complete = expected_end(list, offset)
          if (failure and failure.kind) ~= kind then error(where .. ": " .. tostring(failure and failure.kind)) end
          if result.complete ~= complete then error(where .. ": complete is " .. tostring(result.complete)) end
          check_partial(result, response, where)
        end
      end)
    end)
  end
end)
