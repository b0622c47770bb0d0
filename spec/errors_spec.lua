-- Error values.
local errors = require "vllm.base.errors"

describe("an error value", function()
  it("prints its message and begins with its kind", function()
    local err = errors.new("auth", "no")
    assert.equal("auth: no", tostring(err))
    assert.is_true(errors.is(err))
    assert.is_false(errors.is { kind = "auth" })
  end)

  it("gives nil, string, table, so that assert prints it on every Lua", function()
    local nothing, message, err = errors.give(errors.new("auth", "no"))
    assert.is_nil(nothing)
    assert.equal("string", type(message))
    assert.equal("auth", err.kind)
  end)

  it("keeps every kind in the closed list", function()
    for kind, retryable in pairs(errors.kinds) do
      assert.equal("boolean", type(retryable))
      assert.truthy(kind:find("^[a-z_]+$"))
    end
  end)
end)
