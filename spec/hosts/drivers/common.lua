-- What the drivers share: the settings that matrix_spec gave, by the environment.
local core = require "vllm.core"

local common = { core = core }

local function number(name) return tonumber(os.getenv(name)) end

common.settings = {
  url = os.getenv "CELL_URL", tls_url = os.getenv "CELL_TLS_URL", ca_file = os.getenv "CELL_CA",
  deaf_port = number "CELL_DEAF_PORT", full_port = number "CELL_FULL_PORT",
  thousand = os.getenv "CELL_THOUSAND" == "yes",
  slow_names = (os.getenv "LD_PRELOAD" or ""):find("slow_names", 1, true) ~= nil,
}

function common.write(line)
  io.stdout:write(line)
  io.stdout:flush()
end

if os.getenv "CELL_MODE" then require("vllm.transports.curl").default_mode = os.getenv "CELL_MODE" end

return common
