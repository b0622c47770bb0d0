--- :checkhealth vllm in Neovim. Shows no secret. Waits at most three seconds for the server; the editor stays
-- responsive meanwhile.

local LIMIT_S = 3
local MAX_MODELS_SHOWN = 5

local health = {}

-- Neovim 0.10 and later have vim.health.start, 0.7 has the module `health` with report_start, versions in between have
-- both.
local function reporter()
  local new = vim.health
  if type(new) == "table" and new.start then return new end
  local old = type(new) == "table" and new.report_start and new or require "health"
  local named = {}
  for _, name in ipairs { "start", "ok", "warn", "error", "info" } do named[name] = old["report_" .. name] end
  return named
end

local function check_modules(to)
  to.start "vllm: modules"
  local native, versions = require "vllm.base.native", {}
  for _, name in ipairs { "vllm.core", "vllm.curl" } do
    local module, message = native.load(name)
    if not module then
      to.error(message, { "see :help vllm-install (`make nvim` writes its tags, too)" })
      return false
    end
    versions[name] = module.version
  end
  local jit = rawget(_G, "jit")
  to.ok("vllm.core " .. versions["vllm.core"] .. " on " .. (jit and jit.version or _VERSION))
  to.ok("libcurl " .. versions["vllm.curl"])
  return true
end

local function check_host(to)
  to.start "vllm: host"
  local host = require("vllm.hosts").here()
  if host then
    to.ok("waiting uses the host " .. host.name)
  else
    to.error "no host was found: every wait would block the editor"
  end
  local mode = require("vllm.transports.curl").default_mode or "thread"
  if mode == "thread" then
    to.ok "the engine runs in a thread, so no TLS handshake blocks the editor"
  else
    to.warn("the engine runs " .. mode .. ": a TLS handshake blocks the editor for some milliseconds")
  end
end

local function check_model(to, wanted, names)
  for _, name in ipairs(names) do
    if name == wanted then return to.ok("the server has the model " .. wanted) end
  end
  if #names == 0 then return to.info "the server does not list its models" end
  local shown = table.concat(names, ", ", 1, math.min(#names, MAX_MODELS_SHOWN))
  to.warn(("the server does not have the model %s; it has %s"):format(wanted, shown))
end

--- Reports on a client: its model, whether it has a key, and whether its server answers. For a plugin's own health
--- check.
---@param client vllm.Client
function health.report(client)
  if type(client) ~= "table" or not rawget(client, "config") then
    error("vllm.health.report: expected a client, got " .. type(client), 2)
  end
  local to = reporter()
  to.start "vllm: server"
  to.ok(tostring(client))
  to.info(client.config.authorization and "an API key is set" or "no API key is set")
  local timeout = { connect_s = LIMIT_S, first_event_s = LIMIT_S, total_s = LIMIT_S }
  local short = client:with { timeout = timeout, retry = false }
  local answer, message, err = short:request("GET", "/v1/models")
  if answer then
    to.ok "the server answers"
    check_model(to, client.config.model, require("vllm.turn.served").names(answer.json))
  elseif err.kind == "auth" then
    to.error(message, { "set api_key, or VLLM_API_KEY" })
  else
    local is_up = "is the server up? `vllm serve` opens its port only when the model is loaded"
    to.error(message, { is_up, "is base_url right?" })
  end
end

--- Called by :checkhealth vllm: checks the modules, and the server that the environment names.
function health.check()
  local to = reporter()
  if not check_modules(to) then return end
  check_host(to)
  local client, message = require("vllm").from_env()
  if client then return health.report(client) end
  to.start "vllm: server"
  to.warn(message, { "set VLLM_MODEL and VLLM_BASE_URL to check a server; a plugin may have its own configuration" })
end

return health
