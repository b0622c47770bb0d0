-- Linear, or not: one large event in small reads, and long streams. The cost of a byte must not grow with the size.
-- usage: lua bench/scaling.lua event BYTES | chunks COUNT     one measurement: nanoseconds of CPU per byte
-- Without arguments (bench/run.lua) each measurement has a process of its own, so that both sizes find cold memory and a cold cache.
local core = require "vllm.core"

local READ_BYTES = 1400
local MIB = 1024 * 1024
local ROUNDS = 9
local LIMITS = { max_event_bytes = 16 * MIB, max_message_bytes = 64 * MIB }

local make = {}

function make.event(bytes)
  return ('data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"write","arguments":"%s"}}]}}]}\n\n')
    :format(("x"):rep(bytes))
end

function make.chunks(count)
  local parts = {}
  for i = 1, count do
    parts[i] = ('data: {"id":"chatcmpl-1","model":"m","choices":[{"index":0,"delta":{"content":" word%d"}}]}\n\n'):format(i % 97)
  end
  return table.concat(parts)
end

local function ns_per_byte(text)
  local reads = {}
  for at = 1, #text, READ_BYTES do reads[#reads + 1] = text:sub(at, at + READ_BYTES - 1) end
  collectgarbage()
  local began = os.clock()
  local decoder = core.decoder(LIMITS)
  for _, bytes in ipairs(reads) do
    assert(decoder:feed(bytes))
    while decoder:next() do end
  end
  return (os.clock() - began) / #text * 1e9
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

local function compare(kind, small, large, what)
  local best_small, best_large = math.huge, math.huge
  for _ = 1, ROUNDS do
    best_small, best_large = math.min(best_small, measure(kind, small)), math.min(best_large, measure(kind, large))
  end
  print(("  %-34s %8.3f ns/byte, of an eighth of that %8.3f: ratio %.2f (must stay below 1.30)"):format(what, best_large, best_small,
    best_large / best_small))
end

compare("event", MIB, 8 * MIB, ("one event of 8 MiB, %d-byte reads"):format(READ_BYTES))
compare("chunks", 2500, 20000, "20,000 chunks")
