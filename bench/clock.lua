-- Timing for the measurements: CPU seconds, the best of several rounds.
local clock = {}

--- Runs fn(n) `rounds` times after one warm-up and gives the best time of one unit of work.
---@param rounds integer
---@param n integer units of work in one call
---@param fn fun(n: integer)
---@return number us CPU microseconds per unit
function clock.best_us(rounds, n, fn)
  local best = math.huge
  fn(n)
  for _ = 1, rounds do
    collectgarbage()
    local began = os.clock()
    fn(n)
    best = math.min(best, os.clock() - began)
  end
  return best / n * 1e6
end

return clock
