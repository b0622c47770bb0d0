--- The documents of a schema: what in them is a schema, which resource (`$id`) it belongs to, and what a reference
--- means.
-- Nothing is fetched: a document is the one that is compiled, one that came with it, or a metaschema of draft 2020-12.
-- Source: JSON Schema Core 2020-12, sections 8 and 9.

local excerpt = require "vllm.base.excerpt"
local instance = require "vllm.schema.instance"
local json = require "vllm.json"
local report = require "vllm.schema.report"
local spelling = require "vllm.base.spelling"
local uri = require "vllm.schema.uri"
local values = require "vllm.base.values"

local document = {}

-- Where schemas are in a schema: in the value of a keyword, in its list, in its members.
local ONE, LIST, MAP = 1, 2, 3
local HOLDS = {
  additionalProperties = ONE, contains = ONE, ["else"] = ONE, ["if"] = ONE, items = ONE, ["not"] = ONE,
  propertyNames = ONE, ["then"] = ONE, unevaluatedItems = ONE, unevaluatedProperties = ONE, contentSchema = ONE,
  allOf = LIST, anyOf = LIST, oneOf = LIST, prefixItems = LIST,
  ["$defs"] = MAP, definitions = MAP, dependencies = MAP, dependentSchemas = MAP, patternProperties = MAP,
  properties = MAP,
}

local MAX_SHOWN_URI = 100
local ANCHOR = "^[%a_][%w_.-]*$"
local VOCABULARIES = "https://json-schema.org/draft/2020-12/vocab/"
local KNOWN_VOCABULARIES = {
  core = true, applicator = true, unevaluated = true, validation = true, ["meta-data"] = true,
  ["format-annotation"] = true, content = true,
}

--- Ends the compilation: `keyword` of `schema` is wrong.
---@param schema any
---@param keyword string?
---@param message string
function document.refuse(schema, keyword, message)
  error({ schema = schema, keyword = keyword, message = message }, 0)
end
local refuse = document.refuse

local Documents = {}
Documents.__index = Documents

-- A plain copy of a schema, made of what its JSON says: nothing that a program does to its tables later reaches it,
-- each table has one place, and it is no deeper than our reader allows.
local function plain(schema)
  if type(schema) == "boolean" then return schema end
  local text, why = schema, nil
  if type(schema) ~= "string" then text, why = json.encode(schema) end
  if not text then return nil, why end
  local copy, message = json.decode(text)
  if copy == nil then return nil, message end
  if type(copy) ~= "boolean" and not instance.is_object(copy) then
    return nil, "expected an object or a boolean, got " .. report.shown(copy)
  end
  return copy
end

--- Documents around one schema.
---@param schema any
---@param others table<string, any>? URI → schema
---@return table? documents
---@return any root the schema as it is compiled; a message, if it is not one
function document.new(schema, others)
  local root, why = plain(schema)
  if root == nil then return nil, why end
  local self = { others = others or {}, resources = {}, resource_of = {}, roots = {}, list = {} }
  return setmetatable(self, Documents), root
end

