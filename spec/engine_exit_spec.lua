-- A process that ends in the middle of twenty answers, however it ends: no crash, no hang, and the server sees them all
-- go. Seen from fresh processes of the interpreter that runs this.
require "spec.support.env"
local server = require "spec.support.server"

local STREAMS = 20

-- The program that ends: it waits until bytes of every answer came.
local PROGRAM = [[
local curl = require "vllm.curl"
local engines, requests, left = {}, {}, %d
for i = 1, %d do engines[i] = assert(curl.engine { mode = %q }) end
for i = 1, left do
  local engine = engines[i %% #engines + 1]
  requests[i] = assert(engine:add { url = %q, method = "GET", proxy = "", tls = { ca_file = %q } })
end
while left > 0 do
  for _, engine in ipairs(engines) do engine:step(0.01) end
  for i, request in pairs(requests) do
    local bytes, failure = request:read()
    if failure then error(failure.text) end
    if bytes and not seen_any(i) then left = left - 1 end
  end
end
io.stdout:write "busy\n"
io.stdout:flush()
]]

local SEEN = "local seen = {}\nlocal function seen_any(i) local before = seen[i] seen[i] = true return before end\n"

local function write_file(text)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  file:write(text)
  file:close()
  return name
end

-- What it printed, and its exit status, 124 when it hung.
local function run(program)
  local name = write_file(program)
  local pipe = assert(io.popen(("timeout 60 %s %s 2>&1; echo \"status $?\""):format(arg[-1], name)))
  local text = pipe:read "*a"
  pipe:close()
  os.remove(name)
  local printed, status = text:match "^(.*)status (%d+)\n$"
  return printed, tonumber(status)
end

local endings = {
  { "returns", "" },
  { "calls os.exit", "os.exit(3)", 3 },
  { "calls os.exit and closes the state", "os.exit(3, true)", 3 },
  { "raises", "error 'the end'", 1, "the end" },
  { "collects everything first", "engines, requests = nil, nil collectgarbage() collectgarbage()" },
  { "collects everything later", "local keep = { requests, engines } engines, requests = nil, nil" },
  { "closed the engines first", "for _, engine in ipairs(engines) do engine:close() end" },
  { "closed everything",
    "for _, r in ipairs(requests) do r:close(true) end for _, e in ipairs(engines) do e:close() end os.exit(0)" },
}

for _, mode in ipairs { "inline", "thread" } do
  describe("a process with live streams, " .. mode .. ",", function()
    local running

    setup(function() running = server.start { tls = true } end)
    teardown(function() running:stop() end)

    local function all_are_gone()
      return running:wait_for(function(log)
        local gone = 0
        for _, record in ipairs(log) do
          if record.event == "close" and record.midway then gone = gone + 1 end
        end
        return gone == STREAMS
      end)
    end

    local function check(ending, base_url, engines)
      -- A server that never stops sending: the engine is at work all the time.
      local path = running:script { { "send", "HTTP/1.1 200 OK\r\n\r\n" }, { "send", ("data: x\n\n"):rep(50) },
        { "wait", 1 }, { "repeat", 0, 2 } }
      running:clear_log()
      local program = SEEN .. PROGRAM:format(STREAMS, engines, mode, base_url .. path, running.ca_file) .. ending[2]
      local printed, status = run(program)
      assert.equal(ending[3] or 0, status, printed)
      assert.equal("busy\n", printed:sub(1, 5), printed)
      if ending[4] then assert.truthy(printed:find(ending[4], 1, true), printed) else assert.equal("busy\n",
        printed) end
      assert.is_true(all_are_gone())
    end

    -- Without a thread that is stopped first, the handlers of exit take OpenSSL away from the handshakes: most runs
    -- crash.
    it("that calls os.exit while connections are being made", function()
      local program = PROGRAM:gsub("while left > 0 do.*$", "") .. [[
        left = 20
        while left > 0 do
          engines[1]:step(0.1)
          for _, request in ipairs(requests) do if request:head() then left = left - 1 end end
        end
        os.exit(3)]]
      for _ = 1, 4 do
        local printed, status = run(program:format(400, 1, mode, running.tls_url .. "/v1/models", running.ca_file))
        assert.equal("", printed)
        assert.equal(3, status)
      end
    end)

    for _, ending in ipairs(endings) do
      it("that " .. ending[1], function()
        check(ending, running.url, 1)
        check(ending, running.tls_url, 3)
      end)
    end
  end)
end
