-- A cell in a coroutine that uv.run() drives. Others begin in callbacks.
local cell = require "spec.hosts.cell"
local common = require "spec.hosts.drivers.common"
local uv = require "luv"

local function go(fn)
  local timer = uv.new_timer()
  timer:start(0, 0, function()
    timer:close()
    coroutine.wrap(fn)()
  end)
end

go(function() cell.run({ go = go, write = common.write }, common.settings) end)
uv.run()
cell.loop_has_ended()
