--- For hosts whose loops end with their last coroutine, and know only what their coroutines wait for: cqueues and
--- Copas.
--
-- The engine's descriptor is read by a coroutine of the loop, a pump. Pumps begin with a wait. A keeper, one more
-- coroutine, ends them a moment after the last wait, or when the last source is closed, so that the loop can end; the
-- next wait begins them again. A coroutine that its loop drops while it waits never says so. It is missed when it is
-- collected, so nothing here holds it.

local MOMENT_S = 0.1

local pump = {}

---@class vllm.PumpDriver
---@field spawn fun(fn: fun()) runs fn in a coroutine of the loop that runs here
---@field nap fun(): fun(seconds: number), fun() the first suspends a coroutine of that loop; the second ends that
---@field start fun(source: vllm.HostSource): fun() begins to read a source in that loop; gives a function that ends it

local function weak_keys() return setmetatable({}, { __mode = "k" }) end

---@class vllm.Pumps
local Pumps = {}
Pumps.__index = Pumps

---@class vllm.Pumps.Watcher : vllm.HostWatcher
local Watcher = {}
Watcher.__index = Watcher

local function stop(loop, source)
  local stop_reading = loop.pumps[source]
  loop.pumps[source] = nil
  if stop_reading then stop_reading() end
end

function Pumps:_keep(loop)
  local pause, seen
  pause, loop.wake_keeper = self._driver.nap()
  while #self._sources > 0 and not (loop.waits == seen and next(loop.parked) == nil) do
    seen = loop.waits
    pause(MOMENT_S)
  end
  loop.has_keeper, loop.wake_keeper = false, nil
  for _, source in ipairs(self._sources) do stop(loop, source) end
end

function Pumps:_start(loop)
  for _, source in ipairs(self._sources) do
    loop.pumps[source] = loop.pumps[source] or self._driver.start(source)
  end
  if loop.has_keeper then return end
  loop.has_keeper = true
  self._driver.spawn(function() self:_keep(loop) end)
end

--- A coroutine begins to wait in the loop that runs here.
---@param key any of that loop; held weakly
---@param co any
function Pumps:begin(key, co)
  local loop = self._loops[key]
  if not loop then
    loop = { parked = weak_keys(), waits = 0, pumps = {}, has_keeper = false }
    self._loops[key] = loop
  end
  self._loop_of[co], loop.parked[co], loop.waits = loop, true, loop.waits + 1
  if #self._sources > 0 then self:_start(loop) end
end

--- The wait of a coroutine is over.
---@param co any
---@return boolean was_waiting
function Pumps:finish(co)
  local loop = self._loop_of[co]
  if not loop then return false end
  self._loop_of[co], loop.parked[co] = nil, nil
  return true
end

--- As a host's `watch`.
---@param source vllm.HostSource
---@return vllm.HostWatcher
function Pumps:watch(source)
  self._sources[#self._sources + 1] = source
  return setmetatable({ _pumps = self, _source = source }, Watcher)
end

function Watcher:close()
  local sources = self._pumps._sources
  for i, source in ipairs(sources) do
    if source == self._source then table.remove(sources, i) break end
  end
  for _, loop in pairs(self._pumps._loops) do
    stop(loop, self._source)
    if #sources == 0 and loop.wake_keeper then loop.wake_keeper() end
  end
end

function Watcher.hold() end -- a pump lives no longer than those who wait

--- The pumps of all loops of one kind.
---@param driver vllm.PumpDriver
---@return vllm.Pumps
function pump.new(driver)
  return setmetatable({ _driver = driver, _sources = {}, _loops = weak_keys(), _loop_of = weak_keys() }, Pumps)
end

return pump
