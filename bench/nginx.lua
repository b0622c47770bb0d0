-- One nginx worker under 200 streams of 100 events, one every 20 ms: what an event costs, how late it comes, what
-- others notice.
local nginxes = require "spec.support.nginx"
local servers = require "spec.support.server"

if not nginxes.is_installed then
  print "  no nginx here"
  return
end

local COUNT, EVENTS, INTERVAL_MS, ROUNDS = 200, 100, 20, 5
local PATH = ("/load?events=%d&interval_ms=%d"):format(EVENTS, INTERVAL_MS)
local PREAMBLE = 'local bench = require "bench.nginx_worker"\n'

local server = servers.start()
local gateway = nginxes.start {
  preamble = PREAMBLE,
  http = [[
    lua_max_running_timers 1024;
    init_by_lua_block { client = require("vllm").new { model = "m", base_url = "{url}{path}" } }]],
  server = [[
    location = /relay { content_by_lua_block {
      client:turn("x"):relay(function(bytes) ngx.print(bytes) ngx.flush(true) end)
    } }
    location = /proxy { proxy_http_version 1.1; proxy_buffering off; proxy_pass {url}{path}; }]],
  values = { url = server.url, path = PATH },
}
local reader, pinger = nginxes.start { preamble = PREAMBLE }, nginxes.start { preamble = PREAMBLE }

local function numbers(text)
  local list = {}
  for number in text:gmatch "[%d.]+" do list[#list + 1] = tonumber(number) end
  return list
end

local function median(list)
  table.sort(list)
  return list[math.ceil(#list / 2)]
end

-- CPU of one event ----------------------------------------------------------------------------------------------------

local COST = "return bench.cpu_us_of_event(%q, { host = '127.0.0.1', port = %d, path = %q, count = %d, events = %d })"
local WAYS = { "bare", "decoding", "handover", "transport", "relay", "text", "events" }

-- The ways take turns, so that what else the machine does falls on all of them.
local function costs()
  local all = {}
  for _ = 1, ROUNDS do
    for _, way in ipairs(WAYS) do
      all[way] = all[way] or {}
      table.insert(all[way], tonumber(gateway:run(COST:format(way, server.port, PATH, COUNT, EVENTS))))
    end
  end
  return all
end

local cost = costs()
local base, least = median(cost.bare), cost.bare[1]
for _, way in ipairs(WAYS) do
  local middle = median(cost[way])
  print(("  %-10s %5.1f us of CPU per event  %.2f times a bare cosocket (the best rounds: %.2f)")
    :format(way, middle, middle / base,
    cost[way][1] / least))
end

-- Lateness and /ping --------------------------------------------------------------------------------------------------

local function ping_code(count) return ("return bench.ping(%q, %d)"):format(gateway.socket, count) end

local function lateness_code(place, path)
  return ("return bench.lateness(%s, %q, { count = %d, events = %d, interval_s = %g })")
    :format(place, path, COUNT, EVENTS, INTERVAL_MS / 1000)
end

-- Streams through a place, and pings of the gateway meanwhile.
local function under_load(place, path)
  local pings = pinger:begin("/run", { body = PREAMBLE .. ping_code(300) })
  local late = numbers(reader:run(lateness_code(place, path)))
  return late, numbers((select(3, servers.parse(pings.finish()))))
end

local function show(name, late, ping, base_late, base_ping)
  print(("  %-12s an event is late by %.2f ms, p99 %.2f (%.1f, %.1f times)   /ping %.2f ms, p99 %.2f, worst %.2f (%.1f,"
    .. " %.1f times idle)")
    :format(name, late[1], late[2], late[1] / base_late[1], late[2] / base_late[2], ping[1], ping[2], ping[3],
      ping[1] / base_ping[1],
      ping[2] / base_ping[2]))
end

local idle = numbers(pinger:run(ping_code(300)))
local at_socket = ("{ host = 'unix:%s' }"):format(gateway.socket)
local proxied, proxied_ping = under_load(at_socket, "/proxy")
local relayed, relayed_ping = under_load(at_socket, "/relay")
print(("  idle         /ping %.2f ms, p99 %.2f, worst %.2f"):format(idle[1], idle[2], idle[3]))
show("proxy_pass", proxied, proxied_ping, proxied, idle)
show("relay", relayed, relayed_ping, proxied, idle)

for _, nginx in ipairs { gateway, reader, pinger } do
  local log = nginx:log()
  nginx:stop()
  assert(log == "", log)
end
server:stop()
