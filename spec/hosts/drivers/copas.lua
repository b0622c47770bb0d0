-- A cell in a thread of Copas.
local cell = require "spec.hosts.cell"
local common = require "spec.hosts.drivers.common"
local copas = require "copas"

copas.loop(function()
  cell.run({ go = copas.addthread, write = common.write }, common.settings)
end)
cell.loop_has_ended()
