-- Many paced streams in one thread: CPU for each event and memory for each stream, against a C program that only counts
-- bytes with libcurl and epoll (bench/concurrent.c). Between the two stand that program with our decoder, and no Lua at
-- all; and the bare loop, the least that Lua can do with the same engine: a coroutine for each stream that is handed
-- the bytes and throws them away. Runs are interleaved, and the best of each counts.
-- usage (from the root): lua5.4 bench/concurrent.lua [lua…]      the whole comparison, for these interpreters
--        lua5.4 bench/concurrent.lua --client|--bare URL STREAMS SAMPLE_MS    one run, as bench/concurrent.c
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

local function report(cpu_before, kb_before, kb_then, count)
  print(("%.0f %d %d %d"):format((os.clock() - cpu_before) * 1e6, kb_before, kb_then, count))
end

local function client(url, streams, sample_ms)
  local vllm = require "vllm"
  require "vllm.hosts.tasks"
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
  report(cpu_before, kb_before, kb_then, count)
end

local BODY = '{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}'

local function read_all(request)
  local bytes, count = request:read(), 0
  while bytes ~= nil do
    if bytes then count = count + #bytes else coroutine.yield() end
    bytes = request:read()
  end
  request:close(true)
  return count
end

local function bare(url, streams, sample_ms)
  local now = require("vllm.core").now
  local engine = require("vllm.curl").engine {}
  local readers, count, live, kb_then = {}, 0, streams, nil
  collectgarbage()
  local kb_before, cpu_before = resident_kb(), os.clock()
  local sample_at = now() + sample_ms / 1000
  for _ = 1, streams do
    local request = engine:add { url = url, method = "POST", body = BODY,
      headers = { { "content-type", "application/json" } } }
    readers[request] = coroutine.wrap(read_all)
    readers[request](request)
  end
  while live > 0 do
    engine:step(1)
    local request = engine:ready()
    while request do
      local seen = readers[request](request)
      if seen then count, live = count + seen, live - 1 end
      request = engine:ready()
    end
    if not kb_then and now() >= sample_at then kb_then = resident_kb() end
  end
  report(cpu_before, kb_before, kb_then, count)
end

if arg[1] == "--client" then return client(arg[2], tonumber(arg[3]), tonumber(arg[4])) end
if arg[1] == "--bare" then return bare(arg[2], tonumber(arg[3]), tonumber(arg[4])) end

local function run(command)
  local pipe = assert(io.popen(command, "r"))
  local us, before, after = pipe:read "*a":match "^(%d+) (%d+) (%d+)"
  pipe:close()
  assert(us, command)
  return us / (STREAMS * EVENTS), (after - before) / STREAMS
end

local function commands(url)
  local program = ("build/bench/concurrent '%s' %d %d"):format(url, STREAMS, SAMPLE_MS)
  local list = { { name = "C", text = program }, { name = "C, decoding", text = program .. " decode" } }
  for _, lua in ipairs(arg) do
    for _, kind in ipairs { "bare", "client" } do
      list[#list + 1] = { name = kind == "bare" and lua .. ", bare" or lua,
        text = ("LUA_CPATH='build/%s/?.so;;' %s bench/concurrent.lua --%s '%s' %d %d")
          :format(lua, lua, kind, url, STREAMS, SAMPLE_MS) }
    end
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
  print(("  %-13s %6.2f us CPU an event, %5.2f times C; %5.1f KB a stream")
    :format(each.name, each.us, each.us / list[1].us, each.kb))
end
