-- vllm.text: any bytes as UTF-8; vllm.printable: what a stranger wrote, as a terminal may show it.
local testing = require "vllm.testing"
local vllm = require "vllm"

local R = "\239\191\189" -- U+FFFD

describe("vllm.text", function()
  it("gives UTF-8 back as it is, and U+FFFD for each maximal malformed subpart", function()
    local cases = {
      { "", "" }, { "plain\0\n", "plain\0\n" },
        { "h\195\169, \226\130\172, \240\159\152\128", "h\195\169, \226\130\172, \240\159\152\128" },
      { "caf\233", "caf" .. R }, { "\255\254", R .. R }, { "a\128b", "a" .. R .. "b" },
      { "\226\130", R }, { "\226\130x", R .. "x" }, { "\240\159\152", R }, -- cut off: one each
      -- too long, a surrogate, too high
      { "\192\175", R .. R }, { "\237\160\128", R .. R .. R }, { "\244\144\128\128", R .. R .. R .. R },
      { "\225\128\226\240\145\146\241\191A", R .. R .. R .. R .. "A" }, -- the example of Unicode, section 3.9
    }
    for _, case in ipairs(cases) do assert.equal(case[2], vllm.text(case[1])) end
    for byte = 0, 255 do assert.equal(byte < 128 and string.char(byte) or R, vllm.text(string.char(byte))) end
    assert.equal(("x" .. R):rep(5000), vllm.text(("x\255"):rep(5000)))
  end)

  it("is what an error names where text is not UTF-8, and mends it there", function()
    local call = { id = "call00001", name = "cat", arguments = "{}" }
    local function conversation(result)
      return { "Show me.", { role = "assistant", calls = { call } }, { role = "tool", call = call, result = result } }
    end
    local latin = "caf\233"
    local cases = {
      { "messages[3].result", function(bytes) return { messages = conversation(bytes) } end },
      { "messages[3].result.out", function(bytes) return { messages = conversation { out = bytes } } end },
      { "messages[1].content", function(bytes) return { messages = { { role = "user", content = bytes } } } end },
      { "messages[1].content[1].text", function(bytes) return { messages = { { role = "user",
        content = { { type = "text", text = bytes } } } } } end },
      { "tools[1].function.description", function(bytes) return { messages = { "x" },
        tools = { { name = "f", description = bytes } } } end },
      { "user", function(bytes) return { messages = { "x" }, user = bytes } end },
    }
    for _, case in ipairs(cases) do
      local client, transport = testing.client { "fine" }
      local _, message, err = client:ask(case[2](latin))
      assert.equal(case[1], err.param)
      assert.truthy(message:find("UTF-8", 1, true) and message:find("vllm.text(bytes)", 1, true), message)
      assert.equal("fine", client:ask(case[2](vllm.text(latin))))
      assert.truthy(transport.requests[1].text:find("caf" .. R, 1, true))
    end
    local _, message = vllm.json.encode { a = latin }
    assert.equal("a: text that is not UTF-8 (vllm.text(bytes) repairs it)", message)
  end)

  it("takes nothing but a string", function()
    assert.has_error(function() vllm.text(7) end, "vllm.text: expected a string, got number")
    assert.has_error(function() vllm.printable() end, "vllm.printable: expected a string, got nil")
  end)
end)

describe("vllm.printable", function()
  it("keeps text, line feeds and tabs", function()
    for _, text in ipairs { "", "one\n\ttwo", "h\195\169llo \226\130\172 \240\159\152\128", "a[31m",
      "\194\160\194\169" } do
      assert.equal(text, vllm.printable(text))
    end
  end)

  it("takes escape sequences and control characters out", function()
    local cases = {
      { "\27[31mred\27[0m", "red" }, { "\27[2J\27[Hhome", "home" }, { "a\27[?1049hb", "ab" }, { "\27[1;2 qx", "x" },
      { "\27]0;title\7x", "x" }, { "\27]52;c;aGk=\27\\x", "x" }, { "\27]8;;http://evil\27\\link\27]8;;\27\\", "link" },
      { "\27Pq#0\27\\x", "x" }, { "\27_Gi=1;AAAA\27\\x", "x" }, { "\27cx", "x" }, { "\27(0x", "x" }, { "\27", "" },
      { "\194\155" .. "31mx", "x" }, { "\194\157" .. "0;t\7x", "x" }, { "a\194\133b\194\144", "ab" },
      { "a\0b\1\8\7\127c", "abc" }, { "over\rwritten\r\n", "overwritten\n" }, { "\11\12\14", "" },
      { "\155" .. "31mx", R .. "31mx" }, -- a byte that is CSI where a terminal is not UTF-8
      { "cut \27[3", "cut [3" }, { "cut \27]0;title", "cut ]0;title" }, { "1m on", "1m on" },
        { "\27\27[0m[31mx", "[31mx" },
    }
    for _, case in ipairs(cases) do assert.equal(case[2], vllm.printable(case[1]), ("%q"):format(case[1])) end
  end)

  it("leaves no control character of anything", function()
    local state = 7
    local bytes = { "\27", "[", "]", "P", "\7", "\\", "\194", "\155", "\157", "m", "0", ";", "\0", "\127", "x", "\195",
      "\169", "\n", "\13" }
    for _ = 1, 500 do
      local parts = {}
      for i = 1, 12 do
        state = (state * 16807) % 2147483647
        parts[i] = bytes[state % #bytes + 1]
      end
      local shown = vllm.printable(table.concat(parts))
      assert.is_nil(shown:find("[%z\1-\8\11-\31\127]"), shown)
      assert.is_nil(shown:find("\194[\128-\159]"), shown)
      assert.equal(shown, vllm.text(shown))
    end
  end)

  it("reads a text of beginnings once", function()
    local clock = os.clock()
    for _, beginning in ipairs { "\27]", "\27[", "\27P", "\194\155" } do vllm.printable(beginning:rep(100000)) end
    assert.is_true(os.clock() - clock < 20) -- squared, it would be hours
  end)
end)
