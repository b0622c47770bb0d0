--- The schema that is compiled and each target of a reference is a unit of its own. They wait in a queue, so that a
--- reference makes no recursion; and those that refer to each other without an end are found.

local compile = require "vllm.schema.compile"
local document = require "vllm.schema.document"

local units = {}

local Units = {}
Units.__index = Units

---@param documents table
---@return table
function units.new(documents)
  return setmetatable({ documents = documents, of = { [true] = {}, [false] = {} }, list = {}, dynamic = {} }, Units)
end

--- The unit of a schema, to be compiled later.
---@param schema table
---@param resource table
---@param is_tracked boolean
---@return table unit its `check` is there when all units are compiled
function Units:get(schema, resource, is_tracked)
  local unit = self.of[is_tracked][schema]
  if unit then return unit end
  unit = { schema = schema, resource = resource, is_tracked = is_tracked, leads_to = {} }
  self.of[is_tracked][schema] = unit
  self.list[#self.list + 1] = unit
  return unit
end

--- Where a $dynamicRef may lead: a table, resource → unit, which is filled when all units are known.
---@param name string
---@param is_tracked boolean
---@return table
function Units:get_dynamic(name, is_tracked)
  local targets = {}
  self.dynamic[#self.dynamic + 1] = { name = name, is_tracked = is_tracked, targets = targets }
  return targets
end

function Units:fill_dynamic()
  for _, one in ipairs(self.dynamic) do
    for _, resource in ipairs(self.documents.list) do
      local schema = resource.dynamic[one.name]
      if schema then one.targets[resource] = self:get(schema, resource, one.is_tracked) end
    end
  end
end

-- A unit whose references lead to itself on the same value would never come to an end. Units without open references
-- are taken away until none is left, or only such as are in a circle or lead to one.
function Units:check_circles()
  local open, users, done = {}, {}, {}
  for _, unit in ipairs(self.list) do
    open[unit] = #unit.leads_to
    if open[unit] == 0 then done[#done + 1] = unit end
    for _, link in ipairs(unit.leads_to) do
      users[link.unit] = users[link.unit] or {}
      table.insert(users[link.unit], unit)
    end
  end
  local i = 1
  while done[i] do
    for _, user in ipairs(users[done[i]] or {}) do
      open[user] = open[user] - 1
      if open[user] == 0 then done[#done + 1] = user end
    end
    i = i + 1
  end
  for _, unit in ipairs(self.list) do
    for _, link in ipairs(unit.leads_to) do
      if open[unit] > 0 and open[link.unit] > 0 then
        document.refuse(link.schema, "$ref", "leads back to itself without going into the value")
      end
    end
  end
end

--- Compiles a schema, and all that it refers to.
---@param schema table
---@param resource table
---@return function check
function Units:compile(schema, resource)
  local first = self:get(schema, resource, false)
  local count = 0
  repeat
    while count < #self.list do
      count = count + 1
      self.list[count].check = compile.root(self, self.list[count])
    end
    self:fill_dynamic()
  until count == #self.list
  self:check_circles()
  return first.check
end

return units
