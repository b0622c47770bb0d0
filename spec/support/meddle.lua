-- Lua may run finalizers at any of its allocations, in the middle of a C function, too. This runs one at a chosen
-- place.

local newproxy = rawget(_G, "newproxy")
local function at_collection(fn)
  if newproxy then getmetatable(newproxy(true)).__gc = fn else setmetatable({}, { __gc = fn }) end
end

-- A whole collection at every chance.
local function collect_always()
  collectgarbage("setpause", 0)
  collectgarbage("setstepmul", 400000000) -- less does not get through a large heap at one chance; more overflows in 5.1
  if _VERSION == "Lua 5.4" then
    collectgarbage("incremental", 1, 1000, 63)
    collectgarbage("setpause", 0)
  end
  collectgarbage("restart")
end

local function collect_usually()
  collectgarbage("setpause", 200)
  collectgarbage("setstepmul", 200)
  if _VERSION == "Lua 5.4" then collectgarbage("incremental", 200, 100, 13) end
end

local function call(at, meddle, f, a, b)
  local chances, armed = 0, true
  local function chance()
    if not armed then return end
    chances = chances + 1
    if chances < at then return at_collection(chance) end
    armed = false
    meddle()
    collectgarbage()
  end
  collectgarbage()
  collectgarbage "stop"
  at_collection(chance)
  collect_always()
  local ok, first, second, third, fourth = pcall(f, a, b)
  local came = not armed
  armed = false
  collect_usually()
  return came, ok, first, second, third, fourth
end

-- What calls left on the stack beyond its top would be held by the frames that come there next.
local clear_stack = assert((rawget(_G, "loadstring") or load)("local " .. ("unset, "):rep(150) .. "unset"))

---Calls f(a, b), with a whole collection wherever Lua may begin one, and `meddle` in a finalizer at chance number `at`
---of them.
---@param at integer
---@param meddle fun()
---@return boolean came  whether there were so many chances
---@return boolean ok, any first, any second, any third, any fourth  what pcall returned
return function(at, meddle, f, a, b)
  clear_stack()
  local came, ok, first, second, third, fourth = call(at, meddle, f, a, b)
  return came, ok, first, second, third, fourth
end
