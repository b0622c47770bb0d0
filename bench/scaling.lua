-- Linear, or not: one large event in small reads, and long streams. The cost of a byte must not grow with the size.
local clock = require "bench.clock"
local core = require "vllm.core"

local READ_BYTES = 1400
local MIB = 1024 * 1024

local function event_of(bytes)
  return ('data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"write","arguments":"%s"}}]}}]}\n\n')
    :format(("x"):rep(bytes))
end

local function feed_all(text, limits)
  local decoder = core.decoder(limits)
  for at = 1, #text, READ_BYTES do
    assert(decoder:feed(text:sub(at, at + READ_BYTES - 1)))
    while decoder:next() do end
  end
end

local function ns_per_byte(text)
  return clock.best_us(5, 1, function() feed_all(text, { max_event_bytes = 16 * MIB, max_message_bytes = 64 * MIB }) end) / #text * 1000
end

local small, large = ns_per_byte(event_of(MIB)), ns_per_byte(event_of(8 * MIB))
print(("  one event of 1 MiB, %d-byte reads  %8.3f ns/byte"):format(READ_BYTES, small))
print(("  one event of 8 MiB                 %8.3f ns/byte  ratio %.2f (must stay below 1.30)"):format(large, large / small))

local function stream_of(count)
  local parts = {}
  for i = 1, count do
    parts[i] = ('data: {"id":"chatcmpl-1","model":"m","choices":[{"index":0,"delta":{"content":" word%d"}}]}\n\n'):format(i % 97)
  end
  return table.concat(parts)
end

local short, long = stream_of(2500), stream_of(20000)
local short_ns, long_ns = ns_per_byte(short), ns_per_byte(long)
print(("  2,500 chunks                       %8.3f ns/byte"):format(short_ns))
print(("  20,000 chunks                      %8.3f ns/byte  ratio %.2f (must stay below 1.30)"):format(long_ns, long_ns / short_ns))

if arg and arg[1] == "--gate" then
  assert(large / small < 1.3 and long_ns / short_ns < 1.3, "the cost of a byte grows with the size")
end
