--- properties and their kin: one closure for the members of an object, and the smaller keywords.

local instance = require "vllm.schema.instance"
local report = require "vllm.schema.report"
local search = require "vllm.schema.search"
local values = require "vllm.base.values"

local fail, locate = report.fail, report.locate
local is_object = instance.is_object

local NONE = {}

-- Faults come in the same order in every process.
local function in_order(object)
  local keys, i = values.sorted_keys(object), 0
  return function()
    i = i + 1
    return keys[i], object[keys[i]]
  end
end

-- `by`: another property, which needs this one.
local function say_missing(run, name, by)
  if not run.faults then return false end
  local shown = report.quoted(name)
  return report.say(run, by and "dependentRequired" or "required", "a property " .. shown, "no such property",
    ("missing property %s%s"):format(shown, by and (", which %s needs"):format(report.quoted(by)) or ""))
end

local function known_names(checks, searches)
  local list = { next(checks) ~= nil and report.listed(checks) or nil }
  for _, one in ipairs(searches) do list[#list + 1] = "names that match " .. report.quoted(one.source) end
  return table.concat(list, ", ")
end

local function say_unknown(run, name, checks, searches)
  if not run.faults then return false end
  local shown, known = report.quoted(name), known_names(checks, searches)
  local expected = known == "" and "no property" or "one of the properties " .. known
  return report.say(run, "additionalProperties", expected, shown,
    ("unknown property %s%s%s"):format(shown, known ~= "" and "; known: " .. known or "", report.hint(name, checks)))
end

local function compiled_map(node, keyword)
  local schemas = node:get(keyword, "map")
  local checks, names = {}, {}
  for _, name in ipairs(schemas and values.sorted_keys(schemas) or {}) do
    checks[name] = node:child(schemas[name], keyword)
    names[#names + 1] = name
  end
  return checks, names
end

local function compiled_patterns(node)
  local checks, sources = compiled_map(node, "patternProperties")
  local list = {}
  for i, source in ipairs(sources) do
    list[i] = { finds = search.compile(node, "patternProperties", source), check = checks[source], source = source }
  end
  return list
end

-- The members that are known, when others may be anything.
local function check_known(names, checks)
  local list = {}
  for _, name in ipairs(names) do list[#list + 1] = checks[name] end
  local count = #list
  return function(value, run)
    local ok, seen = true, run.count
    for i = 1, count do
      local item = value[names[i]]
      if item ~= nil and not list[i](item, run) then
        seen, ok = locate(run, seen, names[i]), false
        if run.enough then return false end
      end
    end
    return ok
  end
end

-- The members that are known, when there may be no others.
local function check_closed(checks)
  return function(value, run)
    local ok, seen = true, run.count
    local step, object = next, value
    if run.faults then step, object = in_order(value), nil end
    for name, item in step, object do
      local check = checks[name]
      if not check then
        ok = say_unknown(run, name, checks, NONE)
        seen = run.count
      elseif not check(item, run) then
        seen, ok = locate(run, seen, name), false
      end
      if not ok and run.enough then return false end
    end
    return ok
  end
end

local function check_by_pattern(searches, name, item, run)
  local ok, found = true, false
  for i = 1, #searches do
    if searches[i].finds(name, run) then
      found = true
      ok = searches[i].check(item, run) and ok
    end
  end
  return ok, found
end

local function check_member(by_name, searches, others, name, item, run)
  local check = by_name[name]
  local ok, is_known = check_by_pattern(searches, name, item, run)
  if check then return check(item, run) and ok end
  if is_known or others == nil then return ok end
  if others then return others(item, run) and ok end
  return nil -- it may not be there
end

-- All members, each by its name, by patterns, or as another. `others`: a check; false if there may be none.
local function check_every(checks, searches, others)
  return function(value, run)
    local ok, seen = true, run.count
    local step, object = next, value
    if run.faults then step, object = in_order(value), nil end
    for name, item in step, object do
      run.steps = run.steps - 1
      local fits = check_member(checks, searches, others, name, item, run)
      if fits == nil then
        say_unknown(run, name, checks, searches)
        seen = run.count
      elseif not fits then
        seen = locate(run, seen, name)
      end
      ok = ok and fits or false
      if not ok and run.enough then return false end
    end
    return ok
  end
end

-- nil: they may be anything.
local function others_of(node)
  local others = node:get("additionalProperties", "any")
  if others == true or others == nil then return nil end
  return others and node:child(others, "additionalProperties")
end

local function members_check(node)
  local checks, names = compiled_map(node, "properties")
  local searches, others = compiled_patterns(node), others_of(node)
  if others == false and #searches == 0 then return check_closed(checks) end
  if #searches > 0 or others ~= nil then return check_every(checks, searches, others) end
  return #names > 0 and check_known(names, checks) or nil
end

local function check_required(required, value, run)
  local ok = true
  for i = 1, #required do
    if value[required[i]] == nil then
      ok = say_missing(run, required[i])
      if run.enough then return false end
    end
  end
  return ok
end

-- Type, required and members in one.
local function add_members(node)
  local required = node:get("required", "names") or {}
  local members, is_only = members_check(node), node:take_type "object"
  if #required == 0 and not members and not is_only then return end
  node:add(function(value, run)
    if not is_object(value) then return not is_only or fail(run, "type", "object", value) end
    local ok = check_required(required, value, run)
    if not members or not ok and run.enough then return ok end
    return members(value, run) and ok
  end)
end

-- Earlier drafts have `dependencies` for both: lists of names, and schemas.
local function lists_of_names(node)
  local lists = {}
  for name, list in pairs(node:get("dependentRequired", "map") or {}) do lists[name] = list end
  for name, list in pairs(node:get("dependencies", "map") or {}) do
    if type(list) == "table" and instance.list(list) then lists[name] = list end
  end
  for name, list in pairs(lists) do
    if type(list) ~= "table" or instance.is_object(list) and next(list) ~= nil then
      node:refuse("dependentRequired",
        ("%s: expected a list of names, got %s"):format(report.quoted(name), report.shown(list)))
    end
  end
  return lists
end

local function check_dependents(needed, by, value, run)
  local ok = true
  for _, name in ipairs(needed) do
    if value[name] == nil then
      ok = say_missing(run, name, by)
      if run.enough then return false end
    end
  end
  return ok
end

local function add_dependent(node)
  local lists = lists_of_names(node)
  local names = values.sorted_keys(lists)
  if #names == 0 then return end
  node:add(function(value, run)
    if not is_object(value) then return true end
    local ok = true
    for i = 1, #names do
      if value[names[i]] ~= nil and not check_dependents(lists[names[i]], names[i], value, run) then
        if run.enough then return false end
        ok = false
      end
    end
    return ok
  end)
end

local function count_of(value)
  local count = 0
  for _ in next, value do count = count + 1 end
  return count
end

local function add_sizes(node)
  local most, least = node:get("maxProperties", "count"), node:get("minProperties", "count")
  if not most and not least then return end
  local function say(run, keyword, word, limit, count)
    if not run.faults then return false end
    local expected, got = word .. " " .. report.counted(limit, "property", "properties"), tostring(count)
    return report.say(run, keyword, expected, got, ("expected %s, got %s"):format(expected, got))
  end
  node:add(function(value, run)
    if not is_object(value) then return true end
    local count = count_of(value)
    if most and count > most then return say(run, "maxProperties", "at most", most, count) end
    if least and count < least then return say(run, "minProperties", "at least", least, count) end
    return true
  end)
end

local function add_names(node)
  local schema = node:get("propertyNames", "any")
  if schema == nil or schema == true then return end
  local check = node:child(schema, "propertyNames")
  node:add(function(value, run)
    if not is_object(value) then return true end
    local ok = true
    local step, object = next, value
    if run.faults then step, object = in_order(value), nil end
    for name in step, object do
      run.steps = run.steps - 1
      if not report.probe(run, check, name) then
        if not run.faults then return false end
        ok = report.say(run, "propertyNames", "a name that fits " .. report.written(schema), report.quoted(name),
          ("the name of the property %s does not fit %s"):format(report.quoted(name), report.written(schema)))
        if run.enough then return false end
      end
    end
    return ok
  end)
end

return function(node)
  add_members(node)
  add_dependent(node)
  add_sizes(node)
  add_names(node)
end
