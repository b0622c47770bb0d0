-- What counts as null, as a list and as ready JSON, and how a value is shown in a message.
local core = require "vllm.core"
local values = require "vllm.base.values"

describe("values.is_null", function()
  it("is true of core.null, and of nothing else", function()
    assert.is_true(values.is_null(core.null))
    for _, other in ipairs { false, 0, "", "null", {}, io.stdout } do assert.is_false(values.is_null(other)) end
    assert.is_false(values.is_null(nil))
  end)
end)

describe("values.given", function()
  it("takes null for nothing, and keeps every other value", function()
    assert.is_nil(values.given(core.null))
    assert.is_nil(values.given(nil))
    for _, value in ipairs { false, 0, "", {}, io.stdout } do assert.equal(value, values.given(value)) end
  end)
end)

describe("values.list_length", function()
  it("counts tables whose keys are exactly 1..n", function()
    assert.equal(0, values.list_length {})
    assert.equal(3, values.list_length { "a", false, {} })
    for _, other in ipairs { { a = 1 }, { 1, a = 1 }, { [2] = 1 }, { [1.5] = 1 }, { [0] = 1 }, { 1, nil, 3 }, "text",
      1 } do
      assert.is_nil(values.list_length(other))
    end
    assert.is_nil(values.list_length(nil))
    assert.is_nil(values.list_length(core.null))
  end)

  it("knows lua-cjson's empty array", function()
    local real = package.loaded.cjson
    package.loaded.cjson = { empty_array = io.stdout } -- any userdata; Debian's has none
    local length, of_another = values.list_length(io.stdout), values.list_length(io.stderr)
    package.loaded.cjson = real
    assert.same({ 0, nil }, { length, of_another })
  end)
end)

describe("values.shown", function()
  it("is short and printable", function()
    for _, case in ipairs {
      { "a", '"a"' }, { "a\n\27[1m", '"a??[1m"' }, { 1, "1" }, { 0.5, "0.5" }, { 0 / 0, "nan" }, { true, "true" },
      { core.null, "null" }, { {}, "a table" }, { print, "a function" },
        { ("x"):rep(41), '"' .. ("x"):rep(40) .. '…"' },
    } do
      assert.equal(case[2], values.shown(case[1]))
    end
    assert.equal("nil", values.shown(nil))
  end)
end)

describe("values.is_raw", function()
  it("is true of vllm.raw alone", function()
    assert.is_true(values.is_raw(assert(core.raw "[1]")))
    for _, other in ipairs { "[1]", {}, 1 } do assert.is_false(values.is_raw(other)) end
  end)
end)

describe("values.is_before", function()
  it("goes by the bytes", function()
    for _, pair in ipairs { { "", "a" }, { "a", "ab" }, { "B", "a" }, { "a", "\195\164" }, { "\127", "\128" } } do
      assert.is_true(values.is_before(pair[1], pair[2]))
      assert.is_false(values.is_before(pair[2], pair[1]))
    end
    assert.is_false(values.is_before("a", "a"))
  end)
end)

describe("values.sorted_keys", function()
  it("has the names in order, then the others", function()
    assert.same({ "a", "b", 1, 2, true }, values.sorted_keys { b = 1, a = 1, [2] = 1, [1] = 1, [true] = 1 })
    assert.same({}, values.sorted_keys {})
  end)
end)
