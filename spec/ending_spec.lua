-- lua_close runs finalizers last of all, in the reverse order of birth, when our own objects may be gone already, and
-- in Lua 5.1 and LuaJIT behind the unloading of C modules. What such a finalizer calls still works, or raises: no
-- crash, nothing that was written is lost, and what it began is ended.
require "spec.support.env"
local child = require "spec.support.child"
local server = require "spec.support.server"

-- Finalizers of every kind this Lua has, made before and after the modules were loaded. What each did is written, not
-- flushed.
local PROGRAM = [[
local url, mode = %q, %q
local actions, kinds = {}, {}
if newproxy then
  kinds.userdata = function(fn) local p = newproxy(true) getmetatable(p).__gc = fn return p end
else
  kinds.table = function(fn) return setmetatable({}, { __gc = fn }) end
end
if jit then
  jit.off() -- compiled, any loop over pairs that meets other types in a finalizer never ends (LuaJIT 2.1 of 2022)
  local ffi = require "ffi"
  kinds.cdata = function(fn) return ffi.gc(ffi.new("int[1]"), fn) end
end
-- The oldest of all, finalized last: an engine that anybody left behind holds an epoll set.
KEPT = { (kinds.userdata or kinds.table)(function()
  local pipe = io.popen "ls -l /proc/$PPID/fd | grep -c eventpoll"
  io.write("engines left: ", pipe:read "*l", "\n")
end) }
local function guard_all(time)
  for kind, make in pairs(kinds) do
    KEPT[#KEPT + 1] = make(function()
      for i, action in ipairs(actions) do
        local ok, why = pcall(action[2])
        io.write(time, " ", kind, " ", action[1], ": ", ok and "fine" or tostring(why), "\n")
      end
    end)
  end
end
guard_all "before"

local vllm, core = require "vllm", require "vllm.core"
local options = { model = "test-model", api_key = "sk-0123456789", base_url = url .. "/v1", retry = false, timeout = { total_s = 5 } }
local client = vllm.new(options)
local function begun()
  local turn = client:turn "Hi"
  assert(turn:next())
  return turn
end
local half, running, fresh, over = begun(), begun(), client:turn "Hi", client:turn "Hi"
local inside = coroutine.wrap(function() for _, turn in ipairs { begun(), begun() } do coroutine.yield(turn:next()) end end)
inside()
assert(over:text())
local session, decoder, events, answer = client:session(), vllm.decoder(), vllm.sse(), core.http1()
decoder:feed 'data: {"id":"1","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\ndata'
local function add(name, fn) actions[#actions + 1] = { name, fn } end
add("cancel a fresh turn", function() fresh:cancel() end)
add("cancel a turn that runs", function() running:cancel() end)
add("go on with a turn", function() half:next() end)
add("use a turn that is over", function() return over:result().text .. over:text() end)
add("go on in a coroutine", function() inside() end)
add("decode", function() decoder:feed ": \n\n" decoder:next() decoder:result() end)
add("read events", function() events:feed "data: x\n\n" events:next() end)
add("read an answer", function() answer:feed "HTTP/1.1 200 OK\r\n\r\n" answer:head() end)
add("encode", function() return vllm.json.encode(vllm.json.decode '{"a":[1,null]}') end)
add("show", function() return tostring(client) .. tostring(fresh) .. tostring(half) end)
add("make a client", function() return vllm.new(options):turn("Hi"):cancel() end)
add("ask", function() client:ask "Hi" end)
add("ask in a session", function() session:turn("Hi"):result() end)
add("run tasks", function() vllm.run(function() vllm.map({ 1, 2 }, function() return client:ask "Hi" end) end) end)
guard_all "after"
io.write(#actions, "\n")
if mode == "exit" then os.exit(0, true) elseif mode == "raise" then error "the end" end
]]

describe("a finalizer at the end of the program", function()
  local running

  setup(function() running = server.start {} end)
  teardown(function() running:stop() end)

  local kinds = rawget(_G, "jit") and 2 or 1

  for ending, wanted in pairs { returns = 0, exit = 0, raise = 1 } do
    if not (ending == "exit" and _VERSION == "Lua 5.1" and not rawget(_G, "jit")) then -- os.exit closes no state there
      it("may call everything, where it ends by " .. ending, function()
        local printed, status = child.lua(PROGRAM:format(running.url, ending))
        assert.equal(wanted, status, printed)
        local lines = 0
        for outcome in printed:gmatch "\n%l+ %l+ %l[%l ]+: ([^\n]*)" do
          assert.truthy(outcome == "fine" or outcome:find "is closed$" or outcome:find "dead coroutine", printed)
          lines = lines + 1
        end
        assert.truthy(printed:find("\nengines left: 0\n", 1, true), printed)
        assert.equal(tonumber(printed:match "\n?(%d+)\n%l+ %l+ ") * kinds * 2, lines, printed)
      end)
    end
  end
end)
