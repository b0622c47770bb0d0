-- Agents in a storm of faults, in a process of their own; `make chaos` runs more seeds.
local child = require "spec.support.child"

describe("agents in a storm of faults", function()
  it("lose nothing, run no call twice and end as planned", function()
    local lowest = 0
    while arg[lowest - 1] do lowest = lowest - 1 end
    local said, status = child.run(arg[lowest] .. " spec/chaos/agents.lua 1 300", nil, 120)
    assert.equal(0, status, said)
    assert.truthy(said:find("\n300 agents, %d+ runs, %d+ calls that ran, [%d.]+ s; 0 wrong\n"), said)
  end)
end)
