-- What spec/finalizers_spec.lua runs in a process of its own, whose heap is small: each chance of a finalizer is a
-- whole collection.
-- usage: lua spec/support/meddled_curl.lua     with the modules' paths set; prints "fine", or raises
local curl = require "vllm.curl"
local meddle_at = require "spec.support.meddle"
local server = require "spec.support.server"

-- A finalizer closes the request that is being read, and others come to stand in its memory.
local function close_while_reading()
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
        for _ = 1, 2 do
          local other = get "/nowhere"
          while other:read() do end
          other:close()
        end
      end, request[method], request)
      assert(ok and judge(first, second) or not ok and first:find("this request is closed", 1, true), first)
      came = has_come
      local still_open, why = pcall(request.info, request)
      assert(not came or not still_open and why:find("this request is closed", 1, true))
      request:close()
    end
    assert(at > 1, method .. ": no finalizer ever ran")
  end
  engine:close()
  running:stop()
end

-- A finalizer empties the options that are being read.
local function empty_options()
  local engine = assert(curl.engine())
  local at, came = 0, true
  while came do
    at = at + 1
    local function url() return "http://127.0.0.1:1/" .. ("long"):rep(20) end
    local options = { url = url(), method = "GET", proxy = "", no_proxy = "a.b" .. ("x"):rep(60), body = ("b"):rep(90),
      headers = {},
      tls = { ca_file = "/" .. ("f"):rep(80), cert = "/" .. ("c"):rep(80) } }
    for i = 1, 5 do options.headers[i] = { "X-" .. ("h"):rep(50) .. i, ("v"):rep(80) .. i } end
    local ok, first, second, third
    came, ok, first, second, third = meddle_at(at, function()
      for _, t in ipairs { options.headers or {}, options.tls or {}, options } do
        for key in pairs(t) do t[key] = nil end
      end
    end, engine.add, engine, options)
    assert(not ok or first ~= nil or second == "invalid", first or third)
    assert(ok or first:find(": expected ", 1, true), first)
    if ok and first then first:close() end
  end
  assert(at > 3, "no finalizer ever ran")
  engine:close()
end

close_while_reading()
empty_options()
print "fine"
