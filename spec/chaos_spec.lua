-- Storms of faults, in a process of their own; `make chaos` runs larger ones.
local LUA = arg and arg[-1]
local i = -1
while arg[i] do LUA, i = arg[i], i - 1 end

describe("a storm of faults loses no turn, hangs none, and leaves nothing behind:", function()
  for _, seed in ipairs { 1, 2, 3 } do
    it("seed " .. seed, function()
      local pipe = assert(io.popen(("timeout 120 %s spec/chaos/chaos.lua %d 250 2>&1; echo status $?"):format(LUA, seed)))
      local said = pipe:read "*a"
      pipe:close()
      assert.truthy(said:find("status 0\n", 1, true), said)
      assert.truthy(said:find("0 wrong, 0 lost", 1, true), said)
    end)
  end
end)
