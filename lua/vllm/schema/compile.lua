--- One schema becomes one closure: `check(value, run)` returns whether the value follows it, and notes faults in the
--- run if they are wanted. A node is a schema while it is compiled; the parts add to it what their keywords check.

local document = require "vllm.schema.document"
local evaluated = require "vllm.schema.evaluated"
local instance = require "vllm.schema.instance"
local report = require "vllm.schema.report"

local compile = {}

-- In the order in which faults are told.
local PARTS = {
  require "vllm.schema.scalars", require "vllm.schema.arrays", require "vllm.schema.objects",
  require "vllm.schema.references", (require "vllm.schema.applicators"),
}

---@class vllm.schema.Node
---@field schema table
---@field units table where references lead
---@field resource table that the schema belongs to
---@field unit table
---@field level integer how many schemas of its unit are around it
---@field has_moved boolean it checks a part of the value that its unit is given
---@field is_tracked boolean the schema around it asks which members were evaluated
---@field collects boolean it notes which members are evaluated
---@field only string? the one type that the value must have
---@field has_type boolean? a check asks for it
---@field checks function[]
local Node = {}
Node.__index = Node

local function accept() return true end

local function reject(value, run)
  return run.faults and report.say(run, "false", "no value", report.shown(value), "no value is allowed here") or false
end

local VOCABULARY = {}
for name, keywords in pairs {
  validation = "type enum const multipleOf maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength "
    .. "pattern maxItems minItems uniqueItems maxContains minContains maxProperties minProperties required "
    .. "dependentRequired",
  applicator = "prefixItems items contains additionalProperties properties patternProperties dependentSchemas "
    .. "propertyNames if then else allOf anyOf oneOf not",
  unevaluated = "unevaluatedItems unevaluatedProperties",
} do
  for keyword in keywords:gmatch "%w+" do VOCABULARY[keyword] = name end
end

local function is_count(value)
  return type(value) == "number" and value >= 0 and value % 1 == 0
end

local function is_empty(value) return type(value) == "table" and next(value) == nil end

local function are_names(value)
  local list = instance.list(value) or is_empty(value) and value
  if not list then return false end
  for i = 1, #list do
    if type(list[i]) ~= "string" then return false end
  end
  return true
end

-- An empty table of Lua may be meant as a list or as an object.
local KINDS = {
  number = { "a number", function(value) return type(value) == "number" end },
  count = { "a whole number, 0 or more", is_count },
  boolean = { "true or false", function(value) return type(value) == "boolean" end },
  string = { "a string", function(value) return type(value) == "string" end },
  names = { "a list of names", are_names },
  list = { "a list", function(value) return instance.list(value) ~= nil or is_empty(value) end },
  map = { "an object", function(value) return instance.is_object(value) or is_empty(value) end },
  any = { "", function() return true end },
}

--- Ends the compilation: a keyword of this schema is wrong.
---@param keyword string
---@param message string
function Node:refuse(keyword, message)
  document.refuse(self.schema, keyword, message)
end

--- The value of a keyword, if the schema has it.
---@param keyword string
---@param kind string of KINDS
---@return any
function Node:get(keyword, kind)
  local value = self.schema[keyword]
  if value == nil then return nil end
  local without = self.resource.without
  if without and without[VOCABULARY[keyword]] then return nil end
  local expected = KINDS[kind]
  if not expected[2](value) then
    self:refuse(keyword, ("expected %s, got %s"):format(expected[1], report.shown(value)))
  end
  return value
end

---@param check function
function Node:add(check)
  if check ~= accept then self.checks[#self.checks + 1] = check end
end

--- A check asks for this type itself: if it is the only one that the schema allows, there is no check for it alone.
---@param name string
---@return boolean is_only whether it must ask
function Node:take_type(name)
  if self.only ~= name or self.has_type then return false end
  self.has_type = true
  return true
end

--- Compiles a schema for a part of the value.
---@param schema any
---@param keyword string where it is
---@return function check
function Node:child(schema, keyword)
  return compile.node(self, schema, keyword, true, false)
end

--- Compiles a schema for the same value.
---@param schema any
---@param keyword string where it is
---@param is_apart boolean? what it evaluates does not count
---@return function check
function Node:branch(schema, keyword, is_apart)
  return compile.node(self, schema, keyword, self.has_moved, self.collects and not is_apart)
end

local function both(first, second)
  return function(value, run)
    if first(value, run) then return second(value, run) end
    if not run.enough then second(value, run) end
    return false
  end
end

local function all(checks)
  local count = #checks
  if count == 0 then return accept end
  if count == 1 then return checks[1] end
  if count == 2 then return both(checks[1], checks[2]) end
  return function(value, run)
    local ok = true
    for i = 1, count do
      if not checks[i](value, run) then
        if run.enough then return false end
        ok = false
      end
    end
    return ok
  end
end

-- $dynamicRef looks through the resources that the check is in.
local function entering(resource, check)
  return function(value, run)
    local count = run.scope_count + 1
    run.scopes[count], run.scope_count = resource, count
    local ok = check(value, run)
    run.scope_count = count - 1
    return ok
  end
end

local function check_type(name)
  local is_type = instance.IS_TYPE[name]
  return function(value, run) return is_type(value) or report.fail(run, "type", name, value) end
end

local function closure(node)
  for _, part in ipairs(PARTS) do part(node) end
  if node.only and not node.has_type then table.insert(node.checks, 1, check_type(node.only)) end
  local check = all(node.checks)
  return node.collects and evaluated.collecting(node, check) or check
end

--- Compiles the schema of a unit.
---@param units table
---@param unit table
---@return function check
function compile.root(units, unit)
  local schema = unit.schema
  if type(schema) == "boolean" then return schema and accept or reject end
  local node = setmetatable({ schema = schema, units = units, unit = unit, resource = unit.resource, level = 1,
    has_moved = false, is_tracked = unit.is_tracked, checks = {} }, Node)
  node.collects = unit.is_tracked or evaluated.is_asked(node)
  return closure(node)
end

--- Compiles a schema inside of another.
---@param parent vllm.schema.Node
---@param schema any
---@param keyword string
---@param has_moved boolean
---@param is_tracked boolean
---@return function check
function compile.node(parent, schema, keyword, has_moved, is_tracked)
  if schema == true then return accept end
  if schema == false then return reject end
  if type(schema) ~= "table" or instance.list(schema) then
    parent:refuse(keyword, "expected a schema, got " .. report.shown(schema))
  end
  local resource = parent.units.documents.resource_of[schema]
  local node = setmetatable({ schema = schema, units = parent.units, unit = parent.unit, resource = resource,
    level = parent.level + 1, has_moved = has_moved, is_tracked = is_tracked, checks = {} }, Node)
  node.collects = is_tracked or evaluated.is_asked(node)
  local check = closure(node)
  return resource == parent.resource and check or entering(resource, check)
end

return compile
