--- Many agents at once against a server that fails in the middle of their steps. A seed says what each goes through, so
-- the end of each run is known beforehand. Nothing may be lost, no call may run twice, and in each transcript, kept or
-- sent, every call has its result. Afterwards descriptors and the places of max_concurrent are free again.
-- usage: lua spec/chaos/agents.lua SEED AGENTS      prints the seed, counts, and what is wrong; exit status 1 then

local core = require "vllm.core"
local server = require "spec.support.server"
local transcripts = require "vllm.agent.transcript"
local vllm = require "vllm"

local SEED, AGENTS = tonumber(arg[1]) or 1, tonumber(arg[2]) or 300
local TASKS, PLACES, LIMIT_S = 2, 64, 100
local SHORT_CLOCKS = { first_event_s = 1, idle_s = 1 } -- only where a clock is to end the run

-- A generator of our own, so that a seed means the same on every Lua. Source: Park and Miller, 1988.
local state = SEED % 2147483646 + 1
local function random(most)
  state = state * 16807 % 2147483647
  return state % most
end

local function any(list) return list[random(#list) + 1] end

-- Calls and tools -----------------------------------------------------------------------------------------------------

-- name → how often the call runs, whether its result is a good one, and whether it asks for approval.
local CALLS = {
  work = { runs = 1, is_good = true },
  alone = { runs = 1, is_good = true },
  breaks = { runs = 1 },
  stuck = { runs = 1 },
  guarded = { runs = 1, is_good = true, asks = true },
  refused = { runs = 0, asks = true, tool = "guarded" },
  absent = { runs = 0 },
  wrong = { runs = 0, tool = "work", arguments = '{"ms":"soon","key":"%s"}' },
}
local CALL_NAMES = { "work", "work", "work", "alone", "breaks", "stuck", "guarded", "refused", "absent", "wrong" }

local ran = {} -- id of a call → how often

local function tool(name, work, more)
  local made = { name = name, parameters = { type = "object", properties = { ms = { type = "integer" } } },
    run = function(input, call)
      ran[call.id] = (ran[call.id] or 0) + 1
      return work(input, call)
    end }
  for key, value in pairs(more or {}) do made[key] = value end
  return made
end

local function work(input, call)
  vllm.sleep(input.ms / 1000)
  return "did " .. call.id
end

local function breaks(input)
  vllm.sleep(input.ms / 1000)
  error("broken", 0)
end

local TOOLS = {
  tool("work", work), tool("alone", work, { exclusive = true }), tool("breaks", breaks),
  tool("stuck", function() vllm.sleep(LIMIT_S) end, { timeout_s = 0.02 }), tool("guarded", work, { approval = "ask" }),
}

local function random_calls(prefix, is_stopped)
  local calls = {}
  for k = 1, 1 + random(4) do
    local name = is_stopped and "work" or any(CALL_NAMES)
    local id = ("%s.%d"):format(prefix, k)
    local arguments = CALLS[name].arguments or '{"ms":' .. random(10) .. ',"key":"%s"}'
    calls[k] = { id = id, name = name, case = CALLS[name], tool = CALLS[name].tool or name,
      arguments = arguments:format(id) }
  end
  return calls
end

-- Answers and faults --------------------------------------------------------------------------------------------------

local HEAD = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

local function chunk(text) return ("%x\r\n%s\r\n"):format(#text, text) end

local function data(json) return chunk("data: " .. json .. "\n\n") end

local function delta(member, finish)
  return data(('{"id":"c","model":"m","choices":[{"index":0,"delta":{%s},"finish_reason":%s}]}')
    :format(member, finish and '"' .. finish .. '"' or "null"))
end

local function call_deltas(calls)
  local out = {}
  for k, call in ipairs(calls) do
    out[#out + 1] = delta(('"tool_calls":[{"index":%d,"id":"%s","function":{"name":"%s","arguments":""}}]')
      :format(k - 1, call.id, call.tool))
    for piece in call.arguments:gmatch "..?.?.?.?.?" do
      out[#out + 1] = delta(('"tool_calls":[{"index":%d,"function":{"arguments":"%s"}}]')
        :format(k - 1, (piece:gsub('"', '\\"'))))
    end
  end
  return out
end

-- The chunks of a step's answer, without its finish.
local function deltas_of(step)
  local out = step.calls and call_deltas(step.calls)
    or { delta('"content":"an answer of "'), delta('"content":"' .. step.text .. '"') }
  table.insert(out, 1, delta '"role":"assistant","content":""')
  return out
end

-- A part that breaks off at any byte after the first event of the answer, and ends so.
local function broken(step, ending)
  local deltas = deltas_of(step)
  local kept = deltas[1] .. deltas[2]
  local rest = table.concat(deltas, "", 3) .. delta("", "stop")
  return { { "send", HEAD .. kept .. rest:sub(1, random(#rest - 10)) }, ending }
end

local function whole(step)
  local text = HEAD .. table.concat(deltas_of(step)) .. delta("", step.finish)
    .. data '{"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}'
    .. chunk "data: [DONE]\n\n" .. "0\r\n\r\n"
  local at = 1 + random(#text - 1)
  if random(3) > 0 then return { { "send", text } } end
  return { { "send", text:sub(1, at) }, { "wait", 1 + random(5) }, { "send", text:sub(at + 1) } }
end

local function interrupted(step, json)
  local deltas = deltas_of(step)
  return { { "send", HEAD .. deltas[1] .. deltas[2] .. data(json) .. "0\r\n\r\n" } }
end

local function use(path, times)
  return function()
    local parts = {}
    for i = 1, times or 1 do parts[i] = { "use " .. path } end
    return parts
  end
end

local function once(fn, ...)
  local arguments = { ... }
  return function(step) return { fn(step, arguments[1]) } end
end

-- name → what is answered in place of a step's answer, and how the run ends for it. Without an end the turn repeats it.
local FAULTS = {
  refused = { parts = use "/fault/refuse" },
  hung_up = { parts = use "/fault/hangup" },
  throttled = { parts = use "/fault/status/429?retry_after=0" },
  throttled_twice = { parts = use("/fault/status/429?retry_after=0", 2), ends = "rate_limited" },
  throttled_for_long = { parts = use "/fault/status/429?retry_after=100", ends = "rate_limited" },
  overloaded = { parts = use "/fault/status/503" },
  overloaded_twice = { parts = use("/fault/status/503", 2), ends = "overloaded" },
  bad_request = { parts = use "/fault/status/400", ends = "invalid_request" },
  garbage = { parts = use "/fault/garbage", ends = "protocol" },
  no_finish = { parts = use "/fault/no-finish", ends = "truncated" },
  reset = { parts = once(broken, "reset"), ends = "truncated" },
  closed = { parts = once(broken, "close"), ends = "truncated" },
  error_event = { parts = once(interrupted, '{"error":{"message":"dead","code":500}}'), ends = "server" },
  no_json = { parts = once(interrupted, "{no"), ends = "protocol" },
  silence = { parts = use "/fault/silence", ends = "timeout", is_timed = true },
  stall = { parts = once(broken, "stall"), ends = "timeout", is_timed = true },
}
local FAULT_NAMES = {}
for name in pairs(FAULTS) do FAULT_NAMES[#FAULT_NAMES + 1] = name end
table.sort(FAULT_NAMES)

-- Plans ---------------------------------------------------------------------------------------------------------------

local function asks(step)
  for _, call in ipairs(step.calls or {}) do
    if call.case.asks then return true end
  end
  return false
end

-- How the runs of a plan have to end, in order.
local function expected_ends(plan)
  local ends, made = {}, 0
  local function add(name) ends[#ends + 1], made = name, 0 end
  for _, step in ipairs(plan.steps) do
    if made == plan.max_steps then add "max_steps" end
    if step.fault and step.fault.ends then add(step.fault.ends) end
    made = made + 1
    if step.stopped_by then add(step.stopped_by) elseif asks(step) then add "awaiting_approval" end
    if step.text then add(step.finish == "length" and "length" or "completed") end
  end
  return ends
end

local function random_step(prefix, is_last)
  local step = { fault = random(2) == 0 and FAULTS[any(FAULT_NAMES)] or nil }
  if is_last then
    step.text, step.finish = prefix, random(4) == 0 and "length" or "stop"
  else
    step.stopped_by = random(4) == 0 and any { "cancelled", "killed" } or nil
    step.calls, step.finish = random_calls(prefix, step.stopped_by), "tool_calls"
  end
  return step
end

-- The script of the server: what it answers, in order. A request too many is refused.
local function script_of(plan)
  local lines = {}
  local function add(part)
    for _, line in ipairs(part) do lines[#lines + 1] = line end
    lines[#lines + 1], plan.requests = "next", plan.requests + 1
  end
  for _, step in ipairs(plan.steps) do
    for _, part in ipairs(step.fault and step.fault.parts(step) or {}) do add(part) end
    add(whole(step))
  end
  lines[#lines + 1] = "use /fault/status/404"
  return lines
end

local function random_plan(number)
  local plan = { number = number, steps = {}, calls = {}, ends = {}, requests = 0, max_steps = 2 + random(5) }
  for _ = 1, TASKS do
    for last = random(3), 0, -1 do
      local step = random_step(("%d.%d"):format(number, #plan.steps + 1), last == 0)
      plan.steps[#plan.steps + 1] = step
      for _, call in ipairs(step.calls or {}) do plan.calls[call.id] = call end
    end
  end
  plan.is_saved = random(2) == 0 -- between two runs it goes through JSON
  plan.script, plan.expected = server.script_text(script_of(plan)), expected_ends(plan)
  return plan
end

-- Playing -------------------------------------------------------------------------------------------------------------

-- The step that a transcript has come to.
local function step_at(plan, messages)
  local count = 1
  for _, message in ipairs(messages) do
    if message.role == "assistant" then count = count + 1 end
  end
  return plan.steps[count] or {}
end

local function agent_for(plan, client)
  return vllm.agent {
    client = client, tools = TOOLS, max_steps = plan.max_steps, parallel = 3,
    prepare_step = function(step)
      local ahead = step_at(plan, step.messages)
      if ahead.fault and ahead.fault.is_timed and not ahead.has_failed then step.timeout = SHORT_CLOCKS end
    end,
  }
end

local function decide(plan, session)
  for _, call in ipairs(session:pending()) do
    local is_refused = plan.calls[call.id].name == "refused"
    if is_refused then assert(session:deny(call.id, "no")) else assert(session:approve(call.id)) end
  end
end

local function to_json(session) return assert(vllm.json.encode(session:state())) end

-- Stops a run while its tools are at work. Killed: all that is left of it is the state that was saved just before.
local function stop_run(run, step)
  local saved = step.stopped_by == "killed" and to_json(run.session) or nil
  run:cancel()
  return saved
end

-- One run, to its end: its name, and what an error said, or the state to go on with.
local function play_run(plan, session, input)
  local run, at, saved = session:run(input), nil, nil
  while true do
    local event, message, err = run:next()
    if message then
      step_at(plan, session:messages()).has_failed = true
      return err.kind, message
    end
    if not event then return saved and "killed" or assert(run:result()).stop, saved end
    if event.type == "step_start" then at = step_at(plan, session:messages()) end
    if event.type == "tool_start" and at and at.stopped_by then saved = stop_run(run, at) or saved end
  end
end

local function read_session(agent, json) return agent:session { state = assert(vllm.json.decode(json)) } end

local DONE = { completed = true, length = true }

local function check_end(plan, session, name, message)
  local wanted = plan.expected[#plan.ends]
  if name ~= wanted then
    error(("run %d ended as %s, not as %s: %s"):format(#plan.ends, name, tostring(wanted), tostring(message)), 0)
  end
  local is_settled = #session:pending() == 0 and not session:state().calls
  local fault = is_settled and transcripts.pair_fault(session:messages())
  if fault then error(("after run %d: %s"):format(#plan.ends, fault), 0) end
end

local function play(plan, client)
  local agent = agent_for(plan, client:with { base_url = plan.base_url })
  local session, input = agent:session(), "task"
  while #plan.ends < #plan.expected do
    local name, detail = play_run(plan, session, input)
    plan.ends[#plan.ends + 1], input = name, DONE[name] and "next task" or nil
    if name == "killed" then session = read_session(agent, detail) end
    check_end(plan, session, name, detail)
    if plan.is_saved then session = read_session(agent, to_json(session)) end
    decide(plan, session)
  end
  return session:messages()
end

-- What has to hold afterwards -----------------------------------------------------------------------------------------

local function result_fault(call, message, is_stopped)
  if message.role ~= "tool" or message.tool_call_id ~= call.id then return "lost the result of " .. call.id end
  local count, is_good = ran[call.id] or 0, not message.is_error
  if count > 1 then return ("%s ran %d times"):format(call.id, count) end
  if is_good and message.content ~= "did " .. call.id then return call.id .. " has a result that is not its own" end
  if is_stopped then return nil end
  if count ~= call.case.runs then return ("%s (%s) ran %d times"):format(call.id, call.name, count) end
  if is_good ~= (call.case.is_good or false) then return ("%s (%s): %s"):format(call.id, call.name, message.content) end
end

-- What is wrong with the transcript of a plan, or nil.
local function transcript_fault(plan, messages)
  local at, is_new = 0, true
  local function take() at = at + 1 return messages[at] or {} end
  for i, step in ipairs(plan.steps) do
    if is_new and take().role ~= "user" then return "lost the input before step " .. i end
    local answer, calls = take(), step.calls or {}
    if answer.role ~= "assistant" or #(answer.tool_calls or {}) ~= #calls then return "lost answer " .. i end
    if step.text and answer.content ~= "an answer of " .. step.text then return "lost words of answer " .. i end
    for _, call in ipairs(calls) do
      local fault = result_fault(call, take(), step.stopped_by)
      if fault then return fault end
    end
    is_new = step.text ~= nil
  end
  return at ~= #messages and ("%d messages are too many"):format(#messages - at) or nil
end

-- What the server was asked: as often as planned, and each time with a whole transcript.
local function sent_fault(plans, running)
  local count = {}
  for _, record in ipairs(assert(vllm.json.decode((running:get "/log")))) do
    local path = record.event == "request" and record.path:match "^/run/%d+"
    if path then
      count[path] = (count[path] or 0) + 1
      local fault = transcripts.pair_fault(assert(vllm.json.decode(record.body)).messages)
      if fault then return ("%s, request %d: %s"):format(path, count[path], fault) end
    end
  end
  for _, plan in ipairs(plans) do
    if count[plan.path] ~= plan.requests then
      return ("agent %d: the server saw %d requests, not %d"):format(plan.number, count[plan.path] or 0, plan.requests)
    end
  end
end

local function open_descriptors()
  local pipe = assert(io.popen("ls /proc/$PPID/fd | wc -l"))
  local count = tonumber(pipe:read "*a")
  pipe:close()
  return count
end

local function left_fault(client, running, descriptors)
  if next(client._gate._inside) then return "a place was not given back" end -- the collector would find it, later
  local give_up = core.now() + 5
  while running:running() > 0 and core.now() < give_up do core.sleep(0.02) end
  if running:running() > 0 then return "connections are still at work on the server" end
  local more = open_descriptors() - descriptors
  return more > 32 and more .. " descriptors were left open" or nil -- pooled connections come and go
end

-- The storm -----------------------------------------------------------------------------------------------------------

local wrong = {}

local function complain(sentence) wrong[#wrong + 1] = sentence end

local function report(runs, elapsed_s)
  for _, sentence in ipairs(wrong) do print("WRONG: " .. sentence) end
  local calls = 0
  for _ in pairs(ran) do calls = calls + 1 end
  print(("%d agents, %d runs, %d calls that ran, %.1f s; %d wrong"):format(AGENTS, runs, calls, elapsed_s, #wrong))
  os.exit(#wrong == 0 and 0 or 1, true)
end

local function watch(plans)
  vllm.sleep(LIMIT_S)
  for _, plan in ipairs(plans) do
    if #plan.ends < #plan.expected then complain(("agent %d hangs in run %d"):format(plan.number, #plan.ends + 1)) end
  end
  report(0, LIMIT_S)
end

local function storm(plans, client)
  vllm.run(function()
    local watcher = vllm.spawn(watch, plans)
    vllm.map(plans, { concurrency = #plans, each = function(i, messages, failure)
      local fault = not messages and tostring(failure) or transcript_fault(plans[i], messages)
      if fault then complain(("agent %d: %s"):format(plans[i].number, fault)) end
    end }, function(plan) return play(plan, client) end)
    watcher:cancel()
  end)
end

local running = server.start {}
local client = vllm.new { model = "m", base_url = running.url .. "/v1", max_concurrent = PLACES,
  timeout = { connect_s = 20, first_event_s = 60, idle_s = 60 }, retry = { max = 1, base_s = 0.001, cap_s = 1 } }

print(("seed %d, %d agents"):format(SEED, AGENTS))
assert(client:with({ base_url = running.url .. "/load?events=2" }):ask "Hi") -- what is opened once is open now
local plans, descriptors, runs = {}, open_descriptors(), 0
for i = 1, AGENTS do
  plans[i] = random_plan(i)
  plans[i].path = assert(client:request("POST", "/script", plans[i].script)).json.path
  plans[i].base_url = running.url .. plans[i].path
  runs = runs + #plans[i].expected
end
local began = core.now()
storm(plans, client)
local elapsed_s = core.now() - began
complain(left_fault(client, running, descriptors))
if #wrong == 0 then complain(sent_fault(plans, running)) end
running:stop()
report(runs, elapsed_s)
