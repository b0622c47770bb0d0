--- Many turns at once against a server that does everything wrong. Every turn must end, in bounded time, in a way that
-- its case allows; afterwards descriptors, connections and memory must be back where they were.
-- usage: lua spec/chaos/chaos.lua SEED TURNS      prints the seed, counts by case and end, and what is wrong; exit status 1 then
-- Lost: it ended without a kind. Hung: it did not end within LIMIT_S. Wrong: its case does not allow that kind.

local core = require "vllm.core"
local server = require "spec.support.server"
local vllm = require "vllm"

local SEED, TURNS = tonumber(arg[1]) or 1, tonumber(arg[2]) or 1000
local LIMIT_S = 60

-- A generator of our own, so that a seed means the same on every Lua. Source: Park and Miller, 1988.
local state = SEED % 2147483646 + 1
local function random(most)
  state = state * 16807 % 2147483647
  return state % most
end

local function kinds(...)
  local set = {}
  for _, kind in ipairs { ... } do set[kind] = true end
  return set
end

-- Only where a clock is to end the turn may it be short: with a thousand turns at work and other programs beside it,
-- this one may come late by seconds.
local CLOCKS = { connect_s = 20, first_event_s = 30, idle_s = 30, total_s = 50 }
local SHORT_CLOCKS = { connect_s = 20, first_event_s = 1, idle_s = 1, total_s = 50 }

-- name → { address, allowed ends, what the consumer does }. `ok`: the whole answer.
local CASES = {
  answer = { "/v1/chat/completions", kinds "ok" },
  paced = { function() return ("/load?events=%d&interval_ms=%d"):format(1 + random(30), random(8)) end, kinds "ok" },
  burst = { function() return "/load?events=2000&bytes=" .. (1 + random(200)) end, kinds "ok" },
  completion = { "/load?whole=1&events=100", kinds "ok", streaming = false },
  split = { function() return "/replay/vllm/text?split=" .. (1 + random(40)) end, kinds "ok" },
  cut = { function() return ("/replay/vllm/text?cut=%d&end=%s")
    :format(random(3000), random(2) == 0 and "close" or "reset") end,
    kinds("closed", "truncated", "protocol", "ok") },
  refuse = { "/fault/refuse", kinds "closed" },
  hangup = { "/fault/hangup", kinds "closed" },
  silence = { "/fault/silence", kinds "timeout", timeout = SHORT_CLOCKS },
  stall = { "/fault/stall", kinds "timeout", timeout = SHORT_CLOCKS },
  comments = { "/fault/comments", kinds "timeout", timeout = SHORT_CLOCKS },
  reset = { "/fault/reset", kinds "truncated" },
  early_close = { "/fault/early-close", kinds "truncated" },
  slow_headers = { "/fault/slow-headers?pace_ms=1", kinds "ok" },
  endless_head = { "/fault/endless-head", kinds "limit" },
  wrong_length = { "/fault/wrong-length", kinds("truncated", "closed", "protocol") },
  bad_chunk = { "/fault/bad-chunk", kinds("protocol", "truncated") },
  garbage = { "/fault/garbage", kinds "protocol" },
  informational = { "/fault/informational", kinds "ok" },
  redirect = { "/fault/redirect", kinds "protocol" },
  html = { "/fault/html", kinds "overloaded" },
  html_ok = { "/fault/html-ok", kinds "protocol" },
  no_finish = { "/fault/no-finish", kinds "truncated" },
  status_400 = { "/fault/status/400", kinds "invalid_request" },
  status_401 = { "/fault/status/401", kinds "auth" },
  status_429 = { "/fault/status/429?retry_after=0", kinds "rate_limited" },
  status_500 = { "/fault/status/500", kinds "server" },
  status_503 = { "/fault/status/503?retry_after=100", kinds "overloaded" },
  nobody = { "", kinds "connect", base_url = "http://127.0.0.1:1/v1" },
  slow_reader = { "/load?events=50", kinds "ok", act = function() if random(10) == 0 then vllm.sleep(0.01) end end },
  cancelled = { "/load?events=200&interval_ms=5", kinds "cancelled",
    act = function(turn) if random(10) == 0 then turn:cancel() end end },
  cancelled_early = { "/fault/silence", kinds "cancelled", cancel_after_s = 0.05 },
  raising = { "/load?events=20", kinds "raised", act = function() error("the consumer's own", 0) end },
}

