-- A cell in Neovim, in a coroutine that a task of ours runs in. Others begin in vim.schedule. The editor quits with the
-- turn abandoned.
local cell = require "spec.hosts.cell"
local common = require "spec.hosts.drivers.common"
local vllm = require "vllm"

local vim = rawget(_G, "vim")

local function go(fn) vim.schedule(coroutine.wrap(fn)) end

vllm.spawn(function()
  cell.run({ go = go, write = common.write }, common.settings)
  cell.loop_has_ended()
  vim.cmd "qa!"
end)
