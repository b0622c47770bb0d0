--- Schemas for the same value: allOf, anyOf, oneOf, not, if, dependentSchemas.

local instance = require "vllm.schema.instance"
local report = require "vllm.schema.report"
local values = require "vllm.base.values"

local probe, fail = report.probe, report.fail

local function branches(node, keyword)
  local list = node:get(keyword, "list")
  if not list then return nil end
  local checks = {}
  for i, schema in ipairs(list) do checks[i] = node:branch(schema, keyword) end
  if #checks == 0 and keyword ~= "allOf" then node:refuse(keyword, "expected a list of at least one schema") end
  return checks
end

-- Where members are tracked, every alternative that fits counts.
local function any_of(checks, stops_early)
  local count = #checks
  return function(value, run)
    local found = false
    for i = 1, count do
      if probe(run, checks[i], value) then
        if stops_early then return true end
        found = true
      end
    end
    return found or report.none_fits(run, "anyOf", checks, value)
  end
end

local function say_two(run, first, second, count)
  if not run.faults then return false end
  local got = ("alternatives %d and %d fit"):format(first, second)
  return report.say(run, "oneOf", ("exactly one of %d alternatives to fit"):format(count), got,
    ("expected exactly one of the %d alternatives of oneOf to fit, but %s"):format(count, got))
end

local function one_of(checks)
  local count = #checks
  return function(value, run)
    local first
    for i = 1, count do
      if probe(run, checks[i], value) then
        if first then return say_two(run, first, i, count) end
        first = i
      end
    end
    return first ~= nil or report.none_fits(run, "oneOf", checks, value)
  end
end

local function add_not(node)
  local schema = node:get("not", "any")
  if schema == nil then return end
  local check = node:branch(schema, "not", true)
  local function expected() return "a value that does not fit " .. report.written(schema) end
  node:add(function(value, run)
    return not probe(run, check, value) or fail(run, "not", expected, value)
  end)
end

local function add_if(node)
  local condition = node:get("if", "any")
  local yes, no = node:get("then", "any"), node:get("else", "any")
  if condition == nil then return end
  condition = node:branch(condition, "if")
  yes, no = node:branch(yes == nil or yes, "then"), node:branch(no == nil or no, "else")
  node:add(function(value, run)
    if probe(run, condition, value) then return yes(value, run) end
    return no(value, run)
  end)
end

local function add_dependent(node)
  local schemas = {}
  for name, schema in pairs(node:get("dependentSchemas", "map") or {}) do schemas[name] = schema end
  for name, schema in pairs(node:get("dependencies", "map") or {}) do
    if not instance.list(schema) then schemas[name] = schema end
  end
  local names, checks = values.sorted_keys(schemas), {}
  if #names == 0 then return end
  for i, name in ipairs(names) do checks[i] = node:branch(schemas[name], "dependentSchemas") end
  node:add(function(value, run)
    if not instance.is_object(value) then return true end
    local ok = true
    for i = 1, #names do
      if value[names[i]] ~= nil and not checks[i](value, run) then
        if run.enough then return false end
        ok = false
      end
    end
    return ok
  end)
end

return function(node)
  for _, check in ipairs(branches(node, "allOf") or {}) do node:add(check) end
  local any, one = branches(node, "anyOf"), branches(node, "oneOf")
  if any then node:add(any_of(any, not node.collects)) end
  if one then node:add(one_of(one)) end
  add_not(node)
  add_if(node)
  add_dependent(node)
end
