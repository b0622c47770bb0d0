--- A stream of a transport over sockets that a host can wait for and no descriptor names: one HTTP/1.1 request and its
--- response, by core.http1.
--
-- A socket that is being read cannot be closed by others. So each request has two threads: a reader, which connects,
-- sends and reads, and a keeper, its parent, which kills it when the request is closed or late: that works in every
-- phase, down to a name lookup. Whoever consumes the stream waits for the reader, and may be any coroutine of the host.
-- The keeper also ends what nothing waits for any more. A large request has a third, the sender, so that an answer that
-- comes before its end is read: a server that refuses it may never take it in.

local core = require "vllm.core"
local waiter = require "vllm.hosts.waiter"

--- What a transport gives.
---@class vllm.Sockets
---@field host vllm.Host its `current`, `park`, `wake` and `spawn`; and `why_not_here(): string` for where `current`
---  gives nil
---@field thread fun(fn: fun(link: table), link: table, raised: fun(link: table, value: any)): any runs fn(link) in a
---  coroutine that others can end; what it raises goes to `raised`
---@field kill fun(thread: any) ends it where it waits; nothing if it has ended
---@field connect fun(link: table, fresh: boolean): vllm.Socket?, string? a connected socket, also as `link.sock` before
---  it waits; or nil and why. Sets `link.step` ("connect", then "tls"), `connect_s`, `tls_s`, `is_reused`. `fresh`:
---  none that was kept
---@field keep fun(socket: vllm.Socket): boolean keeps it for another request; false: it cannot be kept
---@field errors { of: function, of_answer: function, late: function } as in nginx_errors.lua

---@class vllm.Socket
---@field receiveany fun(self, max: integer): string?, string? what has come, at least a byte; or nil and why
---@field send fun(self, pieces: string[]): any, string? all of them; or nil and why
---@field close fun(self)

local READ_BYTES = 65536
local LOOK_S = 0.5 -- the keeper's, for streams that were left
local DRAIN_S, DRAIN_BYTES = 1, 65536
local LARGE_BYTES = 65536 -- of a request; a socket's buffers hold less

-- One request on its way; shared by the reader, the keeper and the stream, which alone may be collected.
---@class vllm.SocketLink
local Link = {}
Link.__index = Link

-- The reader -------------------------------------------------------------------------------------------------------

function Link:_wake_consumer()
  if self.waiter then self.host.wake(self.waiter) end
end

-- The connection is gone: there is nothing to keep.
function Link:_finish(failure)
  self.failure = self.failure or failure
  self.is_over, self.over_at = true, core.now()
  self:_wake_consumer()
  if self.keeper then self.host.wake(self.keeper) end
end

function Link:_on_head(status, headers)
  self.status, self.headers, self.step, self.request = status, headers, "body", nil
  self.start_transfer_s = core.now() - self.began_at
end

-- Waits while the consumer has enough.
function Link:_hold_back()
  while self.bytes >= self.max_buffer_bytes and not self.is_draining do
    self.reader = self.host.current()
    self.host.park(self.reader)
  end
  self.reader = nil
end

function Link:_take_in(bytes)
  self.body_bytes = self.body_bytes + #bytes
  if self.is_draining then return end
  local count = self.count + 1
  self.count, self.bytes, self.chunks[count] = count, self.bytes + #bytes, bytes
end

-- Bytes of the connection into the parser, or its end: true; or nil, failure, whether not a byte had come.
function Link:_fill(sock, http)
  local bytes, why = sock:receiveany(READ_BYTES)
  if bytes then
    http:feed(bytes) -- a failure is found in its place, after the last good byte
    return true
  end
  local ok, failure = http:finish()
  if ok then return true end
  if self.send_failure and failure.fresh then return nil, self.errors.of("send", self.send_failure, self), true end
  if failure.kind ~= "closed" then return nil, self.errors.of_answer(failure, self) end
  return nil, self.errors.of(self.step, why, self), failure.fresh
end

function Link:_receive_head(sock, http)
  while true do
    local status, headers = http:head()
    if status then
      self:_on_head(status, headers)
      return true
    end
    if status == nil then return nil, self.errors.of_answer(headers, self) end
    local ok, failure, untouched = self:_fill(sock, http)
    if not ok then return nil, failure, untouched end
  end
end

-- All that has come was read: lets the consumer have it.
function Link:_hand_over()
  local token = self.waiter
  if token then self.host.wake(token) end
  if self.bytes >= self.max_buffer_bytes then self:_hold_back() end
  if self.is_draining and self.body_bytes > self.drain_end then
    return nil, { kind = "limit", detail = "too much to drain" }
  end
  return true
end

