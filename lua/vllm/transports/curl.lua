--- The transport over libcurl; reactor.lua does the waiting, in whatever host there is. libcurl is loaded at the first
--- request.

local core = require "vllm.core"
local curl_errors = require "vllm.transports.curl_errors"
local hosts = require "vllm.hosts"
local interrupt = require "vllm.hosts.interrupt"
local native = require "vllm.base.native"
local reactor = require "vllm.transports.reactor"
local waiter = require "vllm.hosts.waiter"

---@class vllm.transports.curl
---@field name string
---@field options table<string, true> the connection options that it honours
local Transport = {
  name = "libcurl",
  options = {
    ca_file = true, ca_path = true, verify = true, cert = true, key = true, key_password = true,
    proxy = true, no_proxy = true, unix_socket = true, connect_s = true,
  },
}
Transport.__index = Transport

---@class vllm.transports.curl.Stream
local Stream = {}
Stream.__index = Stream

-- Streams ----------------------------------------------------------------------------------------------------------

-- Does what is due, without waiting.
local function step(stream)
  local failure = stream._waiter:failure()
  if failure then return nil, failure end
  return stream._reactor:step(0)
end

-- Asks the request until it has an answer; false at the deadline; nil, err. If the deadline has passed, what is due is
-- still done.
local function ask(stream, method, deadline)
  local is_late = false
  while true do
    local request = stream._request
    if not request then return nil, { kind = "cancelled", detail = "the stream was closed" } end
    local got, more = request[method](request)
    if got == nil and more then return nil, curl_errors.of(more, stream._asked) end
    if got ~= false then return got, more end
    if is_late then return false end
    is_late = deadline ~= nil and deadline <= core.now()
    local ok, failure
    if is_late then ok, failure = step(stream) else ok, failure = stream._waiter:wait(deadline) end
    if not ok then return nil, failure end
  end
end

-- In two steps, each linear in the length of a run of blanks; `(.-)[ \t]*$` is not.
local function trimmed(text)
  return text:match("^[ \t]*(.*)$"):match("^(.*[^ \t])") or ""
end

-- Header lines → lower-case names. Repeated names are joined; a folded line continues the one before. Source: RFC
-- 9110 section 5.3, RFC 9112 section 5.2.
local function parse_headers(raw)
  local headers, last = {}, nil
  for line in raw:gmatch("([^\r\n]+)\r?\n?") do
    local name, value = line:match("^([^%s:]+)[ \t]*:(.*)$")
    if line:find("^[ \t]") and last then
      headers[last] = headers[last] .. " " .. trimmed(line)
    elseif name then
      last, value = name:lower(), trimmed(value)
      headers[last] = headers[last] and headers[last] .. ", " .. value or value
    end
  end
  return headers
end

-- As if the server had not compressed: libcurl undoes these.
local UNDONE = { gzip = true, ["x-gzip"] = true, deflate = true }

local function of_plain_body(headers)
  local coding = headers["content-encoding"]
  if coding and UNDONE[coding:lower()] then headers["content-encoding"], headers["content-length"] = nil, nil end
  return headers
end

--- Waits for the response's head.
---@param deadline number? absolute, seconds of core.now(); nil: none; in the past: does not wait
---@return integer|false|nil status false: the deadline passed
---@return table? headers lower-case name → value; or the error { kind, detail } when status is nil
function Stream:head(deadline)
  if self._status then return self._status, self._headers end
  local status, raw = ask(self, "head", deadline)
  if not status then return status, raw end
  self._headers = of_plain_body(parse_headers(raw))
  self._status = status
  return status, self._headers
end

--- Reads what has come of the body, all of it at once.
---@param deadline number? as for head
---@return string|false|nil bytes never empty · false: the deadline passed · nil: the end, or an error
---@return table? err { kind, detail }: connect, tls, timeout, protocol, limit, closed, config, cancelled
function Stream:read(deadline)
  return ask(self, "read", deadline)
end

--- What is known of the connection.
---@return table info name_lookup_s, connect_s, tls_s, start_transfer_s, total_s (seconds; absent: did not happen),
---  reused, upload_bytes, body_bytes, remote_ip, remote_port
function Stream:info()
  return self._request and self._request:info() or self._info or {}
end

--- Ends the request; the server sees the connection close, unless the answer is complete. May be called again, from
--- anywhere.
---@param drain boolean? the answer is complete but for its last bytes: let the connection live
function Stream:close(drain)
  local request = self._request
  if not request then return end
  self._info, self._request = request:info(), nil
  request:close(drain and true or false)
  self._reactor:on_closed(request)
end

-- The transport ----------------------------------------------------------------------------------------------------

