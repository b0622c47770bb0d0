-- Tasks that are waited for bit by bit, with a loop and without one.
require "spec.support.env"
local core = require "vllm.core"
local groups = require "vllm.hosts.group"
local vllm = require "vllm"

local function check()
  local group, log = groups.new(), {}
  group:start(function()
    vllm.sleep(0.002)
    return 1, 2
  end, function(ok, value, second) log[#log + 1] = { ok, value, second } end)
  group:start(function() error("boom", 0) end, function(ok, traced, raised) log[#log + 1] = { ok,
    traced:match "^[^\n]*", raised } end)
  while #log < 2 do assert(group:wait()) end
  assert.same({ { false, "boom", "boom" }, { true, 1, 2 } }, log)
end

describe("a group of tasks", function()
  it("runs while it is waited for, where there is no loop", check)

  it("runs in the loop that is there", function() vllm.run(check) end)

  it("is waited for no longer than its deadline", function()
    local group, is_over = groups.new(), false
    local task = group:start(function() vllm.sleep(60) end, function() is_over = true end)
    local began = core.now()
    repeat group:wait(began + 0.005) until core.now() >= began + 0.005
    assert.is_false(is_over)
    task:cancel()
    while not is_over do group:wait() end
    assert.is_true(core.now() - began < 30)
  end)

  it("ends its wait at once when there is news already", function()
    local group = groups.new()
    group:wake()
    local began = core.now()
    assert(group:wait(began + 60))
    assert.is_true(core.now() - began < 30)
  end)

  it("waits for what is due even if nothing can come: the deadline ends it", function()
    local group = groups.new()
    local began = core.now()
    assert(group:wait(began + 0.01))
    assert.is_true(core.now() - began >= 0.009)
  end)

  it("raises what Ctrl-C raised in one of its tasks", function()
    local group = groups.new()
    group:start(function() error("interrupted!", 0) end, function() end)
    local ok, why = pcall(function() while true do group:wait() end end)
    assert.is_false(ok)
    assert.equal("interrupted!", why)
  end)

  it("tells when the task that waits is cancelled", function()
    local failure
    vllm.run(function()
      local task = vllm.spawn(function()
        local _
        _, failure = groups.new():wait(core.now() + 60)
      end)
      vllm.sleep(0)
      task:cancel()
    end)
    assert.equal("cancelled", failure.kind)
  end)
end)
