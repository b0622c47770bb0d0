--- The transport over nginx's cosockets: nothing here blocks a worker, and libcurl is not loaded. http1_stream.lua is
--- what it does with them. A cosocket's own time-outs write to the error log, so none is set: the stream has the
--- clocks.
--- Source: the manual of the Lua module for nginx.

local core = require "vllm.core"
local http1_stream = require "vllm.transports.http1_stream"
local nginx = require "vllm.hosts.nginx"
local nginx_errors = require "vllm.transports.nginx_errors"
local request_head = require "vllm.transports.request_head"

local ngx = rawget(_G, "ngx")

local LOOPBACK = { localhost = "127.0.0.1" } -- which nginx would ask a name server for (RFC 6761 section 6.3)
local NEVER_MS = 2147483647 -- the stream has the clocks
local IDLE_MS = 4000 -- uvicorn closes its side after 5 s without a word
local POOL_SIZE = 128 -- idle connections to one place

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
    ["tls.ca_file"] = TRUSTED, ["tls.ca_path"] = TRUSTED, ["tls.cert"] = IDENTITY,
    ["tls.key"] = IDENTITY, ["tls.key_password"] = IDENTITY,
    interrupt = "leave it out: Ctrl-C ends nginx, not a turn",
  },
}
Transport.__index = Transport

-- Connecting -------------------------------------------------------------------------------------------------------

-- Connections that differ in any of this are not used for one another.
local function pool_of(link)
  local address = link.address
  local place = link.unix_socket or address.host .. ":" .. address.port
  local trust = link.verify and "verified" or "unverified"
  return table.concat({ "vllm", address.scheme, place, address.name, trust }, " ")
end

local function dial(link, sock)
  local options, address = { pool = pool_of(link), pool_size = POOL_SIZE }, link.address
  if link.unix_socket then return sock:connect("unix:" .. link.unix_socket, options) end
  return sock:connect(LOOPBACK[address.name] or address.host, address.port, options)
end

local function shake_hands(link, sock)
  if link.scheme ~= "https" then return true end
  link.step = "tls"
  local name = (link.verify or not link.is_ip) and link.address.name or nil
  local ok, why = sock:sslhandshake(false, name, link.verify)
  link.tls_s = core.now() - link.began_at
  -- lua-resty-core 0.1.25 forgets a refusal that comes at once; the socket is closed by then.
  if ok and not sock:getreusedtimes() then return nil, "refused" end
  return ok, why
end

-- A connected socket, or nil, why. `fresh`: not one of the pool.
local function connect(link, fresh)
  local sock = ngx.socket.tcp()
  sock:settimeouts(NEVER_MS, NEVER_MS, NEVER_MS)
  link.step, link.sock = "connect", sock
  local ok, why = dial(link, sock)
  if not ok then return nil, why end
  link.connect_s = core.now() - link.began_at
  link.is_reused = sock:getreusedtimes() > 0
  if link.is_reused then
    if not fresh then return sock end
    sock:close()
    return connect(link, fresh)
  end
  ok, why = shake_hands(link, sock)
  if not ok then return nil, why end
  return sock
end

local function supervised(fn, link, raised)
  local ok, value = pcall(fn, link)
  if not ok then raised(link, value) end
end

---@type vllm.Sockets
local SOCKETS = {
  host = nginx, connect = connect, errors = nginx_errors, kill = ngx.thread.kill,
  thread = function(fn, link, raised) return ngx.thread.spawn(supervised, fn, link, raised) end,
  keep = function(sock) return sock:setkeepalive(IDLE_MS) end,
}

-- The transport ----------------------------------------------------------------------------------------------------

local function is_ip(name)
  return name:find(":", 1, true) ~= nil or name:find("^%d+%.%d+%.%d+%.%d+$") ~= nil
end

local function link_of(request, address)
  return {
    address = address, scheme = address.scheme, is_ip = is_ip(address.name), unix_socket = request.unix_socket,
    place = request.unix_socket and "the unix socket " .. request.unix_socket or address.place,
    verify = not (request.tls and request.tls.verify == false),
  }
end

--- Starts a request; never waits.
---@param request { url: string, method: string, headers: { [1]: string, [2]: string }[]?, body: string?,
---  connect_s: number?, unix_socket: string?, tls: { verify: boolean? }?, max_buffer_bytes: integer?,
---  max_header_bytes: integer?, host: string|vllm.Host|nil }
---@return vllm.SocketStream?
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
  return http1_stream.open(SOCKETS, link_of(request, address), request, head)
end

local transports_nginx = {}

--- A transport. Connections are kept for the next request in pools that all transports of a worker share.
---@return vllm.transports.nginx
function transports_nginx.new()
  return setmetatable({}, Transport)
end

return transports_nginx
