--- Output of the test runs: one line per spec file, every failure in full, and the counts in a file for
--- scripts/run-tests.
-- usage: busted -o spec/support/report.lua, with VLLM_TEST_COUNTS naming the file that gets "PASSED FAILED".
-- Unlike busted's own outputs it counts as failed what would look green: a pending test, a file that does not load, and
-- a run without any test. The file is written at the end only: a run that died leaves none.

local clock = require "system".monotime

return function()
  local busted = require "busted"
  local handler = require "busted.outputHandlers.base" ()
  local passed, failed = 0, 0
  local before = {} -- the counts and the time when the present file began

  local function describe(report)
    local message = report.message
    if type(message) ~= "string" then message = "error value: " .. tostring(message) end
    local traceback = report.trace and report.trace.traceback or ""
    return string.format("  FAILED %s\n    %s\n    %s\n", report.name or "?", message, (traceback:gsub("\n", "\n    ")))
  end

  local function fail(text)
    failed = failed + 1
    io.write(text)
    io.flush()
  end

  handler.fileStart = function()
    before = { passed = passed, failed = failed, time = clock() }
    return nil, true
  end

  handler.fileEnd = function(file)
    local file_passed, file_failed = passed - before.passed, failed - before.failed
    if file_passed + file_failed > 0 then
      io.write(string.format("  %-32s %5d passed%s %6.2f s\n", file.name:match "[^/]*$", file_passed,
        file_failed > 0 and string.format(", %d failed", file_failed) or "", clock() - before.time))
      io.flush()
    end
    return nil, true
  end

  handler.testEnd = function(_, _, status)
    if status == "success" then
      passed = passed + 1
    elseif status == "pending" then
      local report = handler.pendings[#handler.pendings]
      fail(string.format("  FAILED (pending) %s\n", report and report.name or "?"))
    end
    return nil, true
  end

  handler.failure = function()
    fail(describe(handler.failures[#handler.failures]))
    return nil, true
  end

  handler.error = function()
    fail(describe(handler.errors[#handler.errors]))
    return nil, true
  end

  handler.suiteEnd = function()
    if passed + failed == 0 then
      fail "  FAILED no test was found\n"
    end
    local path = os.getenv "VLLM_TEST_COUNTS"
    if path then
      local out = assert(io.open(path, "w"))
      out:write(passed, " ", failed, "\n")
      out:close()
    end
    io.flush()
    return nil, true
  end

  busted.subscribe({ "file", "start" }, handler.fileStart)
  busted.subscribe({ "file", "end" }, handler.fileEnd)
  busted.subscribe({ "test", "end" }, handler.testEnd)
  busted.subscribe({ "failure", "it" }, handler.failure)
  busted.subscribe({ "error", "it" }, handler.error)
  for _, kind in ipairs { "failure", "error" } do -- outside tests: a file that does not load, a failing setup
    busted.subscribe({ kind }, function(element)
      if element.descriptor ~= "it" then return handler.error() end
      return nil, true
    end)
  end
  busted.subscribe({ "suite", "end" }, handler.suiteEnd)
  return handler
end
