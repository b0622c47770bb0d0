-- Lua may run finalizers at any allocation, within our C functions too, and metamethods while options are read. Whatever these do to the
-- objects at hand, C must not read memory that is gone. Of vllm.core, spec/bind/meddled.lua shows that.
require "spec.support.env"
local core = require "vllm.core"
local curl = require "vllm.curl"
local meddle_at = require "spec.support.meddle"
local server = require "spec.support.server"

describe("while C works, a finalizer", function()
  it("may close the request that is being read, at any allocation", function()
    local running = server.start {}
    local engine = assert(curl.engine())
    local function get(path)
      local request = assert(engine:add { url = running.url .. path, method = "GET", proxy = "" })
      while request:head() == false do engine:step(1) end
      engine:step(0)
      return request
    end
    local first_one = get "/v1/models"
    local _, head = first_one:head()
    local body = first_one:read()
    first_one:close()
    local judges = {
      head = function(status, lines) return status == 200 and lines == head end,
      read = function(bytes) return bytes == body end,
      info = function(info) return info.remote_ip == "127.0.0.1" end,
    }
    for method, judge in pairs(judges) do
      local at, came = 0, true
      while came do
        at = at + 1
        local request = get "/v1/models"
        local has_come, ok, first, second = meddle_at(at, function()
          request:close()
          for _ = 1, 2 do -- in the same memory
            local other = get "/nowhere"
            while other:read() do end
            other:close()
          end
        end, request[method], request)
        assert.truthy(ok and judge(first, second) or not ok and first:find("this request is closed", 1, true), first)
        came = has_come
        if came then assert.error_matches(function() request:info() end, "this request is closed", 1, true) end
        request:close()
      end
      assert.is_true(at > 1, method)
    end
    engine:close()
    running:stop()
  end)

  it("may empty the options of a request, at any allocation", function()
    local engine = assert(curl.engine())
    local at, came = 0, true
    while came do
      at = at + 1
      local function url() return "http://127.0.0.1:1/" .. ("long"):rep(20) end
      local options = { url = url(), method = "GET", proxy = "", no_proxy = "a.b" .. ("x"):rep(60), body = ("b"):rep(90), headers = {},
        tls = { ca_file = "/" .. ("f"):rep(80), cert = "/" .. ("c"):rep(80) } }
      for i = 1, 5 do options.headers[i] = { "X-" .. ("h"):rep(50) .. i, ("v"):rep(80) .. i } end
      local ok, first, second, third
      came, ok, first, second, third = meddle_at(at, function()
        for _, t in ipairs { options.headers or {}, options.tls or {}, options } do
          for key in pairs(t) do t[key] = nil end
        end
      end, engine.add, engine, options)
      assert.is_true(not ok or first ~= nil or second == "invalid", first or third)
      if not ok then assert.truthy(first:find "^request: ", first) end
      if ok and first then first:close() end
    end
    assert.is_true(at > 3)
    engine:close()
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
    for round = 1, 50 do
      local field = ("field" .. round .. " "):rep(20)
      local options = setmetatable({}, { __index = function(_, name)
        collectgarbage()
        return (name == "filler" or name == "reasoning_field") and ("field" .. round .. " "):rep(20) or nil
      end })
      local text = core.messages({ 6, 1, false, 11, "because", 9, "so" }, options)
      assert.equal(('[{"content":"%s","role":"user"},{"content":"so","%s":"because","role":"assistant"}]'):format(field, field), text)
    end
  end)
end)
