-- Lua may run finalizers at any allocation, within our C functions too, and metamethods while options are read. Whatever these do to the
-- objects at hand, C must not read memory that is gone. Most of it shows as wrong bytes here; `make asan` shows all of it.
require "spec.support.env"
local core = require "vllm.core"
local curl = require "vllm.curl"
local server = require "spec.support.server"

local ROUNDS = 6 -- each costs whole collections of all that the suite has loaded
local newproxy = rawget(_G, "newproxy")

local function at_collection(fn)
  if newproxy then
    getmetatable(newproxy(true)).__gc = fn
  else
    setmetatable({}, { __gc = fn })
  end
end

-- Calls f(...), with `meddle` as a finalizer that is due at the first allocations of f.
local function meddled(meddle, f, ...)
  collectgarbage()
  local pause, step = collectgarbage("setpause", 1), collectgarbage("setstepmul", 10000000)
  if _VERSION == "Lua 5.4" then collectgarbage("incremental", 1, 1000, 40) end -- else a collection takes many small steps
  collectgarbage("stop")
  local armed = true
  at_collection(function()
    collectgarbage("setpause", pause)
    if armed then
      armed = false
      meddle()
    end
  end)
  collectgarbage("restart")
  local results = { pcall(f, ...) }
  armed = false
  collectgarbage("setpause", pause)
  collectgarbage("setstepmul", step)
  if _VERSION == "Lua 5.4" then collectgarbage("incremental", pause, step, 13) end
  return results[1], results[2], results[3], results[4]
end

-- Calls object[method](object, argument) with a finalizer that feeds `more` to the object and closes it, while the object is handing
-- something out; `probe` is a method that refuses to work then. A finalizer that comes before sends another one.
-- Returns whether it came in time, and what the method returned.
local function meddled_inside(object, probe, more, method, argument)
  local left, was_inside = 20, false
  local function meddle()
    local _, why = pcall(object[probe], object)
    if type(why) == "string" then
      assert(why:find("handing out", 1, true), why)
      was_inside = true
      pcall(object.feed, object, more)
      debug.getmetatable(object).__close(object, nil)
    elseif left > 0 then
      left = left - 1
      collectgarbage("setpause", 1)
      at_collection(meddle)
    end
  end
  local ok, first, second = meddled(meddle, object[method], object, argument)
  left = 0
  assert(ok, first)
  return was_inside, first, second
end

local function empty(t)
  return function()
    for key in pairs(t) do t[key] = nil end
    collectgarbage()
  end
end

-- Long keys: short ones can outlive their last use.
local function many(round)
  local t, names = {}, {}
  for i = 1, 60 do
    names[i] = ("key%03d of round %d "):format(i, round) .. ("x"):rep(60)
    t[names[i]] = tostring(i)
  end
  return t, names
end

describe("while C works, a finalizer", function()
  it("may empty the table that becomes JSON", function()
    for round = 1, ROUNDS do
      local t, names = many(round)
      local ok, text = meddled(empty(t), core.json_encode, t)
      assert.is_true(ok)
      local back = assert(core.json_decode(text))
      for name in pairs(back) do assert.truthy(name:find("^key%d%d%d of round " .. round .. " x+$")) end
      assert.is_true(text == "{}" or back[names[60]] ~= nil)
    end
  end)

  it("may empty the members that go into a JSON text", function()
    local body = {}
    for i = 1, 60 do body[i] = ('"member %d":%d'):format(i, i) end
    body = "{" .. table.concat(body, ",") .. "}"
    for round = 1, ROUNDS do
      local t, names = many(round)
      local ok, text = meddled(empty(t), core.splice, body, t)
      assert.is_true(ok)
      local back = assert(core.json_decode(text))
      assert.equal(60, back["member 60"])
      local last = back[names[60]]
      assert.is_true(last == nil or last == 60)
    end
  end)

  it("cannot use the event reader that is handing out an event", function()
    local long = ("t"):rep(3000)
    for _ = 1, ROUNDS do
      local reader, refused = core.sse(), nil
      assert(reader:feed("event: " .. long .. "\nid: " .. long .. "\ndata: " .. long .. "\n\ndata: next\n\n"))
      local ok, data, kind, id = meddled(function()
        local fine, why = pcall(reader.feed, reader, ("data: meddled\n\n"):rep(5000))
        refused = not fine and why
      end, reader.next, reader)
      assert.is_true(ok)
      assert.is_true(refused == nil or refused == false or refused:find("handing out", 1, true) ~= nil)
      assert.same({ long, long, long }, { data, kind, id })
      assert.equal("next", (reader:next()))
    end
  end)

  it("can neither use nor close the decoder that is handing out a failure", function()
    local body = '{"error":{"message":"' .. ("m"):rep(30000) .. '","code":500}}'
    local refused = 0
    for _ = 1, ROUNDS do
      local decoder = core.decoder()
      assert(decoder:feed("data: " .. body .. "\n\n"))
      local was_inside, event, failure = meddled_inside(decoder, "state", "data: {}\n\n", "next")
      assert.is_nil(event)
      assert.same({ kind = "stream", body = body, detail = failure.detail }, failure)
      if was_inside then refused = refused + 1 end
    end
    assert.is_true(refused > 0)
  end)

  it("can neither use nor close the response reader that is handing out a part of the answer", function()
    local long, refused = ("v"):rep(30000), { head = 0, read = 0, feed = 0 }
    local good = "HTTP/1.1 200 OK\r\nA: " .. long .. "\r\nB: " .. long .. "\r\nTransfer-Encoding: chunked\r\n\r\n7530\r\n" .. long .. "\r\n"
    local more = "7d0\r\n" .. ("m"):rep(2000) .. "\r\n0\r\nC: " .. ("t"):rep(20000) .. "\r\n\r\n"
    local function run(bytes, method, argument)
      local reader = core.http1()
      assert(reader:feed(bytes))
      local was_inside, first, second = meddled_inside(reader, "reusable", more, method, argument)
      if was_inside then refused[method] = refused[method] + 1 end
      return first, second
    end
    for _ = 1, ROUNDS do
      local status, headers = run(good, "head")
      assert.equal(200, status)
      assert.same({ a = long, b = long, ["transfer-encoding"] = "chunked" }, headers)
      assert.equal(long, (run(good, "read")))
      local _, failure = run("", "feed", "HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n")
      assert.same({ kind = "protocol", detail = "Content-Length is not one decimal number: `abc`", body_bytes = 0, fresh = false }, failure)
    end
    assert.is_true(refused.head > 0 and refused.read > 0) -- a failure is made of less than what makes a collector act
  end)

  it("may close the request that is being read", function()
    local running = server.start {}
    local engine = assert(curl.engine())
    for _ = 1, 10 do
      local request = assert(engine:add { url = running.url .. "/v1/models", method = "GET", proxy = "" })
      while request:head() == false do engine:step(1) end
      engine:step(0)
      local ok, bytes = meddled(function() request:close() end, request.read, request)
      assert.is_true(ok or bytes:find("this request is closed", 1, true) ~= nil)
      assert.is_true(not ok or not bytes or bytes:find("^{") ~= nil)
      request:close()
    end
    engine:close()
    running:stop()
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
      local text = core.messages({ 6, 1, false, 10, "because", 8, "so" }, options)
      assert.equal(('[{"content":"%s","role":"user"},{"content":"so","%s":"because","role":"assistant"}]'):format(field, field), text)
    end
  end)
end)
