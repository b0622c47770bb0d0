--- $ref and $dynamicRef. What they cost is bounded: how deep they lead, and how much work there is between them.
--- Otherwise a stranger's schema could double the work at each level of a value. What has no references is bounded by
--- itself.

local report = require "vllm.schema.report"

local COST = 4 -- of a reference, in steps; an item of an array is one

-- The check of a unit, one step deeper.
local function follow(run, unit, value, resource, weight)
  local depth, scope_count = run.depth + weight, run.scope_count
  run.steps = run.steps - COST
  if depth > run.max_depth then return report.stop(run, ("at most %d nested schemas"):format(run.max_depth)) end
  if run.steps < 0 then return report.stop(run, "a value that can be checked in a million steps") end
  run.depth = depth
  run.scopes[scope_count + 1], run.scope_count = resource, scope_count + 1
  local ok = unit.check(value, run)
  run.depth, run.scope_count = depth - weight, scope_count
  return ok
end

local function plain(unit, weight)
  local resource = unit.resource
  return function(value, run) return follow(run, unit, value, resource, weight) end
end

local function by_scope(unit, targets, weight)
  return function(value, run)
    for i = 1, run.scope_count do
      local found = targets[run.scopes[i]]
      if found then return follow(run, found, value, found.resource, weight) end
    end
    return follow(run, unit, value, unit.resource, weight)
  end
end

local function refuse_all(value, run)
  return run.faults and report.say(run, "$ref", "no value", report.shown(value), "no value is allowed here") or false
end

-- How many schemas it leads into: those between the unit and the reference, or itself.
local function weight_of(node)
  return math.max(1, node.level - 1)
end

local function reference(node, keyword)
  if node:get(keyword, "any") == nil then return end
  local target, resource, anchor = node.units.documents:resolve(node.schema, keyword)
  if target == true then return end
  if target == false then return node:add(refuse_all) end
  local unit = node.units:get(target, resource, node.collects)
  if keyword == "$dynamicRef" and anchor and resource.dynamic[anchor] == target then
    return node:add(by_scope(unit, node.units:get_dynamic(anchor, node.collects), weight_of(node)))
  end
  if not node.has_moved then table.insert(node.unit.leads_to, { unit = unit, schema = node.schema }) end
  node:add(plain(unit, weight_of(node)))
end

return function(node)
  reference(node, "$ref")
  reference(node, "$dynamicRef")
end
