--- The host that is luv in plain Lua: coroutines go on in the callbacks of uv.run().
--
-- A coroutine may begin to wait before uv.run(), too. The main thread, outside of uv.run(), runs the loop while it
-- waits, so coroutines go on meanwhile. Inside a callback it cannot: a loop does not run within itself.

local core = require "vllm.core"
local libuv = require "vllm.hosts.libuv"
local uv = require "luv"

local LONGEST_S = 0.25 -- between two looks for signals, which libuv sleeps through

local idle, timer -- made when needed, then kept: see libuv.lua

local function alive(handle)
  return handle and not handle:is_closing()
end

-- An idle handle is called in the loop's next turn, and keeps that from waiting.
local function soon(fn)
  if not alive(idle) then idle = uv.new_idle() end
  idle:start(function()
    idle:stop()
    fn()
  end)
end

local luv, queue = libuv.new {
  name = "luv", uv = uv, soon = soon,
  -- luv prints it and ends the program, as with any error in a callback.
  report = function(message) error(message, 0) end,
}

--- The loop need not run yet: coroutines may begin to wait before it does.
function luv.running()
  return package.loaded.luv ~= nil
end

local IN_CALLBACK = "vllm: a wait in a luv callback would block the loop: wait in a coroutine, or use turn:start"

-- Runs one turn of the loop.
local function turn_the_loop(seconds)
  if not alive(timer) then timer = uv.new_timer() end
  uv.update_time()
  timer:start(math.ceil(seconds * 1000), 0, function() end)
  uv.run("once")
  timer:stop()
end

local function wait(is_ready, ends_at)
  while not is_ready() do
    local left = ends_at and ends_at - core.now() or LONGEST_S
    if left <= 0 then return false end
    turn_the_loop(math.min(left, LONGEST_S))
  end
  return true
end

--- Runs the loop until `is_ready()`.
---@param is_ready fun(): boolean
---@param seconds number?
---@return boolean ready
function luv.block(is_ready, seconds)
  if uv.loop_mode() then error(IN_CALLBACK, 0) end
  return (queue:inside_loop(wait, is_ready, seconds and core.now() + seconds))
end

return luv
