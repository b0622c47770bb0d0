-- A cell on the main thread, with nothing around it: a wait blocks, so nobody can end it, and there is no second
-- coroutine.
local cell = require "spec.hosts.cell"
local common = require "spec.hosts.drivers.common"

local ALONE = "nobody runs beside a wait"
local NO_LOOP = "needs an event loop, and says so"

local skip = {
  ten_at_once = ALONE, busy = ALONE, max_concurrent = ALONE, two_hundred = ALONE, thousand_cancelled = ALONE,
  cancel_task = NO_LOOP, cancel_by_return = NO_LOOP, cancel_in_callback = NO_LOOP, start = NO_LOOP,
    start_reports = NO_LOOP, poll = NO_LOOP,
}
for _, name in ipairs(cell.names) do
  if name:find "^cancel_" then skip[name] = skip[name] or ALONE end
end

cell.run({ go = function(fn) coroutine.wrap(fn)() end, write = common.write, blocks = true, skip = skip },
  common.settings)
cell.loop_has_ended()