function Link:_receive_body(sock, http)
  while true do
    local bytes, failure = http:read()
    if bytes then
      self:_take_in(bytes)
    elseif bytes == nil then
      return failure == nil or nil, failure and self.errors.of_answer(failure, self)
    else
      local ok
      ok, failure = self:_hand_over()
      if ok then ok, failure = self:_fill(sock, http) end
      if not ok then return nil, failure end
    end
  end
end

-- The keeper's, as the reader is: it ends both.
local function send_apart(link)
  local sent, why = link.sock:send(link.request)
  if not sent then link.send_failure = why end -- the reader finds out by itself, and what had come before
  link.is_sending = false
end

-- true; or nil, why.
function Link:_send(sock)
  self.step, self.send_failure = "send", nil
  if self.upload_bytes < LARGE_BYTES then return sock:send(self.request) end
  self.is_sending, self.wants_sender = true, true
  self.host.wake(self.keeper)
  return true
end

-- The answer is there, or none will come: what is left of the request is of no use. true: it was sent.
function Link:_stop_sending()
  if not self.is_sending then return self.send_failure == nil end
  self.is_stopping, self.stopper = true, self.host.current()
  self.host.wake(self.keeper)
  while self.is_sending do self.host.park(self.stopper) end
  return false
end

-- One attempt: true; or nil, failure, whether not a byte had come.
function Link:_attempt(fresh)
  local http = core.http1 { max_header_bytes = self.max_header_bytes, head_only = self.head_only }
  self.http = http
  local sock, why = self.sockets.connect(self, fresh)
  if not sock then return nil, self.errors.of(self.step, why, self) end
  local sent, why_not = self:_send(sock)
  if not sent then return nil, self.errors.of("send", why_not, self), true end
  self.step = "head"
  local ok, failure, untouched = self:_receive_head(sock, http)
  if not ok then return nil, failure, untouched end
  return self:_receive_body(sock, http)
end

-- A connection of the pool that turns out to be dead is replaced, once.
function Link:_exchange()
  local ok, failure, untouched = self:_attempt(false)
  local is_sent = self:_stop_sending()
  if not ok and untouched and self.is_reused then
    self.sock:close()
    ok, failure = self:_attempt(true)
    is_sent = self:_stop_sending()
  end
  if not (ok and is_sent and self.http:reusable() and self.sockets.keep(self.sock)) then self.sock:close() end
  self.has_ended = ok
  self:_finish(failure)
end

local function read_all(link)
  link:_exchange()
end

local function on_raised(link, value)
  if link.sock then link.sock:close() end
  link:_finish { kind = "closed", detail = tostring(value) }
end

-- The keeper -------------------------------------------------------------------------------------------------------

function Link:_is_connecting()
  return self.step == "connect" or self.step == "tls"
end

-- How long the keeper may sleep.
function Link:_sleep_s(now)
  local until_s = self.is_draining and self.drain_until or self:_is_connecting() and self.connect_until
  return until_s and math.min(until_s - now, LOOK_S) or LOOK_S
end

-- Two looks long: another coroutine may be about to go on with the stream.
function Link:_is_left()
  local is_left, was_left = coroutine.status(self.consumer) == "dead", self.was_left
  self.was_left = is_left
  return (is_left and was_left) or self.stream[1] == nil
end

-- Why the reader has to be killed, or nil.
function Link:_verdict(now)
  if self.is_closing then return { kind = "cancelled", detail = "the stream was closed" } end
  if self.is_draining then
    return now >= self.drain_until and { kind = "limit", detail = "too long to drain" } or nil
  end
  if self.connect_until and now >= self.connect_until and self:_is_connecting() then
    return self.errors.late(self.place, self.connect_limit_s)
  end
  if not self:_is_left() then return nil end
  return { kind = "cancelled", detail = "the coroutine that waited for this answer has ended" }
end

-- Begins or ends the sender, as the reader wants it.
function Link:_tend_sender()
  if self.wants_sender then
    self.wants_sender, self.is_stopping = false, false
    self.sender = self.sockets.thread(send_apart, self, on_raised)
  end
  if not self.is_stopping then return end
  if self.is_sending then self.sockets.kill(self.sender) end
  self.is_stopping, self.is_sending = false, false
  self.host.wake(self.stopper)
end

local function keep(link)
  local token = link.host.current()
  link.keeper = token
  local reader = link.sockets.thread(read_all, link, on_raised)
  while not link.is_over do
    link:_tend_sender()
    -- One that was closed while its reader began could wake nobody.
    if not link.is_closing then link.host.park(token, link:_sleep_s(core.now())) end
    local failure = not link.is_over and link:_verdict(core.now())
    if failure then
      link.sockets.kill(reader)
      if link.is_sending and link.sender then link.sockets.kill(link.sender) end
      link.sock:close() -- the reader may not have been at it
      link:_finish(failure)
    end
  end
end

-- Streams ----------------------------------------------------------------------------------------------------------

---@class vllm.SocketStream
local Stream = {}
Stream.__index = Stream

