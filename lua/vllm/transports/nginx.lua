--- The transport over nginx's cosockets: nothing here blocks a worker, and libcurl is not loaded.
--
-- A cosocket that is being read cannot be closed by others, and its own time-outs write to the error log. So each request has two light
-- threads: a reader, which connects, sends and reads, and a keeper, its parent, which kills it when the request is closed or late:
-- that works in every phase, down to a name lookup. Whoever consumes the stream waits for the reader by a semaphore, and may be any
-- light thread of the same request of nginx. Light threads keep that request open, so the keeper also ends what nobody waits for any more.
-- A large request has a third, the sender, so that an answer that comes before its end is read: who refuses it may never take it in.
-- Source: the manual of the Lua module for nginx.

local core = require "vllm.core"
local nginx = require "vllm.hosts.nginx"
local nginx_errors = require "vllm.transports.nginx_errors"
local request_head = require "vllm.transports.request_head"
local waiter = require "vllm.hosts.waiter"

local ngx = rawget(_G, "ngx")

local LOOPBACK = { localhost = "127.0.0.1" } -- which nginx would ask a name server for (RFC 6761 section 6.3)
local NEVER_MS = 2147483647 -- the keeper has the clocks
local IDLE_MS = 4000 -- uvicorn closes its side after 5 s without a word
local POOL_SIZE = 128 -- idle connections to one place
local READ_BYTES = 65536
local LOOK_S = 0.5 -- the keeper's, for streams that were left
local DRAIN_S, DRAIN_BYTES = 1, 65536
local LARGE_BYTES = 65536 -- of a request; a socket's buffers hold less

local TRUSTED = "write `lua_ssl_trusted_certificate FILE;` in nginx.conf"
local IDENTITY = "proxy_ssl_certificate in a location with proxy_pass can, and base_url may name that location"

---@class vllm.transports.nginx
---@field name string
---@field options table<string, true> the connection options that it honours
---@field instead table<string, string> what to write for one that it does not
local Transport = {
  name = "nginx",
  options = { verify = true, unix_socket = true, connect_s = true },
  instead = {
    ["tls.ca_file"] = TRUSTED, ["tls.ca_path"] = TRUSTED, ["tls.cert"] = IDENTITY, ["tls.key"] = IDENTITY, ["tls.key_password"] = IDENTITY,
    interrupt = "leave it out: Ctrl-C ends nginx, not a turn",
  },
}
Transport.__index = Transport

-- One request on its way; shared by the reader, the keeper and the stream, which alone may be collected.
---@class vllm.transports.nginx.Link
local Link = {}
Link.__index = Link

-- The reader -------------------------------------------------------------------------------------------------------

function Link:_wake_consumer()
  if self.waiter then nginx.wake(self.waiter) end
end

-- The connection is gone: nothing to be kept any more.
function Link:_finish(failure)
  self.failure = self.failure or failure
  self.is_over, self.over_at = true, core.now()
  self:_wake_consumer()
  if self.keeper then nginx.wake(self.keeper) end
end

-- Connections that differ in any of this are not used for one another.
local function pool_of(link)
  local address = link.address
  return table.concat({ "vllm", address.scheme, link.unix_socket or address.host .. ":" .. address.port, address.name,
    link.verify and "verified" or "unverified" }, " ")
end

function Link:_dial(sock)
  local options = { pool = pool_of(self), pool_size = POOL_SIZE }
  if self.unix_socket then return sock:connect("unix:" .. self.unix_socket, options) end
  return sock:connect(LOOPBACK[self.address.name] or self.address.host, self.address.port, options)
end

function Link:_shake_hands(sock)
  if self.address.scheme ~= "https" then return true end
  self.step = "tls"
  local name = (self.verify or not self.is_ip) and self.address.name or nil
  local ok, why = sock:sslhandshake(false, name, self.verify)
  self.tls_s = core.now() - self.began_at
  -- lua-resty-core 0.1.25 forgets a refusal that comes at once; the socket is closed by then.
  if ok and not sock:getreusedtimes() then return nil, "refused" end
  return ok, why
end

