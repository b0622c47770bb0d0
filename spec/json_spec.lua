-- JSON between Lua and bytes: every rule of the writer, the reader's exactness, both against lua-cjson as an oracle.
local core = require "vllm.core"
local json = require "vllm.json"
local cjson = require "cjson"

local number_type = rawget(math, "type") -- 5.3 and later
local null = core.null

local function encoded(value, options)
  return assert(core.json_encode(value, options))
end

local function in_request(value)
  return encoded(value, { request = true })
end

-- message and path of a value that cannot be written
local function refused(value, options)
  local text, message, path = core.json_encode(value, options)
  assert.is_nil(text)
  assert.is_string(message)
  return message, path
end

local function nested(depth)
  local value = {}
  for _ = 2, depth do value = { value } end
  return value
end

describe("what a table becomes", function()
  it("keys 1..n make an array, all strings an object sorted by bytes", function()
    assert.equal('[1,"two",[true]]', encoded { 1, "two", { true } })
    assert.equal('{"B":1,"a":2,"a\\u0000":3,"aa":4,"\195\169":5}',
      encoded { aa = 4, a = 2, B = 1, ["\195\169"] = 5, ["a\0"] = 3 })
  end)

  it("a bare {} is an object, array{} an array, wherever they stand", function()
    assert.equal("{}", encoded {})
    assert.equal('{"a":{},"b":[]}', encoded { a = {}, b = json.array {} })
    assert.equal("[[],{}]", encoded { json.array(), {} })
    assert.equal("[1,2]", encoded(json.array { 1, 2 }))
  end)

  it("holes, mixed and foreign keys are refused with their path", function()
    local cases = {
      { { a = { [1] = 1, [3] = 3 } }, "a" },
      { { tools = { { ["function"] = { parameters = { 1, x = 2 } } } } }, "tools[1].function.parameters" },
      { { a = { { [0] = 1 } } }, "a[1]" },
      { { [1.5] = 1 }, "" },
      { { [true] = 1 }, "" },
      { { b = { { c = { ["d e"] = { [print] = 1 } } } } }, 'b[1].c["d e"]' },
      { { [("x"):rep(100)] = print }, '["' .. ("x"):rep(60) .. '..."]' },
      { { list = setmetatable({ 1, n = 1 }, core.array_mt) }, "list" },
      { { list = setmetatable({ [2] = 1 }, core.array_mt) }, "list" },
    }
    for _, case in ipairs(cases) do
      local _, path = refused(case[1])
      assert.equal(case[2], path)
    end
  end)

  it("functions, coroutines and unknown userdata are refused with their path", function()
    local message, path = refused { { f = print } }
    assert.equal("[1].f", path)
    assert.truthy(message:find("function", 1, true))
    message, path = refused { a = coroutine.create(function() end) }
    assert.equal("a", path)
    assert.truthy(message:find("coroutine", 1, true))
    message, path = refused { io.stdout }
    assert.equal("[1]", path)
    assert.truthy(message:find("userdata", 1, true))
    message, path = refused(print)
    assert.equal("", path)
    assert.truthy(message)
  end)

  it("a cycle is refused, the same table twice is not", function()
    local loop = { x = {} }
    loop.x.y = loop
    local message, path = refused(loop)
    assert.equal("x.y", path)
    assert.truthy(message:find("contains itself", 1, true))
    local shared = { 1 }
    assert.equal('{"a":[1],"b":[1]}', encoded { a = shared, b = shared })
  end)

  it("128 levels can be written, 129 cannot", function()
    assert.equal(("["):rep(127) .. "{}" .. ("]"):rep(127), encoded(nested(128)))
    assert.truthy(refused(nested(129)):find("too deep", 1, true))
    assert.is_truthy(core.json_decode(encoded(nested(128))))
  end)

  it("never calls a metamethod", function()
    local called = false
    local function call() called = true return nil end
    local mt = { __index = call, __len = call, __pairs = call, __ipairs = call, __tostring = call, __eq = call,
      __call = call }
    assert.equal('{"a":[1]}', encoded(setmetatable({ a = setmetatable({ 1 }, mt) }, mt)))
    assert.is_false(called)
  end)
end)

