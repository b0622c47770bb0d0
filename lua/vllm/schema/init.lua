--- JSON Schema, draft 2020-12: checks values, such as the arguments of a tool or a structured answer, and says what is
--- wrong in words that a model can act on.
--
-- A schema is compiled once. It may come from a stranger, and so may the values: what both can cost is bounded, and
-- nothing is fetched. `format` and `content…` are annotations, which check nothing.
-- Source: https://json-schema.org/draft/2020-12.

local document = require "vllm.schema.document"
local excerpt = require "vllm.base.excerpt"
local report = require "vllm.schema.report"
local units = require "vllm.schema.units"

local schema = {}

local MAX_FAULTS = 5
local MAX_DEPTH = 300 -- of schemas within schemas, while one value is checked: enough for the deepest JSON we read
local MAX_STEPS = 1000000 -- for one value: four for a reference that is followed, one for an item
local MAX_WHY_BYTES = 500

local OPTIONS = { documents = true, max_depth = true }

local function check_options(options)
  if options == nil then return {} end
  if type(options) ~= "table" then
    error("vllm.schema.compile: expected a table of options, got " .. type(options), 3)
  end
  local unknown = require("vllm.base.spelling").unknown_key(options, OPTIONS)
  if unknown then error("vllm.schema.compile: " .. unknown, 3) end
  local documents, depth = options.documents, options.max_depth
  if documents ~= nil and type(documents) ~= "table" then
    error("vllm.schema.compile: documents: expected a table, URI → schema, got " .. type(documents), 3)
  end
  if depth ~= nil and not (type(depth) == "number" and depth >= 1 and depth <= MAX_DEPTH) then
    local expected = ("expected a number from 1 to %d, got %s"):format(MAX_DEPTH, tostring(depth))
    error("vllm.schema.compile: max_depth: " .. expected, 3)
  end
  return options
end

--- The state of one check.
---@class vllm.schema.Run
---@field steps number what it may still cost; counted where a schema could multiply the work
---@field depth integer schemas that are around this one, by references
---@field max_depth integer
---@field scopes table[] the resources that it is in, from outside, as many as `scope_count`
---@field scope_count integer
---@field stopped vllm.schema.Fault? a bound was exceeded
---@field faults vllm.schema.Fault[]? nil: none are noted
---@field count integer of the faults
---@field limit integer for them
---@field enough boolean the next failure ends the check
---@field marks table? see evaluated.lua
local function new_run(resource, max_depth)
  return { steps = 0, depth = 0, max_depth = max_depth, scopes = { resource }, scope_count = 1, count = 0,
    enough = true }
end

local function explain(check, value, run, limit)
  run.steps, run.faults, run.limit, run.enough = MAX_STEPS, {}, limit, false
  if not run.stopped then check(value, run) end
  local list = report.finished(run)
  run.faults, run.count, run.enough, run.stopped = nil, 0, true, nil
  return list
end

-- A run is used again, unless the last check is still at work or raised: then there is none, and a new one is made.
local function checker(check, resource, max_depth)
  local idle
  return function(value, max_faults)
    local run = idle or new_run(resource, max_depth)
    idle, run.steps = nil, MAX_STEPS
    if check(value, run) and not run.stopped then
      idle = run
      return true
    end
    local list = explain(check, value, run, max_faults or MAX_FAULTS)
    idle = run
    return false, list
  end
end

local function compiled(documents, root)
  local resource = documents:add(root, "")
  return units.new(documents):compile(root, resource), resource
end

--- Compiles a schema.
---
--- The check that it returns takes a value: what `vllm.json.decode` returns, or tables of your own. It returns true, or
--- false and a list of at most five faults (`check(value, n)`: at most n). A fault has `path` (a JSON pointer),
--- `expected`, `got`, `keyword`, and `message`, which says it all: `/days: expected integer, got "x"`.
---@param source table|boolean|string a decoded schema, a table of your own, or its JSON text
---@param options { documents: table<string, any>?, max_depth: integer? }? documents: the schemas that a `$ref` may lead
---  to, by their URI; nothing is fetched. max_depth: how many schemas may be nested while a value is checked (300)
---@return (fun(value: any, max_faults: integer?): boolean, vllm.schema.Fault[]?)? check
---@return string? message what is wrong with the schema, and where: `schema: $.properties.a.type: …`
function schema.compile(source, options)
  if source == schema then error("vllm.schema.compile: call it with a dot: vllm.schema.compile(…)", 2) end
  options = check_options(options)
  local documents, root = document.new(source, options.documents)
  if not documents then return nil, "schema: " .. excerpt.of(root, MAX_WHY_BYTES) end
  local ok, check, resource = pcall(compiled, documents, root)
  if ok then return checker(check, resource, options.max_depth or MAX_DEPTH) end
  local fault = check
  if type(fault) ~= "table" or not fault.message then error(fault, 0) end
  local place = fault.schema ~= nil and documents:place(fault.schema, fault.keyword) .. ": " or ""
  return nil, "schema: " .. excerpt.of(place .. fault.message, MAX_WHY_BYTES)
end

return schema
