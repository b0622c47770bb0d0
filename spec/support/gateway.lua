-- examples/openresty in a real nginx: the programs as they are, but for where they listen and log.

local nginxes = require "spec.support.nginx"

local M = {}

local FOLDER = "examples/openresty/"
local POLICY = [[
return {
  users = { alice = { name = "alice", max_completion_tokens = 64 }, bob = { name = "bob", max_completion_tokens = 64, models = {} },
    carol = { name = "carol", max_completion_tokens = 10000 } },
  models = {}, forbidden = { "n", "priority" },
}]]

local function conf(prefix)
  local text = nginxes.read_file(FOLDER .. "nginx.conf")
  local function put(pattern, by)
    local count
    text, count = text:gsub(pattern, by)
    assert(count == 1, pattern)
  end
  put("listen 127.0.0.1:8080;", "listen unix:" .. prefix .. "/nginx.sock;")
  put("error_log stderr notice;", nginxes.as_root .. "error_log error.log notice;")
  put("access_log /dev/stdout tokens;", "access_log access.log tokens;")
  put("worker_processes auto;", "worker_processes 1;")
  put("load_module.-http_lua_module.so;", nginxes.modules)
  return text
end

---@param url string of the model server
---@return table nginx as of spec.support.nginx
function M.start(url)
  local files = { ["policy.lua"] = POLICY }
  for _, name in ipairs { "gateway.lua", "policy_check.lua", "agent.lua", "agent_tools.lua" } do
    files[name] = nginxes.read_file(FOLDER .. name)
  end
  return nginxes.start { conf = conf, files = files,
    environment = { VLLM_BASE_URL = url, VLLM_MODEL = "test-model", VLLM_API_KEY = "upstream-secret" } }
end

return M