describe("text", function()
  it("only what JSON demands is escaped", function()
    assert.equal([["\"\\/\b\f\n\r\t\u0000\u001f]] .. "\127\226\128\168\240\159\152\128\"",
      encoded "\"\\/\b\f\n\r\t\0\31\127\226\128\168\240\159\152\128")
  end)

  it("text that is not UTF-8 is refused, as a name too", function()
    for _, bad in ipairs { "\128", "a\255", "\192\128", "\237\160\128", "\244\144\128\128", "\226\130", "\240\159\152",
      "x\195" } do
      local message, path = refused { a = { bad } }
      assert.equal("a[1]", path)
      assert.truthy(message:find("UTF-8", 1, true))
      message, path = refused { [bad] = 1 }
      assert.truthy(message:find("UTF-8", 1, true))
      assert.truthy(path:find('%["'))
    end
  end)
end)

describe("numbers", function()
  it("are written the same on every Lua", function()
    local cases = {
      { 0, "0" }, { 7, "7" }, { -1, "-1" }, { 0.7, "0.7" }, { 100.0, "100" }, { 1e15, "1000000000000000" },
      { 2 ^ 53 - 1, "9007199254740991" }, { 1e300, "1e300" }, { 0.1 + 0.2, "0.30000000000000004" }, { 1e-7, "1e-7" },
        { -2.5, "-2.5" },
    }
    for _, case in ipairs(cases) do assert.equal(case[2], encoded(case[1])) end
  end)

  it("64-bit integers keep every digit where Lua has them", function()
    if not number_type then return end
    for _, text in ipairs { "9223372036854775807", "-9223372036854775808", "9007199254740993" } do
      assert.equal(text, encoded(core.json_decode(text)))
      assert.equal("integer", number_type(core.json_decode(text)))
    end
    assert.equal("float", number_type(core.json_decode "1.0"))
    assert.equal("float", number_type(core.json_decode "9223372036854775808"))
  end)

  it("NaN and infinity are refused with their path", function()
    for _, bad in ipairs { 0 / 0, math.huge, -math.huge } do
      local _, path = refused { top = { bad } }
      assert.equal("top[1]", path)
    end
  end)

  it("doubles come back bit for bit", function()
    local values = { 1 / 3, 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308, 1e22, 1e23, 123456.789, -1e-5,
      2 ^ 60, 0.1 }
    for _, value in ipairs(values) do assert.equal(value, core.json_decode(encoded(value))) end
    assert.equal(-math.huge, 1 / core.json_decode(encoded(-0.0)))
  end)

  it("a cdata is refused with advice", function()
    local found, ffi = pcall(require, "ffi")
    if not found then return end
    local message, path = refused { seed = ffi.new("int64_t", 1) }
    assert.equal("seed", path)
    assert.truthy(message:find("tonumber", 1, true))
  end)
end)

describe("in a request", function()
  it("{} is an array where the schema wants one", function()
    for _, name in ipairs { "messages", "tools", "stop", "stop_token_ids", "bad_words", "content", "tool_calls",
      "required", "enum", "anyOf",
      "oneOf", "allOf", "prefixItems", "allowed_token_ids", "documents" } do
      assert.equal(('{"%s":[]}'):format(name), in_request { [name] = {} })
      assert.equal(('[{"%s":[]}]'):format(name), in_request { { [name] = {} } })
      assert.equal(('{"%s":{}}'):format(name), encoded { [name] = {} })
    end
    assert.equal('{"structured_outputs":{"choice":[]}}', in_request { structured_outputs = { choice = {} } })
    assert.equal('{"chat_template_kwargs":{},"default":{},"items":{}}',
      in_request { items = {}, default = {}, chat_template_kwargs = {} })
  end)

  it("names that the user chose mean nothing", function()
    for _, holder in ipairs { "properties", "patternProperties", "$defs", "definitions" } do
      assert.equal(('{"%s":{"enum":{},"stop":{"enum":[]}}}'):format(holder),
        in_request { [holder] = { stop = { enum = {} }, enum = {} } })
    end
    assert.equal('{"properties":{"properties":{"required":[]},"x":{"properties":{"required":{}}}}}',
      in_request { properties = { properties = { required = {} }, x = { properties = { required = {} } } } })
    assert.equal('{"dependentRequired":{"a":[],"enum":["b"]}}',
      in_request { dependentRequired = { a = {}, enum = { "b" } } })
    assert.equal('{"properties":{"logit_bias":[1]}}', in_request { properties = { logit_bias = { 1 } } })
  end)

  it("an element is not a member: its {} is an object", function()
    assert.equal('{"messages":[{}],"required":[{}]}', in_request { messages = { {} }, required = { {} } })
  end)
end)

describe("logit_bias", function()
  it("is an object with string keys, sorted by bytes, even for keys 1..n", function()
    assert.equal('{"logit_bias":{"50256":-100}}', encoded { logit_bias = { [50256] = -100 } })
    assert.equal('{"logit_bias":{"1":1,"10":3,"2":2}}', encoded { logit_bias = { [2] = 2, [10] = 3, [1] = 1 } })
    assert.equal('{"logit_bias":{"1":5,"2":6}}', encoded { logit_bias = { 5, 6 } })
    assert.equal('{"logit_bias":{"1":5,"7":6}}', encoded { logit_bias = { 5, ["7"] = 6 } })
    assert.equal('{"logit_bias":{}}', in_request { logit_bias = {} })
  end)

  it("one token twice, or a key that is not a token, is refused", function()
    for _, bad in ipairs { { [7] = 1, ["7"] = 2 }, { [1.5] = 1 }, { [true] = 1 }, { [1e300] = 1 } } do
      local _, path = refused { logit_bias = bad }
      assert.equal("logit_bias", path)
    end
    local _, path = refused { logit_bias = { [3] = 0 / 0 } }
    assert.equal('logit_bias["3"]', path)
  end)
end)

describe("order", function()
  it("properties follow required, then their names", function()
    assert.equal('{"properties":{"z":1,"m":2,"a":3,"b":4},"required":["z","m","absent"]}',
      encoded { properties = { a = 3, b = 4, m = 2, z = 1 }, required = { "z", "m", "absent" } })
    assert.equal('{"properties":{"a":1,"b":2},"required":{}}', encoded { properties = { b = 2, a = 1 }, required = {} })
    assert.equal('{"properties":{"a":1,"b":2},"required":"b"}',
      encoded { properties = { b = 2, a = 1 }, required = "b" })
  end)

  it("a property called properties is ordered by no neighbour", function()
    assert.equal('{"properties":{"properties":{"a":1,"b":2},"required":["b"]}}',
      encoded { properties = { properties = { a = 1, b = 2 }, required = { "b" } } })
  end)

  it("__jsonorder comes first, is not written, and wins over required", function()
    assert.equal('{"m":3,"z":1,"a":2}', encoded { z = 1, a = 2, m = 3, __jsonorder = { "m", "absent", "z", "m" } })
    assert.equal('{"z":1,"a":2}', encoded(setmetatable({ z = 1, a = 2 }, { __jsonorder = { "z" } })))
    assert.equal('{"properties":{"a":1,"b":2},"required":["b"]}',
      encoded { properties = { a = 1, b = 2, __jsonorder = { "a" } }, required = { "b" } })
    assert.equal("{}", encoded { __jsonorder = { "x" } })
    assert.equal('{"__jsonorder":1,"a":2}', encoded { __jsonorder = 1, a = 2 })
  end)
end)

describe("raw", function()
  it("is written as it is", function()
    assert.equal('{"a":{"z" : 1, "a":2}}', encoded { a = assert(json.raw '{"z" : 1, "a":2}') })
    assert.equal(" 1e2 ", encoded(json.raw " 1e2 "))
    assert.equal("[1]", core.raw_text(json.raw "[1]"))
    assert.is_nil(core.raw_text { "[1]" })
    assert.is_nil(core.raw_text "[1]")
  end)

  it("is checked at its creation", function()
    local value, message, position = json.raw '{"a":nan}'
    assert.is_nil(value)
    assert.equal("expected a JSON value at byte 6", message)
    assert.equal(6, position)
    assert.has_error(function() json.raw(1) end, "vllm.raw: expected a string, got number")
  end)

  it("without its text is refused", function()
    local raw = json.raw "1"
    raw[1] = nil
    local _, path = refused { a = raw }
    assert.equal("a", path)
  end)
end)

describe("marks of others", function()
  -- Debian's lua-cjson is older than its array marks, so the newer one is stood in for.
  local loaded = {}
  local function stand_in(name, value)
    loaded[name] = loaded[name] or { package.loaded[name] }
    package.loaded[name] = value
  end
  local old_vim = rawget(_G, "vim")
  after_each(function()
    for name, old in pairs(loaded) do package.loaded[name] = old[1] end
    loaded = {}
    rawset(_G, "vim", old_vim)
  end)

  it("null of lua-cjson, of nginx and ours", function()
    assert.equal("[null,null]", encoded { cjson.null, null })
    assert.equal(cjson.null, null)
  end)

  it("lua-cjson's empty_array, array_mt and empty_array_mt", function()
    local array_mt, empty_array_mt = {}, {}
    for _, name in ipairs { "cjson", "cjson.safe" } do
      local empty_array = io.tmpfile()
      stand_in(name, { empty_array = empty_array, array_mt = array_mt, empty_array_mt = empty_array_mt, null = null })
      assert.equal("[[],[],[1],[],[2],{\"a\":1}]",
        encoded { empty_array, setmetatable({}, array_mt), setmetatable({ 1 }, array_mt),
        setmetatable({}, empty_array_mt), setmetatable({ 2 }, empty_array_mt),
          setmetatable({ a = 1 }, empty_array_mt) })
      empty_array:close()
      stand_in(name, false)
    end
  end)

  it("vim.NIL and vim.empty_dict()", function()
    local dict_mt, vim_nil = {}, io.tmpfile()
    refused { vim_nil }
    rawset(_G, "vim", setmetatable({ NIL = vim_nil, _empty_dict_mt = dict_mt }, { __index = error }))
    assert.equal('[null,{},{"stop":{}}]',
      in_request { vim_nil, setmetatable({}, dict_mt), { stop = setmetatable({}, dict_mt) } })
    refused { io.stdout }
    vim_nil:close()
  end)

  it("an unknown metatable changes nothing", function()
    assert.equal('[{},[1]]', encoded { setmetatable({}, {}), setmetatable({ 1 }, {}) })
  end)
end)

describe("indent", function()
  it("breaks lines, but not inside empty ones", function()
    assert.equal('{\n  "a": [\n    1,\n    {}\n  ],\n  "b": []\n}',
      encoded({ a = { 1, {} }, b = json.array {} }, { indent = 2 }))
    assert.equal('[\n' .. (" "):rep(16) .. '[\n' .. (" "):rep(32) .. '1\n' .. (" "):rep(16) .. ']\n]',
      encoded({ { 1 } }, { indent = 16 }))
  end)

  it("options of the wrong type throw, naming the option", function()
    for _, options in ipairs { { indent = -1 }, { indent = 1.5 }, { indent = "2" }, { indent = 17 } } do
      local ok, message = pcall(core.json_encode, 1, options)
      assert.is_false(ok)
      assert.truthy(message:find("indent: expected a whole number from 0 to 16", 1, true))
    end
    assert.has_error(function() core.json_encode(1, { request = 1 }) end)
  end)
end)

describe("reading", function()
  it("values, with arrays marked", function()
    local value = core.json_decode '{"a":[1,2.5,"x",true,false,null,[],{}]}'
    assert.equal(core.array_mt, getmetatable(value.a))
    assert.equal(core.array_mt, getmetatable(value.a[7]))
    assert.is_nil(getmetatable(value.a[8]))
    assert.equal(null, value.a[6])
    assert.same({ 1, 2.5, "x", true, false, null, {}, {} }, setmetatable(value.a, nil))
    assert.is_nil(getmetatable(core.json_decode("[]", { array_mt = false })))
  end)

  it("[] and {} go back as they came", function()
    local text = '{"a":[],"b":{},"c":[[],{}],"d":[1,[2]]}'
    assert.equal(text, encoded(core.json_decode(text)))
  end)

  it("null can be another value, or absent from objects", function()
    assert.same({ a = "none" }, core.json_decode('{"a":null}', { null = "none" }))
    assert.equal(false, core.json_decode("null", { null = false }))
    local value = core.json_decode('{"a":null,"b":[null],"c":{"d":null}}', { drop_nulls = true })
    assert.is_nil(value.a)
    assert.equal(null, value.b[1])
    assert.is_nil(next(value.c))
  end)

  it("of repeated members the last one wins, null too", function()
    assert.same({ a = 2 }, core.json_decode '{"a":1,"a":2}')
    assert.same({ a = 2 }, core.json_decode '{"a":1,"\\u0061":2}')
    assert.is_nil(next(core.json_decode('{"a":1,"a":null}', { drop_nulls = true })))
    assert.same({ a = 3 }, core.json_decode('{"a":null,"a":3}', { drop_nulls = true }))
  end)

  it("escapes are decoded, broken text is repaired", function()
    assert.equal("\"\\/\b\f\n\r\t\0A\195\169\240\159\152\128",
      core.json_decode [["\"\\\/\b\f\n\r\t\u0000\u0041\u00e9\ud83d\ude00"]])
    local repaired = "\239\191\189"
    assert.equal(repaired .. "x" .. repaired, core.json_decode '"\\ud83dx\\ude00"')
    assert.equal(repaired .. repaired .. "a", core.json_decode '"\255\226\130a"')
    assert.equal(("\\n\255"):rep(5000):gsub("\\n", "\n"):gsub("\255", repaired),
      core.json_decode('"' .. ("\\n\255"):rep(5000) .. '"'))
  end)

  it("what is not JSON gives nil, message and the byte", function()
    local cases = {
      { "", 1 }, { " ", 2 }, { "nan", 1 }, { "NaN", 1 }, { "0x10", 2 }, { "01", 2 }, { "1.", 1 }, { "-", 1 },
        { "+1", 1 }, { "[1,]", 4 },
      { "[,1]", 2 }, { '{"a":1,}', 8 }, { '{"a"}', 5 }, { "{a:1}", 2 }, { "{'a':1}", 2 }, { "[1 2]", 4 }, { '"\n"', 2 },
        { '"\\x"', 2 },
      { '"\\u12g4"', 2 }, { '"abc', 1 }, { "tru", 1 }, { "nulll", 5 }, { "[1", 3 }, { "{", 2 }, { "1 1", 3 },
        { "[]]", 3 }, { "\0", 1 },
      { "1\0", 2 }, { "\239\187\1911", 1 }, { "/**/1", 1 }, { "[1e400]", 2 }, { "Infinity", 1 }, { '["a\0"]', 4 },
        { "True", 1 },
    }
    for _, case in ipairs(cases) do
      local value, message, position = core.json_decode(case[1])
      assert.is_nil(value)
      assert.is_string(message)
      assert.equal(case[1] .. " " .. case[2], case[1] .. " " .. tostring(position))
      assert.truthy(message:find(" at byte " .. case[2], 1, true))
      if case[1] ~= "[1e400]" then assert.is_nil((core.json_check(case[1]))) end
    end
    assert.is_true(core.json_check ' {"a":[1e400]} ')
  end)

  it("128 levels can be read, 129 cannot, and a million do no harm", function()
    assert.is_table(core.json_decode(("["):rep(128) .. ("]"):rep(128)))
    local value, message, position = core.json_decode(("["):rep(129) .. ("]"):rep(129))
    assert.is_nil(value)
    assert.equal("nested too deeply at byte 129", message)
    assert.equal(129, position)
    assert.is_nil((core.json_decode(('{"a":'):rep(1000000))))
    assert.is_nil((core.json_decode("[[]]", { max_depth = 1 })))
    assert.is_table(core.json_decode("[1]", { max_depth = 1 }))
  end)

  it("works inside coroutines and leaks no value on errors", function()
    local wrapped = coroutine.wrap(function() return core.json_decode '[1,{"a":[' end)
    local value, message = wrapped()
    assert.is_nil(value)
    assert.is_string(message)
    for _ = 1, 300 do core.json_decode '[1,{"a":["\\n",2' end
    assert.equal(1, select("#", core.json_decode "1"))
  end)
end)

describe("splice", function()
  it("replaces in place, appends sorted by name, keeps every other byte", function()
    assert.equal('{"a":1, "b" : 3 ,"c": [ ] ,"B":5,"d":{"x":1}}\n',
      core.splice('{"a":1, "b" : [2,{"b":1}] ,"c": [ ] }\n', '{"b":3,"d":{"x":1},"B":5}'))
    assert.equal('{ "a":1}', core.splice("{ }", '{"a":1}'))
    assert.equal(' {"a":1} ', core.splice(' {"a":1} ', "{}"))
    assert.equal('{"\\u0061":2}', core.splice('{"\\u0061":1}', '{"a":2}'))
    assert.equal('{"a":1,"\\"":2}', core.splice('{"a":1}', [[{"\"":2}]]))
  end)

  it("refuses what it cannot keep honest", function()
    local cases = {
      { "[]", "{}", "not a JSON object" }, { '"a"', "{}", "not a JSON object" }, { "", "{}", "the text ends" },
      { '{"a":1,"a":2}', "{}", "occurs twice" }, { '{"a":1,"\\u0061":2}', '{"a":1}', "occurs twice" },
        { '{"a":1', "{}", "the text ends" },
      { '{"a":1}{', "{}", "more text" }, { '{"a":nan}', '{"b":1}', "expected a JSON value" },
    }
    for _, set in ipairs { "", "[]", "1", "{", '{"a":}', '{"a":1,2}', '{"a":1}{', '{"a":1,}', "{a:1}" } do
      cases[#cases + 1] = { "{}", set, "the members to set are not a JSON object" }
    end
    for _, case in ipairs(cases) do
      local text, message = core.splice(case[1], case[2])
      assert.is_nil(text)
      assert.truthy(message:find(case[3], 1, true), message)
    end
  end)
end)

describe("vllm.json", function()
  it("messages carry the path", function()
    local text, message, path = json.encode { tools = { { f = print } } }
    assert.is_nil(text)
    assert.equal("tools[1].f: a function is not a JSON value", message)
    assert.equal("tools[1].f", path)
    assert.equal("a function is not a JSON value", select(2, json.encode(print)))
    assert.equal("null", json.encode(nil))
    assert.equal('{"stop":[]}', json.encode({ stop = {} }, { request = true }))
  end)

  it("misuse throws, naming what is wrong", function()
    assert.has_error(function() json.decode(1) end, "vllm.json.decode: expected a string, got number")
    assert.has_error(function() json.decode("1", { nul = 1 }) end,
      "vllm.json.decode: unknown key `nul`; known are array_mt, drop_nulls, max_depth, null")
    assert.has_error(function() json.encode(1, { indnt = 1 }) end,
      "vllm.json.encode: unknown key `indnt` (did you mean `indent`?)")
    assert.has_error(function() json.encode(1, 2) end, "vllm.json.encode: expected a table of options, got number")
    assert.has_error(function() json.array(1) end, "vllm.array: expected a table, got number")
  end)

  it("is_array says what encode would do", function()
    assert.is_true(json.is_array { 1 })
    assert.is_true(json.is_array(json.array {}))
    assert.is_true(json.is_array(json.decode "[]"))
    for _, other in ipairs { {}, { a = 1 }, { 1, a = 1 }, { [2] = 1 }, { [1.5] = 1 }, 1, "x", null } do
      assert.is_false(json.is_array(other))
    end
  end)
end)

-- A small generator, the same numbers on every Lua.
local function generator(seed)
  local state = seed
  return function(n)
    state = (state * 16807) % 2147483647
    return state % n
  end
end

local WORDS = { "", "a", "content", "k\195\164se", "\240\159\152\128", 'q"uo\\te', "tab\t", "\1", "line\nline", "/" }
local NUMBERS = { 0, 1, -1, 0.5, -2.25, 1e10, 123456789, 0.001, 1e-9, 3.25e20 }

local function any_value(random, depth)
  local kind = random(depth > 4 and 4 or 6)
  if kind == 0 then return WORDS[random(#WORDS) + 1] end
  if kind == 1 then return NUMBERS[random(#NUMBERS) + 1] end
  if kind == 2 then return random(2) == 0 end
  if kind == 3 then return null end
  local value = {}
  for i = 1, random(5) + 1 do
    if kind == 4 then value[i] = any_value(random, depth + 1)
    else value[WORDS[random(#WORDS) + 1] .. i] = any_value(random, depth + 1) end
  end
  return value
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in pairs(a) do if not same(value, b[key]) then return false end end
  for key in pairs(b) do if a[key] == nil then return false end end
  return true
end

it("agrees with lua-cjson on generated values, both ways", function()
  local random = generator(42)
  for _ = 1, 1000 do
    local value = any_value(random, 0)
    local text = encoded(value)
    assert.is_true(same(value, core.json_decode(text)), text)
    assert.is_true(same(value, type(value) == "table" and cjson.decode(text) or cjson.decode("[" .. text .. "]")[1]),
      text)
    if type(value) == "table" then assert.is_true(same(value, core.json_decode(cjson.encode(value))), text) end
    assert.equal(text, encoded(core.json_decode(text)))
    assert.same(core.json_decode(text), core.json_decode(encoded(value, { indent = 3 })))
  end
end)

it("no mutation of a text makes the reader disagree with itself", function()
  local random = generator(7)
  local seeds = { '{"a":[1,-2.5e3,"x\\u00e9\\n",true,null],"b":{"c":{}}}', '[["\240\159\152\128",0.1,{"a":"b"}],[]]' }
  for i = 1, 4000 do
    local text = seeds[i % 2 + 1]
    for _ = 1, random(3) + 1 do
      local at = random(#text + 1)
      text = text:sub(1, at) .. (random(3) > 0 and string.char(random(256)) or "") .. text:sub(at + 1 + random(2))
    end
    local value, _, position = core.json_decode(text)
    assert.equal(value ~= nil, core.json_check(text) == true)
    if value == nil then
      assert.is_true(position >= 1 and position <= #text + 1)
    else
      assert.is_true(same(value, core.json_decode(encoded(value))))
    end
  end
end)

-- The table is built in an order that differs from process to process, as do the hash seeds.
local PROCESS = [[
local core = require "vllm.core"
local names = {}
for i = 1, 300 do names[i] = ("name%d"):format(i * 7919 % 1000) end
math.randomseed(tonumber(arg[1]) * 31 + 7)
for i = #names, 2, -1 do local j = math.random(i) names[i], names[j] = names[j], names[i] end
local big = { tools = {}, properties = {}, required = { "name5", "name4" } }
for _, name in ipairs(names) do
  big[name] = { name, #name, [name and 3] = 0.1, }
  big.properties[name] = { type = "string", [name] = {} }
end
big.logit_bias = {}
for _, name in ipairs(names) do big.logit_bias[tonumber(name:sub(5))] = 1 end
io.write(assert(core.json_encode(big, { request = true })))
]]

it("gives the same bytes in every process, whatever the order of insertion", function()
  local lowest = 0
  while arg[lowest - 1] do lowest = lowest - 1 end
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(PROCESS)
  file:close()
  local first
  for i = 1, 25 do
    local pipe = assert(io.popen(("LUA_PATH='%s' LUA_CPATH='%s' %s %s %d"):format(package.path, package.cpath,
      arg[lowest], path, i)))
    local text = pipe:read("*a")
    pipe:close()
    first = first or text
    assert.is_true(#text > 10000)
    assert.equal(first, text)
  end
  os.remove(path)
end)
