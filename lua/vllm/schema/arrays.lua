--- items, prefixItems, contains, and the sizes of arrays.

local instance = require "vllm.schema.instance"
local report = require "vllm.schema.report"

local locate = report.locate
local list_of = instance.list

local MAX_PAIRS = 8 -- items; more are compared by their keys

local function each_item(prefix, rest, is_only)
  local prefix_count = #prefix
  return function(value, run)
    local list = list_of(value)
    if not list then return not is_only or report.fail(run, "type", "array", value) end
    local ok, seen = true, run.count
    local count = rest and #list or math.min(prefix_count, #list)
    run.steps = run.steps - count
    for i = 1, count do
      local check = prefix[i] or rest
      if not check(list[i], run) then
        seen, ok = locate(run, seen, i - 1), false
        if run.enough then return false end
      end
    end
    return ok
  end
end

local function add_items(node)
  local prefix, rest = {}, node:get("items", "any")
  for i, schema in ipairs(node:get("prefixItems", "list") or {}) do prefix[i] = node:child(schema, "prefixItems") end
  if type(rest) == "table" and instance.list(rest) then
    node:refuse("items", "expected a schema, got a list (in draft 2020-12, that is prefixItems)")
  end
  if rest ~= nil and rest ~= true then rest = node:child(rest, "items") else rest = nil end
  if rest or #prefix > 0 then node:add(each_item(prefix, rest, node:take_type "array")) end
end

local function items(count)
  return report.counted(count, "item", "items")
end

local function say_size(run, keyword, word, limit, count)
  if not run.faults then return false end
  local expected, got = word .. " " .. items(limit), items(count)
  return report.say(run, keyword, expected, got, ("expected %s, got %s"):format(expected, got))
end

local function add_sizes(node)
  local most, least = node:get("maxItems", "count"), node:get("minItems", "count")
  if not most and not least then return end
  node:add(function(value, run)
    local list = list_of(value)
    if not list then return true end
    if most and #list > most then return say_size(run, "maxItems", "at most", most, #list) end
    if least and #list < least then return say_size(run, "minItems", "at least", least, #list) end
    return true
  end)
end

-- The indices of two equal items.
local function find_pair(list)
  for i = 2, #list do
    for j = 1, i - 1 do
      if instance.equal(list[i], list[j]) then return j, i end
    end
  end
end

local function find_pair_by_key(list)
  local first = {}
  for i = 1, #list do
    local key = instance.key(list[i])
    if first[key] then return first[key], i end
    first[key] = i
  end
end

local function unique(value, run)
  local list = list_of(value)
  if not list then return true end
  run.steps = run.steps - #list
  local i, j = (#list <= MAX_PAIRS and find_pair or find_pair_by_key)(list)
  if not i then return true end
  return run.faults and report.say(run, "uniqueItems", "items that all differ", "an item twice",
    ("expected items that all differ, but items %d and %d are equal"):format(i - 1, j - 1)) or false
end

local function say_contained(run, keyword, words, word, limit, count)
  if not run.faults then return false end
  local expected, got = words(word, limit), count == 0 and "none" or tostring(count)
  return report.say(run, keyword, expected, got, ("expected %s, got %s"):format(expected, got))
end

-- What fits counts as evaluated. It is marked here: to check the items once more for that would double the work at each
-- level of schemas.
local function add_contains(node)
  local schema = node:get("contains", "any")
  local least, most = node:get("minContains", "count") or 1, node:get("maxContains", "count")
  if schema == nil then return end
  local check, collects = node:child(schema, "contains"), node.collects
  local function expected(word, limit)
    return ("%s %s that %s %s"):format(word, items(limit), limit == 1 and "fits" or "fit", report.written(schema))
  end
  node:add(function(value, run)
    local list = list_of(value)
    if not list then return true end
    local count = 0
    run.steps = run.steps - #list
    for i = 1, #list do
      if not most and not collects and count >= least then return true end
      if report.probe(run, check, list[i]) then
        count = count + 1
        if collects then run.marks[i] = true end
      end
    end
    if count < least then
      return say_contained(run, "contains", expected, "at least", least, count)
    end
    if most and count > most then
      return say_contained(run, "maxContains", expected, "at most", most, count)
    end
    return true
  end)
end

return function(node)
  add_items(node)
  add_sizes(node)
  if node:get("uniqueItems", "boolean") then node:add(unique) end
  add_contains(node)
end
