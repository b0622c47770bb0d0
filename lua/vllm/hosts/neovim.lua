--- The host that is Neovim: coroutines go on in vim.schedule, where all of vim.api may be used, and the editor works
--- meanwhile.
--
-- The engine's descriptor is served in a libuv callback, where vim.api is forbidden (:help api-fast) and no code of the
-- user runs. All coroutines of one wake go on in one scheduled call, a slice at a time. On the main thread a wait is
-- vim.wait, as in vim.system():wait().

local core = require "vllm.core"
local libuv = require "vllm.hosts.libuv"

local vim = rawget(_G, "vim")
local uv = vim.uv or vim.loop

local SLICE_S = 0.005 -- of coroutines, between two looks at the keyboard
local LONGEST_WAIT_S = 0.2
local INTERRUPTED = -2 -- of vim.wait

local preload -- while a thread loads libcurl: { then_call = what to call after that }

local function soon(fn)
  if preload then preload.then_call = fn else vim.schedule(fn) end
end

local neovim, queue = libuv.new {
  name = "neovim", uv = uv, soon = soon, slice_s = SLICE_S,
  later = function(fn) vim.defer_fn(fn, 1) end,
  report = function(message)
    vim.schedule(function() vim.notify(message, vim.log.levels.ERROR) end)
  end,
}

--- A server can be faster than the editor draws.
function neovim.give_way()
  queue:give_way()
end

--- In a thread of uv.new_thread there is no vim.schedule.
function neovim.running()
  return not (vim.is_thread and vim.is_thread())
end

local IN_FAST_EVENT = "vllm: a wait in a fast event would freeze the editor: call vim.schedule first, "
  .. "or use turn:start or a coroutine"

-- One vim.wait after another: before 0.9 it notices Ctrl-C only at its end.
local function wait(is_ready, ends_at)
  while true do
    local left = ends_at and ends_at - core.now() or LONGEST_WAIT_S
    local ready, why = vim.wait(math.ceil(math.max(0, math.min(left, LONGEST_WAIT_S)) * 1000), is_ready)
    if ready then return true end
    if why == INTERRUPTED then return false, "interrupted" end
    if left <= LONGEST_WAIT_S and ends_at then return false end
  end
end

--- Runs the editor's loop until `is_ready()`. Ctrl-C ends it.
---@param is_ready fun(): boolean
---@param seconds number?
---@return boolean ready
---@return string? why "interrupted"
function neovim.block(is_ready, seconds)
  if vim.in_fast_event() then error(IN_FAST_EVENT, 0) end
  return queue:inside_loop(wait, is_ready, seconds and core.now() + seconds)
end

-- libcurl -------------------------------------------------------------------------------------------------------------

-- Runs in a thread of libuv's pool: maps the module and the libraries that it needs. (Once opened, curl.so stays.)
local function open_module(path, symbol)
  local open = package.loadlib(path, symbol)
  if open then pcall(open) end
end

local function path_of(name)
  local search = rawget(package, "searchpath") -- LuaJIT has it, Lua 5.1 has not
  local file = search and search(name, package.cpath)
  return file or vim.api.nvim_get_runtime_file("lua/" .. name:gsub("%.", "/") .. ".so", false)[1]
end

local function start_preload(path, symbol)
  preload = {}
  local work = uv.new_work(open_module, function()
    local waiting = preload.then_call
    preload = nil
    if waiting then vim.schedule(waiting) end
  end)
  if not work:queue(path, symbol) then preload = nil end
end

--- Loads a C module in a thread, since libcurl and what it needs take 7 to 15 ms, which is noticeable while typing.
--- What is spawned meanwhile starts after that. If it fails, nothing is lost: require does it all. Done once in a
--- program, even when this module is loaded again: libuv may take another thread each time, and give it descriptors for
--- good.
---@param name string
function neovim.preload(name)
  local registry, mark = debug.getregistry(), "vllm.preload " .. name
  if preload or registry[mark] or package.loaded[name] or vim.in_fast_event() or not neovim.running() then return end
  local path = path_of(name)
  registry[mark] = true
  if path then start_preload(path, "luaopen_" .. name:gsub("%.", "_")) end
end

return neovim
