-- A cell in vllm.run. It ends when its tasks have.
local cell = require "spec.hosts.cell"
local common = require "spec.hosts.drivers.common"
local vllm = require "vllm"

vllm.run(function()
  cell.run({ go = function(fn) vllm.spawn(fn) end, write = common.write }, common.settings)
end)
cell.loop_has_ended()
