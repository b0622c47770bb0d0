--- What the hosts over libuv have in common: coroutines that wait, timers, descriptors. neovim.lua and luv.lua say
-- where a coroutine may go on.
--
-- A coroutine is its own token. Woken coroutines wait in one queue, and one call of `soon` serves all of it, so a batch
-- of events costs one visit to the editor. The queue is shared with a loop that was entered again (`block`), so nothing
-- is stuck there. Handles of libuv are stopped and reused, never closed: luv 1.44 crashes at exit if one was closed
-- outside of uv.run.

local core = require "vllm.core"

local libuv = {}

local LONGEST_S = 1e9 -- of a timer, which counts whole milliseconds: infinity is none

---@class vllm.libuv.Options
---@field name string
---@field uv table luv
---@field soon fun(fn: fun()) calls fn soon, where coroutines may go on; never within this call
---@field report fun(message: string)
---@field slice_s number? how long coroutines may run at a stretch; nil: until all have run
---@field later (fun(fn: fun()))? as soon, after a turn of the loop: for those whose slice was over

-- Descriptors ---------------------------------------------------------------------------------------------------------

local Watcher = {}
Watcher.__index = Watcher

function Watcher:close()
  if not self._poll then return end
  self._poll:stop()
  self._spare[self._fd], self._poll, self._source = self._poll, nil, nil
end

function Watcher:hold(yes)
  if not self._poll then return end
  if yes then self._poll:ref() else self._poll:unref() end
end

-- `spare`: descriptor → a stopped handle, which knows only the descriptor's number. (luv holds the last callback of a
-- handle forever, so the callback must not hold an engine.)
local function watch(uv, spare, source)
  local fd = source.fd
  local poll = spare[fd]
  spare[fd] = nil
  if not poll or poll:is_closing() then poll = assert(uv.new_poll(fd)) end
  poll:ref()
  local watcher = setmetatable({ _poll = poll, _fd = fd, _spare = spare, _source = source }, Watcher)
  poll:start("r", function()
    if watcher._source then watcher._source.on_readable() end
  end)
  return watcher
end

-- The coroutines of one host ------------------------------------------------------------------------------------------

---@class vllm.libuv.Queue
local Queue = {}
Queue.__index = Queue

local function new_queue(options)
  return setmetatable({
    _uv = options.uv, _soon = options.soon, _later = options.later, _slice_s = options.slice_s or math.huge,
    _report = options.report,
    _parked = {}, -- coroutine → its timer, or true. Strong: often nothing else holds a coroutine that waits
    _reasons = {}, -- coroutine in the line → what its park returns
    _failed_of = setmetatable({}, { __mode = "k" }), -- coroutine → what is told of an error in it
    _timers = {}, -- those not in use
    _line = {}, _first = 1, _last = 0, _armed = false, _serving = false,
    _active = nil, -- the coroutine that we resumed
    _ends_at = 0, -- of the present slice
  }, Queue)
end

-- Not while the line is served: Neovim runs libuv inside its functions, and what is woken there waits for the next
-- slice. Otherwise vim.wait and :qa would never end in a program that does nothing but draw what comes.
function Queue:_arm(how)
  if self._armed or self._serving or self._first > self._last then return end
  self._armed = true
  self._on_soon = self._on_soon or function() self:_serve() end
  how(self._on_soon)
end

function Queue:_add(co, reason)
  self._last = self._last + 1
  self._line[self._last], self._reasons[co] = co, reason
  self:_arm(self._soon)
end

