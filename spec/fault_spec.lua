-- Faults of a user's values: raised deep inside, caught once; anything else that is raised is not theirs.
local fault = require "vllm.request.fault"

describe("fault.catch", function()
  it("gives what the function gives", function()
    assert.same({ 3 }, { fault.catch(function(a, b) return a + b end, 1, 2) })
    assert.same({}, { fault.catch(function() end) })
  end)

  it("gives a fault that was raised, however deep", function()
    local value, found = fault.catch(function()
      local ok = (function() fault.raise("wrong", ".name", 2) end)()
      return ok
    end)
    assert.is_nil(value)
    assert.same({ "wrong", ".name", 2 }, { found.why, found.where, found.index })
  end)

  it("lets everything else pass as it was raised", function()
    local object = setmetatable({ why = "x", where = "" }, {})
    for _, raised in ipairs { "text", object, 5, false } do
      local ok, why = pcall(fault.catch, function() error(raised, 0) end)
      assert.is_false(ok)
      assert.equal(raised, why)
    end
  end)
end)

describe("fault.expect", function()
  it("names the type that is expected and the one that was given", function()
    local _, found = fault.catch(fault.expect, "string", 5, ".text")
    assert.same({ "expected a string, got number", ".text" }, { found.why, found.where })
    assert.same({}, { fault.catch(fault.expect, "string", "x", ".text") })
  end)
end)
