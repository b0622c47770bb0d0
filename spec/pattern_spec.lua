-- core.pattern: regular expressions of ECMA-262, as JSON Schema has them. What a Lua program sees;
-- spec/c/pattern_test.c has the language.
local core = require "vllm.core"

local function compile(source)
  local pattern, why = core.pattern(source)
  return assert(pattern, why)
end

describe("core.pattern", function()
  it("finds what it describes anywhere in a text", function()
    for _, case in ipairs {
      { "a+", "xaay", true }, { "^a*$", "aaa", true }, { "^a*$", "aab", false },
      { "^(get|set)_[a-z]{1,8}$", "get_name", true }, { "^(get|set)_[a-z]{1,8}$", "put_name", false },
      { "^\\p{Letter}+$", "πολύ", true }, { "^\\w+$", "πολύ", false }, { "^.$", "🐲", true }, { "^🐲*$", "🐲🐲", true },
      { "^\\d{4}-\\d{2}-\\d{2}$", "2026-11-28", true }, { "", "", true }, { "^\\0$", "\0", true },
      { "^abc$", "abc\n", false }, { "^[^\\n]$", "\255", true }, { "a\\/b", "a/b", true },
    } do
      assert.equal(case[3], compile(case[1]):find(case[2]), case[1] .. " in " .. case[2])
    end
  end)

  it("can be used again, between the searches of others", function()
    local letters, digits = compile "^[a-z]+$", compile "^[0-9]+$"
    for _ = 1, 3 do
      assert.is_true(letters:find "abc")
      assert.is_true(digits:find "123")
      assert.is_false(letters:find "123")
      assert.is_false(digits:find "")
    end
  end)

  it("says what it does not take, and where", function()
    for source, message in pairs {
      ["a(?=b)"] = "lookahead is not supported: `(?=` at offset 1",
      ["(?<!a)b"] = "lookbehind is not supported: `(?<!` at offset 0",
      ["(a)\\1"] = "backreferences are not supported: `\\1` at offset 3",
      ["^\\Z"] = "unknown escape: `\\Z` at offset 1",
      ["\\p{Script=Greek}"] = "not a general category: `\\p{Script=Greek}` at offset 0",
      ["(a"] = "a group is not closed at offset 0",
      ["a\255"] = "the pattern is not valid UTF-8 at offset 1",
      ["(a{100}){100}"] = "the pattern needs more than 10000 states at offset 13",
      [("a"):rep(4097)] = "the pattern is longer than 4096 bytes at offset 4096",
      [("("):rep(101)] = "groups are nested deeper than 100 at offset 100",
    } do
      local pattern, why = core.pattern(source)
      assert.is_nil(pattern)
      assert.equal(message, why)
    end
  end)

  it("takes a hostile pattern and a long text", function()
    local text = ("a"):rep(100000)
    for source, expected in pairs { ["(a+)+$"] = true, ["(a|a)*b"] = false, ["(.*)*x"] = false,
      ["^(a?){30}a{30}$"] = false } do
      assert.equal(expected, compile(source):find(text), source)
    end
  end)

  it("gives up on what would take seconds", function()
    local found, why = compile("(x?){4990}y"):find(("x"):rep(100000))
    assert.is_nil(found)
    assert.equal("the pattern takes too long for this text", why)
  end)

  it("raises on misuse", function()
    local pattern = compile "a"
    assert.error_matches(function() core.pattern {} end, "string expected")
    assert.error_matches(function() core.pattern() end, "string expected")
    assert.error_matches(function() pattern:find {} end, "string expected")
    assert.error_matches(function() pattern.find("a", "a") end, "vllm.pattern expected")
    assert.error_matches(function() pattern.find(core.sse {}, "a") end, "vllm.pattern expected")
  end)

  it("frees its memory once, also when a program calls its finalizer", function()
    local class = debug.getmetatable(compile "a")
    local pattern = compile "a"
    class.__gc(pattern)
    class.__gc(pattern)
    assert.error_matches(function() pattern:find "a" end, "this pattern is closed")
  end)
end)
