-- What the checks of a cell look with: clients of the cell's server, the server's log, the kernel's lists, turns that
-- are waited for. cell.lua sets `driver` and `settings`.

local core = require "vllm.core"
local vllm = require "vllm"

local load_text = rawget(_G, "loadstring") or load

local probe = { driver = nil, settings = nil }

probe.LIMIT_S = 10 -- nothing here takes so long, on the slowest machine

-- Expecting --------------------------------------------------------------------------------------------------------

function probe.expect(is_true, what, ...)
  if not is_true then error(what:format(...), 2) end
end

function probe.expect_equal(wanted, got, what)
  if wanted == got then return end
  error(("%sexpected %s, got %s"):format(what and what .. ": " or "", tostring(wanted), tostring(got)), 2)
end

--- Asks until it is true; gives what it said.
function probe.wait_until(what, is_true)
  local ends_at = core.now() + probe.LIMIT_S
  while true do
    local value = is_true()
    if value then return value end
    if core.now() > ends_at then error("waited in vain: " .. what, 2) end
    vllm.sleep(0.01)
  end
end

function probe.milliseconds(since)
  return (core.now() - since) * 1000
end

-- The server -------------------------------------------------------------------------------------------------------

--- A client of a path of the cell's server, or of a URL. The server's log knows its requests by `name`.
function probe.new_client(name, path, options)
  local all = { model = "test-model", retry = false, base_url = path }
  if not path:find("://", 1, true) then all.base_url = probe.settings.url .. path end
  all.base_url = all.base_url .. (path:find("?", 1, true) and "&" or "?") .. "check=" .. name
  for key, value in pairs(options or {}) do all[key] = value end
  return vllm.new(all)
end

--- The TLS options for the cell's server.
function probe.tls()
  return probe.settings.ca_file and { ca_file = probe.settings.ca_file }
end

local function server()
  return vllm.new { model = "test-model", base_url = probe.settings.url .. "/v1" }
end

local function line_of(step)
  if step[1] ~= "send" then return table.concat(step, " ") end
  return "send " .. step[2]:gsub("[%c\\\127-\255]", function(c) return ("\\x%02x"):format(c:byte()) end)
end

--- Has the server answer step by step (spec/support/server/script.c).
---@return string path
function probe.script(steps)
  local lines = {}
  for i, step in ipairs(steps) do lines[i] = line_of(step) end
  return assert(server():request("POST", "/script", table.concat(lines, "\n") .. "\n")).json.path .. "/v1"
end

function probe.clear_log()
  assert(server():request("GET", "/log/clear"))
end

local function log()
  return assert(load_text(assert(server():request("GET", "/log?as=lua")).body))()
end

--- What the server saw: the requests of a check, and the closes of their connections by the client.
---@return integer requests
---@return table[] closes records of the log
function probe.requests_of(name)
  local count, closes, is_ours = 0, {}, {}
  for _, record in ipairs(log()) do
    if record.event == "request" and (record.path .. "&"):find("check=" .. name .. "&", 1, true) then
      count, is_ours[record.connection] = count + 1, true
    elseif record.event == "close" and is_ours[record.connection] and record.by == "client" then
      closes[#closes + 1] = record
    end
  end
  return count, closes
end

--- Waits until the server has seen so many closes.
---@return table[] closes
function probe.await_close(name, count)
  return probe.wait_until("the server sees the close", function()
    local _, closes = probe.requests_of(name)
    return #closes >= (count or 1) and closes
  end)
end

-- The system -------------------------------------------------------------------------------------------------------

local function process()
  local file = assert(io.open "/proc/self/stat")
  local id = file:read "*n"
  file:close()
  return id
end

local function run(command)
  local pipe = assert(io.popen(command:format(process())))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

function probe.descriptors() return tonumber(run "ls /proc/%d/fd | wc -l") end

function probe.threads() return tonumber(run "ls /proc/%d/task | wc -l") end

--- The sockets that this process has, as a set of the kernel's numbers.
function probe.sockets()
  local found = {}
  for socket in run("ls -l /proc/%d/fd"):gmatch "socket:%[(%d+)%]" do found[socket] = true end
  return found
end

--- Resident memory in KiB.
function probe.memory_kib()
  for line in io.lines("/proc/self/status") do
    local size = line:match "^VmRSS:%s*(%d+)"
    if size then return tonumber(size) end
  end
end

function probe.live_requests(client)
  local reactor = client.transport._reactor
  return reactor and reactor._engine:live() or 0
end

-- Turns ------------------------------------------------------------------------------------------------------------

--- Waits for a turn in a coroutine of its own, which is noted in `coroutines`. It takes `most` events, then it only
--- looks whether the turn is over.
function probe.waiter_of(turn, most, coroutines)
  local waiter = { turn = turn, events = 0 }
  waiter.thread = probe.driver.go(function()
    if coroutines then coroutines[coroutine.running()] = true end
    while true do
      while waiter.events == most and not turn:error() do vllm.sleep(0.002) end
      local event, message, err = turn:next()
      if not event then
        waiter.is_over, waiter.message, waiter.err, waiter.over_at = true, message, err, core.now()
        return
      end
      waiter.events = waiter.events + 1
    end
  end)
  return waiter
end

return probe
