-- examples/openresty/policy_check.lua: an operator's slips in policy.lua.
local check = dofile "examples/openresty/policy_check.lua"

local A_SET = 'write { ["the name of a model"] = true }'
local A_LIST = 'write a list of names: { "n", "priority" }'

local function policy_with(changes)
  local policy = { users = { ["secret-token"] = { name = "ann", max_completion_tokens = 5, models = { m = true } } },
    models = { m = true },
    forbidden = { "n" }, tell_refusals = false }
  for name, value in pairs(changes) do policy[name] = value end
  return policy
end

local function user(value) return { users = { ["secret-token"] = value } } end

-- { changes, what is said after "policy.lua: " }
local SLIPS = {
  { { user = {} }, "`user` is not known here" },
  { { users = "ann" }, "users: expected a table, got string" },
  { user "ann", "users: one of them: expected a table, got string" },
  { user { max_completion_tokens = 5 }, "users: one of them: has no name" },
  { user { name = "ann", max_tokens = 5 }, "users: ann: `max_tokens` is not known here" },
  { user { name = "ann", max_completion_tokens = "5" },
    "users: ann.max_completion_tokens: expected a number, got string" },
  { user { name = "ann", max_completion_tokens = 0 },
    "users: ann.max_completion_tokens: expected a whole number, 1 or more, got 0" },
  { user { name = "ann", max_completion_tokens = 1.5 },
    "users: ann.max_completion_tokens: expected a whole number, 1 or more, got 1.5" },
  { user { name = "ann", models = { "m" } }, "users: ann.models: " .. A_SET },
  { { users = { ["secret token"] = { name = "ann" } } }, "users: ann: a token is a string without blanks" },
  { { users = { { name = "ann" } } }, "users: ann: a token is a string without blanks" },
  { { models = { "m" } }, "models: " .. A_SET },
  { { models = { m = "yes" } }, "models: " .. A_SET },
  { { forbidden = { n = true } }, "forbidden: " .. A_LIST },
  { { forbidden = { n = "priority" } }, "forbidden: " .. A_LIST },
  { { tell_refusals = "no" }, "tell_refusals: expected a boolean, got string" },
}

describe("a gateway's policy", function()
  it("may be the example's, and leave out what need not be there", function()
    check(dofile "examples/openresty/policy.lua")
    check { users = { a = { name = "a" } }, models = {}, forbidden = {} }
  end)

  for _, slip in ipairs(SLIPS) do
    it("is refused: " .. slip[2], function()
      local ok, message = pcall(check, policy_with(slip[1]))
      assert.is_false(ok)
      assert.equal("policy.lua: " .. slip[2], message)
    end)
  end

  it("is checked before the gateway starts", function()
    local outer = rawget(_G, "ngx")
    rawset(_G, "ngx", { time = os.time })
    package.loaded.policy, package.loaded.policy_check = policy_with { user = {} }, check
    local ok, message = pcall(function() dofile("examples/openresty/gateway.lua").init() end)
    rawset(_G, "ngx", outer)
    package.loaded.policy, package.loaded.policy_check = nil, nil
    assert.same({ false, "policy.lua: `user` is not known here" }, { ok, message })
  end)

  it("is refused where a part is missing", function()
    for _, name in ipairs { "users", "models", "forbidden" } do
      local policy = policy_with {}
      policy[name] = nil
      local _, message = pcall(check, policy)
      assert.equal(("policy.lua: `%s` is missing"):format(name), message)
    end
    local _, message = pcall(check, true)
    assert.equal("policy.lua: expected a table, got boolean", message)
  end)
end)
