-- docs/agents.md and the code agree: its tables have every option, member, stop and event, and its programs run.
require "spec.support.env"
local agents = require "spec.support.agents"
local testing = require "vllm.testing"
local vllm = require "vllm"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local TEXT = read "docs/agents.md"

-- The names in the first cells of the table whose first line this is.
local function table_after(first_line)
  local at = assert(TEXT:find("\n" .. first_line, 1, true), first_line)
  local names, is_first = {}, true
  for line in TEXT:sub(at + 1):gmatch "([^\n]*)\n" do
    if line:sub(1, 1) ~= "|" then break end
    local cell = not is_first and line:match "^| (.-) |" or ""
    is_first = false
    for name in cell:gmatch "`([%w_]+)" do names[name] = true end
  end
  return names
end

local function keys(...)
  local set = {}
  for _, map in ipairs { ... } do
    for key in pairs(map) do set[key] = true end
  end
  return set
end

describe("docs/agents.md", function()
  it("has every option and no other", function()
    local options = require "vllm.agent.options"
    assert.same(keys(options.CHECKS, options.OWN), table_after "| option |")
  end)

  it("has every member of a tool that a program sets", function()
    local known = keys(require("vllm.agent.checked_tool").KEYS)
    known.annotations, known.metadata, known.title = nil, nil, nil -- carried along
    assert.same(known, table_after "| member |")
  end)

  it("has every compactor", function()
    local names = {}
    for name, value in pairs(vllm.compact) do
      if type(value) == "function" then names[name] = true end
    end
    assert.same(names, table_after "| of `vllm.compact` |")
  end)

  it("has every stop and no other", function()
    local source = read "lua/vllm/agent/outcome.lua"
    local known = {}
    for name in source:match("field stop(.-)nil in an"):gmatch '"([%w_]+)"' do known[name] = true end
    assert.same(known, table_after "| why it stopped |")
  end)

  it("has every event that the code emits, and no other", function()
    local known = {}
    for _, name in ipairs { "executor", "course", "drive", "loop", "shortener", "context" } do
      for kind in read("lua/vllm/agent/" .. name .. ".lua"):gmatch 'emit[( ]+"([%w_]+)"' do known[kind] = true end
    end
    assert.same(known, table_after "| event |")
  end)

  it("has every field of a result", function()
    local result = assert(agents.new({ "ok" }):run("x"):result())
    result.refusal = nil
    assert.same(keys(result), table_after "| field |")
  end)

  it("runs, as one program", function()
    local blocks = {}
    for code in TEXT:gmatch "```lua\n(.-)```" do blocks[#blocks + 1] = code end
    local question = agents.calls("get_weather", { city = "Paris" })
    local client, transport = testing.client {
      question, "18 degrees.", "Cold.", question, "18 again.", question, "18, as you allowed.", "The same.", question,
        "18.",
    }
    local printed = {}
    local environment = setmetatable({
      print = function(...) printed[#printed + 1] = table.concat({ tostring((...)), tostring((select(2, ...))) },
        " ") end,
      io = { write = function() end },
      require = function(name)
        if name ~= "vllm" then return require(name) end
        return setmetatable({ agent = function(options)
          options.client = client
          return vllm.agent(options)
        end }, { __index = vllm })
      end,
    }, { __index = _G })
    local chunk
    if rawget(_G, "setfenv") then
      chunk = assert(loadstring(table.concat(blocks, "\n"))) -- luacheck: ignore
      setfenv(chunk, environment) -- luacheck: ignore
    else
      chunk = assert(load(table.concat(blocks, "\n"), "docs/agents.md", "t", environment)) -- luacheck: ignore
    end
    chunk()
    assert.equal(10, #transport.requests)
    local all = table.concat(printed, "\n")
    assert.truthy(all:find("may I call get_weather", 1, true), all)
    assert.truthy(all:find("18, as you allowed.", 1, true), all)
  end)
end)
