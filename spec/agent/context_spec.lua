-- The option `context`, and what an agent tells of the server's prefix cache.
require "spec.support.env"
local agents = require "spec.support.agents"
local vllm = require "vllm"

local calls, tool = agents.calls, agents.tool

-- An agent whose server counts by `tokens`.
local function counting(tokens, replies, options)
  return agents.new(replies, options, { tokens = tokens })
end

local function of_type(events, kind)
  local list = {}
  for _, event in ipairs(events) do
    if event.type == kind then list[#list + 1] = event end
  end
  return list
end

-- One token for each byte of the messages' texts.
local function bytes(length)
  return function(asked)
    local sum = 0
    for _, message in ipairs(asked.messages) do sum = sum + #message.content end
    return sum, length
  end
end

local function text(count) return ("x"):rep(count) end

-- A compactor that leaves so many bytes of the first message; and how often it was called.
local function cut(count)
  local called = { times = 0 }
  return function(messages)
    called.times = called.times + 1
    local out = {}
    for i, message in ipairs(messages) do out[i] = message end
    out[1] = { role = "user", content = messages[1].content:sub(1, count) }
    return out
  end, called
end

local function usage(prompt_tokens, cached_tokens)
  return { prompt_tokens = prompt_tokens, completion_tokens = 1, total_tokens = prompt_tokens + 1,
    prompt_tokens_details = cached_tokens and { cached_tokens = cached_tokens } }
end

describe("context", function()
  it("costs no request far from the limit", function()
    local options = { context = true, tools = { tool("f", function() return "r" end) } }
    local agent, transport = counting(bytes(32768), { calls "f", "ok", "ok", "ok" }, options)
    local session = agent:session()
    assert.equal("ok", session:ask "hi")
    assert.equal("ok", session:ask(text(2000)))
    assert.equal(0, #transport.counts)
    options.context = { max_tokens = 32768 }
    agent, transport = counting(bytes(32768), { "ok" }, options)
    assert.equal("ok", agent:ask(text(27000)))
    assert.equal(0, #transport.counts)
  end)

  it("is off unless it is asked for", function()
    local agent, transport = counting(bytes(100), { "ok" }, { context = false })
    assert.equal("ok", agent:ask(text(9000)))
    assert.equal(0, #transport.counts)
  end)

  it("counts the very request where an estimate does not suffice, and remembers the length of the model", function()
    local agent, transport = counting(bytes(32768), { "one", "two" },
      { context = true, instructions = "Be brief.", tools = { tool("f") }, max_completion_tokens = 100 })
    local session = agent:session()
    assert.equal("one", session:ask(text(12000)))
    assert.equal(1, #transport.counts)
    assert.equal(transport.requests[1].text, transport.counts[1].text)
    assert.equal("two", session:ask(text(12000)))
    assert.equal(1, #transport.counts)
  end)

  it("knows the last prompt from its usage, and what has come since cannot have more tokens than bytes", function()
    local agent, transport = counting(bytes(32768), {
      { text = "one", usage = usage(20000) }, { text = "two", usage = usage(25000) }, "three",
    }, { context = { max_tokens = 32768 } })
    local session = agent:session()
    session:ask "hi"
    session:ask(text(7500))
    assert.equal(0, #transport.counts)
    session:ask(text(2900)) -- 27900 at the most, and 85 % are 27852
    assert.equal(1, #transport.counts)
  end)

  it("lowers the limit of the answer to what is left, and says so", function()
    local function limit(options, count)
      options.context = options.context or true
      local agent, transport = counting(function() return count, 4096 end, { "ok" }, options)
      local result = assert(agent:run(text(9000)):result())
      return transport.requests[1].body, result.hints
    end
    local body, hints = limit({ max_completion_tokens = 1000 }, 3300)
    assert.equal(796, body.max_completion_tokens)
    assert.same({ "max_completion_tokens was lowered from 1000 to 796: the context is nearly full" }, hints)
    assert.equal(796, limit({ max_tokens = 1000 }, 3300).max_tokens)
    assert.is_nil(limit({ max_tokens = 1000 }, 3300).max_completion_tokens)
    assert.equal(700, limit({ max_completion_tokens = 700 }, 3300).max_completion_tokens)
    assert.is_nil(limit({}, 3300).max_completion_tokens)
    assert.equal(256, limit({ max_completion_tokens = 1000, compact = false }, 4000).max_completion_tokens)
    assert.equal(9, limit({ max_completion_tokens = 9, compact = false }, 4090).max_completion_tokens)
    assert.equal(96, limit({ max_completion_tokens = 1000, compact = false, context = { reserve = 50 } }, 4000)
      .max_completion_tokens)
  end)

  it("runs the compactors one by one until the prompt takes no more than the target", function()
    local first, one = cut(6000)
    local second, two = cut(4000)
    local third, three = cut(10)
    local options = { context = true, compact = { first, second, third } }
    local agent, transport = counting(bytes(10000), { "ok" }, options)
    local events = agents.events(agent:run(text(9000)))
    assert.same({ 1, 1, 0 }, { one.times, two.times, three.times })
    assert.equal(4000, #transport.requests[1].body.messages[1].content)
    assert.same({ "context" }, { of_type(events, "compaction")[1].why })
    assert.equal(1, #of_type(events, "compaction"))
    assert.equal(1, #transport.counts) -- 4000 bytes are certain to fit
  end)

  it("goes on with those that are left where a count says that it was not enough", function()
    local counts = { 9900, 9800, 1000 }
    local first, one = cut(100)
    local second, two = cut(50)
    local agent, transport = counting(function() return table.remove(counts, 1), 10000 end, { "ok" },
      { context = { trigger = 0.3, target = 0.29 }, compact = { first, second } })
    assert(agent:run({ { role = "user", content = text(9000) }, { role = "user", content = text(9000) } }):result())
    assert.same({ 1, 1 }, { one.times, two.times })
    assert.equal(2, #transport.counts)
    assert.equal(50, #transport.requests[1].body.messages[1].content)
  end)

  it("sends what cannot be made shorter: the server has the last word", function()
    local agent, transport = counting(bytes(5000), { "ok" }, { context = true })
    local events = agents.events(agent:run(text(9000)))
    assert.equal(9000, #transport.requests[1].body.messages[1].content)
    assert.equal(0, #of_type(events, "compaction"))
    assert.equal(1, #transport.counts)
  end)

  it("keeps to a length of its own", function()
    local first = cut(100)
    local agent, transport = counting(bytes(32768), { "ok" }, { context = { max_tokens = 1000 }, compact = first })
    assert.equal("ok", agent:ask(text(3000)))
    assert.equal(100, #transport.requests[1].body.messages[1].content)
  end)

  it("estimates where the server cannot count, and says so once", function()
    local first, one = cut(100)
    local options = { context = { max_tokens = 1000 }, compact = first }
    options.tools = { tool("f", function() return text(3000) end) }
    local agent, transport = counting(nil, { calls "f", "ok" }, options)
    local events = agents.events(agent:run(text(3000)))
    assert.equal(2, one.times)
    assert.equal(1, #transport.counts)
    local warnings = of_type(events, "warning")
    assert.equal(1, #warnings)
    assert.truthy(warnings[1].message:find("the tokens of the context cannot be counted: not_found: ", 1, true))
    local unknown = counting(nil, { "ok" }, { context = true, compact = first })
    assert.equal("ok", unknown:ask(text(30000)))
    assert.equal(2, one.times)
  end)

  it("learns the length from a refusal where the server cannot count", function()
    local message = "This model's maximum context length is 1000 tokens. However, your request has 9000 input tokens."
    local first, one = cut(100)
    local options = { context = true, compact = first }
    local refusal = { status = 400, body = { error = { message = message } } }
    local agent, transport = counting(nil, { refusal, "a", "b" }, options)
    assert.equal("a", agent:ask(text(9000)))
    assert.equal(1, one.times)
    assert.equal("b", agent:ask(text(9000)))
    assert.equal(2, one.times)
    assert.equal(3, #transport.requests)
  end)

  it("leaves it to the request to say that a limit is wrong", function()
    local options = { context = { max_tokens = 1000 }, max_completion_tokens = 10, compact = false }
    options.prepare_step = function(step) step.max_completion_tokens = 1500.5 end
    local _, message = counting(nil, {}, options):ask(text(3000))
    assert.truthy(message:find("invalid_request: max_completion_tokens", 1, true), message)
    options.prepare_step = function(step) step.max_completion_tokens = 2 ^ 62 end
    local agent, transport = counting(nil, { "ok" }, options)
    assert.equal("ok", agent:ask(text(600)))
    assert.equal(789, transport.requests[1].body.max_completion_tokens)
  end)

  it("does not count images by their bytes", function()
    local agent, transport = counting(bytes(8192), { "ok" }, { context = { max_tokens = 8192 } })
    local image = { type = "image", bytes = text(100000), mime = "image/png" }
    assert.equal("ok", agent:ask { role = "user", content = { "what is it?", image } })
    assert.equal(0, #transport.counts)
  end)

  it("ends at once when the run is cancelled meanwhile", function()
    local run
    local agent, transport = counting(function()
      run:cancel()
      return 10, 4096
    end, {}, { context = true })
    run = agent:run(text(13000))
    assert.equal("cancelled", assert(run:result()).stop)
    assert.equal(0, #transport.requests)
  end)

  it("is checked when the agent is made", function()
    local function fault(context)
      local ok, why = pcall(agents.new, {}, { context = context })
      assert.is_false(ok)
      return (why:gsub("^.-vllm.agent: ", ""))
    end
    assert.equal("context: expected true or a table, got 5", fault(5))
    assert.equal("context: unknown key `max`; known are max_tokens, reserve, target, trigger", fault { max = 1 })
    assert.equal("context: context.trigger: expected a number above 0, up to 1, got 85", fault { trigger = 85 })
    assert.equal("context: target is above trigger", fault { trigger = 0.4 })
    assert.equal("context: reserve is not below max_tokens", fault { max_tokens = 200 })
  end)
end)

describe("prefix_changed", function()
  -- The events of the last of some runs.
  local function changes(agent, ...)
    local session, events = agent:session(), nil
    for _, input in ipairs { ... } do events = agents.events(session:run(input)) end
    local list = {}
    for _, event in ipairs(of_type(events, "prefix_changed")) do list[#list + 1] = event.at .. " " .. event.why end
    return list
  end

  it("is not told where messages were only added", function()
    local toolset = { tools = function() return { tool("g", nil, { parameters = { type = "object" } }) } end }
    local agent = agents.new({ calls "f", "ok", calls "f", "ok" }, {
      instructions = function() return "Be brief." end, tools = { tool("f", function() return "r" end), toolset },
    })
    assert.same({}, changes(agent, "one", "two"))
  end)

  it("names the tools", function()
    local replies = { calls "f", "ok" }
    local agent = agents.new(replies, { tools = { tool("f", function() return "r" end), tool("g") },
      prepare_step = function(step) if step.number == 2 then step.tools = { "f" } end end })
    assert.same({ "tools tools" }, changes(agent, "one"))
    local asked = 0
    agent = agents.new(replies, { tools = { tool("f", function() return "r" end, { description = function()
      asked = asked + 1
      return "asked " .. asked
    end }) } })
    assert.same({ "tools tools" }, changes(agent, "one"))
    local count = 0
    local toolset = { tools = function()
      count = count + 1
      local deep = { type = "object", properties = { a = { enum = { "x", "y" .. count } } } }
      return { tool("f", function() return "r" end, { parameters = deep, validate = false }) }
    end }
    assert.same({ "tools tools" }, changes(agents.new(replies, { tools = { toolset } }), "one"))
  end)

  it("names the instructions", function()
    local count = 0
    local agent = agents.new({ "one", "two" }, { instructions = function()
      count = count + 1
      return "Request " .. count
    end })
    assert.same({ "instructions edited" }, changes(agent, "one", "two"))
  end)

  it("names the message that was edited, also in place", function()
    local function edit(messages)
      if #messages < 5 then return nil end
      messages[2] = { role = "assistant", content = "changed" }
      return messages
    end
    local agent = agents.new({ "one", "two", "three" }, { instructions = "Be brief.", before_request = edit })
    assert.same({ "messages[3] edited" }, changes(agent, "a", "b", "c"))
    agent = agents.new({ "one", "two" }, { before_request = function(messages)
      if #messages > 2 then messages[1].content = "changed" end
    end })
    assert.same({ "messages[1] edited" }, changes(agent, "a", "b"))
    agent = agents.new({ "one", "two" }, { prepare_step = function(step)
      if #step.messages > 2 then table.remove(step.messages, 1) end
    end })
    assert.same({ "messages[1] edited" }, changes(agent, "a", "b"))
  end)

  it("tells a compaction from an edit, once", function()
    local is_due = false
    local compact = { vllm.compact.keep_recent(1), when = function() return is_due end }
    local session = agents.new({ "one", "two", "three" }, { compact = compact }):session()
    local function change(input)
      local event = of_type(agents.events(session:run(input)), "prefix_changed")[1]
      return event and event.at .. " " .. event.why
    end
    assert.is_nil(change "a")
    is_due = true
    assert.equal("messages[1] compaction", change "b")
    is_due = false
    assert.is_nil(change "c")
  end)

  it("is not told of another model", function()
    local agent = agents.new({ "one", "two" }, { prepare_step = function(step)
      if #step.messages > 2 then step.model, step.messages = "other", { "alone" } end
    end })
    assert.same({}, changes(agent, "a", "b"))
  end)

  it("comes before the answer, and for each request that is not an extension of an answered one", function()
    local refusal = { error = { message = "This model's maximum context length is 10 tokens" } }
    local too_long = { status = 400, body = refusal }
    local session = agents.new({ "one", too_long, "two" }, { compact = vllm.compact.keep_recent(1) }):session()
    session:ask "a"
    local kinds = {}
    for _, event in ipairs(agents.events(session:run "b")) do
      if event.type == "prefix_changed" or event.type == "text_delta" then kinds[#kinds + 1] = event.type end
    end
    assert.same({ "prefix_changed", "text_delta" }, kinds)
  end)
end)

describe("cache_miss", function()
  local function misses(first, second, options)
    local agent = agents.new({ { text = "one", usage = first }, { text = "two", usage = second } }, options)
    local session = agent:session()
    session:ask "a"
    local event = of_type(agents.events(session:run "b"), "cache_miss")[1]
    return event and { event.expected, event.cached }
  end

  it("is told where more than 5 % and 2000 tokens of the last prompt were read again", function()
    assert.same({ 30000, 27999 }, misses(usage(30000), usage(31000, 27999)))
    assert.is_nil(misses(usage(30000), usage(31000, 28000)))
    assert.same({ 100000, 94999 }, misses(usage(100000), usage(100100, 94999)))
    assert.is_nil(misses(usage(100000), usage(100100, 95000)))
    assert.is_nil(misses(usage(1900), usage(2000, 0)))
  end)

  it("expects no more than the new prompt has", function()
    assert.is_nil(misses(usage(30000), usage(5000, 4000)))
    assert.same({ 5000, 1000 }, misses(usage(30000), usage(5000, 1000)))
  end)

  it("is not told where the server does not say what it found, or another model is asked", function()
    assert.is_nil(misses(usage(30000), usage(31000)))
    assert.is_nil(misses(usage(30000), usage(31000, 0), { prepare_step = function(step)
      if #step.messages > 2 then step.model = "other" end
    end }))
    assert.same({ 30000, 0 }, misses(usage(30000), usage(31000, 0)))
  end)
end)
