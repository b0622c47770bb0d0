-- Many paced streams in one thread: CPU for each event and memory for each stream, against a C program that only counts bytes with
-- libcurl and epoll (bench/concurrent.c). Runs are interleaved, and the best of each counts.
-- usage (from the root): lua5.4 bench/concurrent.lua [lua…]      the whole comparison, for these interpreters
--                        lua5.4 bench/concurrent.lua --client URL STREAMS SAMPLE_MS    one run, as bench/concurrent.c
local STREAMS, EVENTS, INTERVAL_MS, ROUNDS = 1000, 100, 50, 3
local SAMPLE_MS = math.floor(EVENTS * INTERVAL_MS / 2)

local function resident_kb()
  for line in io.lines "/proc/self/status" do
    local kb = line:match "^VmRSS:%s*(%d+)"
    if kb then return tonumber(kb) end
  end
end

local function consume(turn)
  local count = 0
  while true do
    local event, message = turn:next()
    if message then error(message, 0) end
    if not event then return count end
    if event.type == "text_delta" then count = count + 1 end
  end
end

local function client(url, streams, sample_ms)
  local vllm = require "vllm"
  require "vllm.tasks"
  require "vllm.curl"
  local made = vllm.new { model = "m", base_url = url, retry = { max = 0 } }
  local count, kb_then = 0, nil
  collectgarbage()
  local kb_before, cpu_before = resident_kb(), os.clock()
  vllm.run(function()
    for _ = 1, streams do vllm.spawn(function()
      local seen = consume(made:turn "x")
      count = count + seen
    end) end
    vllm.sleep(sample_ms / 1000)
    kb_then = resident_kb()
  end)
  print(("%.0f %d %d %d"):format((os.clock() - cpu_before) * 1e6, kb_before, kb_then, count))
end

if arg[1] == "--client" then return client(arg[2], tonumber(arg[3]), tonumber(arg[4])) end

local function run(command)
  local pipe = assert(io.popen(command, "r"))
  local us, before, after = pipe:read "*a":match "^(%d+) (%d+) (%d+)"
  pipe:close()
  assert(us, command)
  return us / (STREAMS * EVENTS), (after - before) / STREAMS
end

local function commands(url)
  local list = { { name = "C", text = ("build/bench/concurrent '%s' %d %d"):format(url, STREAMS, SAMPLE_MS) } }
  for _, lua in ipairs(arg) do
    list[#list + 1] = { name = lua, text = ("LUA_CPATH='build/%s/?.so;;' %s bench/concurrent.lua --client '%s' %d %d")
      :format(lua, lua, url, STREAMS, SAMPLE_MS) }
  end
  return list
end

local server = require("spec.support.server").start {}
local list = commands(("%s/load?events=%d&interval_ms=%d"):format(server.url, EVENTS, INTERVAL_MS))
for _ = 1, ROUNDS do
  for _, each in ipairs(list) do
    local us, kb = run(each.text)
    each.us, each.kb = math.min(each.us or us, us), math.min(each.kb or kb, kb)
  end
end
server:stop()
print(("%d streams, an event every %d ms in each"):format(STREAMS, INTERVAL_MS))
for _, each in ipairs(list) do
  print(("  %-8s %6.2f us CPU an event, %5.2f times C; %5.1f KB a stream"):format(each.name, each.us, each.us / list[1].us, each.kb))
end
