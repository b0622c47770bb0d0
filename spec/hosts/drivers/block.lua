-- A cell on the main thread, with nothing around it: a wait blocks, so nobody can end it, and there is no second coroutine.
local cell = require "spec.hosts.cell"
local common = require "spec.hosts.drivers.common"

local ALONE = "nobody runs beside a wait"
local NO_LOOP = "needs an event loop, and says so"

cell.run({
  go = function(fn) coroutine.wrap(fn)() end, write = common.write, blocks = true,
  skip = {
    ten_at_once = ALONE, cancel_resolving = ALONE, cancel_connecting = ALONE, cancel_in_tls = ALONE, cancel_before_head = ALONE,
    cancel_streaming = ALONE, cancel_retrying = ALONE, busy = ALONE, max_concurrent = ALONE, two_hundred = ALONE,
    cancel_task = NO_LOOP, start = NO_LOOP, start_reports = NO_LOOP, poll = NO_LOOP,
  },
}, common.settings)
cell.loop_has_ended()
