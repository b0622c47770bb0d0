-- One who waits: parked, in the host's loop, or asleep; woken, cancelled, or ended by Ctrl-C. With hosts that are
-- nothing but records.
require "spec.support.env"
local core = require "vllm.core"
local interrupt = require "vllm.hosts.interrupt"
local waiter = require "vllm.hosts.waiter"

local TASK_CANCELLED = { kind = "cancelled", detail = "the task was cancelled" }
local INTERRUPTED = { kind = "cancelled", detail = "interrupted by Ctrl-C" }

-- A host whose park and block call `during`. `token` nil: only its loop can wait.
local function recording(token, during)
  local host = { parked = {}, blocked = {}, woken = {} }
  function host.running() return true end
  function host.current() return token end
  function host.park(...)
    host.parked[#host.parked + 1] = { ... }
    if during then during(host) end
    return true
  end
  function host.wake(woken) host.woken[#host.woken + 1] = woken end
  if token == nil then
    function host.block(is_ready, seconds)
      host.blocked[#host.blocked + 1] = { seconds }
      host.was_ready = is_ready()
      if during then during(host) end
      host.is_ready = is_ready()
      return host.is_ready, host.why
    end
  end
  return host
end

describe("a waiter", function()
  it("is parked where the host can suspend it; woken through the host, and only then", function()
    local own, host
    host = recording("me", function()
      assert.is_true(own:is_waiting())
      own:wake()
    end)
    own = waiter.new(host)
    assert.is_false(own:is_waiting())
    own:wake()
    assert.same({}, host.woken)
    assert.is_true(own:wait())
    assert.same({ { "me" } }, host.parked)
    assert.same({ "me" }, host.woken)
    assert.is_false(own:is_waiting())
  end)

  it("is parked until its deadline, and tells the host what is only a look", function()
    local host = recording "me"
    assert.is_true(waiter.new(host):wait(core.now() + 60, true))
    local token, seconds, is_look = host.parked[1][1], host.parked[1][2], host.parked[1][3]
    assert.equal("me", token)
    assert.is_true(seconds > 59 and seconds <= 60)
    assert.is_true(is_look)
  end)

  it("is parked at least once, even when the deadline has passed: the others go first", function()
    local host = recording "me"
    assert.is_true(waiter.new(host):wait(core.now() - 1))
    assert.equal(1, #host.parked)
  end)

  it("waits in the host's loop where nothing can be suspended, until it is woken", function()
    local own
    local host = recording(nil, function()
      assert.is_true(own:is_waiting())
      assert.is_true(waiter.is_blocked())
      own:wake()
    end)
    own = waiter.new(host)
    own:wake() -- before the wait: does not end it
    assert.is_true(own:wait(core.now() + 60))
    assert.same({ false, true }, { host.was_ready, host.is_ready })
    assert.is_true(host.blocked[1][1] > 59)
    assert.same({ false, false }, { own:is_waiting(), waiter.is_blocked() })
  end)

  it("whose loop raised waits no more", function()
    local seen
    local host = recording(nil, function()
      seen = waiter.is_blocked()
      error("a callback failed", 0)
    end)
    local own = waiter.new(host)
    assert.error_matches(function() own:wait() end, "a callback failed", 1, true)
    assert.is_true(seen)
    assert.same({ false, false }, { own:is_waiting(), waiter.is_blocked() })
  end)

  it("fails when the host's loop was interrupted", function()
    local host = recording()
    host.why = "interrupted"
    assert.same({ nil, INTERRUPTED }, { waiter.new(host):wait() })
  end)

  it("sleeps where there is no host", function()
    local began = core.now()
    assert.is_true(waiter.new("block"):wait(began + 0.02))
    assert.is_true(core.now() >= began + 0.02)
    assert.is_true(waiter.new("block"):wait(began - 1))
  end)

  it("is alone where a wait would stop everything else", function()
    assert.is_true(waiter.new("block"):is_alone())
    assert.is_false(waiter.new(recording "me"):is_alone())
    local host = recording()
    assert.is_false(waiter.new(host):is_alone())
    host.block = nil
    assert.is_true(waiter.new(host):is_alone())
  end)

  it("is stuck only where the host says so", function()
    local host = recording "me"
    assert.is_false(waiter.new("block"):is_stuck())
    assert.is_false(waiter.new(host):is_stuck())
    function host.is_stuck() return true end
    assert.is_true(waiter.new(host):is_stuck())
  end)

  describe("in a coroutine that was cancelled", function()
    -- What fn returns in a coroutine of its own.
    local function inside(fn)
      local results
      local co = coroutine.create(function(this) results = { fn(this) } end)
      assert(coroutine.resume(co, co))
      waiter.restore(co)
      return results
    end

    it("fails before it waits, and waits again when that is over", function()
      local host = recording "me"
      local own = waiter.new(host)
      assert.same({ nil, TASK_CANCELLED }, inside(function(co)
        waiter.cancel(co)
        waiter.cancel(co)
        assert.is_true(waiter.is_cancelled())
        return own:wait()
      end))
      assert.same({}, host.parked)
      assert.same({ true }, inside(function(co)
        waiter.cancel(co)
        waiter.restore(co)
        waiter.restore(co)
        assert.is_false(waiter.is_cancelled())
        return own:wait()
      end))
      assert.equal(1, #host.parked)
    end)

    it("fails after the wait in which it was cancelled", function()
      local this
      local own = waiter.new(recording("me", function() waiter.cancel(this) end))
      assert.same({ nil, TASK_CANCELLED }, inside(function(co)
        this = co
        return own:wait()
      end))
    end)

    it("may stay all the same, for what it has begun", function()
      local host = recording "me"
      assert.same({ true }, inside(function(co)
        waiter.cancel(co)
        return waiter.new(host):stay()
      end))
      assert.equal(1, #host.parked)
    end)

    it("does not keep others from waiting", function()
      inside(function(co)
        waiter.cancel(co)
        local other = inside(function() return waiter.new(recording "me"):wait() end)
        assert.same({ true }, other)
      end)
    end)
  end)

  describe("that Ctrl-C may end", function()
    it("looks from time to time, whatever its deadline", function()
      local host = recording "me"
      local own = waiter.new(host, true)
      for _, deadline in ipairs { core.now() + 60, false } do
        assert.is_true(own:wait(deadline or nil))
        assert.is_true(host.parked[#host.parked][2] <= interrupt.LOOK_S)
      end
      assert.is_true(own:wait(core.now() + interrupt.LOOK_S / 100))
      assert.is_true(host.parked[3][2] <= interrupt.LOOK_S / 100)
    end)

    it("fails at its current wait, or at the next one, once", function()
      local own
      local host = recording("me", function(host) if #host.parked == 1 then own:on_interrupt() end end)
      own = waiter.new(host, true)
      assert.same({ nil, INTERRUPTED }, { own:wait() })
      assert.same({ "me" }, host.woken)
      assert.is_true(own:wait())
      own:on_interrupt()
      assert.same({ nil, INTERRUPTED }, { own:wait() })
      assert.equal(2, #host.parked)
      assert.is_true(own:wait())
    end)

    it("is told of a signal that came under a trap, as all are who asked; others are not", function()
      local trap = assert(interrupt.trap(require "vllm.curl"))
      local host = recording("me", function() io.popen("kill -INT $PPID"):close() end)
      local polite, other = waiter.new(recording "other", true), waiter.new(recording "other")
      assert.is_false(trap:caught())
      assert.same({ nil, INTERRUPTED }, { waiter.new(host, true):wait() })
      assert.same({ nil, INTERRUPTED }, { polite:wait() })
      assert.is_true(other:wait())
      assert.is_true(trap:caught())
      assert.is_false(trap:caught())
      trap:release()
      trap:release()
    end)

    it("wakes from its sleep without a host; the trap tells whoever asks, and only then it is over", function()
      local trap = assert(interrupt.trap(require "vllm.curl"))
      io.popen("kill -INT $PPID"):close()
      local own = waiter.new("block", true)
      assert.same({ nil, INTERRUPTED }, { own:wait(core.now()) })
      assert.is_true(waiter.new("block"):wait(core.now()))
      assert.is_true(trap:caught())
      assert.is_true(own:wait(core.now()))
      trap:release()
    end)
  end)

  describe("with a source", function()
    local function new_source()
      local source = { asked = {} }
      function source:park(host, token, deadline)
        self.asked[#self.asked + 1] = { "park", host, token, deadline }
        self.seen = self.waiter:is_waiting() and self.waiter.deadline
        return self.answer == nil or nil, self.answer
      end
      function source:attend(host)
        self.asked[#self.asked + 1] = { "attend", host }
        return self.answer == nil or nil, self.answer
      end
      function source:step(seconds)
        self.asked[#self.asked + 1] = { "step", seconds }
        return self.answer == nil or nil, self.answer
      end
      return source
    end

    local function with(wanted)
      local source = new_source()
      source.waiter = waiter.new(wanted, false, source)
      return source, source.waiter
    end

    it("is parked by that, which has the deadline", function()
      local host = recording "me"
      local source, own = with(host)
      assert.is_true(own:wait(12345))
      assert.same({ { "park", host, "me", 12345 } }, source.asked)
      assert.equal(12345, source.seen)
      assert.same({}, host.parked)
    end)

    it("blocks in the host's loop with that attending", function()
      local host = recording()
      local source, own = with(host)
      assert.is_true(own:wait(core.now() + 60))
      assert.same({ { "attend", host } }, source.asked)
      assert.equal(1, #host.blocked)
    end)

    it("blocks in that where there is no host", function()
      local source, own = with "block"
      assert.is_true(own:wait(core.now() - 1))
      assert.same({ { "step", 0 } }, source.asked)
    end)

    it("fails as that does, and waits for nothing", function()
      local failure = { kind = "config", detail = "no" }
      local host = recording()
      for _, wanted in ipairs { recording "me", host, "block" } do
        local source, own = with(wanted)
        source.answer = failure
        assert.same({ nil, failure }, { own:wait() })
        assert.is_false(own:is_waiting())
      end
      assert.same({}, host.blocked)
    end)
  end)
end)
