-- The stream over sockets, without nginx: a loop of the spec's own, and sockets that are lists of bytes.
local core = require "vllm.core"
local http1_stream = require "vllm.transports.http1_stream"
local nginx_errors = require "vllm.transports.nginx_errors"

local WAIT = {} -- what a socket's list holds where nothing has come yet
local OK = "HTTP/1.1 200 OK\r\n"

-- A host whose coroutines can be ended, and in which time passes only when nothing else can happen.
local function new_loop()
  local loop = { ready = {}, parked = {}, parks = 0, ahead = 0 }
  local host = {}
  local raised_by = {}
  local function begin(fn, argument, raised)
    local co = coroutine.create(fn)
    loop.ready[#loop.ready + 1], raised_by[co] = { co, argument }, raised and { raised, argument }
    return co
  end
  function host.current() return coroutine.running() end
  function host.park(co, seconds)
    loop.parks = loop.parks + 1
    loop.parked[co] = seconds and core.now() + seconds or math.huge
    return coroutine.yield()
  end
  function host.wake(co)
    if not loop.parked[co] then return end
    loop.parked[co] = nil
    loop.ready[#loop.ready + 1] = { co, true }
  end
  host.spawn = begin
  function host.why_not_here() return "not here" end
  loop.host, loop.thread = host, begin

  function loop.kill(co)
    loop.parked[co] = nil
    for i = #loop.ready, 1, -1 do
      if loop.ready[i][1] == co then table.remove(loop.ready, i) end
    end
  end

  local function wake_earliest()
    local first
    for co, at in pairs(loop.parked) do
      if at < math.huge and (not first or at < loop.parked[first]) then first = co end
    end
    if not first then return false end
    loop.ahead = loop.ahead + math.max(loop.parked[first] - core.now(), 0)
    loop.parked[first] = nil
    loop.ready[1] = { first, false }
    return true
  end

  -- Runs fn in the loop until it has returned.
  function loop.run(fn)
    local results
    begin(function() results = { n = 0, fn() } end)
    while not results and (#loop.ready > 0 or wake_earliest()) do
      local entry = table.remove(loop.ready, 1)
      local ok, why = coroutine.resume(entry[1], entry[2])
      local raised = raised_by[entry[1]]
      if not ok and not raised then error(debug.traceback(entry[1], why), 0) end
      if not ok then raised[1](raised[2], why) end
    end
    return results
  end
  return loop
end

-- `script`: for each connection, what receiveany gives: strings, WAIT, and at the end { why } (default: closed).
local function new_sockets(loop, script, kept)
  local sockets = { host = loop.host, thread = loop.thread, kill = loop.kill, errors = nginx_errors }
  sockets.opened, sockets.kept = {}, 0
  function sockets.connect(link, fresh)
    local socket = { at = 0, sent = {}, list = table.remove(script, 1) or { { "refused" } } }
    link.step, link.sock = "connect", socket
    sockets.opened[#sockets.opened + 1] = socket
    function socket:receiveany()
      if self.list.raises then error "a fault" end
      self.at = self.at + 1
      local what = self.list[self.at] or { "closed" }
      while what == WAIT do
        self.reader = coroutine.running()
        loop.host.park(self.reader)
        what = self.list[self.at]
      end
      if type(what) == "table" then return nil, what[1] end
      return what
    end
    function socket:send(pieces)
      self.sent = table.concat(pieces)
      return true
    end
    function socket:close() self.is_closed = true end
    if socket.list.hangs then
      loop.host.park(coroutine.running())
    end
    if socket.list.refuses then return nil, socket.list.refuses end
    link.connect_s, link.is_reused = 0, (kept or false) and not fresh
    return socket
  end
  function sockets.keep()
    sockets.kept = sockets.kept + 1
    return true
  end
  -- More bytes for a connection that waits for some.
  function sockets.give(bytes)
    local socket = sockets.opened[#sockets.opened]
    socket.list[socket.at] = bytes
    loop.host.wake(socket.reader)
  end
  return sockets
end

describe("a stream over sockets", function()
  local real, loop, sockets = core.now, nil, nil
  local function start(script, request, kept)
    sockets = new_sockets(loop, script, kept)
    request = request or {}
    request.method = request.method or "POST"
    return http1_stream.open(sockets, { place = "example:80", scheme = "http", is_ip = false }, request,
      "POST / HTTP/1.1\r\n\r\n")
  end
  local function read_all(stream)
    local parts = {}
    while true do
      local bytes, failure = stream:read()
      if not bytes then return table.concat(parts), failure end
      parts[#parts + 1] = bytes
    end
  end

  before_each(function()
    loop = new_loop()
    core.now = function() return real() + loop.ahead end -- luacheck: ignore 122
  end)
  after_each(function() core.now = real end) -- luacheck: ignore 122

  local CHUNKED = OK .. "Transfer-Encoding: chunked\r\n\r\n"
  local whole = {
    { "of a known length", { OK .. "Content-Length: 5\r\nX-A: b\r\n\r\nhello" }, "hello", 1 },
    { "in chunks, cut anywhere", { "HTTP/1.", CHUNKED:sub(8), "5\r\nhel", "lo\r\n", "0\r\n\r\n" }, "hello", 1 },
    { "until the connection ends", { OK .. "\r\nhel", "lo" }, "hello", 0 },
    { "without a body", { "HTTP/1.1 204 No Content\r\n\r\n" }, "", 1 },
    { "after an interim answer", { "HTTP/1.1 100 Continue\r\n\r\n" .. OK .. "Content-Length: 2\r\n\r\nhi" }, "hi", 1 },
    { "that forbids another request", { OK .. "Connection: close\r\nContent-Length: 2\r\n\r\nhi" }, "hi", 0 },
  }
  for _, case in ipairs(whole) do
    it("reads an answer " .. case[1], function()
      local got = loop.run(function()
        local stream = start({ case[2] }, { body = "ask" })
        local status = stream:head()
        local body, failure = read_all(stream)
        loop.host.park(coroutine.running(), 0.01)
        return status, body, failure, sockets.kept
      end)
      assert.is_true(got[1] == 200 or got[1] == 204)
      assert.same({ case[3], case[4] }, { got[2], got[4] })
      assert.equal("POST / HTTP/1.1\r\n\r\nask", sockets.opened[1].sent)
    end)
  end

  local failures = {
    { "a connection that is refused", { refuses = "connection refused" }, "connect" },
    { "a connection that ends without an answer", { { "closed" } }, "closed" },
    { "a socket that raises", { raises = true }, "closed" },
    { "a connection that breaks in the head", { "HTTP/1.1 200 O" }, "closed" },
    { "a connection that breaks in the body", { OK .. "Content-Length: 9\r\n\r\nhel", { "connection reset" } },
      "closed" },
    { "what is not HTTP", { "SSH-2.0-OpenSSH\r\n\r\n" }, "protocol" },
    { "a head that is too large", { OK .. "X: " .. ("x"):rep(70000) .. "\r\n\r\n" }, "limit" },
  }
  for _, case in ipairs(failures) do
    it("fails by " .. case[1], function()
      local got = loop.run(function()
        local stream = start { case[2] }
        local status, failure = stream:head()
        if not status then return failure.kind, failure.detail end
        local _, why = read_all(stream)
        return why.kind, why.detail
      end)
      assert.same({ case[3], "string" }, { got[1], type(got[2]) })
      assert.is_true(sockets.opened[1].is_closed)
      assert.equal(0, sockets.kept)
    end)
  end

  it("does not wait for a deadline that has passed, and no longer than for one that has not", function()
    local got = loop.run(function()
      local stream = start { { WAIT } }
      loop.host.park(coroutine.running(), 0) -- the reader waits
      local parks = loop.parks
      local past = stream:head(core.now() - 1)
      local waits = loop.parks - parks
      local before = core.now()
      local later = stream:head(before + 0.2)
      return past, waits, later, core.now() >= before + 0.2
    end)
    assert.same({ false, 0, false, true }, { got[1], got[2], got[3], got[4] })
  end)

  it("replaces a kept connection that turns out to be dead, once, and only where no byte had come", function()
    local answer = OK .. "Content-Length: 2\r\n\r\nhi"
    local got = loop.run(function() return (read_all(start({ { { "closed" } }, { answer } }, nil, true))) end)
    assert.same({ "hi", 2 }, { got[1], #sockets.opened })
    got = loop.run(function() return start({ { "HTTP/1.1" }, { answer } }, nil, true):head() end)
    assert.same({ "closed", 1 }, { got[2].kind, #sockets.opened })
    got = loop.run(function() return start({ { { "closed" } }, { { "closed" } } }, nil, true):head() end)
    assert.same({ "closed", 2 }, { got[2].kind, #sockets.opened })
  end)

  for _, phase in ipairs { "connecting", "before the head", "in the body" } do
    it("can be closed by another coroutine while the reader is " .. phase, function()
      local script = { WAIT }
      if phase == "connecting" then script = { hangs = true } end
      if phase == "in the body" then script = { OK .. "\r\n", WAIT } end
      local got = loop.run(function()
        local stream, done = start { script }, {}
        loop.thread(function()
          local status, failure = stream:head()
          if status then status, failure = stream:read() end
          done[1], done[2] = status, failure
        end)
        loop.host.park(coroutine.running(), 0.01)
        stream:close()
        stream:close()
        loop.host.park(coroutine.running(), 0.01)
        return done[2] and done[2].kind, stream:info().total_s ~= nil
      end)
      assert.same({ "cancelled", true }, { got[1], got[2] })
      assert.is_true(sockets.opened[1].is_closed)
    end)
  end

  it("ends a connection that takes longer than connect_s", function()
    local got = loop.run(function() return start({ { hangs = true } }, { connect_s = 2 }):head() end)
    assert.same({ "timeout", "connect_s", 2 }, { got[2].kind, got[2].clock, got[2].limit_s })
    assert.is_true(loop.ahead > 1)
  end)

  it("holds the server back once the buffer is full, and reads on when it is read", function()
    local list = { OK .. "\r\n" }
    for _ = 1, 10 do list[#list + 1] = ("x"):rep(100) end
    local got = loop.run(function()
      local stream = start({ list }, { max_buffer_bytes = 250 })
      stream:head()
      loop.host.park(coroutine.running(), 0.01)
      local taken = sockets.opened[1].at
      local first = #stream:read()
      return taken, first, first + #read_all(stream)
    end)
    assert.same({ 4, 300, 1000 }, { got[1], got[2], got[3] })
  end)

  it("lets a connection live whose last bytes are drained", function()
    local got = loop.run(function()
      local stream = start { { OK .. "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", WAIT } }
      stream:head()
      stream:read()
      stream:close(true)
      sockets.give "0\r\n\r\n"
      loop.host.park(coroutine.running(), 0.01)
      return sockets.kept, sockets.opened[1].is_closed
    end)
    assert.same({ 1 }, { got[1], got[2] })
  end)

  it("drains no longer than a second", function()
    local got = loop.run(function()
      local stream = start { { OK .. "\r\n", WAIT } }
      stream:head()
      stream:close(true)
      loop.host.park(coroutine.running(), 1.1)
      return sockets.kept, sockets.opened[1].is_closed
    end)
    assert.same({ 0, true }, { got[1], got[2] })
  end)
end)
