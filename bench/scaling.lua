-- Linear, or not: one large event in small reads, and long streams. The cost of a byte must not grow with the size.
-- usage: lua bench/scaling.lua event BYTES | turn BYTES | chunks COUNT     one measurement: nanoseconds of CPU per byte
-- A read is made before it is timed and fed again and again, as bytes come from a socket: in the cache, from the same
-- place. So all that the time holds is decoding (framing, parsing, the message, the event tables and their strings) and
-- the first touch of every page of memory that it needs; nothing is warmed up. Each measurement has a process of its
-- own, so that no size finds memory that another has left behind. The sizes take turns, and the best of each counts:
-- what else the machine does can only add to a time.
local core = require "vllm.core"

local READ_BYTES = 1400
local MIB = 1024 * 1024
local ROUNDS = 25
local FACTOR = 8
local LIMITS = { max_event_bytes = 16 * MIB, max_message_bytes = 64 * MIB }
local WORDS = 100

local function reads_of(text)
  local reads = {}
  for at = 1, #text, READ_BYTES do reads[#reads + 1] = text:sub(at, at + READ_BYTES - 1) end
  return reads
end

-- What to feed: `before`, `count` times all of `reads`, `after`.
local make = {}

function make.event(bytes)
  local count = math.ceil(bytes / READ_BYTES)
  local before = 'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"write",'
    .. '"arguments":"'
  return { before = before, reads = { ("x"):rep(READ_BYTES) }, count = count, after = '"}}]}}]}\n\n',
    bytes = count * READ_BYTES }
end

-- A call with escapes in its arguments, to the end of the turn: judged, decoded, and in the result.
function make.turn(bytes)
  local line = [[    print(\\\"hello\\\", 42)\\n]]
  local read = line:rep(math.floor(READ_BYTES / #line))
  local count = math.ceil(bytes / #read)
  local before = 'data: {"choices":[{"delta":{"tool_calls":[{"id":"c","function":{"name":"write",'
    .. '"arguments":"{\\"text\\":\\"'
  local after = '\\"}"}}]},"finish_reason":"tool_calls"}]}\n\ndata: [DONE]\n\n'
  return { before = before, reads = { read }, count = count, after = after, bytes = count * #read }
end

function make.chunks(count)
  local parts = {}
  for i = 1, WORDS do
    parts[i] = ('data: {"id":"chatcmpl-1","model":"m","choices":[{"index":0,"delta":{"content":" word%d"}}]}\n\n')
      :format(i)
  end
  local text = table.concat(parts)
  local times = count / WORDS
  return { before = ": a comment\n", reads = reads_of(text), count = times, after = "data: [DONE]\n\n",
    bytes = #text * times }
end

local function drain(decoder)
  local event, failure
  repeat event, failure = decoder:next() until not event
  assert(not failure, failure and failure.detail)
end

local function ns_per_byte(stream)
  collectgarbage()
  local began = os.clock()
  local decoder = core.decoder(LIMITS)
  assert(decoder:feed(stream.before))
  for _ = 1, stream.count do
    for _, bytes in ipairs(stream.reads) do
      assert(decoder:feed(bytes))
      drain(decoder)
    end
  end
  assert(decoder:feed(stream.after))
  drain(decoder)
  return (os.clock() - began) / stream.bytes * 1e9
end

if arg and make[arg[1]] then
  print(ns_per_byte(make[arg[1]](tonumber(arg[2]))))
  return
end

local function measure(kind, size)
  local pipe = assert(io.popen(("%s bench/scaling.lua %s %d"):format(arg[-1], kind, size)))
  local ns = assert(tonumber((pipe:read "*a")))
  pipe:close()
  return ns
end

local function compare(kind, large, what)
  local best_small, best_large = math.huge, math.huge
  for _ = 1, ROUNDS do
    best_small = math.min(best_small, measure(kind, large / FACTOR))
    best_large = math.min(best_large, measure(kind, large))
  end
  print(("  %-34s %8.3f ns/byte, of an eighth of that %8.3f: ratio %.2f (must stay below 1.30)")
    :format(what, best_large, best_small,
    best_large / best_small))
end

compare("event", 8 * MIB, ("one event of 8 MiB, %d-byte reads"):format(READ_BYTES))
compare("turn", 8 * MIB, "the turn of one call of 8 MiB")
compare("chunks", 20000, "20,000 chunks")
