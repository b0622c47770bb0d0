--- unevaluatedItems and unevaluatedProperties: which members of a value were evaluated by the schemas that it follows.
--- Only schemas that have these keywords, and the schemas for the same value in them, are compiled to keep account.
--
-- `run.marks` is the account of the schema that is being checked: name or index → true, or ALL_… → true. A schema that
-- is followed passes on what it marked; of one that is not, nothing counts.

local instance = require "vllm.schema.instance"
local report = require "vllm.schema.report"
local search = require "vllm.schema.search"
local values = require "vllm.base.values"

local evaluated = {}

local ALL_ITEMS, ALL_MEMBERS = {}, {}

--- Does the schema of a node ask what was evaluated?
---@param node vllm.schema.Node
---@return boolean
function evaluated.is_asked(node)
  return node:get("unevaluatedItems", "any") ~= nil or node:get("unevaluatedProperties", "any") ~= nil
end

local function mark_items(node)
  local prefix = node:get("prefixItems", "list")
  local has_rest = node:get("items", "any") ~= nil
  local count = prefix and #prefix or 0
  return function(marks)
    if has_rest then marks[ALL_ITEMS] = true end
    for i = 1, count do marks[i] = true end
  end
end

local function mark_members(node)
  local properties = node:get("properties", "map") or {}
  local has_others = node:get("additionalProperties", "any") ~= nil
  local searches = {}
  for source in pairs(node:get("patternProperties", "map") or {}) do
    searches[#searches + 1] = search.compile(node, "patternProperties", source)
  end
  return function(object, run)
    local marks = run.marks
    if has_others then marks[ALL_MEMBERS] = true end
    for name in next, object do
      if properties[name] ~= nil then marks[name] = true end
      for i = 1, #searches do
        if searches[i](name, run) then marks[name] = true end
      end
    end
  end
end

local function check_items(node)
  local schema = node:get("unevaluatedItems", "any")
  if schema == nil then return nil end
  local check = node:child(schema, "unevaluatedItems")
  return function(list, run)
    local marks, ok, seen = run.marks, true, run.count
    for i = 1, marks[ALL_ITEMS] and 0 or #list do
      if not marks[i] and not check(list[i], run) then
        seen, ok = report.locate(run, seen, i - 1), false
        if run.enough then return false end
      end
    end
    marks[ALL_ITEMS] = true
    return ok
  end
end

local function say_unknown(run, name)
  if not run.faults then return false end
  local shown = report.quoted(name)
  return report.say(run, "unevaluatedProperties", "no other property", shown, "unknown property " .. shown)
end

local function check_members(node)
  local schema = node:get("unevaluatedProperties", "any")
  if schema == nil then return nil end
  local check = schema and node:child(schema, "unevaluatedProperties")
  return function(object, run)
    local marks, ok, seen = run.marks, true, run.count
    for _, name in ipairs(marks[ALL_MEMBERS] and {} or values.sorted_keys(object)) do
      if not marks[name] then
        if not check then
          ok = say_unknown(run, name)
          seen = run.count
        elseif not check(object[name], run) then
          seen, ok = report.locate(run, seen, name), false
        end
        if not ok and run.enough then return false end
      end
    end
    marks[ALL_MEMBERS] = true
    return ok
  end
end

--- The check of a node that keeps account: its keywords, then what they marked, then what was not.
---@param node vllm.schema.Node
---@param check function
---@return function check
function evaluated.collecting(node, check)
  local item_marks, member_marks = mark_items(node), mark_members(node)
  local rest_of_items, rest_of_members = check_items(node), check_members(node)
  local passes_on = node.is_tracked
  local function rest(value, run)
    local list = instance.list(value)
    if list then
      item_marks(run.marks)
      return not rest_of_items or rest_of_items(list, run)
    end
    member_marks(value, run)
    return not rest_of_members or rest_of_members(value, run)
  end
  return function(value, run)
    if type(value) ~= "table" then return check(value, run) end
    local outer, marks = run.marks, {}
    run.marks = marks
    local ok = check(value, run) and rest(value, run)
    run.marks = outer
    if not ok or not passes_on then return ok end
    for name in next, marks do outer[name] = true end
    return true
  end
end

return evaluated
