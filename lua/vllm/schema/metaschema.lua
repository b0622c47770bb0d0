--- The metaschemas of draft 2020-12, for schemas that refer to them: URI → schema. Loaded when one does.
-- Source: https://json-schema.org/draft/2020-12/schema, and the meta/… beside it, without their comments and titles.

local BASE = "https://json-schema.org/draft/2020-12/"

local any = { ["$dynamicRef"] = "#meta" } -- a schema
local list = { ["$ref"] = "#/$defs/schemaArray" }
local map = { type = "object", additionalProperties = any, default = {} }
local text, flag, number = { type = "string" }, { type = "boolean", default = false }, { type = "number" }
local anything = true
local count, size = { ["$ref"] = "#/$defs/nonNegativeInteger" }, { ["$ref"] = "#/$defs/nonNegativeIntegerDefault0" }
local names = { ["$ref"] = "#/$defs/stringArray" }
local address = { ["$ref"] = "#/$defs/uriString" }
local reference = { ["$ref"] = "#/$defs/uriReferenceString" }
local anchor = { ["$ref"] = "#/$defs/anchorString" }

local function vocabulary(name, properties, defs)
  return {
    ["$schema"] = BASE .. "schema", ["$id"] = BASE .. "meta/" .. name, ["$dynamicAnchor"] = "meta",
    type = { "object", "boolean" }, properties = properties, ["$defs"] = defs,
  }
end

local metaschemas = {}

metaschemas[BASE .. "schema"] = {
  ["$schema"] = BASE .. "schema", ["$id"] = BASE .. "schema", ["$dynamicAnchor"] = "meta",
  ["$vocabulary"] = {
    [BASE .. "vocab/core"] = true, [BASE .. "vocab/applicator"] = true, [BASE .. "vocab/unevaluated"] = true,
    [BASE .. "vocab/validation"] = true, [BASE .. "vocab/meta-data"] = true,
    [BASE .. "vocab/format-annotation"] = true, [BASE .. "vocab/content"] = true,
  },
  allOf = {
    { ["$ref"] = "meta/core" }, { ["$ref"] = "meta/applicator" }, { ["$ref"] = "meta/unevaluated" },
    { ["$ref"] = "meta/validation" }, { ["$ref"] = "meta/meta-data" }, { ["$ref"] = "meta/format-annotation" },
    { ["$ref"] = "meta/content" },
  },
  type = { "object", "boolean" },
  properties = {
    definitions = map,
    dependencies = { type = "object",
      additionalProperties = { anyOf = { any, { ["$ref"] = "meta/validation#/$defs/stringArray" } } } },
    ["$recursiveAnchor"] = { ["$ref"] = "meta/core#/$defs/anchorString" },
    ["$recursiveRef"] = { ["$ref"] = "meta/core#/$defs/uriReferenceString" },
  },
}

metaschemas[BASE .. "meta/core"] = vocabulary("core", {
  ["$id"] = { ["$ref"] = "#/$defs/uriReferenceString", pattern = "^[^#]*#?$" },
  ["$schema"] = address, ["$ref"] = reference, ["$dynamicRef"] = reference,
  ["$anchor"] = anchor, ["$dynamicAnchor"] = anchor, ["$comment"] = text,
  ["$vocabulary"] = { type = "object", propertyNames = address, additionalProperties = { type = "boolean" } },
  ["$defs"] = { type = "object", additionalProperties = any },
}, {
  anchorString = { type = "string", pattern = "^[A-Za-z_][-A-Za-z0-9._]*$" },
  uriString = { type = "string", format = "uri" },
  uriReferenceString = { type = "string", format = "uri-reference" },
})

metaschemas[BASE .. "meta/applicator"] = vocabulary("applicator", {
  prefixItems = list, items = any, contains = any, additionalProperties = any, properties = map,
  patternProperties = { type = "object", additionalProperties = any, propertyNames = { format = "regex" } },
  dependentSchemas = map, propertyNames = any, ["if"] = any, ["then"] = any, ["else"] = any,
  allOf = list, anyOf = list, oneOf = list, ["not"] = any,
}, { schemaArray = { type = "array", minItems = 1, items = any } })

metaschemas[BASE .. "meta/unevaluated"] = vocabulary("unevaluated",
  { unevaluatedItems = any, unevaluatedProperties = any })

metaschemas[BASE .. "meta/validation"] = vocabulary("validation", {
  type = { anyOf = { { ["$ref"] = "#/$defs/simpleTypes" },
    { type = "array", items = { ["$ref"] = "#/$defs/simpleTypes" }, minItems = 1, uniqueItems = true } } },
  const = anything, enum = { type = "array", items = true },
  multipleOf = { type = "number", exclusiveMinimum = 0 },
  maximum = number, exclusiveMaximum = number, minimum = number, exclusiveMinimum = number,
  maxLength = count, minLength = size, pattern = { type = "string", format = "regex" },
  maxItems = count, minItems = size, uniqueItems = flag,
  maxContains = count, minContains = { ["$ref"] = "#/$defs/nonNegativeInteger", default = 1 },
  maxProperties = count, minProperties = size, required = names,
  dependentRequired = { type = "object", additionalProperties = names },
}, {
  nonNegativeInteger = { type = "integer", minimum = 0 },
  nonNegativeIntegerDefault0 = { ["$ref"] = "#/$defs/nonNegativeInteger", default = 0 },
  simpleTypes = { enum = { "array", "boolean", "integer", "null", "number", "object", "string" } },
  stringArray = { type = "array", items = text, uniqueItems = true },
})

metaschemas[BASE .. "meta/meta-data"] = vocabulary("meta-data", {
  title = text, description = text, default = anything, deprecated = flag, readOnly = flag, writeOnly = flag,
  examples = { type = "array", items = true },
})

metaschemas[BASE .. "meta/format-annotation"] = vocabulary("format-annotation", { format = text })

metaschemas[BASE .. "meta/content"] = vocabulary("content",
  { contentEncoding = text, contentMediaType = text, contentSchema = any })

return metaschemas
