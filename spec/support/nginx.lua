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

---@return string? content of a file
function M.read_file(path)
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
    if M.read_file(folder .. "/ngx_http_lua_module.so") then
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
  return tonumber(M.read_file(("/proc/%d/status"):format(self:worker())):match("VmRSS:%s*(%d+)"))
end

---One request on a connection of its own.
---@param path string
---@param options? { method: string, body: string, headers: table<string, string>, read: integer }  `read`: leaves after so many bytes
---@return integer|nil status, table headers, string body
function Nginx:request(path, options)
  return servers.parse((servers.send(self.socket, M.head(path, options),
    { read = options and options.read, limit_ms = 60000 })))
end

---The bytes of a request.
function M.head(path, options)
  options = options or {}
  local body = options.body
  local lines = { (options.method or body and "POST" or "GET") .. " " .. path .. " HTTP/1.1", "host: gateway",
    "connection: close" }
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
  for line in (M.read_file(self.prefix .. "/error.log") or ""):gmatch("[^\n]+") do
    if not line:find("[notice]", 1, true) then lines[#lines + 1] = line end
  end
  return table.concat(lines, "\n")
end

---All of the error log.
function Nginx:notices() return M.read_file(self.prefix .. "/error.log") or "" end

---@param name? string  default error.log
function Nginx:clear_log(name) write_file(self.prefix .. "/" .. (name or "error.log"), "") end

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

local function fill(text, values)
  return (text:gsub("{([a-z]+)}", values))
end

-- The text of nginx.conf from ours.
local function template(options, prefix, root)
  local values = { prefix = prefix, root = root, modules = M.modules, cpath = root .. "/build/luajit/?.so",
    main = M.as_root, http = options.http or "", server = options.server or "" }
  for name, value in pairs(options.values or {}) do values[name] = value end
  return fill(fill(M.read_file("spec/support/nginx.conf"), values), values)
end

local function environment(root, more)
  local words = { "LUA_PATH=" .. quote(root .. "/lua/?.lua;" .. root .. "/lua/?/init.lua;;"),
    "LUA_CPATH=" .. quote(root .. "/build/luajit/?.so;;") }
  for name, value in pairs(more or {}) do words[#words + 1] = name .. "=" .. quote(value) end
  return table.concat(words, " ")
end

---The directives that load the Lua module.
M.modules = modules()

---A directive for workers that may read this checkout.
M.as_root = shell("id -u") == "0" and "user root;" or ""

---@param options? { http: string, server: string, values: table<string, string>, preamble: string,
---  conf: (fun(prefix: string): string),
---  files: table<string, string>, environment: table<string, string> }  `http`, `server`: directives for spec/support/nginx.conf, `values`
---  for {names} in them; `preamble`: goes before every program; `conf`: makes another nginx.conf, which must answer /ping and listen at
---  PREFIX/nginx.sock; `files`: beside it
function M.start(options)
  options = options or {}
  local prefix, root = shell("mktemp -d"), shell("pwd")
  write_file(prefix .. "/nginx.conf", options.conf and options.conf(prefix) or template(options, prefix, root))
  write_file(prefix .. "/error.log", "")
  for name, content in pairs(options.files or {}) do write_file(prefix .. "/" .. name, content) end
  local command = ("exec 2>%s/start.log; env %s %s -p %s/ -c nginx.conf & master=$!; cat >/dev/null; kill -TERM "
    .. "$master; wait $master")
    :format(prefix, environment(root, options.environment), binary, prefix)
  local self = setmetatable({ prefix = prefix, socket = prefix .. "/nginx.sock", preamble = options.preamble or "",
    pipe = io.popen("sh -c " .. quote(command), "w") }, Nginx)
  self.master = M.wait_for(function() return tonumber(M.read_file(prefix .. "/nginx.pid") or "") end)
  if not self.master or not M.wait_for(function() return (self:request("/ping")) == 200 end) then
    error("nginx does not start: " .. (M.read_file(prefix .. "/start.log") or "") .. self:notices(), 2)
  end
  return self
end

return M
