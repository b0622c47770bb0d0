-- Driver of an nginx with its Lua module: one worker, a directory and a unix socket of its own.
--
--   local nginx = require("spec.support.nginx").start { server = "location …" }
--   assert.equal("3", nginx:run "return 1 + 2")
--   nginx:stop()
--
-- It ends when this process does, however it ends.

local child = require "spec.support.child"
local servers = require "spec.support.server"

local M = {}

local quote = child.quote
local MODULE_FOLDERS = { "/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules" }

local function shell(command)
  local pipe = assert(io.popen(command))
  local output = pipe:read("*a")
  pipe:close()
  return (output:gsub("%s+$", ""))
end

local function read_file(path)
  local file = io.open(path, "rb")
  local text = file and file:read("*a") or nil
  if file then file:close() end
  return text
end

local function write_file(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  file:close()
end

local binary = shell("command -v nginx openresty 2>/dev/null | head -n 1")

---Is there an nginx on this machine?
M.is_installed = binary ~= ""

local function modules()
  for _, folder in ipairs(MODULE_FOLDERS) do
    if read_file(folder .. "/ngx_http_lua_module.so") then
      return ("load_module %s/ndk_http_module.so;\nload_module %s/ngx_http_lua_module.so;"):format(folder, folder)
    end
  end
  return "" -- built in
end

local Nginx = {}
Nginx.__index = Nginx

---Where its worker is: a process id.
---@return integer
function Nginx:worker()
  return tonumber(shell("pgrep -P " .. self.master .. " | head -n 1"))
end

---Open descriptors of the worker.
---@return integer
function Nginx:descriptors()
  return tonumber(shell(("ls /proc/%d/fd | wc -l"):format(self:worker())))
end

---Resident memory of the worker, in KiB.
---@return integer
function Nginx:memory_kib()
  return tonumber(read_file(("/proc/%d/status"):format(self:worker())):match("VmRSS:%s*(%d+)"))
end

---One request on a connection of its own.
---@param path string
---@param options? { method: string, body: string, headers: table<string, string>, read: integer }  `read`: leaves after so many bytes
---@return integer|nil status, table headers, string body
function Nginx:request(path, options)
  return servers.parse((servers.send(self.socket, M.head(path, options), { read = options and options.read, limit_ms = 60000 })))
end

---The bytes of a request.
function M.head(path, options)
  options = options or {}
  local body = options.body
  local lines = { (options.method or body and "POST" or "GET") .. " " .. path .. " HTTP/1.1", "host: gateway", "connection: close" }
  for name, value in pairs(options.headers or {}) do lines[#lines + 1] = name .. ": " .. value end
  if body then lines[#lines + 1] = "content-length: " .. #body end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

---Runs a program in the worker and gives what it returned, each value as text on a line of its own.
---@param code string
---@param where? "rewrite"|"access"|"timer"  default: content
---@return string
function Nginx:run(code, where)
  local status, _, body = self:request("/run" .. (where and "/" .. where or ""), { body = self.preamble .. code })
  if status ~= 200 then error("nginx answered with " .. tostring(status) .. ": " .. body .. "\n" .. self:log(), 2) end
  return body
end

---A request that goes on beside this program.
---@return { finish: fun(): string }  `finish` waits for the whole answer
function Nginx:begin(path, options)
  local name = os.tmpname()
  write_file(name, M.head(path, options))
  local pipe = assert(io.popen(("%s --send %s --file %s --limit-ms 60000 2>&1"):format(
    quote(os.getenv("TEST_SERVER") or "build/test-server"), quote(self.socket), name)))
  return {
    finish = function()
      local text = pipe:read("*a")
      pipe:close()
      os.remove(name)
      return text
    end,
  }
end

---The error log, but for nginx's own notices.
---@return string
function Nginx:log()
  local lines = {}
  for line in (read_file(self.prefix .. "/error.log") or ""):gmatch("[^\n]+") do
    if not line:find("[notice]", 1, true) then lines[#lines + 1] = line end
  end
  return table.concat(lines, "\n")
end

---All of the error log.
function Nginx:notices() return read_file(self.prefix .. "/error.log") or "" end

function Nginx:clear_log() write_file(self.prefix .. "/error.log", "") end

---@param name string  such as "HUP"
function Nginx:signal(name) shell(("kill -%s %d"):format(name, self.master)) end

---Asks until it is true.
---@param is_true fun(): any
---@return any
function M.wait_for(is_true, limit_s)
  local ends = os.time() + (limit_s or 10)
  repeat
    local value = is_true()
    if value then return value end
    shell("sleep 0.02")
  until os.time() > ends
end

function Nginx:stop()
  if self.pipe then self.pipe:close() end
  self.pipe = nil
  shell("rm -rf " .. quote(self.prefix))
end

local function fill(template, values)
  return (template:gsub("{([a-z]+)}", values))
end

---@param options? { main: string, http: string, server: string, preamble: string, values: table<string, string> }  directives; `preamble`:
---  goes before every program; `values`: for {names} in them
function M.start(options)
  options = options or {}
  local prefix, root = shell("mktemp -d"), shell("pwd")
  local values = { prefix = prefix, root = root, modules = modules(), cpath = root .. "/build/luajit/?.so",
    main = options.main or "", http = options.http or "", server = options.server or "" }
  if shell("id -u") == "0" then values.main = "user root;\n" .. values.main end
  for name, value in pairs(options.values or {}) do values[name] = value end
  local conf = fill(fill(read_file(options.template or "spec/support/nginx.conf"), values), values)
  write_file(prefix .. "/nginx.conf", conf)
  write_file(prefix .. "/error.log", "")
  local command = ("exec 2>%s/start.log; %s -p %s -c %s/nginx.conf & master=$!; cat >/dev/null; kill -TERM $master; wait $master")
    :format(prefix, binary, prefix, prefix)
  local self = setmetatable({ prefix = prefix, socket = prefix .. "/nginx.sock", preamble = options.preamble or "",
    pipe = io.popen("sh -c " .. quote(command), "w") }, Nginx)
  self.master = M.wait_for(function() return tonumber(read_file(prefix .. "/nginx.pid") or "") end)
  if not self.master or not M.wait_for(function() return (self:request("/ping")) == 200 end) then
    error("nginx does not start: " .. (read_file(prefix .. "/start.log") or "") .. self:notices(), 2)
  end
  return self
end

return M