function Queue:_release(timer)
  if timer == true or timer.handle:is_closing() then return end
  timer.handle:stop()
  timer.queue, timer.co = nil, nil -- luv holds its callback forever
  self._timers[#self._timers + 1] = timer
end

function Queue:_resume(co)
  local reason = self._reasons[co]
  if reason == nil then return end -- something else resumed it meanwhile
  self._reasons[co] = nil
  local outer = self._active
  self._active = co
  local ok, value = coroutine.resume(co, reason)
  self._active = outer
  if ok then return end
  local failed, traceback = self._failed_of[co], debug.traceback(co)
  if failed then return failed(value, traceback) end
  self._report(tostring(value) .. "\n" .. traceback)
end

-- Serves those that are in the line now, as long as the slice lasts. What a report raises is raised at the end, after
-- the others.
function Queue:_serve()
  self._armed, self._serving = false, true
  local stop, problem = self._last, nil
  self._ends_at = core.now() + self._slice_s
  while self._first <= math.min(stop, self._last) and core.now() < self._ends_at do
    local co = self._line[self._first]
    self._line[self._first], self._first = nil, self._first + 1
    local ok, why = pcall(self._resume, self, co)
    problem = problem or not ok and why or nil
  end
  if self._first > self._last then self._first, self._last = 1, 0 end
  self._serving = false
  self:_arm(self._later or self._soon)
  if problem then error(problem, 0) end
end

local function new_timer(uv)
  local timer = { handle = uv.new_timer() }
  function timer.on_time()
    local queue, co = timer.queue, timer.co
    if not queue then return end
    queue._parked[co] = nil
    queue:_release(timer)
    queue:_add(co, false)
  end
  return timer
end

function Queue:_start_timer(co, seconds)
  local timer = table.remove(self._timers)
  if not timer or timer.handle:is_closing() then timer = new_timer(self._uv) end
  timer.queue, timer.co = self, co
  self._uv.update_time() -- timers count from the loop's time, which stands still while Lua runs
  timer.handle:start(math.ceil(math.min(math.max(seconds, 0), LONGEST_S) * 1000), 0, timer.on_time)
  return timer
end

function Queue:park(co, seconds)
  local timer = seconds and self:_start_timer(co, seconds) or true
  self._parked[co] = timer
  local reason = coroutine.yield()
  if self._parked[co] == timer then -- something else resumed it
    self._parked[co] = nil
    self:_release(timer)
  end
  self._reasons[co] = nil
  return reason ~= false
end

function Queue:wake(co)
  local timer = self._parked[co]
  if not timer then return end
  self._parked[co] = nil
  self:_release(timer)
  self:_add(co, true)
end

function Queue:spawn(fn, failed)
  local co = coroutine.create(fn)
  self._failed_of[co] = failed
  self:_add(co, true)
end

-- A coroutine that one of ours resumed may be a generator: its yield would reach the one that consumes it, not the
-- loop.
function Queue:current()
  local co, is_main = coroutine.running()
  if not co or is_main or self._active and self._active ~= co then return nil end
  return co
end

-- A coroutine whose slice is over goes back into the line.
function Queue:give_way()
  if core.now() < self._ends_at then return end
  local co = self:current()
  if not co then return end
  self:_add(co, true)
  coroutine.yield()
end

-- Calls `wait`, which runs the loop, with no coroutine active: what it resumes is not inside the one that waits.
function Queue:inside_loop(wait, ...)
  local outer, serving = self._active, self._serving
  self._active, self._serving = nil, false
  self:_arm(self._soon)
  local ok, value, more = pcall(wait, ...)
  self._active, self._serving = outer, serving
  if not ok then error(value, 0) end
  return value, more
end

--- A host without `running` and `block`.
---@param options vllm.libuv.Options
---@return table host
---@return vllm.libuv.Queue queue
function libuv.new(options)
  local queue, uv = new_queue(options), options.uv
  local host, spare = { name = options.name, report = options.report }, {}

  function host.current() return queue:current() end

  function host.active() return queue._active end

  function host.park(co, seconds) return queue:park(co, seconds) end

  function host.wake(co) queue:wake(co) end

  function host.spawn(fn, failed) queue:spawn(fn, failed) end

  function host.watch(source) return watch(uv, spare, source) end

  return host, queue
end

return libuv
