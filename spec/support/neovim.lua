-- Runs Lua in real Neovims: Debian's, and the new one of scripts/neovim-new. Each runs with a runtimepath of its own, a
-- directory laid out as a plugin is: the Lua files, and the modules for LuaJIT beside them.

local child = require "spec.support.child"
local env = require "spec.support.env"

local M = {}

local here = assert(io.popen "pwd"):read "*l"

local function first_line(command)
  local output, status = child.run(command, nil, 400)
  return status == 0 and output:match "[^\n]*" or nil, output
end

local function editor(name, command)
  local path, why = first_line(command)
  return { name = name, path = path, why = why }
end

---{ name, path } of each; path nil: it is not there, and `why`.
function M.editors()
  return { editor("Debian's", "command -v nvim"), editor("new", "scripts/neovim-new") }
end

local runtime

---A directory for the runtimepath; remove_runtime removes it.
function M.runtime()
  if runtime then return runtime end
  runtime = assert(io.popen "mktemp -d"):read "*l"
  local script = [[
    set -e
    mkdir -p "$to/lua/vllm"
    for file in "$here"/lua/vllm/*; do case "$file" in *.so) ;; *) ln -s "$file" "$to/lua/vllm/" ;; esac; done
    ln -s "$here/$modules/core.so" "$here/$modules/curl.so" "$to/lua/vllm/"
    ln -s "$here/doc" "$to/doc"
    cp -r "$here/examples/nvim" "$to/example"]]
  local output, status = child.run(script, { here = here, to = runtime, modules = env.build .. "/luajit/vllm" })
  assert(status == 0, output)
  return runtime
end

function M.remove_runtime()
  if runtime then child.run("rm -rf " .. child.quote(runtime)) end
  runtime = nil
end

---The words of the shell that start an editor without a screen and without anybody's configuration. PRELOAD in its
---environment is a
---library for it.
---@param path string
---@param more? string  further arguments
---@return string
function M.command(path, more)
  return ("env -u LD_PRELOAD -u LUA_PATH -u LUA_CPATH -u VIMRUNTIME -u NVIM NVIM_LOG_FILE=/dev/null "
    .. "${PRELOAD:+LD_PRELOAD=$PRELOAD} %s --headless --clean -n --cmd %s %s")
    :format(child.quote(path), child.quote("set rtp^=" .. M.runtime()), more or "")
end

-- What every script begins with. print goes to standard output, since Neovim's own goes to standard error.
local PREAMBLE = [[
local uv = vim.uv or vim.loop
local vllm, hosts, core = require "vllm", require "vllm.hosts", require "vllm.core"
function print(...)
  local words = {}
  for i = 1, select("#", ...) do words[i] = tostring((select(i, ...))) end
  io.stdout:write(table.concat(words, " ") .. "\n")
  io.stdout:flush()
end
require("vllm.transports.curl").default_mode = os.getenv "ENGINE_MODE" -- by default Neovim's
local options = { model = "test-model", base_url = os.getenv "BASE_URL", tls = os.getenv "CA" and { ca_file = os.getenv "CA" } }
local client = vllm.new(options)
local function go(fn) coroutine.wrap(fn)() end
local function quit() vim.cmd "qa!" end
local function after(ms, fn) vim.defer_fn(fn, ms) end
local function wait_for(is_over) assert(vim.wait(20000, is_over, 5), "it took too long") end
vim.defer_fn(function() print "TOO LATE" os.exit(99) end, 40000)
]]

---Runs a script in an editor and waits for the editor's end: the script calls `quit()`, now or later, or fails.
---@param path string
---@param code string
---@param environment? table<string, string>  BASE_URL and CA are for the client
---@return string output
---@return integer status
function M.run(path, code, environment)
  local ending = "\nend\nlocal ok, message = xpcall(script, debug.traceback)\nif not ok then print(message) vim.cmd "
    .. "'cq' end"
  return child.with_file(PREAMBLE .. "local function script()\n" .. code .. ending, function(file)
    -- exec: a limit must end the editor itself
    return child.run("exec " .. M.command(path, child.quote("+luafile " .. file)), environment)
  end)
end

return M
