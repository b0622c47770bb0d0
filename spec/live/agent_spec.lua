-- The loop against a real vLLM. The model is too small to obey, so structured_outputs forces what each step has to say;
-- the parsers, the chat template, the cache and the errors are the server's own.
local child = require "spec.support.child"
local core = require "vllm.core"
local transcripts = require "vllm.agent.transcript"
local vllm = require "vllm"

local ANSWER = "It is 18 degrees there."
local QUESTION = "What is the weather in Paris and in Rome?"
local CITY = { type = "object", properties = { city = { type = "string" } }, required = { "city" },
  additionalProperties = false }

local client = assert(vllm.from_env { temperature = 0, max_completion_tokens = 120 })

local function call(city)
  return ('<tool_call>\\n\\{"name": "get_weather", "arguments": \\{"city": "%s"\\}\\}\\n</tool_call>'):format(city)
end

-- The model calls for these cities, and answers once it has their results.
local function forcing(...)
  local calls = {}
  for i, city in ipairs { ... } do calls[i] = call(city) end
  return function(step)
    local has_results = step.messages[#step.messages].role == "tool"
    step.structured_outputs = has_results and { choice = { ANSWER } } or { regex = table.concat(calls, "\\n") }
  end
end

-- An agent with the tool, and the cities that it was asked for.
local function agent_of(options, tool)
  local asked = {}
  local weather = { name = "get_weather", description = "Weather of a city", parameters = CITY,
    run = function(input)
      asked[#asked + 1] = input.city
      return { city = input.city, celsius = 18 }
    end }
  for key, value in pairs(tool or {}) do weather[key] = value end
  local all = { client = client, instructions = "Be brief.", tools = { weather } }
  for key, value in pairs(options or {}) do all[key] = value end
  return vllm.agent(all), asked
end

local function finished(run)
  local result, message = run:result()
  assert.truthy(result, message)
  return result
end

local function roles(session)
  local list = {}
  for i, message in ipairs(session:messages()) do list[i] = message.role end
  return table.concat(list, " ")
end

local function metric(name)
  local sum = 0
  for value in assert(client:request("GET", "/metrics")).body:gmatch("\n" .. name .. "{[^}]*} ([%d.e+]+)") do
    sum = sum + tonumber(value)
  end
  return sum
end

describe("a run", function()
  it("calls the tool, reads its result and answers, streamed and buffered", function()
    for _, streaming in ipairs { true, false } do
      local agent, asked = agent_of { streaming = streaming, prepare_step = forcing "Paris" }
      local session = agent:session()
      local result = finished(session:run(QUESTION))
      assert.same({ "completed", ANSWER, 2 }, { result.stop, result.text, #result.steps })
      assert.same({ "Paris" }, asked)
      assert.equal("user assistant tool assistant", roles(session))
      assert.equal(result.steps[1].usage.total_tokens + result.steps[2].usage.total_tokens, result.usage.total_tokens)
    end
  end)

  it("with a call that tool_choice forces goes on, whatever the arguments are", function()
    local agent, asked = agent_of { tool_choice = "get_weather", max_steps = 2, max_completion_tokens = 32 }
    local session = agent:session()
    local result = finished(session:run(QUESTION))
    local calls = result.steps[1].tool_calls
    assert.is_true(#calls > 0 or #result.hints > 0)
    for _, one in ipairs(calls) do assert.equal("get_weather", one.name) end
    assert.is_nil(transcripts.pair_fault(session:messages()))
    if #calls > 0 then assert.equal("tool", session:messages()[3].role) end
    assert.is_true(#asked <= #calls + #((result.steps[2] or {}).tool_calls or {}))
  end)

  it("runs two calls of one answer side by side", function()
    local open, most = 0, 0
    local agent = agent_of({ prepare_step = forcing("Paris", "Rome") }, {
      run = function(input)
        open = open + 1
        most = math.max(most, open)
        vllm.sleep(input.city == "Paris" and 0.2 or 0.1)
        open = open - 1
        return input.city
      end,
    })
    local session = agent:session()
    local result = finished(session:run(QUESTION))
    assert.same({ "completed", 2, 2 }, { result.stop, #result.steps[1].tool_calls, most })
    local messages = session:messages()
    assert.same({ "Paris", "Rome" }, { messages[3].content, messages[4].content })
  end)

  it("lets the model correct a call that breaks the schema", function()
    local agent, asked = agent_of { prepare_step = function(step)
      local texts = { call("Paris"):gsub("city", "town"), call "Paris" }
      step.structured_outputs = step.number < 3 and { regex = texts[step.number] } or { choice = { ANSWER } }
    end }
    local session = agent:session()
    assert.equal("completed", finished(session:run(QUESTION)).stop)
    assert.same({ "Paris" }, asked)
    assert.equal("retry", session:messages()[3].metadata.failure)
  end)

  it("that is cancelled keeps what was said, and the session goes on", function()
    local agent = agent_of { max_completion_tokens = 1500, prepare_step = function(step)
      step.ignore_eos = #step.messages < 3
      step.structured_outputs = #step.messages >= 3 and { choice = { ANSWER } } or nil
    end }
    local session = agent:session()
    local run = session:run "Write a long story about a lighthouse."
    for event in run:events() do
      if event.type == "text_delta" then run:cancel() end
    end
    assert.equal("cancelled", finished(run).stop)
    assert.is_true(session:messages()[2].metadata.interrupted)
    assert.equal(ANSWER, finished(session:run "And now?").text)
    assert.equal("user assistant user assistant", roles(session))
  end)
end)

describe("the server's prefix cache", function()
  it("is hit in the second step, by what the first one has sent", function()
    local instructions = ("%.6f "):format(core.now()) .. ("Rule: answer with the temperature alone. "):rep(40)
    local changed = 0
    local agent = agent_of { instructions = instructions, prepare_step = forcing "Paris", on_event = function(event)
      if event.type == "prefix_changed" then changed = changed + 1 end
    end }
    local hits = metric "vllm:prefix_cache_hits_total"
    local result = finished(agent:run(QUESTION))
    local first, second = result.steps[1].usage, result.steps[2].usage
    local cached = second.cached_tokens - (first.cached_tokens or 0)
    io.write(("(%d of %d tokens) "):format(second.cached_tokens, second.prompt_tokens))
    assert.is_true(cached >= 128, "no whole block of the first step's prompt was found again")
    assert.equal(0, changed)
    assert.is_true(metric "vllm:prefix_cache_hits_total" - hits >= cached)
  end)
end)

describe("an approval", function()
  it("is waited for, given and refused", function()
    local agent, asked = agent_of({ prepare_step = forcing "Paris" }, { approval = "ask" })
    local session = agent:session()
    local result = finished(session:run(QUESTION))
    assert.same({ "awaiting_approval", "get_weather" }, { result.stop, result.pending[1].name })
    assert.same({}, asked)
    assert(session:approve(result.pending[1].id))
    assert.same({ "completed", ANSWER }, { finished(session:run()).stop, session:messages()[4].content })
    result = finished(session:run "And again?")
    assert(session:deny(result.pending[1].id, "not today"))
    assert.equal("completed", finished(session:run()).stop)
    assert.same({ "Paris" }, asked)
    assert.equal("denied", session:messages()[7].metadata.failure)
  end)
end)

-- What another process runs: it reads the state, approves what waits, and goes on.
local LATER = [[
local vllm = require "vllm"
local file = assert(io.open(os.getenv "STATE", "rb"))
local state = assert(vllm.json.decode(file:read "*a"))
file:close()
local count = 0
local agent = vllm.agent {
  client = assert(vllm.from_env { temperature = 0, max_completion_tokens = 120 }), instructions = "Be brief.",
  prepare_step = function(step) step.structured_outputs = { choice = { "Done." } } end,
  tools = { { name = "get_weather", approval = "ask", run = function(input)
    count = count + 1
    return input.city
  end } },
}
local session = agent:session { state = state }
assert(session:approve_all() == 1)
local result = assert(session:run():result())
print(result.stop, result.text, count, session:messages()[3].content, #session:messages())
]]

describe("a session", function()
  it("goes on in another process, with an approval that was open", function()
    local agent, asked = agent_of({ prepare_step = forcing "Rome" }, { approval = "ask" })
    local session = agent:session()
    assert.equal("awaiting_approval", finished(session:run(QUESTION)).stop)
    local output, status = child.with_file(assert(vllm.json.encode(session:state())), function(path)
      return child.lua(LATER, { STATE = path }, nil, 300)
    end)
    assert.same({ "completed\tDone.\t1\tRome\t4\n", 0 }, { output, status })
    assert.same({}, asked)
  end)
end)

describe("a context that is too long", function()
  -- Four old results, together more than the 2048 tokens that are served.
  local function long_session(options)
    local messages = { { role = "user", content = "Look at the sky over four cities." } }
    for i = 1, 4 do
      local one = { id = "call-" .. i, name = "get_weather", arguments = ('{"city":"City %d"}'):format(i) }
      messages[#messages + 1] = { role = "assistant", tool_calls = { one } }
      messages[#messages + 1] = { role = "tool", call = one, content = ("cloud "):rep(600) }
    end
    local seen = {}
    options.prepare_step = function(step) step.structured_outputs = { choice = { ANSWER } } end
    options.on_event = function(event)
      if event.type == "compaction" then seen[#seen + 1] = event.why end
    end
    return agent_of(options):session { messages = messages }, seen
  end

  it("is shortened, by old results first, and the run goes on", function()
    local session, seen = long_session { compact = { vllm.compact.clear_results { keep = 1 } } }
    local result = finished(session:run "What did you see?")
    assert.same({ "completed", ANSWER, 1 }, { result.stop, result.text, #result.steps })
    assert.same({ "context_length" }, seen)
    assert.is_true(result.usage.prompt_tokens < 2048)
    assert.is_nil(transcripts.pair_fault(session:messages()))
    assert.equal(11, #session:messages())
  end)

  it("is not even sent, if the server may count first", function()
    local session, seen = long_session { context = true, compact = { vllm.compact.clear_results { keep = 1 } } }
    local result = finished(session:run "What did you see?")
    assert.same({ "completed", ANSWER, { "context" } }, { result.stop, result.text, seen })
    local counted = assert(client:tokens { messages = { QUESTION } })
    assert.equal(2048, counted.max_model_len)
    local answer = finished(client:turn { messages = { QUESTION }, max_completion_tokens = 1 })
    assert.equal(answer.usage.prompt_tokens, counted.count)
  end)

  it("is summarised by the model itself", function()
    local session, seen = long_session { compact = {
      vllm.compact.clear_results { keep = 1 }, vllm.compact.summarise { keep = 2, max_completion_tokens = 24 },
    } }
    assert.equal("completed", finished(session:run "What did you see?").stop)
    assert.same({ "context_length" }, seen)
    assert.truthy(session:messages()[1].content:find("Summary of the conversation", 1, true))
    assert.is_nil(transcripts.pair_fault(session:messages()))
  end)

  it("ends the run where nothing may be dropped, and loses nothing", function()
    local session = long_session { compact = false }
    local before = #session:messages()
    local result, _, err = session:run("What did you see?"):result()
    assert.is_nil(result)
    assert.same({ "context_length", 2048 }, { err.kind, err.context.limit })
    assert.equal(before + 1, #session:messages())
  end)
end)
