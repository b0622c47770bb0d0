-- Lua may run finalizers at any allocation, within our C functions too, and metamethods while options are read.
-- Whatever these do to the objects at hand, C must not read memory that is gone. Of vllm.core, spec/bind/meddled.lua
-- shows that.
require "spec.support.env"
local child = require "spec.support.child"
local core = require "vllm.core"
local curl = require "vllm.curl"

describe("while libcurl's part works, a finalizer", function()
  it("may close the request that is being read, or empty its options, at any allocation", function()
    local output, status = child.lua 'dofile "spec/support/meddled_curl.lua"'
    assert.same({ "fine\n", 0 }, { output, status })
  end)
end)

describe("an __index of an options table", function()
  it("may close the engine that reads it", function()
    local engine = assert(curl.engine())
    local options = setmetatable({}, { __index = function(_, name)
      engine:close()
      return name == "url" and "http://127.0.0.1:1/" or name == "method" and "GET" or nil
    end })
    local ok, why = pcall(engine.add, engine, options)
    assert.is_false(ok)
    assert.truthy(why:find("this engine is closed", 1, true))
  end)

  it("may make texts that nobody else holds", function()
    local codes = core.message_codes
    for round = 1, 50 do
      local field = ("field" .. round .. " "):rep(20)
      local options = setmetatable({}, { __index = function(_, name)
        collectgarbage()
        return (name == "filler" or name == "reasoning_field") and ("field" .. round .. " "):rep(20) or nil
      end })
      local text = core.messages({ codes.assistant, 1, false, codes.reasoning, "because", codes.text, "so" }, options)
      assert.equal(('[{"content":"%s","role":"user"},{"content":"so","%s":"because","role":"assistant"}]')
        :format(field, field), text)
    end
  end)
end)
