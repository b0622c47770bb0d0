--- The host of nginx (OpenResty, or nginx with its Lua module): coroutines are light threads, which wait for a
--- semaphore.
--
-- Lua code in nginx belongs to a phase of a request, or to a timer, and may wait only in some of them. In the others
-- `current` gives nil, `block` says so, and `spawn` uses a timer. Source: the module's manual, "context" of each
-- function.

local misuse = require "vllm.base.misuse"
local semaphore = require "ngx.semaphore"

local ngx = rawget(_G, "ngx")

local FOREVER_S = 1000000 -- a semaphore counts milliseconds in 31 bits: two million seconds would not wait at all
local SHORTEST_S = 0.001 -- neither would 0

---@class vllm.hosts.nginx : vllm.Host
local nginx = { name = "nginx" }

--- Where a coroutine can wait.
nginx.WAITING_PHASES = { rewrite = true, server_rewrite = true, access = true, content = true, timer = true }

-- A token: the semaphore of one coroutine; `parked`: it waits now. nginx reuses the coroutines of ended handlers, and
-- such a coroutine inherits an idle token. (It does not reuse light threads, so a task is known by its coroutine.)
local tokens = setmetatable({}, { __mode = "k" })

--- Once this process is nginx, it stays nginx.
---@return boolean
function nginx.running()
  return true
end

local function token_of(running)
  local token = tokens[running]
  if not token then
    token = { semaphore = semaphore.new(0), parked = false }
    tokens[running] = token
  end
  return token
end

---@return table? token nil: this phase cannot wait
function nginx.current()
  if not nginx.WAITING_PHASES[ngx.get_phase()] then return nil end
  return token_of(coroutine.running())
end

---@param token table
---@param seconds number?
---@return boolean woken
function nginx.park(token, seconds)
  token.parked = true
  local woken = token.semaphore:wait(math.min(math.max(seconds or FOREVER_S, SHORTEST_S), FOREVER_S))
  token.parked = false
  return woken == true or seconds == nil
end

---@param token table
function nginx.wake(token)
  if not token.parked then return end
  token.parked = false
  token.semaphore:post(1)
end

---@param message string
function nginx.report(message)
  ngx.log(ngx.ERR, message)
end

local function traced(value)
  return { value = value, traceback = debug.traceback("", 2):sub(2) } -- without the line of the message
end

local function run(fn, failed)
  local ok, problem = xpcall(fn, traced)
  if ok then return end
  if failed then return failed(problem.value, problem.traceback) end
  nginx.report(tostring(problem.value) .. "\n" .. problem.traceback)
end

--- Runs fn in a light thread, which keeps the request open until it ends; where there are none, in a timer.
---@param fn fun()
---@param failed (fun(value: any, traceback: string))?
function nginx.spawn(fn, failed)
  local phase = ngx.get_phase()
  if not nginx.WAITING_PHASES[phase] then
    if phase == "init" then
      misuse.raise "nginx cannot run a task in init_by_lua, before there are workers: use init_worker_by_lua"
    end
    local ok, why = ngx.timer.at(0, function() nginx.spawn(fn, failed) end)
    if not ok then misuse.raise("nginx cannot run a task now: " .. tostring(why)) end
    return
  end
  -- An ended light thread stays in memory until its parent has ended or waits for it, so the parent is one that ends at
  -- once.
  ngx.thread.wait(ngx.thread.spawn(function() ngx.thread.spawn(run, fn, failed) end))
end

--- Why code cannot wait here, and where it can.
---@return string
function nginx.why_not_here()
  return ("nginx cannot wait in the phase `%s`; do it in rewrite_by_lua, access_by_lua or content_by_lua, "
    .. "or in a timer: ngx.timer.at(0, function() … end)"):format(ngx.get_phase())
end

--- Called where `current` gives nil: the worker must not be held up.
function nginx.block()
  error(nginx.why_not_here(), 0)
end

return nginx
