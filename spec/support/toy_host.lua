-- An event loop of a program's own, small but whole: ready coroutines, timers, descriptors. For specs of the seam
-- `vllm.host`.
--
--   local toy = require("spec.support.toy_host").new()
--   vllm.host.register("toy", toy.host)
--   toy.run(function() … end)      until nothing is left to do; returns what was reported
local core = require "vllm.core"

local M = {}

function M.new()
  local toy = { watches = {}, holds = {}, reported = {}, parks = 0 }
  local parked, ready, depth, active = {}, {}, 0, nil

  local function make_ready(co, reason) ready[#ready + 1] = { co = co, reason = reason } end

  local host = {}

  function host.running() return depth > 0 end

  function host.current()
    local co = coroutine.running()
    return co == active and co or nil
  end

  function host.park(co, seconds)
    toy.parks = toy.parks + 1
    parked[co] = { at = seconds and core.now() + seconds }
    return coroutine.yield()
  end

  function host.wake(co)
    if not parked[co] then return end
    parked[co] = nil
    make_ready(co, true)
  end

  function host.spawn(fn, failed)
    ready[#ready + 1] = { co = coroutine.create(fn), failed = failed }
  end

  function host.report(message) toy.reported[#toy.reported + 1] = message end

  function host.watch(source)
    local watcher = { source = source }
    toy.watches[watcher], toy.holds[watcher] = true, true
    function watcher:close() toy.watches[self], toy.holds[self] = nil, nil end
    function watcher:hold(yes) toy.holds[self] = yes or nil end
    return watcher
  end

  local failed_of = setmetatable({}, { __mode = "k" })

  local function resume(entry)
    local outer = active
    active = entry.co
    failed_of[entry.co] = failed_of[entry.co] or entry.failed
    local ok, value = coroutine.resume(entry.co, entry.reason)
    active = outer
    if ok then return end
    local failed = failed_of[entry.co]
    if failed then failed(value, debug.traceback(entry.co)) else host.report(tostring(value)) end
  end

  local function is_busy()
    if #ready > 0 or next(toy.holds) then return true end
    for _, wait in pairs(parked) do if wait.at then return true end end
    return false
  end

  local function turn_once(longest_s)
    local batch, earliest = ready, nil
    ready = {}
    for _, entry in ipairs(batch) do resume(entry) end
    local now = core.now()
    for co, wait in pairs(parked) do
      if wait.at and wait.at <= now then
        parked[co] = nil
        make_ready(co, false)
      elseif wait.at and (not earliest or wait.at < earliest) then
        earliest = wait.at
      end
    end
    local fds, sources = {}, {}
    for watcher in pairs(toy.watches) do fds[#fds + 1], sources[#sources + 1] = watcher.source.fd, watcher.source end
    local seconds = (#ready > 0 or not is_busy()) and 0
      or math.min(earliest and math.max(earliest - now, 0) or longest_s, longest_s)
    local _, readable = core.poll(fds, seconds)
    for _, source in ipairs(sources) do if readable[source.fd] then source.on_readable() end end
  end

  function toy.run(fn)
    if fn then host.spawn(fn) end
    depth = depth + 1
    while is_busy() do turn_once(1) end
    depth = depth - 1
    return toy.reported
  end

  -- On the thread's own stack inside the loop: the loop runs within itself.
  function toy.enter(fn)
    depth = depth + 1
    fn()
    depth = depth - 1
  end

  function toy.with_block()
    function host.block(is_ready, seconds)
      local ends_at = seconds and core.now() + seconds
      local outer = active
      active = nil
      while not is_ready() do
        if ends_at and core.now() >= ends_at then break end
        turn_once(math.min(1, ends_at and math.max(ends_at - core.now(), 0) or 1))
      end
      active = outer
      return is_ready()
    end
    return toy
  end

  toy.host = host
  return toy
end

return M