-- A connected socket, or nil, why. `fresh`: not one of the pool.
function Link:_connect(fresh)
  local sock = ngx.socket.tcp()
  sock:settimeouts(NEVER_MS, NEVER_MS, NEVER_MS)
  self.step, self.sock = "connect", sock
  local ok, why = self:_dial(sock)
  if not ok then return nil, why end
  self.connect_s = core.now() - self.began_at
  self.is_reused = sock:getreusedtimes() > 0
  if self.is_reused then
    if not fresh then return sock end
    sock:close()
    return self:_connect(fresh)
  end
  ok, why = self:_shake_hands(sock)
  if not ok then return nil, why end
  return sock
end

function Link:_on_head(status, headers)
  self.status, self.headers, self.step, self.request = status, headers, "body", nil
  self.start_transfer_s = core.now() - self.began_at
end

-- Waits while the consumer has enough.
function Link:_hold_back()
  while self.bytes >= self.max_buffer_bytes and not self.is_draining do
    self.reader = nginx.current()
    nginx.park(self.reader)
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
    http:feed(bytes) -- a failure is found in its place, behind the last good byte
    return true
  end
  local ok, failure = http:finish()
  if ok then return true end
  if self.send_failure and failure.fresh then return nil, nginx_errors.of("send", self.send_failure, self), true end
  if failure.kind ~= "closed" then return nil, nginx_errors.of_answer(failure, self) end
  return nil, nginx_errors.of(self.step, why, self), failure.fresh
end

function Link:_receive_head(sock, http)
  while true do
    local status, headers = http:head()
    if status then
      self:_on_head(status, headers)
      return true
    end
    if status == nil then return nil, nginx_errors.of_answer(headers, self) end
    local ok, failure, untouched = self:_fill(sock, http)
    if not ok then return nil, failure, untouched end
  end
end

-- All that has come was read: lets the consumer have it.
function Link:_hand_over()
  local token = self.waiter
  if token then nginx.wake(token) end
  if self.bytes >= self.max_buffer_bytes then self:_hold_back() end
  if self.is_draining and self.body_bytes > self.drain_end then return nil, { kind = "limit", detail = "too much to drain" } end
  return true
end

function Link:_receive_body(sock, http)
  while true do
    local bytes, failure = http:read()
    if bytes then
      self:_take_in(bytes)
    elseif bytes == nil then
      return failure == nil or nil, failure and nginx_errors.of_answer(failure, self)
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
  nginx.wake(self.keeper)
  return true
end

-- The answer is there, or none will come: what is left of the request is of no use. true: it was sent.
function Link:_stop_sending()
  if not self.is_sending then return self.send_failure == nil end
  self.is_stopping, self.stopper = true, nginx.current()
  nginx.wake(self.keeper)
  while self.is_sending do nginx.park(self.stopper) end
  return false
end

-- One attempt: true; or nil, failure, whether not a byte had come.
function Link:_attempt(fresh)
  local http = core.http1 { max_header_bytes = self.max_header_bytes, head_only = self.head_only }
  self.http = http
  local sock, why = self:_connect(fresh)
  if not sock then return nil, nginx_errors.of(self.step, why, self) end
  local sent, why_not = self:_send(sock)
  if not sent then return nil, nginx_errors.of("send", why_not, self), true end
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
  if not (ok and is_sent and self.http:reusable() and self.sock:setkeepalive(IDLE_MS)) then self.sock:close() end
  self.has_ended = ok
  self:_finish(failure)
end

local function read_all(link)
  local ok, why = pcall(link._exchange, link)
  if not ok then link:_finish { kind = "closed", detail = tostring(why) } end
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
    return nginx_errors.late(self.place, self.connect_limit_s)
  end
  if self:_is_left() then return { kind = "cancelled", detail = "the coroutine that waited for this answer has ended" } end
end

-- Begins or ends the sender, as the reader wants it.
function Link:_tend_sender()
  if self.wants_sender then
    self.wants_sender, self.is_stopping = false, false
    self.sender = ngx.thread.spawn(send_apart, self)
  end
  if not self.is_stopping then return end
  if self.is_sending then ngx.thread.kill(self.sender) end
  self.is_stopping, self.is_sending = false, false
  nginx.wake(self.stopper)
end

local function keep(link)
  local token = nginx.current()
  link.keeper = token
  local reader = ngx.thread.spawn(read_all, link)
  while not link.is_over do
    link:_tend_sender()
    -- One that was closed while its reader began could wake nobody.
    if not link.is_closing then nginx.park(token, link:_sleep_s(core.now())) end
    local failure = not link.is_over and link:_verdict(core.now())
    if failure then
      ngx.thread.kill(reader)
      if link.is_sending and link.sender then ngx.thread.kill(link.sender) end
      link.sock:close() -- the reader may not have been at it
      link:_finish(failure)
    end
  end
