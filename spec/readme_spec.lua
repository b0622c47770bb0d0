-- The programs of README.md, unchanged, each in its own interpreter against the test server.
local child = require "spec.support.child"
local servers = require "spec.support.server"

local file = assert(io.open("README.md", "rb"))
local README = file:read "*a"
file:close()

-- Those before the chapter on Neovim, whose program spec/hosts runs.
local PROGRAMS = {}
for code in README:match "^(.-)\n### Neovim\n":gmatch "```lua\n(.-)```" do PROGRAMS[#PROGRAMS + 1] = code end

local WEATHER = "get_weather(Paris) says: celsius 18, city Paris, sky sunny."

local function roles(body)
  local list = {}
  for role in body:gmatch '"role":"(%w+)"' do list[#list + 1] = role end
  return table.concat(list, " ")
end

-- In the order of the document: what is printed, and what the bodies of the requests are looked at for.
local EXPECTED = {
  { "asks", "You said: Why is the sky blue?\n",
    function(bodies) assert.truthy(bodies[1]:find('"model":"Qwen/Qwen3-8B"', 1, true)) end },
  { "has tools", WEATHER .. "\n", function(bodies) assert.equal("user assistant tool", roles(bodies[2])) end },
  { "streams", "You said: Tell me a story.\n",
    function(bodies) assert.truthy(bodies[1]:find('"stream":true', 1, true)) end },
  { "says how to answer", "You said: Why is the sky blue?\nYou said: And the sea?\n", function(bodies)
    assert.truthy(bodies[1]:find('{"content":"Answer in French.","role":"system"}', 1, true), bodies[1])
    assert.truthy(bodies[2]:find('{"content":"Answer in one word.","role":"system"}', 1, true), bodies[2])
    assert.equal("system user", roles(bodies[2]))
    assert.truthy(bodies[2]:find('"max_completion_tokens":50', 1, true))
  end },
  { "holds a conversation", "You said: My name is Ada.\nYou said: What is my name?\n", function(bodies)
    assert.equal("system user assistant user", roles(bodies[2]))
  end },
  { "asks many things",
    "Why is the sky blue?\tYou said: Why is the sky blue?\nWhy is grass green?\tYou said: Why is grass green?\n"
    .. "Why is snow white?\tYou said: Why is snow white?\n", function(bodies) assert.equal(3, #bodies) end },
  { "shows why it failed", nil, function(bodies) assert.equal(0, #bodies) end },
}

describe("README.md", function()
  local server
  setup(function() server = servers.start() end)
  teardown(function() server:stop() end)
  before_each(function() server:clear_log() end)

  it("has as many programs as are tried here", function() assert.equal(#EXPECTED, #PROGRAMS) end)

  for i, expected in ipairs(EXPECTED) do
    it("has a program that " .. expected[1], function()
      local environment = { VLLM_MODEL = "test-model", VLLM_BASE_URL = server.url .. "/v1" }
      -- What goes to localhost:8000 there comes to the test server as to a proxy.
      if i == 1 then environment.http_proxy = server.url end
      local output, status = child.lua(PROGRAMS[i], environment)
      assert.equal(0, status, output)
      if expected[2] then
        assert.equal(expected[2], output)
      else
        assert.truthy(output:find "^connect: .*\tconnect\ttrue\n$", output)
      end
      local bodies = {}
      for _, record in ipairs(server:log "request") do bodies[#bodies + 1] = record.body end
      expected[3](bodies)
    end)
  end
end)
