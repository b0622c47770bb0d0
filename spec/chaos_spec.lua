-- Storms of faults, in a process of their own; `make chaos` runs larger ones.

describe("a storm of faults loses no turn, hangs none, and leaves nothing behind:", function()
  for _, seed in ipairs { 1, 2, 3 } do
    it("seed " .. seed, function()
      local pipe = assert(io.popen(("timeout 120 %s spec/chaos/chaos.lua %d 250 2>&1; echo status $?")
        :format(arg[-1], seed)))
      local said = pipe:read "*a"
      pipe:close()
      assert.truthy(said:find("status 0\n", 1, true), said)
      assert.truthy(said:find("500 turns ended as they may; 0 lost, 0 hung, 0 of a wrong kind; 0 wrong", 1, true), said)
    end)
  end
end)
