--- 10,000 turns one after another, then 1000 at once, thirty times. After the first tenth resident memory, without what
-- malloc keeps for later, must stay within 5 %; descriptors must be back at the start, but for pooled connections (32
-- at the most). LuaJIT's compiler is off: it goes on compiling for long, and what it compiled is memory in use. Run it
-- with luajit.c.
-- usage: lua spec/chaos/endurance.lua      prints both figures of each part; exit status 1 where one of them is wrong

local server = require "spec.support.server"
local vllm = require "vllm"

local jit = rawget(_G, "jit")
if jit then jit.off() end

local trim = assert(package.loadlib("build/trim.so", "trim"))

local function resident_kib()
  for _ = 1, 3 do collectgarbage() end
  trim()
  local file = assert(io.open "/proc/self/status")
  local kib = tonumber(file:read("*a"):match "VmRSS:%s*(%d+)")
  file:close()
  return kib
end

local function open_descriptors()
  local pipe = assert(io.popen("ls /proc/$PPID/fd | wc -l"))
  local count = tonumber(pipe:read "*a")
  pipe:close()
  return count
end

local running = server.start {}
local client = vllm.new { model = "m", base_url = running.url .. "/v1" }
local failed = false

-- Runs `step` thirty times; the first three are the measure of the others.
local function endure(name, step)
  for _ = 1, 3 do step() end
  local kib, descriptors = resident_kib(), open_descriptors()
  for _ = 4, 30 do step() end
  local ratio, more = resident_kib() / kib, open_descriptors() - descriptors
  print(("%s, %s: resident memory × %.3f of %d KiB, %+d descriptors")
    :format(jit and "LuaJIT" or _VERSION, name, ratio, kib, more))
  failed = failed or ratio > 1.05 or more > 32
end

endure("10,000 turns one after another", function()
  for i = 1, 333 do assert(client:ask("Question " .. i)) end
end)

local burst = client:with { base_url = running.url .. "/load?events=20&interval_ms=2" }
endure("1000 turns at once, thirty times", function()
  local list = {}
  for i = 1, 1000 do list[i] = i end
  local _, failures = vllm.map(list, { concurrency = 1000 }, function(i) return burst:ask("Question " .. i) end)
  for _, failure in pairs(failures) do error(failure) end
end)

running:stop()
os.exit(failed and 1 or 0, true)
