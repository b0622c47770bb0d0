-- Tools and tool_choice, from their short forms to the wire's. Wrong values: bad_input_spec.lua.
local config = require "vllm.request.config"
local core = require "vllm.core"
local request = require "vllm.request"

local function build(call, options)
  options = options or {}
  options.model = options.model or "m"
  return assert(request.build(config.check(options), call))
end

local function body(call, options)
  return build(call, options).body
end

-- The body of a call with `text = "hi"`, without what every body has.
local function rest(call, options)
  call.text, call.stream = "hi", false
  local text = body(call, options)
  local members = core.json_decode(text)
  assert.same({ { role = "user", content = "hi" } }, members.messages)
  members.messages, members.model, members.stream = nil, nil, nil
  return members
end

local function tool(name)
  return { name = name, parameters = { type = "object", properties = {} } }
end

local function wire_tool(name)
  return { type = "function", ["function"] = tool(name) }
end

describe("tools", function()
  it("in the short form get the wire's shape", function()
    local members = rest { tools = { { name = "f", description = "d", strict = true,
      parameters = { type = "object", properties = {} },
      defer_loading = true, run = function() end, timeout_s = 3, title = "T" } } }
    assert.same({ { type = "function", ["function"] = { name = "f", description = "d", strict = true,
      defer_loading = true,
      parameters = { type = "object", properties = {} } } } }, members.tools)
  end)

  it("in the wire's shape keep what they hold", function()
    local members = rest { tools = { { type = "function", x = 1,
      ["function"] = { name = "f", y = 2, parameters = { type = "object" } } } } }
    assert.same({ { type = "function", x = 1,
      ["function"] = { name = "f", y = 2, parameters = { type = "object" } } } }, members.tools)
  end)

  it("without parameters say so, for templates that walk the properties", function()
    assert.same({ wire_tool "f", wire_tool "g", wire_tool "h" },
      rest { tools = { { name = "f" }, { name = "g", parameters = {} }, { ["function"] = { name = "h" } } } }.tools)
  end)

  it("keep ready schemas", function()
    assert.truthy(body({ text = "hi", tools = { { name = "f", parameters = assert(core.raw '{"b":1,"a":2}') } } })
      :find('"parameters":{"b":1,"a":2}', 1, true))
    assert.truthy(body({ text = "hi", tools = assert(core.raw '[{"x":1}]'),
      tool_choice = "f" }):find('"tools":[{"x":1}]', 1, true))
  end)

  it("keep their order", function()
    local members = rest { tools = { tool "b", tool "a", wire_tool "c" } }
    assert.same({ wire_tool "b", wire_tool "a", wire_tool "c" }, members.tools)
  end)

  it("are left out when there are none, with a choice that asks for nothing", function()
    assert.same({}, rest { tools = {} })
    assert.same({}, rest { tools = {}, tool_choice = "auto" })
    assert.same({}, rest({ tools = {}, tool_choice = "none" }, { tools = { tool "f" } }))
    assert.same({}, rest({ tools = core.null }, { tools = { tool "f" }, tool_choice = "f" }))
  end)

  it("take names of every allowed letter and length", function()
    local long = ("aZ09_-xx"):rep(8)
    assert.equal(long, rest { tools = { tool(long) } }.tools[1]["function"].name)
  end)
end)

describe("tool_choice", function()
  local function choice(value)
    return rest { tools = { tool "f", tool "g" }, tool_choice = value }.tool_choice
  end

  it("passes the wire's own words", function()
    for _, word in ipairs { "none", "auto", "required" } do assert.equal(word, choice(word)) end
  end)

  it("makes a tool's name an object", function()
    assert.same({ type = "function", ["function"] = { name = "g" } }, choice "g")
    assert.same({ type = "function", ["function"] = { name = "g" } },
      choice { type = "function", ["function"] = { name = "g" } })
    assert.same({ type = "allowed_tools", x = 1 },
      rest({ tools = { tool "f" }, extra_body = { tool_choice = { type = "allowed_tools", x = 1 } } }).tool_choice)
  end)

  it("lets the wire's word win over a tool of that name", function()
    assert.equal("auto", rest({ tools = { tool "auto" }, tool_choice = "auto" }).tool_choice)
  end)

  it("of the client is left out in a call without tools", function()
    assert.is_nil(rest({}, { tool_choice = "required" }).tool_choice)
  end)

  it("is known to who measures the answer", function()
    local function asked(call)
      call.text = "hi"
      return build(call).asked
    end
    assert.same({ tools = false, call_demanded = false, choices = 1 }, asked {})
    assert.same({ tools = true, call_demanded = false, choices = 3 }, asked { tools = { tool "f" }, n = 3 })
    assert.same({ tools = true, call_demanded = false, choices = 1 },
      asked { tools = { tool "f" }, tool_choice = "auto" })
    assert.same({ tools = true, call_demanded = true, choices = 1 },
      asked { tools = { tool "f" }, tool_choice = "required" })
    assert.same({ tools = true, call_demanded = true, choices = 1 }, asked { tools = { tool "f" }, tool_choice = "f" })
    assert.same({ tools = false, call_demanded = false, choices = 1 },
      asked { tools = { tool "f" }, tool_choice = "none" })
    assert.is_true(asked({ stop = "x" }).stop)
  end)
end)