-- Waits for news. true; false: the deadline has passed; nil, failure.
local function wait(link, deadline)
  if link.is_closed then return nil, { kind = "cancelled", detail = "the stream was closed" } end
  if waiter.is_cancelled() then return nil, { kind = "cancelled", detail = "the task was cancelled" } end
  local running = coroutine.running()
  if running ~= link.consumer then link.consumer, link.token = running, nil end
  local seconds = deadline and deadline - core.now()
  if seconds and seconds <= 0 then return false end
  local token = link.token or link.host.current()
  if not token then return nil, { kind = "config", detail = link.host.why_not_here() } end
  link.token, link.waiter = token, token
  link.host.park(token, seconds)
  link.waiter = nil
  return true
end

--- Waits for the response's head.
---@param deadline number? absolute, seconds of core.now(); nil: none; in the past: does not wait
---@return integer|false|nil status false: the deadline passed
---@return table? headers lower-case name → value; or the error { kind, detail } when status is nil
function Stream:head(deadline)
  local link = self._link
  while not link.status do
    if link.failure then return nil, link.failure end
    local ok, failure = wait(link, deadline)
    if not ok then return ok, failure end
  end
  return link.status, link.headers
end

--- Reads what has come of the body, all of it at once.
---@param deadline number? as for head
---@return string|false|nil bytes never empty · false: the deadline passed · nil: the end, or an error
---@return table? err { kind, detail }: connect, tls, timeout, protocol, limit, closed, config, cancelled
function Stream:read(deadline)
  local link = self._link
  while link.count == 0 do
    if link.has_ended then return nil end
    if link.failure then return nil, link.failure end
    local ok, failure = wait(link, deadline)
    if not ok then return ok, failure end
  end
  link.was_left = false
  local chunks, count = link.chunks, link.count
  local bytes = chunks[1]
  if count == 1 then
    chunks[1] = nil
  else
    bytes, link.chunks = table.concat(chunks, "", 1, count), {}
  end
  link.count, link.bytes = 0, 0
  if link.reader then link.host.wake(link.reader) end
  return bytes
end

--- What is known of the connection. `connect_s` includes the name's lookup.
---@return table info connect_s, tls_s, start_transfer_s, total_s (seconds; absent: did not happen), reused,
---  upload_bytes, body_bytes
function Stream:info()
  local link = self._link
  return {
    connect_s = link.connect_s, tls_s = link.tls_s, start_transfer_s = link.start_transfer_s,
    total_s = (link.over_at or core.now()) - link.began_at, reused = link.is_reused, upload_bytes = link.upload_bytes,
    body_bytes = link.body_bytes,
  }
end

--- Ends the request; the server sees the connection close, unless the answer is complete. May be called again, from
--- anywhere.
---@param drain boolean? the answer is complete but for its last bytes: let the connection live
function Stream:close(drain)
  local link = self._link
  if link.is_closed then return end
  link.is_closed = true
  link.chunks, link.count, link.bytes = {}, 0, 0
  if not link.is_over then
    if drain and link.status then
      link.is_draining, link.drain_until, link.drain_end = true, core.now() + DRAIN_S, link.body_bytes + DRAIN_BYTES
      if link.reader then link.host.wake(link.reader) end
    else
      link.is_closing = true
    end
    link.host.wake(link.keeper)
  end
  link:_wake_consumer()
end

-- Beginning --------------------------------------------------------------------------------------------------------

local http1_stream = {}

--- Starts a request; never waits.
---@param sockets vllm.Sockets
---@param link { place: string, scheme: string, is_ip: boolean } and whatever else `connect` needs of its link; it is
---  the stream's from now on, a table less for each
---@param request { method: string, body: string?, connect_s: number?, max_buffer_bytes: integer?,
---  max_header_bytes: integer? }
---@param head string its bytes, up to the empty line
---@return vllm.SocketStream
function http1_stream.open(sockets, link, request, head)
  local now, host = core.now(), sockets.host
  link.sockets, link.host, link.errors = sockets, host, sockets.errors
  link.request, link.upload_bytes = { head, request.body }, #(request.body or "")
  link.head_only, link.max_header_bytes = request.method == "HEAD", request.max_header_bytes
  link.max_buffer_bytes = request.max_buffer_bytes or 1048576
  link.connect_limit_s, link.connect_until = request.connect_s, request.connect_s and now + request.connect_s
  link.began_at, link.step = now, "connect"
  link.chunks, link.count, link.bytes, link.body_bytes = {}, 0, 0, 0
  link.consumer, link.token = coroutine.running(), host.current()
  setmetatable(link, Link)
  local stream = setmetatable({ _link = link }, Stream)
  link.stream = setmetatable({ stream }, { __mode = "v" })
  host.spawn(function() keep(link) end)
  return stream
end

return http1_stream
