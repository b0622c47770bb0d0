-- vllm.run, spawn, sleep, map in plain Lua: results, errors, cancellation in every kind of wait, scopes, deadlocks.
require "spec.support.env"
local core = require "vllm.core"
local server = require "spec.support.server"
local vllm = require "vllm"

local CANCELLED = "cancelled: the task was cancelled"
local NO_REASON = "no reason was given"
local PCALL_YIELDS = _VERSION ~= "Lua 5.1" or rawget(_G, "jit") ~= nil
local LONG_S = 60 -- nobody waits for that long: a test that does has failed

local function results(...) return { n = select("#", ...), ... } end

local function raised(fn, ...)
  local ok, value = pcall(fn, ...)
  assert.is_false(ok)
  return value
end

local function assert_begins(text, beginning)
  assert.equal(beginning, tostring(text):sub(1, #beginning))
end

-- Raises `message` with the line of the caller.
local function assert_misuse(fn, message)
  local got = raised(fn)
  assert.truthy(got:find("tasks_spec.lua:%d+: " .. message), got)
end

describe("vllm.run", function()
  it("hands arguments in and results out, nils too", function()
    local got = results(vllm.run(function(...) return select("#", ...), nil, ..., nil end, nil, 2, nil))
    assert.same({ n = 4, [1] = 3 }, got)
    assert.equal(0, results(vllm.run(function() end)).n)
    got = results(vllm.run(function(...) return ... end, nil, 2, nil))
    assert.same({ n = 3, [2] = 2 }, got)
  end)

  it("needs a function", function()
    assert_misuse(function() vllm.run() end, "vllm.run: expected a function, got nil")
    assert.error_matches(function() vllm.run { 1 } end, "vllm.run: expected a function, got table", 1, true)
  end)

  it("raises an error with its place and its traceback", function()
    local function deep() error "no luck" end
    local message = raised(vllm.run, function() vllm.sleep(0) deep() end)
    assert.truthy(message:find("tasks_spec.lua:%d+: no luck\nstack traceback:"), message)
    assert.truthy(message:find("deep", 1, true), message)
  end)

  it("raises an error value as it is", function()
    local value = setmetatable({}, { __tostring = function() return "mine" end })
    assert.equal(value, raised(vllm.run, function() error(value) end))
    assert.is_true(rawequal(value, raised(vllm.run, function() vllm.run(error, value) end)))
    assert.equal(false, raised(vllm.run, function() error(false) end))
  end)

  it("an error without a value is raised with words, and its traceback", function()
    for _, fail in ipairs { error, function() vllm.sleep(0) error(nil) end,
      function() vllm.spawn(error) vllm.sleep(LONG_S) end }  do
      assert_begins(raised(vllm.run, fail), NO_REASON .. "\nstack traceback:")
    end
  end)

  it("an error value that refuses to become a string does no harm", function()
    local value = setmetatable({}, { __tostring = function() error "never" end })
    assert.is_true(rawequal(value, raised(vllm.run, function() error(value) end)))
    value = setmetatable({}, { __tostring = function() return 7 end })
    assert.is_true(rawequal(value, raised(vllm.run, function() error(value) end)))
  end)

  it("waits for the tasks that nobody joined", function()
    local ended = 0
    vllm.run(function()
      for _ = 1, 3 do
        vllm.spawn(function()
          vllm.sleep(0.01)
          vllm.spawn(function() vllm.sleep(0.01) ended = ended + 1 end)
        end)
      end
    end)
    assert.equal(3, ended)
  end)

  it("the first error cancels the others, waits for their end and is raised", function()
    local seen, began = {}, core.now()
    local message = raised(vllm.run, function()
      local sleeper = vllm.spawn(function() vllm.sleep(LONG_S) end)
      vllm.spawn(function() seen[1] = sleeper:join() end)
      vllm.spawn(function() vllm.run(function() vllm.spawn(vllm.sleep, LONG_S) vllm.sleep(LONG_S) end) end)
      vllm.spawn(function() vllm.map({ 1, 2 }, {}, function() vllm.sleep(LONG_S) end) end)
      vllm.spawn(function() vllm.sleep(0.01) error("first", 0) end)
      vllm.spawn(function()
        if PCALL_YIELDS then pcall(vllm.sleep, LONG_S) else return end
        seen[2] = vllm.spawn(function() seen[3] = true end) -- in a scope that closes: never begins
        error("second", 0)
      end)
      vllm.sleep(LONG_S)
    end)
    assert_begins(message, "first\nstack traceback:")
    assert.is_nil(seen[1])
    assert.is_nil(seen[3])
    if PCALL_YIELDS then assert.equal("cancelled", seen[2].state) end
    assert.is_true(core.now() - began < LONG_S / 2)
  end)

  it("nests: the inner one ends before it returns, and its error is the outer task's", function()
    local order = {}
    local value = vllm.run(function()
      vllm.run(function()
        vllm.spawn(function() vllm.sleep(0.02) order[#order + 1] = "inner" end)
      end)
      order[#order + 1] = "outer"
      return vllm.run(function() return vllm.run(function() return 7 end) end)
    end)
    assert.same({ "inner", "outer" }, order)
    assert.equal(7, value)
    local message = raised(vllm.run, function() vllm.run(function() vllm.spawn(error, "inside",
      0) vllm.sleep(LONG_S) end) end)
    assert_begins(message, "inside\n")
  end)

  it("an error in the inner one cancels nothing outside of it, when it is caught", function()
    if not PCALL_YIELDS then return end
    local ended
    vllm.run(function()
      vllm.spawn(function() vllm.sleep(0.02) ended = true end)
      assert_begins(raised(vllm.run, error, "inside", 0), "inside\n")
    end)
    assert.is_true(ended)
  end)

  it("that is cancelled raises what its tasks raised on their way out, rather than lose it", function()
    if not PCALL_YIELDS then return end
    local message = raised(vllm.run, function()
      local task = vllm.spawn(function()
        vllm.run(function()
          pcall(vllm.sleep, LONG_S)
          error("could not clean up", 0)
        end)
      end)
      vllm.sleep(0)
      task:cancel()
    end)
    assert_begins(message, "could not clean up\n")
  end)

  it("can be called again after each of its ends", function()
    for _ = 1, 3 do
      pcall(vllm.run, error, "x")
      assert.equal(1, vllm.run(function() vllm.sleep(0) return 1 end))
    end
  end)

  it("runs nothing of an earlier one later", function()
    local ran = false
    pcall(vllm.run, function()
      vllm.spawn(function() vllm.sleep(0) ran = true end)
      error "x"
    end)
    vllm.run(vllm.sleep, 0.01)
    assert.is_false(ran)
  end)

  it("tasks that wait for each other: an error, after all have ended", function()
    local first, second
    local message = raised(vllm.run, function()
      first = vllm.spawn(function() vllm.sleep(0) second:join() end)
      second = vllm.spawn(function() first:join() end)
    end)
    assert.equal("vllm.run: every task waits for another one", message)
    assert.same({ "cancelled", "cancelled" }, { first.state, second.state })
  end)

  it("tasks that wait for each other are found out beside a turn that nobody waits for", function()
    local running = server.start {}
    local path = running:script { { "send", "HTTP/1.1 200 X\r\n" }, "stall" }
    local turn = vllm.new({ model = "m", base_url = running.url .. path }):turn "x"
    local message = raised(vllm.run, function()
      turn:poll()
      turn:poll()
      turn:poll()
      local first, second
      first = vllm.spawn(function() vllm.sleep(0) second:join() end)
      second = vllm.spawn(function() first:join() end)
    end)
    assert.equal("vllm.run: every task waits for another one", message)
    turn:cancel()
    running:stop()
  end)

  it("a bare coroutine.yield lets the others go first", function()
    local order = {}
    vllm.run(function()
      local function count(name)
        for i = 1, 3 do
          order[#order + 1] = name .. i
          coroutine.yield()
        end
      end
      vllm.spawn(count, "a")
      vllm.spawn(count, "b")
    end)
    assert.same({ "a1", "b1", "a2", "b2", "a3", "b3" }, order)
  end)

  it("a generator inside a task may do all but wait, and what it spawns belongs to the task's scope", function()
    local ended, message = false, nil
    vllm.run(function()
      local generate = coroutine.wrap(function()
        vllm.spawn(function() vllm.sleep(0.01) ended = true end)
        coroutine.yield(1)
        vllm.sleep(0.01)
      end)
      assert.equal(1, generate())
      message = raised(generate)
    end)
    assert.is_true(ended)
    assert.truthy(message:find("a coroutine inside a task of vllm.run cannot wait", 1, true), message)
  end)

  it("a scope that could not be waited for is refused before anything of it has begun", function()
    local began = false
    local function begin() began = true end
    vllm.run(function()
      for _, call in ipairs { function() vllm.run(begin) end, function() vllm.map({ 1 }, {}, begin) end } do
        assert.truthy(raised(coroutine.wrap(call)):find("cannot wait", 1, true))
      end
    end)
    assert.is_false(began)
  end)
end)

describe("vllm.spawn", function()
  it("outside of a loop says where to call it", function()
    assert_misuse(function() vllm.spawn(print) end, "vllm.spawn: no event loop runs here; call it inside vllm.run")
    assert_misuse(function() vllm.spawn(1) end, "vllm.spawn: expected a function, got number")
  end)

  it("begins later, in order, with its arguments", function()
    local order = {}
    vllm.run(function()
      for i = 1, 3 do
        local task = vllm.spawn(function(...) order[#order + 1] = results(i, ...) end, nil, i, nil)
        assert.equal("ready", task.state)
        assert.equal("vllm.task (ready)", tostring(task))
      end
      order[1] = "first"
    end)
    assert.same({ "first", { n = 4, 1, nil, 1 }, { n = 4, 2, nil, 2 }, { n = 4, 3, nil, 3 } }, order)
  end)

  it("a thousand tasks share one thread", function()
    local sum = 0
    vllm.run(function()
      for i = 1, 1000 do vllm.spawn(function() vllm.sleep(0.001 * (i % 7)) sum = sum + i end) end
    end)
    assert.equal(500500, sum)
  end)
end)

describe("task:join", function()
  it("returns what the function returned, before and after its end, to any number of tasks", function()
    local seen = {}
    local task
    vllm.run(function()
      task = vllm.spawn(function() vllm.sleep(0.01) return nil, 2, nil end)
      for i = 1, 2 do vllm.spawn(function() seen[i] = results(task:join()) end) end
      seen[3] = results(task:join())
      seen[4] = results(task:join())
    end)
    seen[5] = results(task:join()) -- outside, too
    for i = 1, 5 do assert.same({ n = 3, [2] = 2 }, seen[i]) end
    assert.equal("done", task.state)
  end)

  it("of a cancelled one: nil and why", function()
    vllm.run(function()
      local task = vllm.spawn(vllm.sleep, LONG_S)
      vllm.sleep(0)
      task:cancel()
      assert.same({ n = 2, [2] = CANCELLED }, results(task:join()))
      assert.equal("cancelled", task.state)
    end)
  end)

  it("of a failed one: nil, the message, and the error object", function()
    local object = setmetatable({}, { __tostring = function() return "mine" end })
    local function join_of_error(...)
      local task
      pcall(vllm.run, function(...) task = vllm.spawn(error, ...) end, ...)
      local got = results(task:join())
      assert.equal("failed", task.state)
      return got
    end
    assert.same({ n = 3, [2] = "mine", [3] = object }, join_of_error(object))
    assert.same({ n = 2, [2] = "text" }, join_of_error("text", 0))
    assert.same({ n = 2, [2] = "false" }, join_of_error(false))
    assert.same({ n = 2, [2] = NO_REASON }, join_of_error(nil))
    assert.same({ n = 2, [2] = NO_REASON }, join_of_error())
  end)

  it("of itself is a mistake", function()
    local task
    local message = raised(vllm.run, function()
      task = vllm.spawn(function() task:join() end)
    end)
    assert.truthy(message:find("tasks_spec.lua:%d+: task:join: a task cannot wait for itself"), message)
  end)

  it("where nothing can wait for it says so", function()
    local task
    assert.truthy(raised(vllm.run, function()
      task = vllm.spawn(vllm.sleep, 0)
      coroutine.wrap(function() task:join() end)()
    end):find("cannot wait", 1, true))
    assert.equal("cancelled", task.state)
  end)
end)

describe("task:cancel", function()
  it("before its start: it never begins", function()
    local began = false
    vllm.run(function()
      local task = vllm.spawn(function() began = true end)
      task:cancel()
      task:cancel()
      assert.is_nil((task:join()))
      assert.equal("cancelled", task.state)
    end)
    assert.is_false(began)
  end)

  it("after its end does nothing", function()
    vllm.run(function()
      local task = vllm.spawn(function() return 1 end)
      assert.equal(1, task:join())
      task:cancel()
      assert.equal("done", task.state)
      assert.equal(1, task:join())
    end)
  end)

  it("of itself takes effect at the next wait", function()
    local at = "nowhere"
    vllm.run(function()
      local task
      task = vllm.spawn(function()
        task:cancel()
        at = "before"
        vllm.sleep(0)
        at = "behind"
      end)
    end)
    assert.equal("before", at)
  end)

  it("ends a sleep, a join, a nested run and a map; each with the tasks inside it", function()
    local inside = {}
    local function nap()
      inside[#inside + 1] = vllm.spawn(vllm.sleep, LONG_S)
      vllm.sleep(LONG_S)
    end
    local waits = {
      sleep = function() vllm.sleep(LONG_S) end,
      join = function() inside[#inside]:join() end,
      run = function() vllm.run(nap) end,
      map = function() vllm.map({ 1, 2, 3 }, { concurrency = 2 }, nap) end,
    }
    for name, wait in pairs(waits) do
      inside = {}
      vllm.run(function()
        if name == "join" then inside[1] = vllm.spawn(vllm.sleep, LONG_S) end
        local task = vllm.spawn(wait)
        vllm.sleep(0.01)
        task:cancel()
        assert.same({ n = 2, [2] = CANCELLED }, results(task:join()))
        assert.equal("cancelled", task.state, name)
        if name == "join" then inside[1]:cancel() inside[1]:join() end
        for _, each in ipairs(inside) do assert.equal("cancelled", each.state, name) end
      end)
    end
  end)

  it("of a task that swallows it: it goes on, to its own end, and cannot wait again", function()
    if not PCALL_YIELDS then return end
    vllm.run(function()
      local task = vllm.spawn(function()
        local caught = {}
        for i = 1, 3 do caught[i] = select(2, pcall(vllm.sleep, LONG_S)) end
        caught[4] = select(2, pcall(vllm.run, vllm.sleep, 0))
        return caught
      end)
      vllm.sleep(0)
      task:cancel()
      assert.same({ CANCELLED, CANCELLED, CANCELLED, CANCELLED }, task:join())
      assert.equal("done", task.state)
    end)
  end)

  it("what a cancelled task raises besides is an error like any other", function()
    if not PCALL_YIELDS then return end
    local message = raised(vllm.run, function()
      local task = vllm.spawn(function() pcall(vllm.sleep, LONG_S) error("other", 0) end)
      vllm.sleep(0)
      task:cancel()
    end)
    assert_begins(message, "other\n")
  end)

  it("an error about the cancellation is none, with a place in front of it, too", function()
    vllm.run(function()
      local task
      task = vllm.spawn(function()
        task:cancel()
        error "cancelled: the turn was cancelled"
      end)
      task:join()
      assert.equal("cancelled", task.state)
    end)
  end)
end)

describe("vllm.sleep", function()
  it("wants a number of seconds", function()
    for _, bad in ipairs { -1, 0 / 0, "x", false } do
      assert_misuse(function() vllm.sleep(bad) end, "vllm.sleep: expected a number of seconds, 0 or more, got ")
    end
  end)

  it("outside of a loop holds up the thread", function()
    local began = core.now()
    vllm.sleep(0.02)
    assert.is_true(core.now() - began >= 0.02)
  end)

  it("is at least as long as asked for; 0 lets the others go first", function()
    local order = {}
    vllm.run(function()
      vllm.spawn(function() order[#order + 1] = "other" end)
      vllm.sleep(0)
      order[#order + 1] = "this"
      local began = core.now()
      vllm.sleep(0.02)
      assert.is_true(core.now() - began >= 0.02)
    end)
    assert.same({ "other", "this" }, order)
  end)

  it("for ever, until it is cancelled", function()
    vllm.run(function()
      local task = vllm.spawn(vllm.sleep, math.huge)
      vllm.sleep(0.01)
      task:cancel()
    end)
  end)
end)

describe("a task whose wait was refused", function()
  it("ends once: in Lua 5.1 a wait within pcall raises, and its timer rings behind the task's end", function()
    local state
    vllm.run(function()
      local task = vllm.spawn(function() pcall(vllm.sleep, 0.01) end)
      task:join()
      vllm.sleep(0.05)
      state = task.state
    end)
    assert.equal("done", state)
  end)
end)

describe("vllm.map", function()
  it("gives values and failures by index", function()
    local object = setmetatable({}, { __tostring = function() return "object" end })
    local answers = {
      function() return "value", "ignored" end, function() return nil, "message" end,
        function() return nil, "message", object end,
      function() error("raised", 0) end, function() error(object) end, function() end, function() return false end,
      function() error() end, function() error(false) end, function() return nil, false, false end,
    }
    local function check()
      local values, failures = vllm.map(answers, { concurrency = 2 },
        function(answer) vllm.sleep(0) return answer() end)
      assert.same({ [1] = "value", [7] = false }, values)
      assert.same({ [2] = "message", [3] = object, [4] = "raised", [5] = object,
        [8] = NO_REASON, [9] = NO_REASON }, failures)
    end
    check()
    vllm.run(check)
  end)

  it("every item may raise", function()
    local list = {}
    for i = 1, 200 do list[i] = i end
    local values, failures = vllm.map(list, { concurrency = 3 }, function(i) error("no " .. i, 0) end)
    assert.is_nil(next(values))
    assert.equal(200, #failures)
    assert.equal("no 200", failures[200])
  end)

  it("never has more at work than it may, and as many as it may", function()
    for _, concurrency in ipairs { 1, 3, 64, 1000 } do
      local list, now, most, order = {}, 0, 0, {}
      for i = 1, 200 do list[i] = i end
      vllm.map(list, { concurrency = concurrency }, function(item, i)
        assert.equal(item, i)
        order[i] = #order + 1
        now = now + 1
        most = math.max(most, now)
        vllm.sleep(0.0001)
        now = now - 1
        if i % 5 == 0 then error "x" end
      end)
      assert.equal(math.min(concurrency, 200), most)
      assert.same(list, order) -- begun in order
    end
  end)

  it("calls each in the order of the ends; what it raises ends the map", function()
    local order = {}
    vllm.map({ 9, 3, 6 }, { each = function(i, value, failure) order[#order + 1] = { i, value, failure } end },
      function(rounds, i)
      for _ = 1, rounds do vllm.sleep(0) end
      if i == 3 then error("three", 0) end
      return "value " .. i
    end)
    assert.same({ { 2, "value 2" }, { 3, nil, "three" }, { 1, "value 1" } }, order)
    for _, fail in ipairs { false, true } do
      local begun = 0
      local message = raised(vllm.map, { 1, 2, 3, 4, 5, 6 },
        { concurrency = 2, each = function() error("each", 0) end }, function()
        begun = begun + 1
        vllm.sleep(0)
        if fail then error "x" end
      end)
      assert_begins(message, "each")
      assert.equal(2, begun)
    end
    assert.equal(NO_REASON, raised(vllm.map, { 1 }, { each = function() error() end }, tostring))
  end)

  it("what fn spawned ends with the map; its error is the map's", function()
    local ended = 0
    vllm.map({ 1, 2 }, {}, function() vllm.spawn(function() vllm.sleep(0.01) ended = ended + 1 end) end)
    assert.equal(2, ended)
    assert_begins(raised(vllm.map, { 1, 2, 3 }, { concurrency = 1 },
      function() vllm.spawn(error, "spawned", 0) vllm.sleep(LONG_S) end), "spawned\n")
  end)

  it("an empty list is done", function()
    assert.same({ {}, {} }, { vllm.map({}, {}, error) })
  end)

  it("the options may be left out", function()
    assert.same({ { 2, 4 }, {} }, { vllm.map({ 1, 2 }, function(item) return item * 2 end) })
    assert.same({ { 2, 4 }, {} }, { vllm.map({ 1, 2 }, nil, function(item) return item * 2 end) })
  end)

  it("misuse names the caller's line", function()
    assert_misuse(function() vllm.map(1, {}, print) end, "vllm.map: expected a list, got number")
    assert_misuse(function() vllm.map({}, 5, print) end, "vllm.map: expected a table of options, got number")
    assert_misuse(function() vllm.map({}) end, "vllm.map: expected a function, got nil")
    assert_misuse(function() vllm.map({}, nil, 5) end, "vllm.map: expected a function, got number")
    assert_misuse(function() vllm.map({}, {}) end, "vllm.map: expected a function, got nil")
    assert_misuse(function() vllm.map({}, { concurency = 5 }, print) end,
      "vllm.map: unknown key `concurency` %(did you mean `concurrency`%?%)")
    assert_misuse(function() vllm.map({ 1, nil, 3 }, print) end, "vllm.map: expected a list, got one with holes")
    assert_misuse(function() vllm.map({ [2] = 1 }, print) end, "vllm.map: expected a list, got one with holes")
    assert_misuse(function() vllm.map({}, { [1] = 5 }, print) end,
      "vllm.map: unknown key `1`; known are concurrency, each")
    assert_misuse(function() vllm.map({}, { each = 5 }, print) end, "vllm.map: each: expected a function, got number")
    for _, bad in ipairs { 0, 1.5, "x", -1 } do
      assert_misuse(function() vllm.map({}, { concurrency = bad }, print) end,
        "vllm.map: concurrency: expected a whole number")
    end
  end)
end)
