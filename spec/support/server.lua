-- Driver of the test server (spec/support/server, see main.c and routes.c there for all it can do).
--
--   local server = require("spec.support.server").start { tls = true }
--   vllm.new { model = "test-model", base_url = server.url .. "/replay/vllm/text?split=1" }
--   server:stop()
--
-- It needs nothing but io.popen. The server ends when this process does, however it ends.

local M = {}

local BINARY = os.getenv("TEST_SERVER") or "build/test-server"

local function quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

local function command(words)
  local quoted = {}
  for i, word in ipairs(words) do quoted[i] = quote(word) end
  return table.concat(quoted, " ")
end

local function append(list, ...)
  for i = 1, select("#", ...) do list[#list + 1] = (select(i, ...)) end
end

---Sends bytes as they are and returns all that came back until the other side closed.
---@param target integer|string  a port of 127.0.0.1, or the path of a Unix socket
---@param bytes string
---@param options? { ca?: string, cert?: string, key?: string, sizes?: boolean, read?: integer, limit_ms?: integer }
---  `sizes`: returns the size of each read, one a line, instead; `read`: closes after so many bytes;
---  `limit_ms`: gives up after so long a silence (10,000)
---@return string received, string complaint  of the raw client; empty: none
function M.send(target, bytes, options)
  options = options or {}
  local name, complaints = os.tmpname(), os.tmpname()
  local file = assert(io.open(name, "wb"))
  assert(file:write(bytes))
  file:close()
  local words = { BINARY, "--send", target, "--file", name }
  for _, option in ipairs { "ca", "cert", "key", "read" } do
    if options[option] then append(words, "--" .. option, options[option]) end
  end
  if options.limit_ms then append(words, "--limit-ms", options.limit_ms) end
  if options.sizes then append(words, "--sizes") end
  local pipe = assert(io.popen(command(words) .. " 2>" .. quote(complaints), "r"))
  local received = pipe:read("*a")
  pipe:close()
  file = assert(io.open(complaints, "rb"))
  local complaint = file:read("*a")
  file:close()
  os.remove(name)
  os.remove(complaints)
  return received, complaint
end

local function unchunk(body)
  local parts, at = {}, 1
  while true do
    local _, last, size = body:find("^(%x+)[^\n]*\r\n", at)
    if not last or tonumber(size, 16) == 0 then break end
    parts[#parts + 1] = body:sub(last + 1, last + tonumber(size, 16))
    at = last + 1 + tonumber(size, 16) + 2
  end
  return table.concat(parts)
end

---@return integer|nil status, table headers  lower-case name → value
---@return string body  without its framing
function M.parse(response)
  local head, body = response:match("^(.-\r\n)\r\n(.*)$")
  if not head then return nil, {}, response end
  local headers = {}
  for name, value in head:gmatch("\n([^:\r\n]+):[ \t]*([^\r\n]*)") do headers[name:lower()] = value end
  if (headers["transfer-encoding"] or ""):lower() == "chunked" then body = unchunk(body) end
  return tonumber(head:match("^HTTP/1%.%d (%d+)")), headers, body
end

local Server = {}
Server.__index = Server

---One request on a connection of its own.
---@param method string
---@param path string  with its query
---@param options? { body?: string, headers?: table<string, string> }
---@return integer|nil status, table headers, string body
function Server:request(method, path, options)
  options = options or {}
  local lines = { method .. " " .. path .. " HTTP/1.1", "host: 127.0.0.1", "connection: close" }
  for name, value in pairs(options.headers or {}) do lines[#lines + 1] = name .. ": " .. value end
  if options.body then lines[#lines + 1] = "content-length: " .. #options.body end
  return M.parse((M.send(self.port, table.concat(lines, "\r\n") .. "\r\n\r\n" .. (options.body or ""))))
end

---@return string body, integer|nil status
function Server:get(path)
  local status, _, body = self:request("GET", path)
  return body, status
end

---A chat request to the scripted model.
---@param json string  the body
---@param path? string  default /v1/chat/completions
---@return integer|nil status, string body
function Server:chat(json, path)
  local headers = { ["content-type"] = "application/json" }
  if self.key then headers.authorization = "Bearer " .. self.key end
  local status, _, body = self:request("POST", path or "/v1/chat/completions", { body = json, headers = headers })
  return status, body
end

---The exact bytes of the last body that a client sent.
function Server:last_body() return (self:get("/log/last")) end

---What the server saw, oldest first; looking at the log is not in it. Records have event ("request", "close"),
---connection (a
---number), via ("tcp", "tls", "mtls", "unix"), at_ms (CLOCK_MONOTONIC); requests: method, path (with its query),
---headers
---({ name, value } in order, and lower-case name → value), body; closes: by ("client", "server", "handshake"), midway
---(the
---client left before the end of a response), requests, bytes_sent, wrote_ms.
---@param event? string  only these
function Server:log(event)
  local load_text = rawget(_G, "loadstring") or load
  local found = {}
  for _, record in ipairs(assert(load_text((self:get("/log?as=lua"))))()) do
    for _, header in ipairs(record.headers or {}) do record.headers[header.name:lower()] = header.value end
    if not event or record.event == event then found[#found + 1] = record end
  end
  return found
end

function Server:clear_log() self:get("/log/clear") end

---Asks for the log until `found(log)` is true.
---@return any what `found` returned, or nil after timeout_s
function Server:wait_for(found, timeout_s)
  local ends = os.time() + (timeout_s or 5)
  repeat
    local result = found(self:log())
    if result then return result end
  until os.time() > ends
  return nil
end

---How many responses are being sent.
function Server:running()
  return tonumber(self:get("/metrics"):match("num_requests_running{[^}]*} (%d+)"))
end

local function step_line(step)
  if type(step) == "string" then return step end
  if step[1] ~= "send" then return table.concat(step, " ") end
  return "send " .. step[2]:gsub("[%c\\\127-\255]", function(c) return ("\\x%02x"):format(c:byte()) end)
end

---Steps as the server reads them: POST /script.
---@return string
function M.script_text(steps)
  local lines = {}
  for i, step in ipairs(steps) do lines[i] = step_line(step) end
  return table.concat(lines, "\n") .. "\n"
end

---Responses step by step: { { "send", bytes }, { "wait", ms }, { "repeat", times, steps_back }, "close" | "drop" |
---"reset" |
---"stall", "next", { "use", target } }; see script.c.
---@return string path  to be requested; the k-th request plays the k-th part between "next"
function Server:script(steps)
  local status, _, body = self:request("POST", "/script", { body = M.script_text(steps) })
  assert(status == 200, body)
  return body:match('"path":"([^"]+)"')
end

---@return any what closing a pipe returns: from Lua 5.2 on true, "exit", 0
function Server:stop()
  local pipe = self.pipe
  self.pipe = nil
  if pipe then return pipe:close() end
end

---@param options? { tls?: boolean, mtls?: boolean, deaf?: boolean, unix?: boolean|string, key?: string,
---  fixtures?: string, idle_s?: integer, binary?: string }
---@return table server  port, url, tls_url, mtls_url, deaf_port, full_port, unix, ca_file, cert_file, key_file, key, and the methods above
function M.start(options)
  options = options or {}
  local words = { options.binary or BINARY }
  if options.tls then append(words, "--tls") end
  if options.mtls then append(words, "--tls", "--mtls") end
  if options.deaf then append(words, "--deaf") end
  if options.unix then append(words, "--unix", options.unix == true and "auto" or options.unix) end
  if options.key then append(words, "--key", options.key) end
  if options.fixtures then append(words, "--fixtures", options.fixtures) end
  if options.idle_s then append(words, "--idle-s", options.idle_s) end
  local pipe = assert(io.popen("exec " .. command(words), "r"))
  local line = pipe:read("*l")
  if not line then error("the test server does not start: " .. command(words), 2) end
  local found = {}
  for name, value in line:gmatch("(%S+) (%S+)") do found[name] = value end
  return setmetatable({
    pipe = pipe, key = options.key, port = tonumber(found.port),
    url = "http://127.0.0.1:" .. found.port,
    tls_url = found.tls and "https://localhost:" .. found.tls, tls_port = found.tls and tonumber(found.tls),
    mtls_url = found.mtls and "https://localhost:" .. found.mtls, mtls_port = found.mtls and tonumber(found.mtls),
    deaf_port = tonumber(found.deaf), full_port = tonumber(found.full), unix = found.unix, ca_file = found.ca,
      cert_file = found.cert, key_file = found.key,
  }, Server)
end

return M