function Documents:resource(root, address, parent)
  local resource = { uri = address, root = root, anchors = {}, dynamic = {}, without = parent and parent.without }
  self.list[#self.list + 1] = resource
  return resource
end

function Documents:name(resource, address)
  resource.uri = address
  if not self.resources[address] then self.resources[address] = resource end
end

-- A metaschema that comes with the schema may leave out vocabularies; their keywords then say nothing.
function Documents:read_vocabulary(resource, schema)
  local address = schema["$schema"]
  local metaschema = type(address) == "string" and self.others[address]
  metaschema = metaschema and plain(metaschema)
  local list = type(metaschema) == "table" and metaschema["$vocabulary"]
  if type(list) ~= "table" then return end
  local without = {}
  for name in pairs(KNOWN_VOCABULARIES) do without[name] = list[VOCABULARIES .. name] == nil end
  for name, is_required in pairs(list) do
    local known = type(name) == "string" and name:sub(1, #VOCABULARIES) == VOCABULARIES and name:sub(#VOCABULARIES + 1)
    if is_required == true and not KNOWN_VOCABULARIES[known] then
      refuse(schema, "$schema",
        ("its metaschema requires the vocabulary %s, which is not known here"):format(report.quoted(name)))
    end
  end
  resource.without = without
end

function Documents:read_id(schema, resource)
  local id = schema["$id"]
  if id == nil then return resource end
  if type(id) ~= "string" then refuse(schema, "$id", "expected a URI, got " .. report.shown(id)) end
  local address, fragment = uri.split(id)
  if fragment ~= "" then refuse(schema, "$id", "expected a URI without a fragment, got " .. report.shown(id)) end
  address = uri.resolve(resource.uri, address)
  if resource.root ~= schema then resource = self:resource(schema, address, resource) end
  self:name(resource, address)
  return resource
end

local function read_anchor(schema, keyword, resource)
  local name = schema[keyword]
  if name == nil then return end
  if type(name) ~= "string" or not name:find(ANCHOR) then
    refuse(schema, keyword, "expected a name such as \"node\", got " .. report.shown(name))
  end
  if resource.anchors[name] and resource.anchors[name] ~= schema then
    refuse(schema, keyword, report.quoted(name) .. " is the name of another schema, too")
  end
  resource.anchors[name] = schema
  if keyword == "$dynamicAnchor" then resource.dynamic[name] = schema end
end

-- Recursion ends: a document is at most as deep as JSON that we read.
function Documents:index(schema, resource)
  if type(schema) ~= "table" or self.resource_of[schema] then return end
  resource = self:read_id(schema, resource)
  self.resource_of[schema] = resource
  if schema == resource.root then self:read_vocabulary(resource, schema) end
  read_anchor(schema, "$anchor", resource)
  read_anchor(schema, "$dynamicAnchor", resource)
  for keyword, value in pairs(schema) do
    local holds = HOLDS[keyword]
    if holds == ONE then
      self:index(value, resource)
    elseif holds and type(value) == "table" then
      for _, one in pairs(value) do self:index(one, resource) end
    end
  end
end

--- Adds a whole document.
---@param root any
---@param address string where it is to be found
---@return table resource
function Documents:add(root, address)
  local resource = self:resource(root, address)
  self:name(resource, address)
  self.roots[#self.roots + 1] = { root = root, address = address }
  self:index(root, resource)
  return resource
end

function Documents:add_other(address, schema)
  if self.resources[address] then return end
  local root, why = plain(schema)
  if root == nil then
    error({ message = ("documents[%s]: %s"):format(report.quoted(address), why) }, 0)
  end
  self:add(root, address)
end

-- By its URI; else by an `$id` inside of any document.
function Documents:load(address)
  if self.others[address] ~= nil then self:add_other(address, self.others[address]) end
  if self.resources[address] then return self.resources[address] end
  local metaschema = require("vllm.schema.metaschema")[address]
  if metaschema then self:add_other(address, metaschema) end
  if self.resources[address] then return self.resources[address] end
  for _, other in ipairs(values.sorted_keys(self.others)) do self:add_other(other, self.others[other]) end
  return self.resources[address]
end

local function step_into(value, step)
  if type(value) ~= "table" then return nil end
  if instance.list(value) then return step:find "^%d+$" and value[tonumber(step) + 1] or nil end
  return value[step]
end

function Documents:by_pointer(resource, steps)
  local value, inside = resource.root, resource
  for _, step in ipairs(steps) do
    value = step_into(value, step)
    if value == nil then return nil end
    inside = self.resource_of[value] or inside
  end
  self:index(value, inside) -- a schema under a keyword that we do not know
  return value
end

local function unknown_pointer(resource, steps)
  local value = resource.root
  for _, step in ipairs(steps) do
    local inner = step_into(value, step)
    if inner == nil and type(value) == "table" and not instance.list(value) then
      return (": there is no %s%s"):format(report.quoted(step), report.hint(step, value))
    end
    value = inner
  end
  return ""
end

--- What a reference in a schema means.
---@param schema table that has it
---@param keyword string
---@return table|boolean target
---@return table resource that the target belongs to
---@return string? anchor the name in the fragment, if it is one
function Documents:resolve(schema, keyword)
  local reference = schema[keyword]
  if type(reference) ~= "string" then
    refuse(schema, keyword, "expected a URI reference, got " .. report.shown(reference))
  end
  local shown = report.quoted(reference)
  local before, fragment = uri.split(reference)
  local address = uri.resolve(self.resource_of[schema].uri, before)
  local resource = self.resources[address] or self:load(address)
  if not resource then
    refuse(schema, keyword, ("cannot find %s: nothing is fetched, so pass it in options.documents[%s]"):format(shown,
      report.quoted(address)))
  end
  local steps = uri.steps(fragment)
  local target
  if steps then target = self:by_pointer(resource, steps) else target = resource.anchors[fragment] end
  if target == nil then
    local why = steps and unknown_pointer(resource, steps)
    why = why or ": no $anchor has this name" .. report.hint(fragment, resource.anchors)
    refuse(schema, keyword, "cannot find " .. shown .. why)
  end
  if type(target) ~= "boolean" and not instance.is_object(target) then
    refuse(schema, keyword, ("%s is not a schema, but %s"):format(shown, report.shown(target)))
  end
  return target, self.resource_of[target] or resource, not steps and fragment or nil
end

local function step_of(key, in_list)
  if in_list then return ("[%d]"):format(key - 1) end
  if key:find "^[%a_$][%w_$]*$" and #key <= spelling.MAX_NAME then return "." .. key end
  return '["' .. excerpt.of(key, spelling.MAX_NAME) .. '"]'
end

local function place_in(value, wanted)
  if value == wanted then return "" end
  if type(value) ~= "table" then return nil end
  for key, inner in pairs(value) do
    local rest = place_in(inner, wanted)
    if rest then return step_of(key, instance.list(value) ~= nil) .. rest end
  end
end

--- Where a schema is, for a message: `$.properties.city`.
---@param schema any
---@param keyword string?
---@return string
function Documents:place(schema, keyword)
  for _, one in ipairs(self.roots) do
    local place = type(schema) == "table" and place_in(one.root, schema)
    if place then
      local root = one.address == "" and "$" or excerpt.of(one.address, MAX_SHOWN_URI) .. "#$"
      return root .. place .. (keyword and step_of(keyword) or "")
    end
  end
  return "$"
end

return document
