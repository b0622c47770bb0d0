-- The calls of one step: checked, run beside each other, answered in order; what a tool may return, and how it fails.
require "spec.support.env"
local agents = require "spec.support.agents"
local vllm = require "vllm"

local calls, tool, results = agents.calls, agents.tool, agents.results

-- The result of one call of a tool.
local function result_of(run, more)
  local agent = agents.new({ calls("f", { x = 1 }), "ok" }, { tools = { tool("f", run, more) } })
  local session = agent:session()
  assert.equal("ok", session:ask "go")
  for _, message in ipairs(session:messages()) do
    if message.role == "tool" then return message end
  end
end

local function failure_of(run, more)
  local message = result_of(run, more)
  assert.is_true(message.is_error)
  return message.metadata.failure, message.content
end

describe("what a tool returns", function()
  it("is text, or a value that is sent as JSON", function()
    assert.equal("text", result_of(function() return "text" end).content)
    assert.equal('{"a":[1,2]}', result_of(function() return { a = { 1, 2 } } end).content)
    assert.equal("false", result_of(function() return false end).content)
    assert.equal("12", result_of(function() return 12 end).content)
    assert.equal("(no output)", result_of(function() end).content)
    assert.is_nil(result_of(function() end).is_error)
  end)

  it("may be parts", function()
    local image = assert(vllm.image { url = "https://example.org/a.png" })
    assert.same({ image }, result_of(function() return image end).content)
    assert.same({ "see", image }, result_of(function() return { "see", image } end).content)
  end)

  it("is told as a failure where it cannot be sent: a transcript must not be spoilt", function()
    local failure, why = failure_of(function() return { f = print } end)
    assert.same({ "failed", "the tool's result cannot be sent: f: a function is not a JSON value" }, { failure, why })
    failure, why = failure_of(function() return { type = "image", url = "cat.png" } end)
    assert.equal("failed", failure)
    assert.truthy(why:find("expected a URL", 1, true), why)
    assert.equal("failed", (failure_of(function() return 0 / 0 end)))
  end)

  it("is repaired where it is not UTF-8, and cut at its limit between code points", function()
    assert.equal("a\239\191\189b", result_of(function() return "a\255b" end).content)
    local content = result_of(function() return ("é"):rep(10) end, { output_limit = 5 }).content
    assert.equal("éé\n[cut here: 4 of 20 bytes are shown]", content)
    assert.equal("xx\n[cut here: 2 of 9 bytes are shown]",
      result_of(function() return "xxxxxxxxx" end, { output_limit = 2 }).content)
    local long = result_of(function() return ("x"):rep(70000) end).content
    assert.equal(65536, #long:match "^x+")
  end)

  it("may be a failure, with a reason", function()
    assert.same({ "failed", "not there" }, { failure_of(function() return nil, "not there" end) })
    local failure, why = failure_of(function() error("boom", 0) end)
    assert.same({ "failed", "the tool failed: boom" }, { failure, why })
    failure, why = failure_of(function() error({ code = 7 }) end)
    assert.equal("failed", failure)
    assert.equal('the tool failed: {"code":7}', why)
    assert.same({ "failed", "not there" }, { failure_of(function() return false, "not there" end) })
    assert.same({ "failed", '{"code":7}' }, { failure_of(function() return nil, { code = 7 } end) })
    failure, why = failure_of(function()
      vllm.sleep(0.001)
      error("late", 0)
    end)
    assert.same({ "failed", "the tool failed: late" }, { failure, why })
  end)

  it("may ask for a better call: once, then it is a failure", function()
    local count = 0
    local agent = agents.new({ calls "f", calls "f", calls "f", "ok" },
      { loop_guard = false, tools = { tool("f", function()
      count = count + 1
      if count == 2 then error(vllm.retry "again") end
      return vllm.retry "give a city"
    end) } })
    local session = agent:session()
    session:ask "go"
    assert.same({ "give a city\nFix the errors and try again.", "again", "give a city" }, results(session))
  end)

  it("forgives after a success", function()
    local answers = { vllm.retry "a", "fine", vllm.retry "b" }
    local count = 0
    local agent = agents.new({ calls "f", calls "f", calls "f", "ok" },
      { loop_guard = false, tools = { tool("f", function()
      count = count + 1
      return answers[count]
    end) } })
    local session = agent:session()
    session:ask "go"
    assert.truthy(results(session)[3]:find("try again", 1, true))
  end)
end)

describe("a call", function()
  it("of an unknown tool is told which there are, and which was meant", function()
    local agent = agents.new({ calls("wether", {}, "x", {}), "ok" },
      { tools = { tool("weather", print), tool("time", print) } })
    local session = agent:session()
    session:ask "go"
    assert.equal("there is no tool `wether` (did you mean `weather`?); the tools are weather, time\n"
      .. "Fix the errors and try again.",
      results(session)[1])
    assert.truthy(results(session)[2]:find("there is no tool `x`; the tools are weather, time", 1, true))
  end)

  it("whose arguments break the schema is told where, and does not run", function()
    local count = 0
    local agent = agents.new({ calls("f", { n = "x" }), "ok" },
      { tools = { tool("f", function() count = count + 1 end, {
      parameters = { type = "object", required = { "city", "n" },
        properties = { city = { type = "string" }, n = { type = "integer" } } },
    }) } })
    local session = agent:session()
    session:ask "go"
    assert.equal(0, count)
    local words = results(session)[1]
    assert.truthy(words:find("^the arguments do not fit the schema of `f`:\n"), words)
    assert.truthy(words:find("city", 1, true), words)
    assert.truthy(words:find("/n", 1, true), words)
    assert.truthy(words:find("Fix the errors and try again.", 1, true), words)
  end)

  it("is not checked where validate = false", function()
    local message = result_of(function(input) return "got " .. input.x end, {
      validate = false, parameters = { type = "object", required = { "city" },
        properties = { city = { type = "string" } } },
    })
    assert.equal("got 1", message.content)
  end)

  it("whose arguments are no JSON never runs", function()
    local count = 0
    local agent = agents.new({ { tool_calls = { { name = "f", arguments = "{bad" } } }, "ok" },
      { tools = { tool("f", function() count = count + 1 end) } })
    local session = agent:session()
    assert.equal("ok", session:ask "go")
    assert.equal(0, count)
    assert.truthy(results(session)[1]:find("^the call was not run: "))
  end)

  it("knows its id, name, raw arguments and session, and tells of its progress", function()
    local seen, session
    local agent = agents.new({ calls("f", { x = 1 }), "ok" }, { tools = { tool("f", function(_, call)
      seen = { call.id, call.name, call.arguments, call.session == session, call:is_cancelled() }
      call:progress "half"
      return "done"
    end) } })
    session = agent:session()
    local progress
    session:run("go"):each(function(event) if event.type == "tool_progress" then progress = event end end)
    assert.same({ "call1_1", "f", '{"x":1}', true, false }, seen)
    assert.same({ "call1_1", "f", "half", 1 }, { progress.id, progress.name, progress.text, progress.step })
  end)
end)

describe("the calls of one step", function()
  local function traced()
    local log, active = {}, 0
    return log, function(_, call)
      active = active + 1
      log[#log + 1] = call.name .. active
      vllm.sleep(0.002)
      active = active - 1
      return call.id
    end
  end

  it("run beside each other, and their results keep the order of the calls", function()
    local log, run = traced()
    local agent = agents.new({ calls("a", {}, "b", {}, "c", {}), "ok" }, { tools = {
      tool("a", function(_, call) vllm.sleep(0.02); return run(nil, call) end), tool("b", run), tool("c", run),
    } })
    local session = agent:session()
    session:ask "go"
    assert.same({ "b1", "c2", "a1" }, log)
    assert.same({ "call1_1", "call1_2", "call1_3" }, results(session))
  end)

  it("are at most `parallel`", function()
    local log, run = traced()
    local agent = agents.new({ calls("a", {}, "a", {}, "a", {}, "a", {}), "ok" },
      { parallel = 2, loop_guard = false, tools = { tool("a", run) } })
    agent:ask "go"
    assert.same({ 4, "a1", "a2" }, { #log, log[1], log[2] })
    for _, entry in ipairs(log) do assert.truthy(entry == "a1" or entry == "a2", entry) end
  end)

  it("run alone where a tool is exclusive", function()
    local log, run = traced()
    local agent = agents.new({ calls("p", {}, "p", {}, "x", {}, "p", {}), "ok" },
      { loop_guard = false, tools = { tool("p", run), tool("x", run, { exclusive = true }) } })
    agent:ask "go"
    assert.same({ "p1", "p2", "x1", "p1" }, log)
  end)

  it("end at their time; a late result is dropped, and the others go on", function()
    local ended = {}
    local agent = agents.new({ calls("slow", {}, "quick", {}), "ok" }, { tools = {
      tool("slow", function() vllm.sleep(30); ended[#ended + 1] = "slow" end, { timeout_s = 0.01 }),
      tool("quick", function() return "q" end),
    } })
    local session = agent:session()
    assert.equal("ok", session:ask "go")
    assert.same({ "the tool was ended after 0.01 s", "q" }, results(session))
    assert.same({}, ended)
  end)

  it("have a limit of time from the agent, too", function()
    local agent = agents.new({ calls "slow", "ok" },
      { tool_timeout_s = 0.01, tools = { tool("slow", function() vllm.sleep(30) end) } })
    local session = agent:session()
    assert.equal("ok", session:ask "go")
    assert.same({ "the tool was ended after 0.01 s" }, results(session))
  end)

  it("tell when a tool held everything up", function()
    local warning
    local agent = agents.new({ calls "busy", "ok" }, { tools = { tool("busy", function()
      local stop = os.clock() + 0.15
      repeat until os.clock() > stop
    end) } })
    agent:run("go"):each(function(event) if event.type == "warning" then warning = event.message end end)
    assert.truthy(warning:find("^`busy` held everything up for %d+%.%d s: "), warning)
  end)

  it("stop where the same one comes again and again: told at the third, refused at the fifth", function()
    local replies = {}
    for i = 1, 5 do replies[i] = calls("f", { x = 1 }) end
    replies[6] = "I give up."
    local count = 0
    local agent, transport = agents.new(replies, { tools = { tool("f",
      function() count = count + 1; return "x" end) } })
    local session = agent:session()
    local result = assert(session:run("go"):result())
    assert.same({ "loop_detected", "I give up.", 4 }, { result.stop, result.text, count })
    assert.equal("none", transport.requests[6].body.tool_choice)
    local list = results(session)
    assert.equal("x", list[2])
    assert.truthy(list[3]:find("This call was made 3 times with the same arguments", 1, true))
    assert.truthy(list[5]:find("^the call was not run: "))
  end)

  it("say themselves what the same is", function()
    local replies = {}
    for i = 1, 6 do replies[i] = calls("f", { x = 1 }) end
    replies[7] = "ok"
    local function done() return "x" end
    local agent = agents.new(replies, { tools = { tool("f", done, { loop_key = function() return nil end }) } })
    assert.equal("ok", agent:ask "go")
    for i = 1, 5 do replies[i] = calls("f", { x = i }) end
    replies[6] = "stopped"
    agent = agents.new(replies, { tools = { tool("f", done, { loop_key = function() return "same" end }) } })
    assert.equal("loop_detected", assert(agent:run("go"):result()).stop)
  end)
end)

describe("toolsets", function()
  it("are asked before each step, and may wait", function()
    local asked = 0
    local set = { tools = function()
      asked = asked + 1
      vllm.sleep(0)
      return { tool("f" .. asked, function() return "x" end) }
    end }
    local agent, transport = agents.new({ calls "f1", "ok" }, { tools = { set } })
    assert.equal("ok", agent:ask "go")
    assert.equal("f2", transport.requests[2].body.tools[1]["function"].name)
  end)

  it("leave out a tool that cannot be used or is there already, with a warning", function()
    local warnings = {}
    local set = { tools = function() return { { name = "a b" }, tool("f", print), tool("g", print) } end }
    local agent, transport = agents.new({ "ok" }, { tools = { tool("f", print), set } })
    agent:run("go"):each(function(event)
      if event.type == "warning" then warnings[#warnings + 1] = event.message end
    end)
    assert.equal(2, #transport.requests[1].body.tools)
    assert.same({
      "a tool of a toolset is left out: name: expected 1 to 64 of a-z A-Z 0-9 _ -, got \"a b\"",
        "a second tool `f` is left out",
    }, warnings)
  end)

  it("that fail end the run with what they raised", function()
    local agent = agents.new({ "never" }, { tools = { { tools = function() error("no tools today", 0) end } } })
    local _, message = agent:ask "go"
    assert.truthy(message:find("^config: no tools today"), message)
  end)

  it("have hidden tools, which are not offered and may be called", function()
    local agent, transport = agents.new({ calls "h", "ok" },
      { tools = { tool("h", function() return "hid" end, { hidden = true }) } })
    local session = agent:session()
    assert.equal("ok", session:ask "go")
    assert.is_nil(transport.requests[1].body.tools)
    assert.same({ "hid" }, results(session))
  end)

  it("are offered in their order, those of active_tools alone", function()
    local agent, transport = agents.new({ "ok" }, { active_tools = { "c", "a" },
      tools = { tool "a", tool "b", tool "c" } })
    agent:ask "go"
    local names = {}
    for i, offered in ipairs(transport.requests[1].body.tools) do names[i] = offered["function"].name end
    assert.same({ "a", "c" }, names)
  end)
end)
