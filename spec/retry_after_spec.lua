-- How long a server asks to wait, in every form of an HTTP date.
local retry_after = require "vllm.base.retry_after"

describe("what a server asks a client to wait", function()
  local cases = {
    { { ["retry-after"] = "7" }, 7 }, { { ["retry-after"] = "1.5" }, 1.5 },
      { { ["retry-after-ms"] = "250", ["retry-after"] = "7" }, 0.25 },
    { { ["retry-after"] = "Sun, 06 Nov 1994 08:49:47 GMT" }, 10 },
      { { ["retry-after"] = "Sun, 06 Nov 1994 08:49:07 GMT" }, 0 },
    { { ["retry-after"] = "Sat, 01 Jan 2000 00:00:00 GMT" }, 162573023 },
    { { ["retry-after"] = "Sunday, 06-Nov-94 08:49:47 GMT" }, 10 },
      { { ["retry-after"] = "Sun Nov  6 08:49:47 1994" }, 10 },
    { { ["retry-after"] = "Saturday, 01-Jan-00 00:00:00 GMT" }, 162573023 },
      { { ["retry-after"] = "Friday, 06-Nov-43 08:49:47 GMT" }, 1546300810 },
    { { ["retry-after"] = "Sunday, 06-Nov-55 08:49:47 GMT" }, 0 },
      { { ["retry-after"] = "Sun Nov 16 08:49:47 1994" }, 864010 },
    { { ["retry-after"] = "Sun, 99 Nov 1994 08:49:47 GMT" } },
      { { ["retry-after"] = "Sun, 06 Nov 1994 99:49:47 GMT" } },
    { { ["retry-after"] = "Sun, 06 Foo 1994 08:49:47 GMT" } }, { { ["retry-after"] = "Sun Nov    08:49:47 1994" } },
    { { ["retry-after"] = "soon" } }, { { ["retry-after"] = "-3" } }, { { ["retry-after"] = "0x10" } }, { {} },
  }
  for i, case in ipairs(cases) do
    it("case " .. i, function() assert.equal(case[2], retry_after.seconds(case[1], 784111777)) end)
  end
end)
