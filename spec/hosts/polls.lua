-- What poll_spec.lua runs inside a host: a turn in every phase, polled and then cancelled. `driver`:
--   polling(fn)   calls fn again and again, where the host wants it, until it returns true
--   turns()       how often the host's loop has gone round
-- Returns a line of figures, or raises what is wrong.
local probe = require "spec.hosts.probe"
local vllm = require "vllm"

local load_text = rawget(_G, "loadstring") or load

local NO_CLOCKS = { first_event_s = false, idle_s = false, finish_s = false, total_s = false }
local POLLS = 5 -- of each turn, once all are where they belong

-- Requests to the scripts that the server has seen, and how many of their connections the client has closed.
local function seen(server)
  local log = assert(load_text(assert(server:request("GET", "/log?as=lua")).body))()
  local requests, closes, is_ours = 0, 0, {}
  for _, record in ipairs(log) do
    if record.event == "request" and record.path:find "^/run/" then
      requests, is_ours[record.connection] = requests + 1, true
    elseif record.event == "close" and is_ours[record.connection] and record.by == "client" and record.midway then
      closes = closes + 1
    end
  end
  return requests, closes
end

local function new_turns(settings)
  local turns, clients = {}, {}
  for i, path in ipairs(settings.paths) do
    clients[i] = vllm.new { model = "m", base_url = settings.url .. path .. "/v1", timeout = NO_CLOCKS,
      retry = { max = 1, cap_s = 1000, statuses = { settings.retried } }, max_concurrent = 1 }
    turns[i] = clients[i]:turn "x"
  end
  turns[#turns + 1] = clients[1]:turn "x" -- it stands in the queue
  return turns, clients[1]
end

-- The list of models is given up after two seconds, which may be over on a slow machine.
local function is_unlisted(err) return err and err.status == 404 end

local function poll(turn, driver)
  local before = driver.turns()
  local event, message, err = turn:poll()
  assert(driver.turns() == before, "poll waited")
  assert(event ~= nil or is_unlisted(err), message)
  assert(turn:error() == err)
  return event
end

local function poll_all(turns, driver)
  local quiet = 0
  for _, turn in ipairs(turns) do
    if not poll(turn, driver) then quiet = quiet + 1 end
  end
  return quiet == #turns
end

-- `settings`: url; paths of scripts; requests: how many the turns make; retried: the one status that is asked again.
return function(driver, settings)
  local server = vllm.new { model = "m", base_url = settings.url .. "/v1" }
  local turns, client = new_turns(settings)
  local is_there, rounds = false, 0
  vllm.spawn(function()
    probe.wait_until("the requests", function() return seen(server) == settings.requests end)
    is_there = true
  end)
  driver.polling(function()
    local is_quiet = poll_all(turns, driver)
    if is_there and is_quiet then rounds = rounds + 1 end
    return rounds == POLLS
  end)
  local states = {}
  for _, turn in ipairs(turns) do
    local state = is_unlisted(turn:error()) and "vllm.turn (asking)" or tostring(turn)
    states[state] = (states[state] or 0) + 1
  end
  collectgarbage "stop" -- it would end forgotten requests, too
  driver.polling(function()
    local before = driver.turns()
    for _, turn in ipairs(turns) do
      turn:cancel()
      local event, _, err = turn:poll()
      assert(event == nil and err == turn:error() and (err.kind == "cancelled" or is_unlisted(err)))
    end
    assert(driver.turns() == before, "cancel waited")
    return true
  end)
  probe.wait_until("the closes", function() return select(2, seen(server)) == settings.closes end)
  probe.wait_until("the requests are gone", function() return probe.live_requests(client) == 0 end)
  collectgarbage "restart"
  return ("asking %d queued %d waiting %d"):format(states["vllm.turn (asking)"] or 0, states["vllm.turn (queued)"] or 0,
    states["vllm.turn (waiting)"] or 0)
end
