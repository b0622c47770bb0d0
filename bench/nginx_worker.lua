-- What the measurements of bench/nginx.lua run inside nginx.
local core = require "vllm.core"
local ffi = require "ffi"
local semaphore = require "ngx.semaphore"
local vllm = require "vllm"

local ngx = rawget(_G, "ngx")

ffi.cdef [[
  struct bench_time { long s, us; };
  struct bench_usage { struct bench_time user, system; long others[14]; };
  int getrusage(int, struct bench_usage *);]]

local M = {}

local function cpu_us()
  local usage = ffi.new "struct bench_usage"
  ffi.C.getrusage(0, usage)
  return tonumber(usage.user.s + usage.system.s) * 1e6 + tonumber(usage.user.us + usage.system.us)
end

local function request_of(path)
  return "POST " .. path .. " HTTP/1.1\r\nHost: bench\r\nContent-Length: 2\r\n\r\n{}"
end

-- A cosocket; reads until the last chunk of the answer; `on_read(bytes)`.
local function read_bare(place, path, on_read)
  local sock = ngx.socket.tcp()
  sock:settimeouts(60000, 60000, 60000)
  assert(sock:connect(place.host, place.port))
  assert(sock:send(request_of(path)))
  repeat
    local bytes = assert(sock:receiveany(65536))
    on_read(bytes)
  until bytes:find("0\r\n\r\n", -5, true)
  sock:close()
end

local function nothing() end

local WAYS = {}

-- Reads the bytes and throws them away.
function WAYS.bare(load) read_bare(load, load.path, nothing) end

-- The same in a light thread, which wakes its consumer by a semaphore: what it costs at least that another can end the
-- wait.
function WAYS.handover(load)
  local wakes, is_waiting, has_ended = semaphore.new(0), false, false
  ngx.thread.spawn(function()
    read_bare(load, load.path, function()
      if is_waiting then
        is_waiting = false
        wakes:post(1)
      end
    end)
    has_ended = true
    wakes:post(1)
  end)
  while not has_ended do
    is_waiting = true
    wakes:wait(60)
  end
end

-- HTTP and the text decoded by our core, in the loop that reads: the least for a client that decodes. Nothing can end
-- its waits.
function WAYS.decoding(load)
  local http, decoder, has_head = core.http1 {}, core.decoder {}, false
  read_bare(load, load.path, function(bytes)
    http:feed(bytes)
    has_head = has_head or http:head() ~= false
    local body = http:read()
    while body do
      decoder:feed(body)
      while decoder:next_text() do nothing() end
      body = http:read()
    end
  end)
end

-- The wait in a light thread, over our transport: HTTP is parsed, the wait can be cancelled.
function WAYS.transport(load)
  local client = load.client
  local stream = client.transport:open(
    require("vllm.request.built").transport_request(client.config, "POST", client.config.url, {}, "{}"))
  assert(stream:head())
  while stream:read(core.now() + 300) do nothing() end
  stream:close()
end

function WAYS.relay(load) assert(load.client:turn("x"):relay(nothing)) end

function WAYS.text(load) for _ in load.client:turn("x"):text_deltas() do nothing() end end

function WAYS.events(load) for _ in load.client:turn("x"):events() do nothing() end end

--- CPU microseconds of one event, `count` streams at once, each in a timer of its own, begun within 100 ms.
---@param way string
---@param load { host: string, port: integer, path: string, count: integer, events: integer }
---@return number
function M.cpu_us_of_event(way, load)
  load.client = vllm.new { model = "m", base_url = ("http://%s:%d%s"):format(load.host, load.port, load.path) }
  local done, run, began = semaphore.new(0), WAYS[way], cpu_us()
  for i = 1, load.count do
    assert(ngx.timer.at(0.001 + i * 0.1 / load.count, function()
      run(load)
      done:post(1)
    end))
  end
  for _ = 1, load.count do assert(done:wait(60)) end
  return (cpu_us() - began) / (load.count * load.events)
end

local function quantiles(list)
  table.sort(list)
  local function at(share) return list[math.max(1, math.ceil(#list * share))] * 1000 end
  return ("%.3f %.3f %.3f"):format(at(0.5), at(0.99), list[#list] * 1000)
end

--- Asks another nginx for /ping every 5 ms. In milliseconds: the median, the 99th percentile, the worst.
---@param socket string
---@param count integer
---@return string
function M.ping(socket, count)
  local times = {}
  for i = 1, count do
    local began = core.now()
    local sock = ngx.socket.tcp()
    assert(sock:connect("unix:" .. socket))
    assert(sock:send "GET /ping HTTP/1.0\r\n\r\n")
    assert(sock:receive "*a")
    sock:close()
    times[i] = core.now() - began
    ngx.sleep(0.005)
  end
  return quantiles(times)
end

--- How late each event of `count` streams comes, measured against the earliest of its stream. In milliseconds: as for
--- ping.
---@param place { host: string, port: integer? } of a server, or of an nginx at a unix socket
---@param path string
---@param load { count: integer, events: integer, interval_s: number }
---@return string
function M.lateness(place, path, load)
  local late, threads = {}, {}
  for i = 1, load.count do
    threads[i] = ngx.thread.spawn(function()
      ngx.sleep(0.001 + i * 0.1 / load.count)
      local offsets, rest = {}, ""
      read_bare(place, path, function(bytes)
        local now, text = core.now(), rest .. bytes
        rest = text:sub(-6) -- a mark may come in two parts
        for _ in text:gmatch "data: {" do offsets[#offsets + 1] = now - #offsets * load.interval_s end
      end)
      local earliest = math.huge
      for j = 1, load.events do earliest = math.min(earliest, offsets[j]) end
      for j = 1, load.events do late[#late + 1] = offsets[j] - earliest end
    end)
  end
  for i = 1, load.count do assert(ngx.thread.wait(threads[i])) end
  return quantiles(late)
end

return M
