-- Ctrl-C as a flag: who is told of it in a host, and who is without one.
require "spec.support.env"
local curl = require "vllm.curl"
local interrupt = require "vllm.hosts.interrupt"
local vllm = require "vllm"

describe("Ctrl-C under a trap", function()
  local trap

  before_each(function() trap = assert(interrupt.trap(curl)) end)
  after_each(function() trap:release() end)

  local function kill() io.popen("kill -INT $PPID"):close() end

  local function new_listener()
    local listener = { told = 0 }
    function listener:on_interrupt() self.told = self.told + 1 end
    interrupt.tell(listener)
    return listener
  end

  it("is pending until it is taken", function()
    assert.is_false(interrupt.is_pending())
    kill()
    assert.is_true(interrupt.is_pending())
    assert.is_true(trap:caught())
    assert.is_false(interrupt.is_pending())
    assert.is_false(trap:caught())
  end)

  it("without a host is told to the trap that asks first, and to no one else", function()
    local other, listener = assert(interrupt.trap(curl)), new_listener()
    kill()
    assert.is_true(other:caught())
    assert.is_false(trap:caught())
    assert.equal(0, listener.told)
    other:release()
  end)

  it("in a host is told to all, once, whoever asks", function()
    local other, first, second = assert(interrupt.trap(curl)), new_listener(), new_listener()
    vllm.run(function()
      kill()
      assert.is_true(trap:caught())
      assert.is_true(other:caught())
      assert.is_false(trap:caught())
    end)
    assert.same({ 1, 1 }, { first.told, second.told })
    other:release()
  end)

  it("is told at a look, and a look without it tells nothing", function()
    local listener = new_listener()
    interrupt.look()
    assert.equal(0, listener.told)
    kill()
    interrupt.look()
    interrupt.look()
    assert.equal(1, listener.told)
    assert.is_true(trap:caught())
  end)

  it("is told to the listeners of a module that was loaded before, too", function()
    local name, listener = "vllm.hosts.interrupt", new_listener()
    local before = package.loaded[name]
    package.loaded[name] = nil
    local again = require(name)
    package.loaded[name] = before
    local other = assert(again.trap(curl))
    kill()
    again.look()
    assert.equal(1, listener.told)
    assert.is_true(trap:caught())
    other:release()
  end)

  it("is not told to a listener that was collected, nor to a trap that was released", function()
    local told = 0
    interrupt.tell { on_interrupt = function() told = told + 1 end }
    collectgarbage()
    collectgarbage()
    local released = assert(interrupt.trap(curl))
    released:release()
    released:release()
    kill()
    interrupt.look()
    assert.equal(0, told)
    assert.is_false(released:caught())
  end)
end)