local NAMES = {}
for name in pairs(CASES) do NAMES[#NAMES + 1] = name end
table.sort(NAMES)

local running = server.start {}
local client = vllm.new { model = "m", timeout = CLOCKS, retry = { max = 1, base_s = 0.001 } }

local function open_descriptors()
  local pipe = assert(io.popen("ls /proc/$PPID/fd | wc -l"))
  local count = tonumber(pipe:read "*a")
  pipe:close()
  return count
end

local function consume(case, turn)
  while true do
    local event, message, err = turn:next()
    if message then return err.kind end
    if not event then return assert(turn:result()).complete and "ok" or "incomplete" end
    if case.act then case.act(turn) end
  end
end

local function play(case, address)
  local base_url = case.base_url or running.url .. address
  local turn = client:with({ base_url = base_url, streaming = case.streaming, timeout = case.timeout }):turn "Hi"
  if case.cancel_after_s then
    vllm.spawn(function()
      vllm.sleep(case.cancel_after_s)
      turn:cancel()
    end)
  end
  return consume(case, turn)
end

local plans = {}
for i = 1, TURNS do
  local name = NAMES[random(#NAMES) + 1]
  local address = CASES[name][1]
  plans[i] = { name = name, address = type(address) == "function" and address() or address }
end

local counts, wrong = {}, {}
local totals = { well = 0, lost = 0, wrong_kind = 0, hung = 2 * TURNS }

local function note(plan, ended, failure)
  local raised = tostring(failure) == "the consumer's own"
  local lost = not ended and not raised
  ended = ended or (raised and "raised" or "lost: " .. tostring(failure))
  local key = plan.name .. " → " .. ended
  counts[key] = (counts[key] or 0) + 1
  local which = CASES[plan.name][2][ended] and "well" or lost and "lost" or "wrong_kind"
  totals[which], totals.hung = totals[which] + 1, totals.hung - 1
  if which ~= "well" then wrong[#wrong + 1] = ("%s (%s) ended as %s"):format(plan.name, plan.address, ended) end
end

local function report()
  for _, sentence in ipairs(wrong) do print("WRONG: " .. sentence) end
  print(("%d turns ended as they may; %d lost, %d hung, %d of a wrong kind; %d wrong")
    :format(totals.well, totals.lost, totals.hung,
    totals.wrong_kind, #wrong))
  os.exit(#wrong == 0 and 0 or 1, true)
end

local function storm()
  local has_ended = {}
  local function watch()
    vllm.sleep(LIMIT_S)
    for i, plan in ipairs(plans) do
      if not has_ended[i] then wrong[#wrong + 1] = ("%s (%s) did not end"):format(plan.name, plan.address) end
    end
    report()
  end
  local function play_all()
    local watcher = vllm.spawn(watch)
    vllm.map(plans, { concurrency = TURNS, each = function(i, ended, failure)
      has_ended[i] = true
      note(plans[i], ended, failure)
    end }, function(plan) return play(CASES[plan.name], plan.address) end)
    watcher:cancel()
  end
  vllm.run(play_all)
end

local function settled()
  for _ = 1, 3 do collectgarbage() end
  return collectgarbage "count"
end

-- The first storm fills pools and caches; the second one must leave nothing behind.
print(("seed %d, %d turns"):format(SEED, TURNS))
local began = core.now()
storm()
local memory_kib, descriptors = settled(), open_descriptors()
counts = {}
storm()
local more_kib, more_descriptors = settled() - memory_kib, open_descriptors() - descriptors
local elapsed_s = core.now() - began

local keys = {}
for key in pairs(counts) do keys[#keys + 1] = key end
table.sort(keys)
for _, key in ipairs(keys) do print(("  %-40s %d"):format(key, counts[key])) end
print(("%.1f s, %+.0f KiB of Lua's memory, %+d descriptors"):format(elapsed_s, more_kib, more_descriptors))

local give_up = core.now() + 5
while running:running() > 0 and core.now() < give_up do core.sleep(0.02) end
local left = running:running()
if left > 0 then wrong[#wrong + 1] = left .. " connections are still at work on the server" end
-- Pooled connections and the pipes of this program come and go by a few.
if more_descriptors > 32 then wrong[#wrong + 1] = more_descriptors .. " descriptors were left open" end
if more_kib > 512 then wrong[#wrong + 1] = ("%d KiB were left"):format(more_kib) end
if elapsed_s > LIMIT_S then wrong[#wrong + 1] = "it took too long" end
running:stop()
if totals.hung > 0 and #wrong == 0 then wrong[1] = "some turns never ended" end
report()