local transports_curl = {
  ---@type "inline"|"thread"|nil of engines made from now on; nil: a thread in Neovim, where TLS must not hold up the
  ---  editor; inline elsewhere
  default_mode = nil,
}

local NO_DESCRIPTOR = { [23] = true, [24] = true } -- ENFILE, EMFILE: the same numbers wherever there is a libcurl

local function default_mode()
  local vim = rawget(_G, "vim")
  return transports_curl.default_mode or (type(vim) == "table" and (vim.loop or vim.uv)) and "thread" or "inline"
end

local shared = setmetatable({}, { __mode = "v" }) -- mode → the reactor of all clients of this Lua state

-- libcurl keeps connections apart that differ in host, TLS or proxy, so one pool and one descriptor serve all clients.
local function new_reactor(curl, settings)
  local mode = settings.mode or default_mode()
  if next(settings) then
    local own = { mode = mode }
    for name, value in pairs(settings) do own[name] = value end
    return reactor.new(curl, own)
  end
  local found = shared[mode]
  if found and found:is_usable() then return found end
  local made, why = reactor.new(curl, { mode = mode })
  shared[mode] = made
  return made, why
end

-- When none is left, a module's file cannot be found either.
local function has_descriptor()
  local file, _, errno = io.open "/dev/null"
  if file then file:close() end
  return file ~= nil or not NO_DESCRIPTOR[errno]
end

local function no_engine(why)
  if why ~= "descriptors" then return { kind = "limit", detail = "out of memory" } end
  return { kind = "connect", detail = curl_errors.NO_DESCRIPTOR }
end

local function reactor_of(transport)
  local own = transport._reactor
  if not own or own:is_retired() then
    local curl, problem = native.load "vllm.curl"
    if not curl and not has_descriptor() then return nil, no_engine "descriptors" end
    if not curl then return nil, { kind = "config", detail = problem } end
    local made, why = new_reactor(curl, transport._settings)
    if not made then return nil, no_engine(why) end
    transport._reactor = made
  end
  return transport._reactor
end

local function refused(status, name)
  if status == "forked" then return { kind = "config", detail = reactor.FORKED } end
  if status == "memory" then return { kind = "limit", detail = "out of memory" } end
  return { kind = "config", detail = "libcurl cannot honour `" .. tostring(name) .. "` as it was given" }
end

-- What the engine takes: all but what concerns waiting.
local function options_of(request)
  local options = {}
  for name, value in pairs(request) do options[name] = value end
  options.host, options.interrupt = nil, nil
  return options
end

--- Starts a request; never waits.
---@param request { url: string, method: string, headers: { [1]: string, [2]: string }[]?, body: string?, connect_s:
---  number?, unix_socket: string?, proxy: string?, no_proxy: string?, tls: table?, max_buffer_bytes: integer?,
---  max_header_bytes: integer?, host: string|vllm.Host|nil, interrupt: boolean? }
---@return vllm.transports.curl.Stream?
---@return table? err { kind, detail }: config, limit
function Transport:open(request)
  local own, err = reactor_of(self)
  if not own then return nil, err end
  local stream = setmetatable({ _reactor = own, _waiter = waiter.new(request.host, request.interrupt, own) }, Stream)
  local opened, status, name = own:add(options_of(request), stream._waiter)
  if not opened then return nil, refused(status, name) end
  -- Kept for the text of an error; without the query, the proxy's user, the body and the headers, which may be large or
  -- secret.
  stream._asked = {
    url = request.url:match("^[^?#]*"), unix_socket = request.unix_socket, connect_s = request.connect_s,
    proxy = request.proxy and request.proxy:gsub("^.*@", ""),
    has_cert = request.tls ~= nil and request.tls.cert ~= nil,
    has_password = request.tls ~= nil and request.tls.key_password ~= nil,
  }
  stream._request = opened
  return stream
end

--- Makes Ctrl-C end a wait of this transport instead of the program, until the trap is released or collected.
--- Process-wide, counted.
---@return vllm.Trap?
---@return table? err { kind, detail }
function Transport:interrupt()
  local own, err = reactor_of(self)
  if not own then return nil, err end
  local trap, why = interrupt.trap(native.load "vllm.curl")
  if not trap then return nil, { kind = "config", detail = why } end
  return trap
end

--- A transport. Without settings it shares one engine, and so one pool of connections, with the others of this Lua
--- state. Opens no descriptor before its first request. A host that must not be held up may begin to load libcurl in a
--- thread.
---@param settings { mode: "inline"|"thread"|nil, max_idle_age_s: integer?, max_starts: integer? }? of an engine of its
---  own
---@return vllm.transports.curl
function transports_curl.new(settings)
  local host = hosts.here()
  if host and host.preload then host.preload "vllm.curl" end
  return setmetatable({ _settings = settings or {} }, Transport)
end

return transports_curl