end

-- Streams ----------------------------------------------------------------------------------------------------------

---@class vllm.transports.nginx.Stream
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
  local token = link.token or nginx.current()
  if not token then return nil, { kind = "config", detail = nginx.why_not_here() } end
  link.token, link.waiter = token, token
  nginx.park(token, seconds)
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
  if link.reader then nginx.wake(link.reader) end
  return bytes
end

--- What is known of the connection. `connect_s` includes the name's lookup.
---@return table info connect_s, tls_s, start_transfer_s, total_s (seconds; absent: did not happen), reused, upload_bytes, body_bytes
function Stream:info()
  local link = self._link
  return {
    connect_s = link.connect_s, tls_s = link.tls_s, start_transfer_s = link.start_transfer_s,
    total_s = (link.over_at or core.now()) - link.began_at, reused = link.is_reused, upload_bytes = link.upload_bytes,
    body_bytes = link.body_bytes,
  }
end

--- Ends the request; the server sees the connection close, unless the answer is complete. May be called again, from anywhere.
---@param drain boolean? the answer is complete but for its last bytes: let the connection live
function Stream:close(drain)
  local link = self._link
  if link.is_closed then return end
  link.is_closed = true
  link.chunks, link.count, link.bytes = {}, 0, 0
  if not link.is_over then
    if drain and link.status then
      link.is_draining, link.drain_until, link.drain_end = true, core.now() + DRAIN_S, link.body_bytes + DRAIN_BYTES
      if link.reader then nginx.wake(link.reader) end
    else
      link.is_closing = true
    end
    nginx.wake(link.keeper)
  end
  link:_wake_consumer()
end

-- The transport ----------------------------------------------------------------------------------------------------

local function is_ip(name)
  return name:find(":", 1, true) ~= nil or name:find("^%d+%.%d+%.%d+%.%d+$") ~= nil
end

local function new_link(request, address, head)
  local now = core.now()
  return setmetatable({
    address = address, scheme = address.scheme, is_ip = is_ip(address.name), unix_socket = request.unix_socket,
    place = request.unix_socket and "the unix socket " .. request.unix_socket or address.place,
    verify = not (request.tls and request.tls.verify == false),
    request = { head, request.body }, upload_bytes = #(request.body or ""), head_only = request.method == "HEAD",
    max_header_bytes = request.max_header_bytes, max_buffer_bytes = request.max_buffer_bytes or 1048576,
    connect_limit_s = request.connect_s, connect_until = request.connect_s and now + request.connect_s,
    began_at = now, step = "connect", chunks = {}, count = 0, bytes = 0, body_bytes = 0,
    consumer = coroutine.running(), token = nginx.current(),
  }, Link)
end

--- Starts a request; never waits.
---@param request { url: string, method: string, headers: { [1]: string, [2]: string }[]?, body: string?, connect_s: number?,
---  unix_socket: string?, tls: { verify: boolean? }?, max_buffer_bytes: integer?, max_header_bytes: integer?, host: string|vllm.Host|nil }
---@return vllm.transports.nginx.Stream?
---@return table? err { kind, detail }: config
function Transport:open(request) -- luacheck: ignore 212
  if request.host ~= nil and request.host ~= "nginx" then
    return nil, { kind = "config", detail = "cosockets wait in nginx and in no other host: leave `host` out" }
  end
  if not nginx.current() then return nil, { kind = "config", detail = nginx.why_not_here() } end
  local address, failure = request_head.address(request.url)
  if not address then return nil, failure end
  local head
  head, failure = request_head.write(address, request)
  if not head then return nil, failure end
  local link = new_link(request, address, head)
  local stream = setmetatable({ _link = link }, Stream)
  link.stream = setmetatable({ stream }, { __mode = "v" })
  nginx.spawn(function() keep(link) end)
  return stream
end

local transports_nginx = {}

--- A transport. Connections are kept for the next request in pools that all transports of a worker share.
---@return vllm.transports.nginx
function transports_nginx.new()
  return setmetatable({}, Transport)
end

return transports_nginx
