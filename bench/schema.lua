-- A tool's arguments against its JSON Schema, beside the same checks written by hand: the least that it can cost.
local clock = require "bench.clock"
local schema = require "vllm.schema"

local SOURCE = {
  type = "object",
  properties = {
    city = { type = "string", minLength = 1 },
    days = { type = "integer", minimum = 1, maximum = 10 },
    unit = { type = "string", enum = { "celsius", "fahrenheit" } },
    tags = { type = "array", items = { type = "string" }, maxItems = 5 },
  },
  required = { "city", "days" },
  additionalProperties = false,
}

local RIGHT = { city = "Paris", days = 3, unit = "celsius", tags = { "a", "b", "c" } }
local WRONG = { citty = "Paris", days = 3.5, unit = "celcius", tags = { "a", "b", 3 } }

local KNOWN, UNITS = { city = true, days = true, unit = true, tags = true }, { celsius = true, fahrenheit = true }

local function are_tags(tags)
  if tags == nil then return true end
  if type(tags) ~= "table" or #tags > 5 then return false end
  for i = 1, #tags do
    if type(tags[i]) ~= "string" then return false end
  end
  return true
end

local function by_hand(value)
  if type(value) ~= "table" or value[1] ~= nil then return false end
  for name in pairs(value) do
    if not KNOWN[name] then return false end
  end
  local city, days, unit = value.city, value.days, value.unit
  return type(city) == "string" and #city >= 1
    and type(days) == "number" and days % 1 == 0 and days >= 1 and days <= 10
    and (unit == nil or UNITS[unit] == true) and are_tags(value.tags)
end

local function row(name, us, more)
  print(("  %-46s %8.2f us%s"):format(name, us, more or ""))
end

local check = assert(schema.compile(SOURCE))
assert(check(RIGHT) and not check(WRONG) and by_hand(RIGHT) and not by_hand(WRONG))
local bound = clock.best_us(5, 100000, function(n) for _ = 1, n do by_hand(RIGHT) end end)
local ours = clock.best_us(5, 100000, function(n) for _ = 1, n do check(RIGHT) end end)
local beside = ("  %5.1f times the same by hand (%.2f us)"):format(ours / bound, bound)
row("schema: check of a tool's arguments", ours, beside)
row("schema: five faults told", clock.best_us(3, 2000, function(n) for _ = 1, n do check(WRONG) end end))
row("schema: compile", clock.best_us(3, 1000, function(n) for _ = 1, n do schema.compile(SOURCE) end end))
