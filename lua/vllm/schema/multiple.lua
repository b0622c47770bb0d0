--- multipleOf, exactly: as the decimal numbers that stand in the JSON texts, not as their nearest doubles. 0.0075 is a
--- multiple of 0.0001.

local core = require "vllm.core"

local multiple = {}

local MAX_DIGITS = 14 -- of a divisor: ten times a remainder is then still exact in a double

-- digits · 10^exponent, without zeros at the end; nil for what JSON cannot say.
local function decimal(value)
  local text = core.json_encode(value)
  if not text then return nil end
  local whole, part, exponent = text:match "^%-?(%d+)%.?(%d*)[eE]?(.*)$"
  local digits = (whole .. part):gsub("^0+", "")
  local kept = digits:gsub("0+$", "")
  return kept, (tonumber(exponent) or 0) - #part + #digits - #kept
end

local function remainder(digits, zeros, divisor)
  local rest = 0
  for i = 1, #digits do rest = (rest * 10 + digits:byte(i) - 48) % divisor end
  for _ = 1, zeros do
    if rest == 0 then break end
    rest = rest * 10 % divisor
  end
  return rest
end

--- A test for multiples of a number above 0.
---@param divisor number
---@return fun(value: number): boolean
function multiple.of(divisor)
  local is_whole = divisor % 1 == 0 and divisor < 2 ^ 53
  local digits, exponent = decimal(divisor)
  local is_short = digits ~= nil and #digits <= MAX_DIGITS
  local number = is_short and tonumber(digits)
  return function(value)
    if is_whole and value % 1 == 0 and value > -2 ^ 53 and value < 2 ^ 53 then return value % divisor == 0 end
    if not is_short then return math.fmod(value, divisor) == 0 end
    local of_value, its_exponent = decimal(value)
    if not of_value then return false end
    if of_value == "" then return true end
    -- A divisor that ends in more zeros than the value cannot divide it.
    return its_exponent >= exponent and remainder(of_value, its_exponent - exponent, number) == 0
  end
end

return multiple
