-- vllm.schema: what follows a schema, what is said of what does not, and what a stranger's schema cannot do.
-- `make schema-suite` runs the official tests.
local json = require "vllm.json"
local schema = require "vllm.schema"
local vllm = require "vllm"

local function compile(source, options) return assert(schema.compile(source, options)) end

local function decode(text)
  local value, why = json.decode(text)
  assert.is_nil(why)
  return value
end

-- The messages about a value, given as JSON; none: it follows the schema.
local function messages(source, text, options)
  local ok, faults = compile(source, options)(decode(text))
  local list = {}
  for i, fault in ipairs(faults or {}) do list[i] = fault.message end
  assert.equal(#list == 0, ok)
  return list
end

local function message(source, text, options)
  local list = messages(source, text, options)
  assert.is_true(#list <= 1, table.concat(list, "; "))
  return list[1]
end

local function refusal(source, options)
  local check, why = schema.compile(source, options)
  assert.is_nil(check)
  return why
end

-- Rows: a schema, a value that follows it, one that does not, and what is said of that one. All but the words as JSON.
local ROWS = {
  { '{"type":"integer"}', "1.0", "1.5", "expected integer, got 1.5" },
  { '{"type":"integer"}', "9007199254740993", '"1"', 'expected integer, got "1"' },
  { '{"type":["string","null"]}', "null", "{}", "expected string or null, got an empty object" },
  { '{"type":"array"}', "[]", "{}", "expected array, got an empty object" },
  { '{"type":"object"}', "{}", "[]", "expected object, got an empty array" },
  { '{"type":"number"}', "0.5", "true", "expected number, got true" },
  { '{"type":"boolean"}', "false", "null", "expected boolean, got null" },
  { '{"enum":["low","high",1,null,{"a":[]}]}', "1.0", '"hihg"',
    'expected one of "low", "high", 1, null, {"a":[]} (did you mean "high"?), got "hihg"' },
  { '{"enum":[[1],{"a":[]}]}', '{"a":[]}', '{"a":{}}', 'expected one of [1], {"a":[]}, got an object' },
  { '{"enum":[]}', nil, "1", "expected no value, got 1" },
  { '{"enum":[null]}', "null", "false", "expected one of null, got false" },
  { '{"const":{"a":[1,null]}}', '{"a":[1.0,null]}', '{"a":[1,false]}', 'expected {"a":[1,null]}, got an object' },
  { '{"const":false}', "false", "0", "expected false, got 0" },
  { '{"maximum":3}', "3", "3.5", "expected at most 3, got 3.5" },
  { '{"minimum":3}', "3", "2", "expected at least 3, got 2" },
  { '{"exclusiveMaximum":3}', "2", "3", "expected less than 3, got 3" },
  { '{"exclusiveMinimum":3}', "4", "3", "expected more than 3, got 3" },
  { '{"multipleOf":0.0001}', "0.0075", "0.00751", "expected a multiple of 0.0001, got 0.00751" },
  { '{"multipleOf":0.01}', "1e300", "4.005", "expected a multiple of 0.01, got 4.005" },
  { '{"multipleOf":2.5}', "-7.5", "7", "expected a multiple of 2.5, got 7" },
  { '{"multipleOf":3}', "0", "1e300", "expected a multiple of 3, got 1e300" },
  { '{"multipleOf":1e-8}', "12391239123", "1e-9", "expected a multiple of 1e-8, got 1e-9" },
  { '{"multipleOf":100}', "1200", "1210", "expected a multiple of 100, got 1210" },
  { '{"maxLength":2}', '"äö"', '"äöü"', 'expected at most 2 characters (it has 3), got "äöü"' },
  { '{"minLength":2}', '"äö"', '"ä"', 'expected at least 2 characters (it has 1), got "ä"' },
  { '{"pattern":"^a+$"}', '"aa"', '"ab"', 'expected text that matches ^a+$, got "ab"' },
  { '{"items":{"type":"string"}}', '["a"]', '["a",1]', "/1: expected string, got 1" },
  { '{"items":false}', "[]", "[1]", "/0: no value is allowed here" },
  { '{"prefixItems":[{"type":"string"}],"items":{"type":"null"}}', '["a",null]', '["a",1]', "/1: expected null, got 1" },
  { '{"prefixItems":[true,{"type":"string"}]}', "[1]", "[1,2,3]", "/1: expected string, got 2" },
  { '{"maxItems":1}', "[1]", "[1,2]", "expected at most 1 item, got 2 items" },
  { '{"minItems":2}', "[1,2]", "[1]", "expected at least 2 items, got 1 item" },
  { '{"uniqueItems":true}', '[1,"1",[1],{"a":1},{"a":2}]', '[{"a":1,"b":[]},0,{"b":[],"a":1.0}]',
    "expected items that all differ, but items 0 and 2 are equal" },
  { '{"contains":{"type":"null"}}', "[1,null]", "[1]", 'expected at least 1 item that fits {"type":"null"}, got none' },
  { '{"contains":{"type":"null"},"minContains":0}', "[1]", nil },
  { '{"contains":{"const":1},"maxContains":1}', "[1,2]", "[1,1]", 'expected at most 1 item that fits {"const":1}, got 2' },
  { '{"required":["a","b"]}', '{"a":1,"b":null}', '{"a":1}', 'missing property "b"' },
  { '{"properties":{"a":{"type":"string"}}}', '{"b":1}', '{"a":1}', "/a: expected string, got 1" },
  { '{"properties":{"city":{}},"additionalProperties":false}', '{"city":1}', '{"citty":1}',
    'unknown property "citty"; known: "city" (did you mean "city"?)' },
  { '{"additionalProperties":false}', "{}", '{"a":1}', 'unknown property "a"' },
  { '{"additionalProperties":{"type":"null"}}', '{"a":null}', '{"a":1}', "/a: expected null, got 1" },
  { '{"patternProperties":{"^x-":{"type":"null"}},"additionalProperties":false}', '{"x-a":null}', '{"x-a":1}',
    "/x-a: expected null, got 1" },
  { '{"patternProperties":{"^x-":true},"properties":{"city":true},"additionalProperties":false}', '{"x-a":1,"city":1}', '{"y":1}',
    'unknown property "y"; known: "city", names that match "^x-"' },
  { '{"propertyNames":{"maxLength":2}}', '{"ab":1}', '{"abc":1}', 'the name of the property "abc" does not fit {"maxLength":2}' },
  { '{"maxProperties":1}', '{"a":1}', '{"a":1,"b":1}', "expected at most 1 property, got 2" },
  { '{"minProperties":1}', '{"a":1}', "{}", "expected at least 1 property, got 0" },
  { '{"dependentRequired":{"a":["b"]}}', '{"b":1}', '{"a":1}', 'missing property "b", which "a" needs' },
  { '{"dependencies":{"a":["b"]}}', '{"a":1,"b":1}', '{"a":1}', 'missing property "b", which "a" needs' },
  { '{"dependentSchemas":{"a":{"required":["b"]}}}', "{}", '{"a":1}', 'missing property "b"' },
  { '{"dependencies":{"a":{"required":["b"]}}}', '{"a":1,"b":1}', '{"a":1}', 'missing property "b"' },
  { '{"allOf":[{"minimum":1},{"maximum":2}]}', "1", "3", "expected at most 2, got 3" },
  { '{"anyOf":[{"type":"string"},{"type":"null"}]}', "null", "1", "expected string or null, got 1" },
  { '{"oneOf":[{"minimum":1},{"minimum":2}]}', "1", "2",
    "expected exactly one of the 2 alternatives of oneOf to fit, but alternatives 1 and 2 fit" },
  { '{"oneOf":[{"type":"string"},{"const":1}]}', "1", "2", "expected string or 1, got 2" },
  { '{"not":{"type":"null"}}', "1", "null", 'expected a value that does not fit {"type":"null"}, got null' },
  { '{"if":{"type":"number"},"then":{"minimum":1},"else":{"type":"string"}}', "1", "0", "expected at least 1, got 0" },
  { '{"if":{"type":"number"},"then":{"minimum":1},"else":{"type":"string"}}', '"a"', "null", "expected string, got null" },
  { '{"$ref":"#/$defs/a~1b%25","$defs":{"a/b%":{"type":"null"}}}', "null", "1", "expected null, got 1" },
  { '{"$ref":"#it","$defs":{"x":{"$anchor":"it","type":"null"}}}', "null", "1", "expected null, got 1" },
  { '{"$id":"http://a/b/c","$ref":"../d#/$defs/x","$defs":{"y":{"$id":"/d","$defs":{"x":{"type":"null"}}}}}', "null", "1",
    "expected null, got 1" },
  { '{"properties":{"a":{}},"unevaluatedProperties":false}', '{"a":1}', '{"b":1}', 'unknown property "b"' },
  { '{"allOf":[{"properties":{"a":{}}}],"anyOf":[{"properties":{"b":{}},"required":["b"]},true],"unevaluatedProperties":false}',
    '{"a":1,"b":1}', '{"c":1}', 'unknown property "c"' },
  { '{"anyOf":[{"properties":{"b":{}},"required":["z"]},{"properties":{"a":{}}}],"unevaluatedProperties":false}',
    '{"a":1}', '{"b":1}', 'unknown property "b"' },
  { '{"allOf":[{"properties":{"a":{"type":"null"}}}],"unevaluatedProperties":false}', '{"a":null}', '{"a":1}',
    "/a: expected null, got 1" },
  { '{"prefixItems":[{}],"contains":{"type":"string"},"unevaluatedItems":{"type":"null"}}', '[1,"a",null]', '[1,"a",2]',
    "/2: expected null, got 2" },
  { '{"format":"ipv4","contentEncoding":"base64","default":1,"x-mine":[{"type":3}]}', '"x"', nil },
  { "true", "1", nil },
  { "false", nil, "1", "no value is allowed here" },
}

describe("a schema", function()
  for _, row in ipairs(ROWS) do
    it(row[1] .. " takes what follows it, and says what is wrong with what does not", function()
      if row[2] then assert.same({}, messages(row[1], row[2])) end
      if row[3] then assert.equal(row[4], message(row[1], row[3])) end
    end)
  end

  it("says nothing of values that its keywords are not about", function()
    local all = [[{"maximum":1,"multipleOf":2,"maxLength":1,"pattern":"a","items":false,"maxItems":0,"uniqueItems":true,
      "contains":false,"properties":{"a":false},"required":["a"],"additionalProperties":false,"maxProperties":0,
      "propertyNames":false,"dependentRequired":{"a":["b"]},"unevaluatedItems":false,"unevaluatedProperties":false}]]
    for _, text in ipairs { "true", "null", "0", '"a"' } do assert.same({}, messages(all, text)) end
  end)
end)

describe("faults", function()
  local SOURCE = { type = "object", required = { "city" }, additionalProperties = false, properties = {
    city = { type = "string" }, days = { type = "integer" },
    stops = { type = "array", items = { type = "object", properties = { ["a/b~"] = { type = "string" } } } } } }

  it("have a path, the keyword, what was expected and what there was", function()
    local ok, faults = compile(SOURCE) { city = 1, days = 1.5, stops = { {}, { ["a/b~"] = { 1 } } } }
    assert.is_false(ok)
    assert.same({
      { path = "/city", keyword = "type", expected = "string", got = "1", message = "/city: expected string, got 1" },
      { path = "/days", keyword = "type", expected = "integer", got = "1.5", message = "/days: expected integer, got 1.5" },
      { path = "/stops/1/a~1b~0", keyword = "type", expected = "string", got = "an array",
        message = "/stops/1/a~1b~0: expected string, got an array" },
    }, faults)
  end)

  it("are five at most, or as many as are asked for", function()
    local check = compile { items = { type = "string" } }
    local _, five = check { 1, 2, 3, 4, 5, 6, 7 }
    local _, two = check({ 1, 2, 3 }, 2)
    assert.same({ 5, 2 }, { #five, #two })
    assert.equal("/1: expected string, got 2", two[2].message)
  end)

  it("are the same in every process: by name", function()
    local members, expected = {}, {}
    for i = 1, 9 do
      members["p" .. i] = i
      expected[i] = ("/p%d: expected string, got %d"):format(i, i)
    end
    local _, faults = compile { additionalProperties = { type = "string" } }(members, 9)
    for i, fault in ipairs(faults) do assert.equal(expected[i], fault.message) end
  end)

  it("of alternatives are those of the one that was meant", function()
    local source = [[{"oneOf":[
      {"properties":{"kind":{"const":"file"},"path":{"type":"string"}},"required":["kind","path"]},
      {"properties":{"kind":{"const":"line"},"number":{"type":"integer"}},"required":["kind","number"]}]}]]
    assert.same({ "/number: expected integer, got \"x\"" }, messages(source, '{"kind":"line","number":"x"}'))
    assert.same({ 'missing property "path"' }, messages(source, '{"kind":"file"}'))
  end)

  it("show a stranger's text cut, and without control characters", function()
    local long = ("x"):rep(1000)
    local _, faults = compile { additionalProperties = false, properties = { a = {} } } { [long] = 1, ["\27[1m\n"] = 1 }
    assert.equal('unknown property "?[1m?"; known: "a"', faults[1].message)
    assert.is_true(#faults[2].message < 200)
    local _, deep = compile { additionalProperties = { type = "null" } } { [long .. "\27"] = "\27" .. long }
    assert.is_nil(deep[1].message:find "\27")
    assert.is_true(#deep[1].message < 400)
    assert.equal("/" .. long .. "\27", deep[1].path)
  end)
end)

describe("a value", function()
  it("may be a table of the program's own", function()
    local check = compile { type = "object", properties = { list = { type = "array", items = { type = "integer" } } } }
    assert.is_true(check { list = { 1, 2 } })
    assert.is_true(check { list = json.array {} })
    assert.is_false(check { list = {} }) -- an empty table is an object, as json.encode writes it
    assert.is_false(check { list = { [1] = 1, [3] = 3 } })
    assert.is_false(check(nil))
    assert.is_false(check(print))
  end)

  it("of two numbers is one if they are equal", function()
    assert.is_true(compile('{"const":1}')(1.0))
    assert.is_true(compile('{"uniqueItems":true}')(json.decode "[1,2,3,4,5,6,7,8,9,true,\"1\",\"true\",null,[],{}]"))
    assert.equal("expected items that all differ, but items 0 and 9 are equal",
      message('{"uniqueItems":true}', "[[1],2,3,4,5,6,7,8,9,[1.0]]"))
    assert.equal("expected items that all differ, but items 8 and 9 are equal",
      message('{"uniqueItems":true}', '[1,2,3,4,5,6,7,8,{"a":null,"b":"x"},{"b":"x","a":null}]'))
    assert.same({}, messages('{"uniqueItems":true}', '[["1:a"],["a"],["a",""],["",  "a"],["a,"],[{}],[[]],[1],["1"],[true],[null],["true"]]'))
  end)

  it("that contains itself ends", function()
    local value = {}
    value.next = value
    local check = compile { properties = { next = { ["$ref"] = "#" } } }
    local ok, faults = check(value)
    assert.is_false(ok)
    assert.equal("expected at most 300 nested schemas", faults[1].message)
    value.next = { value }
    assert.is_false(compile { const = { next = { { next = {} } } } }(value))
  end)

  it("that follows costs no memory", function()
    if rawget(_G, "jit") then return end -- the compiler of traces takes some
    local check = compile { type = "object", required = { "city" }, additionalProperties = false, properties = {
      city = { type = "string", minLength = 1, pattern = "^[A-Z]" }, days = { type = "integer", minimum = 1 },
      unit = { enum = { "celsius", "fahrenheit" } }, tags = { items = { anyOf = { { type = "string" }, { ["$ref"] = "#/$defs/tag" } } } } },
      ["$defs"] = { tag = { type = "integer" } } }
    local value = { city = "Paris", days = 3, unit = "celsius", tags = { "a", 1 } }
    collectgarbage()
    collectgarbage "stop"
    assert.is_true(check(value)) -- the stack grows once
    local before = collectgarbage "count"
    for _ = 1, 100 do check(value) end
    local after = collectgarbage "count"
    collectgarbage "restart"
    assert.equal(before, after)
  end)
end)

describe("schema.compile", function()
  it("takes a table, JSON, vllm.raw and a boolean", function()
    for _, source in ipairs { { type = "null" }, '{"type":"null"}', assert(json.raw '{"type":"null"}'), json.decode '{"type":"null"}' } do
      local check = compile(source)
      assert.is_true(check(json.null))
      assert.is_false(check(1))
    end
    assert.is_true(compile(true)(1))
    assert.is_false(compile(false)(1))
  end)

  it("takes an empty table for an empty list or an empty object", function()
    assert.is_true(compile { required = {}, properties = {}, allOf = json.array {} } {})
  end)

  it("keeps nothing of the table that it is given", function()
    local source = { enum = { "a" }, properties = { a = { type = "string" } } }
    local check = compile(source)
    source.enum[1], source.properties.a.type = "b", "number"
    assert.is_true(check "a")
    assert.is_false(check "b")
  end)

  it("is reached as vllm.schema", function()
    assert.equal(schema, vllm.schema)
  end)

  it("throws for options that are none", function()
    for said, options in pairs {
      ["expected a table of options, got number"] = 1, ["unknown key `documnets`"] = { documnets = {} },
      ["documents: expected a table, URI → schema, got string"] = { documents = "x" },
      ["max_depth: expected a number from 1 to 300, got 0"] = { max_depth = 0 },
    } do
      local ok, why = pcall(schema.compile, true, options)
      assert.is_false(ok)
      assert.truthy(why:find("schema_spec.lua", 1, true) or why:find("vllm.schema.compile: ", 1, true), why)
      assert.truthy(why:find(said, 1, true), why)
    end
  end)

  for said, source in pairs {
    ['$.properties.a.type: expected one of "array", "boolean", "integer", "null", "number", "object", "string", got "strin" (did you mean "string"?)'] =
      { properties = { a = { type = "strin" } } },
    ["$.anyOf: expected a schema, got 1"] = { anyOf = { 1 } },
    ["$.anyOf[1].minLength: expected a whole number, 0 or more, got -1"] = { anyOf = { true, { minLength = -1 } } },
    ["$.oneOf: expected a list of at least one schema"] = { oneOf = {} },
    ["$.type: expected a type, or a list of at least one"] = '{"type":[]}',
    ["$.maximum: expected a number, got \"3\""] = { maximum = "3" },
    ["$.multipleOf: expected a number above 0, got 0"] = { multipleOf = 0 },
    ["$.required: expected a list of names, got true"] = { required = true },
    ["$.required: expected a list of names, got an array"] = { required = { 1 } },
    ["$.enum: expected a list, got an object"] = { enum = { a = 1 } },
    ["$.properties: expected an object, got an array"] = { properties = { { type = "string" } } },
    ["$.items: expected a schema, got a list (in draft 2020-12, that is prefixItems)"] = { items = { { type = "string" } } },
    ["$.uniqueItems: expected true or false, got 1"] = { uniqueItems = 1 },
    ["$.exclusiveMinimum: expected a number, got true"] = { exclusiveMinimum = true },
    ["$.dependentRequired: \"a\": expected a list of names, got 1"] = { dependentRequired = { a = 1 } },
    ["$.$ref: expected a URI reference, got 1"] = { ["$ref"] = 1 },
    ["$.$ref: cannot find \"#/$defs/naem\": there is no \"naem\" (did you mean \"name\"?)"] =
      { ["$ref"] = "#/$defs/naem", ["$defs"] = { name = {} } },
    ["$.$ref: cannot find \"#x\": no $anchor has this name"] = { ["$ref"] = "#x" },
    ["$.$ref: \"#/title\" is not a schema, but \"a\""] = { ["$ref"] = "#/title", title = "a" },
    ["$.properties[\"a b\"].$ref: cannot find \"http://x/y\": nothing is fetched, so pass it in options.documents[\"http://x/y\"]"] =
      { properties = { ["a b"] = { ["$ref"] = "http://x/y" } } },
    ["$.properties.a.$ref: \"#/allOf\" is not a schema, but an array"] = { properties = { a = { ["$ref"] = "#/allOf" } }, allOf = { true } },
    ["$.$id: expected a URI without a fragment, got \"http://x#y\""] = { ["$id"] = "http://x#y" },
    ["$.$anchor: expected a name such as \"node\", got \"1\""] = { ["$anchor"] = "1" },
    ["the text ends inside an object or array at byte 2"] = "{",
    ["expected an object or a boolean, got 3"] = "3",
    ["a function is not a JSON value"] = { properties = { a = print } },
  } do
    it("refuses: " .. said, function()
      local why = refusal(source)
      assert.equal("schema: ", why:sub(1, 8))
      assert.truthy(why:find(said, 1, true), why)
    end)
  end

  it("refuses a pattern that the core refuses, and shows it", function()
    assert.matches('^schema: %$%.pattern: "%(": ', refusal { pattern = "(" })
    assert.matches('^schema: %$%.patternProperties: "%(": ', refusal { patternProperties = { ["("] = true } })
  end)

  it("refuses references that lead back to themselves without going into the value", function()
    local said = "leads back to itself without going into the value"
    assert.equal("schema: $.$ref: " .. said, refusal { ["$ref"] = "#" })
    assert.truthy(refusal { anyOf = { { ["$ref"] = "#/$defs/a" } }, ["$defs"] = { a = { ["not"] = { ["$ref"] = "#" } } } }:find(said, 1, true))
    compile { properties = { a = { ["$ref"] = "#" } }, ["$defs"] = { b = { items = { ["$ref"] = "#/$defs/b" } } } }
  end)

  it("refuses a table that contains itself", function()
    local source = {}
    source.items = source
    assert.matches("^schema: ", refusal(source))
  end)

  it("finds other documents by their URI or by their $id, and fetches none", function()
    local documents = { ["http://x/y"] = { ["$defs"] = { z = { type = "null" } } }, mine = '{"$id":"http://x/w","type":"null"}' }
    for _, reference in ipairs { "http://x/y#/$defs/z", "http://x/w", "mine" } do
      assert.equal("expected null, got 1", message({ ["$ref"] = reference }, "1", { documents = documents }))
    end
    assert.matches('documents%["bad"%]', refusal({ ["$ref"] = "bad" }, { documents = { bad = "{" } }))
    assert.matches("^schema: http://x/y#%$%.%$defs%.z%.type: expected one of",
      refusal({ ["$ref"] = "http://x/y#/$defs/z" }, { documents = { ["http://x/y"] = { ["$defs"] = { z = { type = 1 } } } } }))
  end)

  it("knows the metaschema of draft 2020-12", function()
    local check = compile { ["$ref"] = "https://json-schema.org/draft/2020-12/schema" }
    assert.is_true(check(json.decode '{"properties":{"a":{"type":["string","null"]}},"$defs":{"b":true}}'))
    local _, faults = check(json.decode '{"properties":{"a":{"type":"strin","minLength":-1}}}')
    assert.equal("/properties/a/minLength", faults[1].path)
  end)

  it("leaves out the vocabularies that a metaschema of the program leaves out", function()
    local core = "https://json-schema.org/draft/2020-12/vocab/core"
    local documents = { mine = { ["$vocabulary"] = { [core] = true } }, more = { ["$vocabulary"] = { [core] = true, other = true } } }
    assert.is_true(compile({ ["$schema"] = "mine", type = "null" }, { documents = documents })(1))
    assert.matches('%$schema: its metaschema requires the vocabulary "other"', refusal({ ["$schema"] = "more" }, { documents = documents }))
  end)
end)

describe("$dynamicRef", function()
  it("leads to the outermost schema with the name", function()
    local tree = { ["$id"] = "tree", ["$dynamicAnchor"] = "node", properties = { children = { items = { ["$dynamicRef"] = "#node" } } } }
    local strict = { ["$id"] = "strict", ["$dynamicAnchor"] = "node", ["$ref"] = "tree", unevaluatedProperties = false }
    local value = json.decode '{"children":[{"daat":1}]}'
    assert.is_true(compile(tree)(value))
    local ok, faults = compile(strict, { documents = { tree = tree } })(value)
    assert.is_false(ok)
    assert.equal('/children/0: unknown property "daat"', faults[1].message)
  end)
end)

describe("a stranger's schema", function()
  it("may have limits that are no integers of this Lua", function()
    for _, row in ipairs { { "minItems", "[1]", "items, got 1 item" }, { "minLength", '"a"', 'characters (it has 1), got "a"' },
      { "minProperties", '{"a":1}', "properties, got 1" } } do
      assert.equal("expected at least 1e308 " .. row[3], message({ [row[1]] = 1e308 }, row[2]))
    end
    assert.matches("^expected at least 1e308 items that fit", message({ contains = true, minContains = 1e308 }, "[1]"))
  end)

  it("cannot make a check run without an end", function()
    local alternatives = {}
    for i = 1, 4 do alternatives[i] = { minItems = 1, items = { ["$ref"] = "#" } } end
    local check = compile { type = "array", anyOf = alternatives }
    local value = "x"
    for _ = 1, 60 do value = { value } end
    local ok, faults = check(value)
    assert.is_false(ok)
    assert.equal("expected a value that can be checked in a million steps", faults[1].message)
    assert.is_true(check { { json.array {} } } == false and not check { 1 }) -- and it can be used again
  end)

  it("cannot double itself with references", function()
    local defs = { a0 = { type = "null" } }
    for i = 1, 40 do
      local below = { ["$ref"] = "#/$defs/a" .. i - 1 }
      defs["a" .. i] = { allOf = { below, below } }
    end
    assert.is_true(compile { ["$ref"] = "#/$defs/a15", ["$defs"] = defs }(json.null)) -- 65536 references
    for _, top in ipairs { "a18", "a40" } do
      local ok, faults = compile { ["$ref"] = "#/$defs/" .. top, ["$defs"] = defs }(json.null)
      assert.is_false(ok)
      assert.equal("$ref", faults[1].keyword)
    end
  end)

  it("is stopped under `not`, too", function()
    local value = {}
    for _ = 1, 50 do value = { next = value } end
    for depth = 10, 13 do
      local check = compile({ ["not"] = { properties = { next = { ["$ref"] = "#" } } } }, { max_depth = depth })
      local ok, faults = check(value)
      assert.is_false(ok)
      assert.equal(("expected at most %d nested schemas"):format(depth), faults[1].message)
    end
  end)

  it("may lead as deep as it is allowed, and no deeper", function()
    for depth = 1, 300, 299 do
      local check, value = compile({ properties = { next = { ["$ref"] = "#" } } }, { max_depth = depth }), {}
      for _ = 1, depth do value = { next = value } end
      assert.is_true(check(value))
      assert.is_false(check { next = value })
    end
  end)

  it("may check the deepest JSON that is read", function()
    local check = compile '{"anyOf":[{"type":"integer"},{"type":"array","items":{"$ref":"#"}}]}'
    assert.is_true(check(decode(("["):rep(127) .. "1" .. ("]"):rep(127))))
    local _, faults = check(decode(("["):rep(127) .. "null" .. ("]"):rep(127)))
    assert.equal(("/0"):rep(127), faults[1].path)
    assert.matches("…: expected integer or array, got null$", faults[1].message)
  end)

  it("cannot double itself with schemas that keep account", function()
    for _, keyword in ipairs { "contains", "items", "anyOf", "if", "not" } do
      local source, value = true, 1
      for _ = 1, 60 do
        local inner = source
        if keyword == "anyOf" then inner = { inner } end
        source = { [keyword] = inner, unevaluatedItems = { minimum = 0 }, unevaluatedProperties = false }
        value = { value }
      end
      assert.is_boolean((compile(source)(value)))
    end
  end)

  it("may have a long chain of references", function()
    local defs = { a0 = { type = "null" } }
    for i = 1, 5000 do defs["a" .. i] = { ["$ref"] = "#/$defs/a" .. i - 1 } end
    local ok, faults = compile { ["$ref"] = "#/$defs/a5000", ["$defs"] = defs }(json.null)
    assert.is_false(ok)
    assert.equal("expected at most 300 nested schemas", faults[1].message)
    assert.is_true(compile { ["$ref"] = "#/$defs/a150", ["$defs"] = defs }(json.null))
  end)

  it("may hold many items that are compared", function()
    local list = {}
    for i = 1, 20000 do list[i] = { i } end
    assert.is_true(compile '{"uniqueItems":true}'(list))
    list[20001] = { 1 }
    assert.is_false(compile '{"uniqueItems":true}'(list))
  end)
end)
