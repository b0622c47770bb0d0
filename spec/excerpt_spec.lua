-- Foreign text in a message: short, printable, whole code points.
local core = require "vllm.core"
local excerpt = require "vllm.base.excerpt"

describe("excerpt.of", function()
  for name, case in pairs {
    ["a short text is kept"] = { "abc\n", 4, "abc\n" },
    ["a longer one is cut and marked"] = { "abcde", 4, "abcd…" },
    ["nothing stays nothing"] = { "", 4, "" },
    ["control characters become question marks"] = { "a\0b\27[0m\127\t\r", 20, "a?b?[0m???" },
    ["a character that would be cut is left out"] = { "abä", 3, "ab…" },
    ["a whole character before the cut stays"] = { "äxx", 3, "äx…" },
    ["bytes that are not UTF-8 become question marks"] = { "a\255\195", 20, "a??" },
  } do
    it(name, function() assert.equal(case[3], excerpt.of(case[1], case[2])) end)
  end

  it("can always be written as JSON, wherever it is cut", function()
    local text = "ä€😀\237\160\128\255x"
    for cut = 0, #text + 1 do
      local shown = excerpt.of(text, cut)
      assert.is_string(core.json_encode(shown), cut)
      assert.is_true(#shown <= cut + #"…")
    end
  end)
end)
