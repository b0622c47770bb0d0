-- The checks of one cell of the matrix host × Lua: this file runs inside each host, which a driver has started
-- (spec/hosts/drivers). One line each: "ok NAME figures", "FAILED NAME why", "skipped NAME why"; `cell.names` are all
-- that must come.

local agents = require "spec.hosts.agents"
local core = require "vllm.core"
local faults = require "spec.hosts.faults"
local hosts = require "vllm.hosts"
local probe = require "spec.hosts.probe"
local vllm = require "vllm"

local LIMIT_S = probe.LIMIT_S
local KEPT = 3 -- connections that wait for a next request, at the most

local expect, expect_equal, wait_until = probe.expect, probe.expect_equal, probe.wait_until
local new_client, requests_of, await_close = probe.new_client, probe.requests_of, probe.await_close
local descriptors, live_requests, waiter_of, milliseconds = probe.descriptors, probe.live_requests, probe.waiter_of,
  probe.milliseconds

local cell = {}

-- Checks -----------------------------------------------------------------------------------------------------------

local checks = {}

local function check(name, fn)
  checks[#checks + 1] = { name = name, fn = fn }
end

check("turn", function(name)
  expect_equal("You said: one two three", assert(new_client(name, "/v1"):ask("one two three")))
end)

check("tls", function(name)
  local client = new_client(name, probe.settings.tls_url .. "/v1", { tls = probe.tls() })
  expect_equal("You said: hello", assert(client:ask("hello")))
end)

check("tools", function(name)
  local client = new_client(name, "/v1")
  local tools = { { name = "weather", description = "The weather of a city", parameters = {
    type = "object", properties = { city = { type = "string" } }, required = { "city" } } } }
  local session = client:session()
  local result = assert(session:turn("What is the weather in Paris?", { tools = tools }):result())
  expect_equal(1, #result.tool_calls)
  expect_equal("Paris", result.tool_calls[1].input.city)
  session:append { role = "tool", call = result.tool_calls[1], result = { celsius = 18 } }
  local text = assert(session:turn(nil, { tools = tools }):text())
  expect(text:find("18", 1, true), "the answer does not use the result: %s", text)
end)

check("ten_at_once", function(name)
  local client = new_client(name, "/load?events=10&interval_ms=40")
  local began_at, texts = core.now(), {}
  for i = 1, 10 do
    probe.driver.go(function()
      local text = assert(client:ask("x" .. i))
      texts[#texts + 1] = text
    end)
  end
  wait_until("all ten", function() return #texts == 10 end)
  local took_s, sum_s = core.now() - began_at, 10 * 9 * 0.040
  for _, text in ipairs(texts) do expect_equal((" word"):rep(10), text) end
  expect(took_s < sum_s / 2, "%.2f s, one after the other %.2f s", took_s, sum_s)
  return ("%.0f ms, one after the other %.0f"):format(took_s * 1000, sum_s * 1000)
end)

check("cancel_task", function(name)
  local err
  local task = vllm.spawn(function() err = select(3, new_client(name, "/fault/stall"):turn("x"):result()) end)
  wait_until("the request", function() return requests_of(name) == 1 end)
  task:cancel()
  task:join()
  expect(err, "no error")
  expect_equal("cancelled", err.kind)
  await_close(name)
end)

check("status_errors", function(name)
  local _, _, refused = new_client(name, "/fault/status/400"):turn("x"):result()
  expect_equal(400, refused and refused.status)
  expect_equal("invalid_request", refused.kind)
  local _, _, broken = new_client(name, "/fault/status/500"):turn("x"):result()
  expect_equal(500, broken and broken.status)
  expect_equal("server", broken.kind)
end)

check("sleep", function()
  local began_at, others = core.now(), 0
  probe.driver.go(function()
    for _ = 1, 3 do
      vllm.sleep(0.01)
      others = others + 1
    end
  end)
  vllm.sleep(0.2)
  expect_equal(3, others)
  expect(core.now() - began_at >= 0.199, "too short")
  if not hosts.here() then return end
  for _, seconds in ipairs { 3e6, 1e300, math.huge } do
    local sleeper = vllm.spawn(vllm.sleep, seconds)
    vllm.sleep(0.01)
    sleeper:cancel()
    expect_equal("cancelled: the task was cancelled", select(2, sleeper:join()))
  end
end)

check("next_timeout", function(name)
  local turn = new_client(name, "/v1?delay_ms=300"):turn("x")
  expect_equal(false, turn:next(0.02))
  expect_equal(false, turn:next(0))
  expect(turn:next(LIMIT_S), "no event")
  turn:cancel()
end)

check("busy", function(name)
  local turn = new_client(name, "/fault/silence"):turn("x")
  local waiter = waiter_of(turn)
  wait_until("the request", function() return requests_of(name) == 1 end)
  local event, _, err = turn:next()
  expect_equal(nil, event)
  expect_equal("busy", err and err.kind)
  expect(not waiter.is_over, "the first one was disturbed")
  turn:cancel()
  wait_until("the waiter goes on", function() return waiter.is_over end)
end)

check("handed_over", function(name)
  local turn, first = new_client(name, "/v1?pace_ms=10"):turn("one two three"), nil
  probe.driver.go(function() first = assert(turn:next()).type end)
  wait_until("the first event", function() return first end)
  expect_equal("turn_start", first)
  local text
  probe.driver.go(function() text = assert(turn:text()) end)
  wait_until("the text", function() return text end)
  expect_equal("You said: one two three", text)
end)

check("start", function(name)
  local ends, events, result = 0, 0, nil
  new_client(name, "/v1"):turn("hello"):start(function() events = events + 1 end, function(...)
    ends, result = ends + 1, ...
  end)
  expect_equal(0, ends)
  wait_until("the end", function() return ends > 0 end)
  vllm.sleep(0.05)
  expect_equal(1, ends)
  expect_equal("You said: hello", result.text)
  expect(events > 3, "%d events", events)
end)

-- The host's own `report` is not called: what it does with the program is the drivers' matter.
check("start_reports", function(name)
  local host = assert(hosts.here())
  local report, reported, ends, kind = host.report, {}, 0, nil
  host.report = function(message) reported[#reported + 1] = message end
  new_client(name, "/load?events=1000000&interval_ms=10"):turn("x"):start(function() error("on_event is broken", 0) end,
    function(_, _, err)
    ends, kind = ends + 1, err and err.kind
  end)
  wait_until("the report", function() return reported[1] end)
  vllm.sleep(0.05)
  host.report = report
  expect_equal(1, #reported)
  expect(reported[1]:find("on_event is broken", 1, true), "it reports: %s", reported[1])
  expect_equal(1, ends)
  expect_equal("cancelled", kind)
  await_close(name)
end)

check("poll", function(name)
  local turn, parts, calls = new_client(name, "/v1?pace_ms=5"):turn("one two three"), {}, 0
  while true do
    local event, message = turn:poll()
    if event == nil then
      expect_equal(nil, message)
      break
    elseif event == false then
      local is_ready = false
      calls = calls + 1
      turn:on_ready(function() is_ready = true end)
      wait_until("on_ready", function() return is_ready end)
    elseif event.type == "text_delta" then
      parts[#parts + 1] = event.text
    end
  end
  expect_equal("You said: one two three", table.concat(parts))
  expect(calls > 0, "it never waited")
end)

check("max_concurrent", function(name)
  local client = new_client(name, "/load?events=10&interval_ms=20", { max_concurrent = 2 })
  local turns, waiters, most, victim = {}, {}, 0, nil
  local function count(is_counted)
    local sum = 0
    for i = 1, 5 do sum = sum + (is_counted(waiters[i]) and 1 or 0) end
    return sum
  end
  local function is_open(waiter) return waiter.events > 0 and not waiter.is_over end
  for i = 1, 5 do
    turns[i] = client:turn("x")
    waiters[i] = waiter_of(turns[i])
  end
  wait_until("events of two", function() return count(is_open) == 2 end)
  for i = 1, 5 do
    if waiters[i].events == 0 then victim = i end
  end
  turns[victim]:cancel()
  wait_until("all", function()
    most = math.max(most, count(is_open))
    return count(function(waiter) return waiter.is_over end) == 5
  end)
  expect_equal("cancelled", waiters[victim].err and waiters[victim].err.kind)
  expect_equal(4, count(function(waiter) return not waiter.message end))
  expect_equal(2, most)
  expect_equal(4, (requests_of(name)))
end)

check("request", function(name)
  local answer = assert(new_client(name, "/v1"):request("GET", "/v1/models"))
  expect_equal(200, answer.status)
  expect_equal("test-model", answer.json.data[1].id)
end)

check("timeouts", function(name)
  local client = new_client(name, "/fault/silence", { timeout = { first_event_s = 0.1 } })
  local _, _, err = client:turn("x"):result()
  expect_equal("timeout", err and err.kind)
  expect_equal("first_event_s", err.clock)
  client = new_client(name, "/fault/stall", { timeout = { idle_s = 0.1 } })
  _, _, err = client:turn("x"):result()
  expect_equal("timeout", err and err.kind)
  expect_equal("idle_s", err.clock)
  await_close(name, 2)
end)

check("for_in", function(name)
  local turn, parts = new_client(name, "/v1?pace_ms=5"):turn("one two"), {}
  local _, token = hosts.here()
  if _VERSION == "Lua 5.1" and not rawget(_G, "jit") and token ~= nil then
    local ok, message = pcall(turn.text_deltas, turn)
    expect_equal(false, ok)
    expect(message:find("turn:each(fn), or turn:next()", 1, true), "it says: %s", message)
    return "refused on Lua 5.1"
  end
  for text in turn:text_deltas() do parts[#parts + 1] = text end
  expect_equal("You said: one two", table.concat(parts))
end)

check("map", function(name)
  local client = new_client(name, "/load?events=3&interval_ms=20")
  local values, failures = vllm.map({ 1, 2, 3, 4, 5, 6 }, { concurrency = 3 }, function(item)
    if item == 4 then error("four is broken", 0) end
    return client:ask("x")
  end)
  for _, i in ipairs { 1, 2, 3, 5, 6 } do expect_equal(" word word word", values[i]) end
  expect_equal("four is broken", failures[4])
end)

-- A coroutine that waits is often held by nobody but its host.
check("collector", function(name)
  local texts = {}
  for _ = 1, 5 do
    probe.driver.go(function()
      local text = new_client(name, "/v1?delay_ms=200"):turn("x"):text()
      texts[#texts + 1] = text
    end)
  end
  for _ = 1, 20 do
    collectgarbage()
    vllm.sleep(0.005)
  end
  wait_until("those that wait", function() return #texts == 5 end)
end)

check("forgotten", function(name)
  local is_over = false
  probe.driver.go(function()
    new_client(name, "/load?events=1000000&interval_ms=10"):turn("x"):next()
    is_over = true
  end)
  wait_until("the first event", function() return is_over end)
  wait_until("the server sees the close", function()
    collectgarbage()
    collectgarbage()
    return #select(2, requests_of(name)) == 1
  end)
end)

check("two_hundred", function(name)
  local client = new_client(name, "/load?events=1000000&interval_ms=100")
  collectgarbage()
  assert(client:request("GET", "/v1/models")) -- there is an engine now, and one connection that is kept
  local turns, waiters, before, live = {}, {}, descriptors(), live_requests(client)
  for i = 1, 200 do
    turns[i] = client:turn("x")
    waiters[i] = waiter_of(turns[i])
  end
  wait_until("200 streams", function()
    for i = 1, 200 do
      if waiters[i].events < 2 then return false end
    end
    return true
  end)
  local between = descriptors()
  for i = 1, 200 do turns[i]:cancel() end
  wait_until("the waiters go on", function()
    for i = 1, 200 do
      if not waiters[i].is_over then return false end
    end
    return true
  end)
  await_close(name, 200)
  expect(between > before + 150, "%d descriptors, then %d: where are the streams?", before, between)
  local ends_at = core.now() + LIMIT_S
  local after = descriptors()
  while after > before + KEPT and core.now() < ends_at do
    vllm.sleep(0.05)
    after = descriptors()
  end
  expect(after <= before + KEPT, "%d descriptors, with 200 streams %d, then %d", before, between, after)
  expect(live_requests(client) <= live, "%d requests live, then %d", live, live_requests(client))
  return ("descriptors %d, %d, %d"):format(before, between, after)
end)

local BATCH = 50

-- Turns that are all in the middle of their answers when they are cancelled; `between` is called then, once.
local function start_and_cancel(client, count, coroutines, between)
  for _ = 1, count, BATCH do
    local waiters = {}
    for i = 1, BATCH do waiters[i] = waiter_of(client:turn "x", nil, coroutines) end
    local function are_all(fn)
      for i = 1, BATCH do
        if not fn(waiters[i]) then return false end
      end
      return true
    end
    wait_until("events of all", function() return are_all(function(waiter) return waiter.events > 0 end) end)
    if between then between = between() end
    for i = 1, BATCH do waiters[i].turn:cancel() end
    wait_until("the waiters go on", function() return are_all(function(waiter) return waiter.is_over end) end)
    if probe.driver.reap then are_all(function(waiter) return probe.driver.reap(waiter.thread) end) end
    for i = 1, BATCH do waiters[i] = nil end -- a slot of the stack may hold the table a while
  end
end

-- The last one may be in a slot of the stack, still.
local function are_collected(coroutines)
  collectgarbage()
  collectgarbage()
  local first = next(coroutines)
  return first == nil or next(coroutines, first) == nil
end

local function what_is_there(coroutines)
  wait_until("the coroutines are collected", function() return are_collected(coroutines) end)
  return { descriptors = probe.descriptors(), threads = probe.threads(), memory = probe.memory_kib(),
    lua_memory = collectgarbage "count" }
end

-- A child lives meanwhile: a socket that it had inherited would stay open, and the server see no close. nginx's own
-- sockets are inherited, those that are open when the child begins.
check("thousand_cancelled", function(name)
  if not probe.settings.thousand then return nil, "left to one Lua of each host" end
  local client, coroutines, child = new_client(name, "/fault/stall"), setmetatable({}, { __mode = "k" }), nil
  start_and_cancel(client, 200, coroutines)
  await_close(name, 200)
  probe.clear_log()
  local before = what_is_there(coroutines)
  start_and_cancel(client, 1000, coroutines, function() child = io.popen("cat >/dev/null", "w") end)
  await_close(name, 1000 - (probe.driver.children_inherit and BATCH or 0))
  assert(child:write "still there\n")
  child:close()
  expect_equal(1000, #await_close(name, 1000))
  local after = what_is_there(coroutines)
  expect(after.descriptors <= before.descriptors + KEPT, "%d descriptors, then %d", before.descriptors,
    after.descriptors)
  expect(after.threads <= before.threads, "%d threads, then %d", before.threads, after.threads)
  expect(after.lua_memory - before.lua_memory < 256, "%.0f KiB more of Lua's memory",
    after.lua_memory - before.lua_memory)
  expect(after.memory - before.memory < 8192, "%.0f KiB more of memory", after.memory - before.memory)
  return ("left: descriptors %d, threads %d, no coroutine, %.0f KiB of Lua's memory, %d KiB resident%s"):format(
    after.descriptors - before.descriptors, after.threads - before.threads, after.lua_memory - before.lua_memory,
    after.memory - before.memory, probe.driver.children_inherit
      and "; closes of one batch were seen when the child had ended" or "")
end)

for _, one in ipairs(agents.checks) do checks[#checks + 1] = one end
for _, one in ipairs(faults.checks) do checks[#checks + 1] = one end

-- The last one. Whether the host's loop ends all the same, the driver sees.
check("abandoned", function(name)
  cell.abandoned = new_client(name, "/load?events=1000000&interval_ms=10"):turn("x")
  expect(cell.abandoned:next(), "no event")
end)

-- Running ----------------------------------------------------------------------------------------------------------

cell.names, cell.is_fault = {}, {}
for _, one in ipairs(faults.checks) do cell.is_fault[one.name] = true end
for i, one in ipairs(checks) do cell.names[i] = one.name end
cell.names[#cell.names + 1] = "loop_ends"

local function say(outcome, name, why)
  why = why and why ~= "" and " " .. tostring(why):gsub("\n%s*", " | ") or ""
  probe.driver.write(outcome .. " " .. name .. why .. "\n")
end

-- An error ends the check and not the cell. No pcall, which Lua 5.1 cannot yield through: vllm.map brings it.
local function outcome_of(one)
  if probe.driver.blocks then return pcall(one.fn, one.name) end
  local figures, why
  local _, failures = vllm.map({ one }, {}, function()
    figures, why = one.fn(one.name)
    return true
  end)
  return failures[1] == nil, failures[1] or figures, why
end

local function report(one, ok, figures, why_skipped)
  if not ok then return say("FAILED", one.name, figures) end
  say(why_skipped and "skipped" or "ok", one.name, why_skipped or figures)
end

-- Those that only wait, all at once.
local function run_together(list)
  if probe.driver.blocks then
    for _, one in ipairs(list) do report(one, outcome_of(one)) end
    return
  end
  local tasks = {}
  for i, one in ipairs(list) do
    tasks[i] = vllm.spawn(function() report(one, outcome_of(one)) end)
  end
  for _, task in ipairs(tasks) do task:join() end
end

---Runs the checks in a coroutine of the host.
---@param of { go: (fun(fn: fun()): any), reap: (fun(thread: any): boolean)?, write: fun(line: string),
---  blocks: boolean?,
---  children_inherit: boolean?, skip: table<string, string>? }  `go` starts a coroutine as a program of this host would, and `reap`
---  buries it; `blocks`: there is none, this is the main thread; `children_inherit`: the host's sockets; `skip`: checks that have no
---  sense here, and why
---@param given { url: string, tls_url: string, ca_file: string?, deaf_port: integer, full_port: integer,
---  slow_names: boolean,
---  thousand: boolean }  `thousand`: this cell runs thousand_cancelled, too
function cell.run(of, given)
  probe.driver, probe.settings = of, given
  local together = {}
  for _, one in ipairs(checks) do
    local why = (of.skip or {})[one.name]
    if why then say("skipped", one.name, why)
    elseif one.together then together[#together + 1] = one
    else
      if one.name == "abandoned" then run_together(together) end
      report(one, outcome_of(one))
    end
  end
  cell.left_at = core.now()
end

---The host's loop has ended by itself, with the abandoned turn still there.
function cell.loop_has_ended()
  expect(cell.abandoned and not cell.abandoned:error(), "the abandoned turn is over")
  say("ok", "loop_ends", ("%.0f ms"):format(milliseconds(cell.left_at)))
end

return cell
