-- Whatever happens in a run, its transcript can be sent: every call has one result, in order, and what was said stays.
-- Random replies, tools, failures, cancels, approvals, compactions, saved states, from a printed seed.
require "spec.support.env"
local agents = require "spec.support.agents"
local transcripts = require "vllm.agent.transcript"
local vllm = require "vllm"

local RUNS = tonumber(os.getenv "VLLM_PROPERTY_RUNS") or 100
local SEED = tonumber(os.getenv "VLLM_PROPERTY_SEED") or 1

-- The same numbers on every Lua.
local function numbers(seed)
  local state = seed % 2147483647
  if state == 0 then state = 1 end
  return function(n)
    state = state * 16807 % 2147483647
    return state % n + 1
  end
end

local NAMES = { "quick", "slow", "fails", "raises", "corrects", "asks", "ext", "unknown", "late", "parts" }

local function tools()
  local tool = agents.tool
  return {
    tool("quick", function() return "q" end),
    tool("slow", function() vllm.sleep(0.0005); return { ok = true } end),
    tool("fails", function() return nil, "no" end),
    tool("raises", function() vllm.sleep(0); error "boom" end),
    tool("corrects", function() return vllm.retry "again" end),
    tool("asks", function() return "allowed" end, { approval = "ask" }),
    tool("late", function() vllm.sleep(10) end, { timeout_s = 0.0005 }),
    tool("parts", function() return { "see", { type = "image", url = "https://example.org/a.png" } } end),
    { name = "ext" },
  }
end

local function reply_of(random)
  local kind = random(12)
  if kind <= 5 then
    local list = {}
    for i = 1, random(3) do list[i] = { name = NAMES[random(#NAMES)], arguments = { x = random(3) } } end
    return { text = random(2) == 1 and "words before" or nil, tool_calls = list }
  elseif kind == 6 then
    return { text = "half an answ", cut = true }
  elseif kind == 7 then
    return { tool_calls = { { name = "quick", arguments = '{"a":' } } }
  elseif kind == 8 then
    return { tool_calls = { { name = "quick", arguments = {} } }, finish_reason = "length" }
  elseif kind == 9 then
    return { status = 503, body = "down" }
  elseif kind == 10 then
    return { status = 400, body = { error = { message = "This model's maximum context length is 10 tokens" } } }
  end
  return { text = "an answer of several words", reasoning = random(2) == 1 and "hm" or nil }
end

-- What has to hold after each run; `before`: the transcript when it began.
local function check(session, before, may_shorten, where)
  local messages = session:messages()
  local pending = session:pending()
  if #pending == 0 and not session:state().calls then
    local fault = transcripts.pair_fault(messages)
    assert(fault == nil, where .. ": " .. tostring(fault))
    assert(#messages == 0 or session.probe:body { messages = messages }, where)
  end
  if may_shorten then return end
  for i, message in ipairs(before) do
    assert(messages[i] == message, where .. ": message " .. i .. " was changed")
  end
end

local function step(session, random)
  local input = random(4) > 1 and "go" or nil
  for _, call in ipairs(session:pending()) do
    local choice = random(4)
    if call.wants == "answer" then session:answer(call.id, "given")
    elseif choice <= 2 then session:approve(call.id)
    elseif choice == 3 then session:deny(call.id, "no")
    else session:cancel() end
  end
  if #session:messages() == 0 then input = "go" end
  local run, count = session:run(input), 0
  local stop_at = random(3) == 1 and random(30) or math.huge
  while true do
    local event = run:next(random(5) == 1 and 0 or nil)
    if event == nil then break end
    count = count + 1
    if count >= stop_at then
      if random(2) == 1 then run:cancel() else session:steer "more" end
      stop_at = math.huge
    end
  end
end

local function play(seed)
  local random = numbers(seed)
  local replies = {}
  for i = 1, 60 do replies[i] = reply_of(random) end
  local may_shorten = random(2) == 1
  local compact = may_shorten and { vllm.compact.keep_recent(4), vllm.compact.drop_failed(), messages = 8 } or false
  local options = { tools = tools(), compact = compact, max_steps = 6, loop_guard = random(2) == 1,
    parallel = random(3) }
  options.context = random(2) == 1 and { reserve = 10 }
  local function tokens(asked) return #asked.messages * random(20), random(3) > 1 and 100 or 8000 end
  local agent = agents.new(replies, options, { split = 10 + random(100), tokens = tokens })
  local session = agent:session()
  for turn = 1, 4 do
    session.probe = agent.client
    local before = session:messages()
    step(session, random)
    check(session, before, may_shorten, ("seed %d, run %d"):format(seed, turn))
    if random(3) == 1 then
      session = agent:session { state = assert(vllm.json.decode(assert(vllm.json.encode(session:state())))) }
    end
  end
end

describe("a transcript", function()
  it(("is whole after each of %d random conversations (VLLM_PROPERTY_SEED=%d)"):format(RUNS, SEED), function()
    for seed = SEED, SEED + RUNS - 1 do play(seed) end
  end)
end)
