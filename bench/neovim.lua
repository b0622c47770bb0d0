-- How late a timer of 10 ms is in Neovim while turns stream: in Debian's Neovim and in the new one, from an idle editor
-- to one that waits by blocking. Run by any Lua from the root, after make all. The figures of one run can be compared,
-- those of two runs cannot.
require "spec.support.env"
local child = require "spec.support.child"
local neovim = require "spec.support.neovim"
local servers = require "spec.support.server"

local PACED, BURST = "/load?events=100&interval_ms=20", "/load?events=20000"
local SLOW_NAMES = "build/preload/slow_names.so"

-- name, target over TLS, environment
local CASES = {
  { "idle", PACED, { STREAMS = "0", SECONDS = "3" } },
  { "50 TLS streams, 20 ms an event, each written into the buffer", PACED, { STREAMS = "50", EDIT = "1" } },
  { "the same, 5 hosts never answer, 5 names take 3 s", PACED,
    { STREAMS = "50", EDIT = "1", STUCK = "5", SLOW = "5", PRELOAD = SLOW_NAMES } },
  { "the same without a thread (mode = \"inline\")", PACED, { STREAMS = "50", EDIT = "1", MODE = "inline" } },
  { "4 streams as fast as they can, each event written", BURST, { STREAMS = "4", EDIT = "1" } },
  { "control: one stream, host = \"block\"", PACED, { STREAMS = "1", MODE = "block" } },
}

local function measure(editor, server, case)
  local environment = { MODE = "thread", BASE_URL = server.tls_url .. case[2], CA = server.ca_file }
  for name, value in pairs(case[3]) do environment[name] = value end
  local output, status = child.run(neovim.command(editor.path, "'+luafile bench/neovim/heartbeat.lua'"), environment)
  local figures = {}
  for name, value in output:gmatch "([%w_]+) (%-?[%d.]+)" do figures[name] = tonumber(value) end
  if status ~= 0 or not figures.worst_ms then error(case[1] .. ": " .. output, 0) end
  return figures
end

assert(select(2, child.run("make -s " .. SLOW_NAMES)) == 0)
local server = servers.start { tls = true }
for _, editor in ipairs(neovim.editors()) do
  if editor.path then
    local version = child.run(child.quote(editor.path) .. " --version"):match "[^\n]*"
    print(("\n%-62s %9s %9s %9s %11s"):format(version .. ": late by", "worst ms", "p99 ms", "events/s", "CPU µs/event"))
    for _, case in ipairs(CASES) do
      local f = measure(editor, server, case)
      print(("%-62s %9.1f %9.1f %9.0f %11.1f")
        :format(case[1], f.worst_ms, f.p99_ms, f.events / f.seconds, f.cpu_us_per_event))
    end
  else
    print("\nno " .. editor.name .. " Neovim: " .. editor.why)
  end
end
neovim.remove_runtime()
server:stop()
