-- A cell in a coroutine of a controller of cqueues.
local cell = require "spec.hosts.cell"
local common = require "spec.hosts.drivers.common"
local cqueues = require "cqueues"

local controller = cqueues.new()
controller:wrap(function()
  cell.run({ go = function(fn) controller:wrap(fn) end, write = common.write }, common.settings)
end)
assert(controller:loop())
cell.loop_has_ended()
