--- type, enum, const, and the keywords of numbers and strings.

local excerpt = require "vllm.base.excerpt"
local instance = require "vllm.schema.instance"
local multiple = require "vllm.schema.multiple"
local report = require "vllm.schema.report"
local search = require "vllm.schema.search"

local fail = report.fail

local MAX_LISTED = 20
local MAX_PATTERN_BYTES = 100

local IS_TYPE = instance.IS_TYPE

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

-- One type is left to the keywords that are about it, which ask for it anyway.
local function add_type(node)
  local wanted = node:get("type", "any")
  if wanted == nil then return end
  local names = instance.list(wanted) or { wanted }
  if #names == 0 then node:refuse("type", "expected a type, or a list of at least one") end
  for _, name in ipairs(names) do check_type_name(node, name) end
  if #names == 1 then node.only = names[1] else node:add(some_types(names)) end
end

local function alternatives(list, names)
  return function(value)
    local shown = {}
    for i = 1, math.min(#list, MAX_LISTED) do shown[i] = report.written(list[i]) end
    if #list > MAX_LISTED then shown[#shown + 1] = "…" end
    if #list == 0 then return "no value" end
    return ("one of %s%s"):format(table.concat(shown, ", "), report.hint(value, names))
  end
end

local function is_among(list, value)
  for i = 1, #list do
    if instance.equal(list[i], value) then return true end
  end
  return false
end

local function add_enum(node)
  local list = node:get("enum", "list")
  if not list then return end
  local simple, names, others, is_type = {}, {}, {}, IS_TYPE[node.only]
  for i = 1, #list do
    local value, kind = list[i], type(list[i])
    if kind == "string" then names[value] = true end
    if kind == "table" or kind == "userdata" then others[#others + 1] = value else simple[value] = true end
    is_type = is_type and is_type(value) and is_type
  end
  if is_type then node:take_type(node.only) end -- all of them have it
  local expected = alternatives(list, names)
  node:add(function(value, run)
    return simple[value] or is_among(others, value) or fail(run, "enum", expected, value)
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

local function expected_limit(word, limit)
  return function() return word .. " " .. report.shown(limit) end
end

local function check_exclusive(below, above)
  local less, more = expected_limit("less than", below), expected_limit("more than", above)
  return function(value, run)
    if type(value) ~= "number" then return true end
    if below and value >= below then return fail(run, "exclusiveMaximum", less, value) end
    return not above or value > above or fail(run, "exclusiveMinimum", more, value)
  end
end

local function add_limits(node)
  local most, least = node:get("maximum", "number"), node:get("minimum", "number")
  local below, above = node:get("exclusiveMaximum", "number"), node:get("exclusiveMinimum", "number")
  if below or above then node:add(check_exclusive(below, above)) end
  local only = (node:take_type "integer" or node:take_type "number") and node.only
  if not (most or least or only) then return end
  local is_whole = only == "integer"
  local at_most, at_least = expected_limit("at most", most), expected_limit("at least", least)
  most, least = most or math.huge, least or -math.huge
  node:add(function(value, run)
    if type(value) ~= "number" then return not only or fail(run, "type", only, value) end
    if is_whole and value % 1 ~= 0 then return fail(run, "type", only, value) end -- 1.0 is whole
    if value > most then return fail(run, "maximum", at_most, value) end
    return value >= least or fail(run, "minimum", at_least, value)
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

local function expected_length(word, limit)
  return function(value)
    return ("%s %s (it has %d)"):format(word, report.counted(limit, "character", "characters"), length_of(value))
  end
end

local function add_length(node)
  local most, least = node:get("maxLength", "count"), node:get("minLength", "count")
  local only = node:take_type "string"
  if not most and not least and not only then return end
  local at_most, at_least = expected_length("at most", most), expected_length("at least", least)
  most, least = most or math.huge, least or 0
  node:add(function(value, run)
    if type(value) ~= "string" then return not only or fail(run, "type", "string", value) end
    local bytes = #value
    if bytes > most and length_of(value) > most then return fail(run, "maxLength", at_most, value) end
    if bytes < least * 4 and length_of(value) < least then return fail(run, "minLength", at_least, value) end
    return true
  end)
end

local function add_pattern(node)
  local source = node:get("pattern", "string")
  if not source then return end
  local finds = search.compile(node, "pattern", source)
  local function expected() return "text that matches " .. excerpt.of(source, MAX_PATTERN_BYTES):gsub("\n", "?") end
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
