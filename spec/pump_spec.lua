-- Pumps: they begin with a wait, end a moment after the last one, and know one loop from another. Over a loop that is a
-- list of coroutines.
require "spec.support.env"
local pump = require "vllm.hosts.pump"

-- A loop in which every pause is over as soon as `turn` is called; `reading`: source → how many pumps read it; `woken`:
-- how many pauses were ended early.
local function new_loop()
  local loop = { coroutines = {}, reading = {}, woken = 0 }

  function loop.spawn(fn) loop.coroutines[#loop.coroutines + 1] = coroutine.create(fn) end

  function loop.nap() return coroutine.yield, function() loop.woken = loop.woken + 1 end end

  function loop.start(source)
    loop.reading[source] = (loop.reading[source] or 0) + 1
    return function() loop.reading[source] = loop.reading[source] - 1 end
  end

  function loop.turn()
    for i = #loop.coroutines, 1, -1 do
      assert(coroutine.resume(loop.coroutines[i]))
      if coroutine.status(loop.coroutines[i]) == "dead" then table.remove(loop.coroutines, i) end
    end
  end

  return loop
end

describe("pumps", function()
  local loop, pumps, source

  before_each(function()
    loop, source = new_loop(), { fd = 1 }
    pumps = pump.new(loop)
  end)

  it("begin with the first wait, one for each source, under one keeper", function()
    local other, watcher = { fd = 2 }, pumps:watch(source)
    assert.same({}, loop.reading)
    pumps:begin("loop", "a")
    assert.equal(1, loop.reading[source])
    pumps:watch(other)
    pumps:begin("loop", "b")
    assert.same({ 1, 1 }, { loop.reading[source], loop.reading[other] })
    assert.equal(1, #loop.coroutines)
    watcher:hold(true)
    watcher:close()
    assert.same({ 0, 1 }, { loop.reading[source], loop.reading[other] })
  end)

  it("are none where nothing is watched", function()
    pumps:begin("loop", "a")
    assert.same({}, loop.coroutines)
    assert.is_true(pumps:finish "a")
  end)

  it("live as long as one waits, and for a moment after that", function()
    pumps:watch(source)
    pumps:begin("loop", "a")
    for _ = 1, 3 do loop.turn() end
    assert.equal(1, loop.reading[source])
    assert.is_true(pumps:finish "a")
    assert.is_false(pumps:finish "a")
    pumps:begin("loop", "a") -- within the moment
    pumps:finish "a"
    loop.turn()
    assert.equal(1, loop.reading[source])
    loop.turn()
    assert.equal(0, loop.reading[source])
    assert.same({}, loop.coroutines)
    pumps:begin("loop", "a")
    assert.equal(1, loop.reading[source])
    assert.equal(1, #loop.coroutines)
  end)

  it("end when the last source is closed, whoever waits", function()
    local watcher = pumps:watch(source)
    pumps:begin("loop", "a")
    watcher:close()
    watcher:close()
    assert.equal(0, loop.reading[source])
    loop.turn()
    assert.same({}, loop.coroutines)
  end)

  it("end at once then, with their keeper: the loop is not kept for a moment", function()
    local watcher, other = pumps:watch(source), pumps:watch { fd = 2 }
    pumps:begin("loop", "a")
    loop.turn() -- the keeper begins its pause
    watcher:close()
    assert.equal(0, loop.woken)
    other:close()
    assert.equal(1, loop.woken)
    loop.turn()
    assert.same({}, loop.coroutines)
    pumps:watch(source):close()
    assert.equal(1, loop.woken)
  end)

  it("end when those that wait were dropped and collected", function()
    pumps:watch(source)
    pumps:begin("loop", coroutine.create(function() end))
    loop.turn()
    collectgarbage()
    collectgarbage()
    loop.turn()
    assert.equal(0, loop.reading[source])
  end)

  it("of one loop are not those of another; closing a source ends them in all", function()
    local watcher = pumps:watch(source)
    pumps:begin("loop", "a")
    pumps:begin("another", "b")
    assert.equal(2, loop.reading[source])
    pumps:finish "a"
    for _ = 1, 2 do loop.turn() end
    assert.equal(1, loop.reading[source])
    assert.equal(1, #loop.coroutines)
    watcher:close()
    assert.equal(0, loop.reading[source])
  end)
end)
