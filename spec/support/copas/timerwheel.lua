-- Stands in for the library of that name, which Copas 4 wants and Debian does not have: the part that Copas uses, over
-- a plain table.
local Wheel = {}
Wheel.__index = Wheel

function Wheel:set(delay_s, callback, argument)
  local timer = { at = self.now() + delay_s, callback = callback, argument = argument }
  self.timers[timer] = true
  return timer
end

function Wheel:cancel(timer)
  local is_set = self.timers[timer] ~= nil
  self.timers[timer] = nil
  return is_set
end

function Wheel:count()
  local count = 0
  for _ in pairs(self.timers) do count = count + 1 end
  return count
end

function Wheel:step()
  local now, due = self.now(), {}
  for timer in pairs(self.timers) do
    if timer.at <= now then due[#due + 1] = timer end
  end
  for _, timer in ipairs(due) do
    self.timers[timer] = nil
    local ok, message = pcall(timer.callback, timer.argument)
    if not ok then self.err_handler(message) end
  end
end

local function new(options)
  return setmetatable({ now = options.now, err_handler = options.err_handler, timers = {} }, Wheel)
end

return { new = new }
