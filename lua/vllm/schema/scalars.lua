--- type, enum, const, and the keywords of numbers and strings.

local excerpt = require "vllm.base.excerpt"
local instance = require "vllm.schema.instance"
local multiple = require "vllm.schema.multiple"
local report = require "vllm.schema.report"
local search = require "vllm.schema.search"

local fail = report.fail
local kind_of = instance.kind_of

local MAX_LISTED = 20
local MAX_PATTERN_BYTES = 100

local IS_TYPE = {
  array = function(value) return instance.list(value) ~= nil end,
  boolean = function(value) return type(value) == "boolean" end,
  integer = function(value) return type(value) == "number" and value % 1 == 0 end, -- 1.0 is one
  null = function(value) return kind_of(value) == "null" end,
  number = function(value) return type(value) == "number" end,
  object = instance.is_object,
  string = function(value) return type(value) == "string" end,
}

local function one_type(name)
  local is_type = IS_TYPE[name]
  return function(value, run) return is_type(value) or fail(run, "type", name, value) end
end

local function some_types(names)
  local list, count = {}, #names
  for i = 1, count do list[i] = IS_TYPE[names[i]] end
  return function(value, run)
    for i = 1, count do
      if list[i](value) then return true end
    end
    return fail(run, "type", table.concat(names, " or "), value)
  end
end

local function check_type_name(node, name)
  if type(name) == "string" and IS_TYPE[name] then return end
  local hint = report.hint(name, IS_TYPE)
  node:refuse("type", ("expected one of %s, got %s%s"):format(report.listed(IS_TYPE), report.shown(name), hint))
end

local function add_type(node)
  local wanted = node:get("type", "any")
  if wanted == nil then return end
  local names = instance.list(wanted) or { wanted }
  for _, name in ipairs(names) do check_type_name(node, name) end
  -- The closure for objects does this one itself.
  if #names == 1 and names[1] == "object" then node.is_object_only = true return end
  node:add(#names == 1 and one_type(names[1]) or some_types(names))
end

local function alternatives(list, names)
  return function(value)
    local shown = {}
    for i = 1, math.min(#list, MAX_LISTED) do shown[i] = report.written(list[i]) end
    if #list > MAX_LISTED then shown[#shown + 1] = "…" end
    return ("one of %s%s"):format(table.concat(shown, ", "), report.hint(value, names))
  end
end

local function add_enum(node)
  local list = node:get("enum", "list")
  if not list then return end
  local simple, names, tables = {}, {}, {}
  for _, value in ipairs(list) do
    if type(value) == "table" then tables[#tables + 1] = value else simple[instance.key(value)] = true end
    if type(value) == "string" then names[value] = true end
  end
  local expected = alternatives(list, names)
  node:add(function(value, run)
    if type(value) ~= "table" then
      if simple[value] or type(value) == "userdata" and simple[instance.key(value)] then return true end
    end
    for i = 1, #tables do
      if instance.equal(tables[i], value) then return true end
    end
    return fail(run, "enum", expected, value)
  end)
end

local function add_const(node)
  local wanted = node:get("const", "any")
  if wanted == nil then return end
  local function expected() return report.written(wanted) end
  node:add(function(value, run)
    return value == wanted or instance.equal(wanted, value) or fail(run, "const", expected, value)
  end)
end

local function add_limits(node)
  local most, least = node:get("maximum", "number"), node:get("minimum", "number")
  local below, above = node:get("exclusiveMaximum", "number"), node:get("exclusiveMinimum", "number")
  if not (most or least or below or above) then return end
  local function expected(word, limit)
    return function() return word .. " " .. report.shown(limit) end
  end
  node:add(function(value, run)
    if type(value) ~= "number" then return true end
    if most and value > most then return fail(run, "maximum", expected("at most", most), value) end
    if least and value < least then return fail(run, "minimum", expected("at least", least), value) end
    if below and value >= below then return fail(run, "exclusiveMaximum", expected("less than", below), value) end
    if above and value <= above then return fail(run, "exclusiveMinimum", expected("more than", above), value) end
    return true
  end)
end

local function add_multiple(node)
  local divisor = node:get("multipleOf", "number")
  if not divisor then return end
  if divisor <= 0 then node:refuse("multipleOf", "expected a number above 0, got " .. report.shown(divisor)) end
  local is_multiple = multiple.of(divisor)
  local function expected() return "a multiple of " .. report.shown(divisor) end
  node:add(function(value, run)
    return type(value) ~= "number" or is_multiple(value) or fail(run, "multipleOf", expected, value)
  end)
end

-- In code points: bytes that do not continue one.
local function length_of(text)
  local length, from = #text, 1
  while true do
    local first, last = text:find("[\128-\191]+", from)
    if not first then return length end
    length, from = length - (last - first + 1), last + 1
  end
end

local function add_length(node)
  local most, least = node:get("maxLength", "count"), node:get("minLength", "count")
  if not most and not least then return end
  least = least or 0
  local function expected(word, limit)
    return function(value) return ("%s %d characters (it has %d)"):format(word, limit, length_of(value)) end
  end
  node:add(function(value, run)
    if type(value) ~= "string" then return true end
    local bytes = #value
    if most and bytes > most and length_of(value) > most then
      return fail(run, "maxLength", expected("at most", most), value)
    end
    if bytes < least or bytes < least * 4 and length_of(value) < least then
      return fail(run, "minLength", expected("at least", least), value)
    end
    return true
  end)
end

local function add_pattern(node)
  local source = node:get("pattern", "string")
  if not source then return end
  local finds = search.compile(node, "pattern", source)
  local function expected() return "text that matches " .. excerpt.of(source, MAX_PATTERN_BYTES) end
  node:add(function(value, run)
    return type(value) ~= "string" or finds(value, run) or fail(run, "pattern", expected, value)
  end)
end

return function(node)
  add_type(node)
  add_enum(node)
  add_const(node)
  add_limits(node)
  add_multiple(node)
  add_length(node)
  add_pattern(node)
end
