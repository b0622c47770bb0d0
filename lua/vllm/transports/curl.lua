--- The transport over libcurl, for plain Lua: waits block in the engine's step. libcurl is loaded at the first request.

local core = require "vllm.core"
local curl_errors = require "vllm.transports.curl_errors"

local MAX_WAIT_S = 1 -- between two looks: a signal that comes just before a wait begins is late by this much at the most

---@class vllm.transports.curl
---@field name string
---@field options table<string, true> the connection options that it honours
local Transport = {
  name = "libcurl",
  options = {
    ca_file = true, ca_path = true, verify = true, cert = true, key = true,
    proxy = true, no_proxy = true, unix_socket = true, connect_s = true,
  },
}
Transport.__index = Transport

---@class vllm.transports.curl.Stream
local Stream = {}
Stream.__index = Stream

local FORKED = "this client belongs to another process: make a client of its own after the fork"
local INTERRUPTED = "interrupted by Ctrl-C"

-- Streams ----------------------------------------------------------------------------------------------------------

-- One wait, of `seconds` at the most. true: look again; nil, err.
local function wait(stream, seconds)
  local ok, why = stream._engine:step(seconds)
  if why == "forked" then return nil, { kind = "config", detail = FORKED } end
  if not ok and stream._curl.sigint_pending() then return nil, { kind = "cancelled", detail = INTERRUPTED } end
  return true -- another signal: the host's own handler ran, or runs as soon as we are back in Lua
end

-- Asks the request until it has an answer: false at the deadline; nil, err. A deadline that has passed still gets what is due.
local function ask(stream, method, deadline)
  local late = false
  while true do
    local request = stream._request
    if not request then return nil, { kind = "cancelled", detail = "the stream was closed" } end
    local got, more = request[method](request)
    if got == nil and more then return nil, curl_errors.of(more, stream._asked) end
    if got ~= false then return got, more end
    if late then return false end
    local left = deadline and deadline - core.now() or MAX_WAIT_S
    late = left <= 0
    local ok, err = wait(stream, late and 0 or math.min(left, MAX_WAIT_S))
    if not ok then return nil, err end
  end
end

-- In two steps, each linear in a run of blanks, which `(.-)[ \t]*$` is not.
local function trimmed(text)
  return text:match("^[ \t]*(.*)$"):match("^(.*[^ \t])") or ""
end

-- Header lines → lower-case names; the same name again is joined, a folded line continues the one before (RFC 9110 5.3, RFC 9112 5.2).
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

--- Waits for the response's head.
---@param deadline number? absolute, seconds of core.now(); nil: none; in the past: does not wait
---@return integer|false|nil status false: the deadline passed
---@return table? headers lower-case name → value; or the error { kind, detail } when status is nil
function Stream:head(deadline)
  if self._status then return self._status, self._headers end
  local status, raw = ask(self, "head", deadline)
  if not status then return status, raw end
  self._status, self._headers = status, parse_headers(raw)
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
---@return table info name_lookup_s, connect_s, tls_s, start_transfer_s, total_s (seconds; absent: did not happen), reused, upload_bytes,
---  body_bytes, remote_ip, remote_port
function Stream:info()
  return self._request and self._request:info() or self._info or {}
end

--- Ends the request; the server sees the connection close, unless the answer is complete. May be called again, from anywhere.
---@param drain boolean? the answer is complete but for its last bytes: let the connection live
function Stream:close(drain)
  local request = self._request
  if not request then return end
  self._info, self._request = request:info(), nil
  request:close(drain and true or false)
end

-- The transport ----------------------------------------------------------------------------------------------------

local function engine_of(transport)
  if not transport._engine then
    local found, curl = pcall(require, "vllm.curl")
    if not found then return nil, { kind = "config", detail = "libcurl cannot be loaded: " .. tostring(curl) } end
    local engine, why = curl.engine(transport._settings)
    if not engine then return nil, { kind = "limit", detail = why } end
    transport._curl, transport._engine = curl, engine
  end
  return transport._engine
end

local function refused(status, name)
  if status == "forked" then return { kind = "config", detail = FORKED } end
  if status == "memory" then return { kind = "limit", detail = "out of memory" } end
  return { kind = "config", detail = "libcurl cannot honour `" .. tostring(name) .. "` as it was given" }
end

--- Starts a request; never waits.
---@param request { url: string, method: string, headers: { [1]: string, [2]: string }[]?, body: string?, connect_s: number?,
---  unix_socket: string?, proxy: string?, no_proxy: string?, tls: table?, max_buffer_bytes: integer?, max_header_bytes: integer? }
---@return vllm.transports.curl.Stream?
---@return table? err { kind, detail }: config, limit
function Transport:open(request)
  local engine, err = engine_of(self)
  if not engine then return nil, err end
  local opened, status, name = engine:add(request)
  if not opened then return nil, refused(status, name) end
  -- Kept for the words of an error; without the query, the body and the headers, which may be large or secret.
  local asked = { url = request.url:match("^[^?#]*"), unix_socket = request.unix_socket, connect_s = request.connect_s,
    has_cert = request.tls ~= nil and request.tls.cert ~= nil }
  return setmetatable({ _request = opened, _engine = engine, _curl = self._curl, _asked = asked }, Stream)
end

--- Makes Ctrl-C end a wait of this transport instead of the program, until the trap is released or collected. Process-wide, counted.
---@return { caught: (fun(self): boolean), release: fun(self) }? trap `caught`: since the last time; `release` may be called again
---@return table? err { kind, detail }
function Transport:interrupt()
  local engine, err = engine_of(self)
  if not engine then return nil, err end
  local trap, why = self._curl.sigint_trap()
  if not trap then return nil, { kind = "config", detail = why } end
  return trap
end

local transports_curl = {}

--- A transport with an engine, and so a pool of connections, of its own. Opens no descriptor before its first request.
---@param settings { max_idle_age_s: integer?, max_starts: integer? }? of the engine
---@return vllm.transports.curl
function transports_curl.new(settings)
  return setmetatable({ _settings = settings or {} }, Transport)
end

return transports_curl
