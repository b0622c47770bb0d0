-- The host that is Neovim, in real editors without a screen, against the real server.
require "spec.support.env"
local child = require "spec.support.child"
local neovim = require "spec.support.neovim"
local servers = require "spec.support.server"

-- A library that makes the lookup of some names take long.
local function slow_names()
  local library = "build/preload/slow_names.so"
  local output, status = child.run("make -s " .. library)
  assert(status == 0, output)
  return library
end

for _, editor in ipairs(neovim.editors()) do
  describe(editor.name .. " Neovim:", function()
    local server

    if not editor.path then
      it("is there", function() error("there is none: " .. tostring(editor.why)) end)
      return
    end

    setup(function() server = servers.start { tls = true } end)
    teardown(function()
      server:stop()
      neovim.remove_runtime()
    end)

    -- Runs a script with a client for `target`, over TLS if it begins with "tls:"; what it printed.
    local function run(code, target)
      target = target or "/v1"
      local tls = target:match "^tls:(.*)"
      local output, status = neovim.run(editor.path, code, {
        BASE_URL = (tls and server.tls_url or server.url) .. (tls or target), CA = server.ca_file, URL = server.url,
      })
      return (output:gsub("\n$", "")), status
    end

    local function prints(expected, code, target)
      local output, status = run(code, target)
      assert.equal(expected, output)
      assert.equal(0, status)
    end

    local function server_saw_close(count)
      return server:wait_for(function(log)
        local closes = 0
        for _, record in ipairs(log) do
          if record.event == "close" and record.by == "client" and record.midway then closes = closes + 1 end
        end
        return closes >= count
      end)
    end

    before_each(function() server:clear_log() end)

    describe("how a turn is waited for:", function()
      it("it is found as the host, and its modules beside the Lua files", function()
        prints("neovim true", [[
          print(hosts.here().name, package.searchpath("vllm.core", package.cpath) == nil)
          quit()]])
      end)

      it("the callback form returns at once; callbacks may use the whole API", function()
        prints("started\nYou said: hi\ndone false", [[
          client:turn("hi"):start(function(event)
            if event.type ~= "text_delta" then return end
            local last = vim.api.nvim_buf_line_count(0) - 1
            local line = vim.api.nvim_buf_get_lines(0, last, last + 1, true)[1]
            vim.api.nvim_buf_set_text(0, last, #line, last, #line, { event.text })
          end, function(result)
            print(vim.api.nvim_buf_get_lines(0, 0, -1, true)[1])
            print("done", vim.in_fast_event())
            quit()
          end)
          print "started"]])
      end)

      it("a coroutine yields to the editor", function()
        prints("first\nYou said: hi false", [[
          go(function() print(client:ask "hi", vim.in_fast_event()) quit() end)
          print "first"]])
      end)

      it("a coroutine that began in a fast event goes on where the API may be used", function()
        prints("You said: hi false", [[
          local timer = uv.new_timer()
          timer:start(1, 0, function()
            timer:close()
            go(function() print(client:ask "hi", vim.in_fast_event()) quit() end)
          end)]])
      end)

      it("the main thread waits as vim.wait does: the editor goes on", function()
        prints("You said: hi true", [[
          local ticks, timer = 0, uv.new_timer()
          timer:start(5, 5, vim.schedule_wrap(function() ticks = ticks + 1 end))
          local text = client:ask "hi"
          print(text, ticks > 10)
          quit()]], "/v1?delay_ms=200")
      end)

      it("the main thread's wait keeps its deadline", function()
        prints("timeout first_event_s", [[
          local _, _, err = client:with { timeout = { first_event_s = 0.1 } }:turn "x":result()
          print(err.kind, err.clock)
          quit()]], "/fault/silence")
      end)

      it("Ctrl-C ends the main thread's wait, and the turn", function()
        prints("cancelled true", [[
          local timer = uv.new_timer()
          timer:start(100, 0, function() vim.api.nvim_input "<C-c>" end)
          local began = core.now()
          local _, _, err = client:turn "x":result()
          print(err.kind, core.now() - began < 10)
          quit()]], "/fault/silence")
      end)

      it("a wait in a fast event raises, and says what to do", function()
        prints("true", [[
          local timer = uv.new_timer()
          timer:start(1, 0, function()
            timer:close()
            local ok, message = pcall(client.ask, client, "x")
            print(not ok and message:find("vllm: a wait in a fast event would freeze the editor", 1, true) ~= nil)
            vim.schedule(quit)
          end)]], "/fault/silence")
      end)

      it("the callback form can be started in a fast event", function()
        prints("You said: hi false", [[
          local timer = uv.new_timer()
          timer:start(1, 0, function()
            timer:close()
            client:turn("hi"):start(nil, function(result) print(result.text, vim.in_fast_event()) quit() end)
          end)]])
      end)

      it("a generator inside a task waits by vim.wait, for its yield would not reach the editor", function()
        prints("You said: a\nYou said: b", [[
          vllm.spawn(function()
            for text in coroutine.wrap(function()
              coroutine.yield((client:ask "a"))
              coroutine.yield((client:ask "b"))
            end) do print(text) end
            quit()
          end)]])
      end)

      it("what a generator inside a task spawns belongs to the task's scope", function()
        prints("child\nparent", [[
          vllm.spawn(function()
            vllm.map({ 1 }, {}, function()
              coroutine.wrap(function() vllm.spawn(function() vllm.sleep(0.05) print "child" end) end)()
            end)
            print "parent"
            quit()
          end)]])
      end)

      it("a wait inside such a wait ends, too", function()
        prints("inner You said: b\nouter You said: a", [[
          after(20, function() print("inner", client:ask "b") end)
          print("outer", vllm.new { model = "m", base_url = os.getenv "URL" .. "/v1?delay_ms=200" }:ask "a")
          quit()]])
      end)

      it("spawn, sleep, join and map work; run says what to use instead", function()
        prints("true 7\na b\ntrue", [[
          go(function()
            local task = vllm.spawn(function() vllm.sleep(0.05) return 7 end)
            local began = core.now()
            local value = task:join()
            print(core.now() - began > 0.02, value)
            print(table.concat(vllm.map({ "a", "b" }, {}, function(text) return (client:ask(text):gsub("You said: ", "")) end), " "))
            local ok, message = pcall(vllm.run, function() end)
            print(not ok and message:find("use vllm.spawn", 1, true) ~= nil)
            quit()
          end)]])
      end)

      it("sleep on the main thread lets the editor go on", function()
        prints("true true", [[
          local ticks, timer = 0, uv.new_timer()
          timer:start(5, 5, vim.schedule_wrap(function() ticks = ticks + 1 end))
          local began = core.now()
          vllm.sleep(0.1)
          print(core.now() - began >= 0.1, ticks > 5)
          quit()]])
      end)

      it("ten turns go on side by side: all have begun before one has ended", function()
        prints("10 0 10", [[
          local begun, ended, early = 0, 0, 0
          for _ = 1, 10 do
            client:turn("x"):start(function(event)
              if event.type == "turn_start" then
                begun = begun + 1
                if ended > 0 then early = early + 1 end
              end
            end, function()
              ended = ended + 1
              if ended == 10 then print(begun, early, ended) quit() end
            end)
          end]], "tls:/load?events=20&interval_ms=20")
      end)

      it("a call of a tool and its result go through", function()
        prints('get_weather Paris\nThe weather in Paris is sunny, 22 degrees.', [[
          local tool = { name = "get_weather", parameters = { type = "object", properties = { city = { type = "string" } } } }
          local messages = { { role = "user", content = 'What is the weather in "Paris"?' } }
          go(function()
            local result = assert(client:turn { messages = messages, tools = { tool }, tool_choice = "get_weather" }:result())
            local call = result.tool_calls[1]
            print(call.name, call.input.city)
            messages[2] = result.message
            messages[3] = { role = "tool", call = call, result = "The weather in Paris is sunny, 22 degrees." }
            local text = assert(client:turn { messages = messages, tools = { tool } }:text())
            print((text:gsub('^.-(The weather.*)$', "%1")))
            quit()
          end)]])
      end)
    end)

    describe("what goes wrong:", function()
      it("an error of the server is a value", function()
        prints("overloaded 503", [[
          go(function()
            local _, _, err = client:ask "x"
            print(err.kind, err.status)
            quit()
          end)]], "/fault/status/503")
      end)

      local NOTIFY = [[
        local told = {}
        vim.notify = function(message, level) told[#told + 1] = { message = message, level = level } end
        local function report(pattern)
          local matching = 0
          for _, one in ipairs(told) do
            assert(one.level == vim.log.levels.ERROR)
            assert(not vim.in_fast_event())
            if one.message:find(pattern, 1, true) and one.message:find("stack traceback", 1, true) then matching = matching + 1 end
          end
          print(#told, matching)
        end
      ]]

      it("an error in on_event is shown once, and cancels the turn; on_done is called once", function()
        prints("done cancelled\n1 1", NOTIFY .. [[
          client:turn("x"):start(function(event)
            if event.type == "text_delta" then error "broken callback" end
          end, function(_, _, err) print("done", err.kind) after(50, function() report "broken callback" quit() end) end)]])
      end)

      it("an error in on_done is shown once", function()
        prints("1 1", NOTIFY .. [[
          client:turn("x"):start(nil, function() after(50, function() report "broken end" quit() end) error "broken end" end)]])
      end)

      it("an error in a task or a coroutine is shown once; the others go on", function()
        prints("You said: x\n2 1\n2 1", NOTIFY .. [[
          vllm.spawn(function() client:ask "x" error "broken task" end)
          go(function() client:ask "x" error "broken coroutine" end)
          go(function()
            print(client:ask "x")
            vllm.sleep(0.2)
            report "broken task"
            report "broken coroutine"
            quit()
          end)]])
      end)

      it("a cancelled turn ends at once; the server sees the close", function()
        prints("cancelled Hello", [[
          local turn = client:turn "x"
          turn:start(function(event)
            if event.type == "text_delta" then after(1, function() turn:cancel() end) end
          end, function(_, _, err) print(err.kind, err.partial.text) quit() end)]], "/fault/stall")
        assert.truthy(server_saw_close(1))
      end)

      it("silence ends a turn", function()
        prints("timeout idle_s", [[
          client:with { timeout = { idle_s = 0.1 } }:turn("x"):start(nil, function(_, _, err) print(err.kind, err.clock) quit() end)]],
          "/fault/stall")
      end)
    end)

    describe("what is left behind:", function()
      it(":qa! in the middle of twenty streams ends the editor at once, with status 0", function()
        local began = os.time()
        prints("leaving", [[
          local started = 0
          for _ = 1, 20 do
            client:turn("x"):start(function(event)
              if event.type ~= "turn_start" then return end
              started = started + 1
              if started == 20 then print "leaving" quit() end
            end, function() end)
          end]], "tls:/load?events=3000&interval_ms=20")
        assert.truthy(os.time() - began < 20) -- the streams take a minute
        assert.truthy(server_saw_close(20))
      end)

      it("so does :qa! while libcurl is being loaded, and right behind a start", function()
        for _, code in ipairs { "quit()", "client:turn('x'):start(nil, function() end) quit()" } do
          for _ = 1, 5 do prints("", code) end
        end
      end)

      it("an editor that is killed takes its connections along", function()
        local output, status = run([[
          client:turn("x"):start(function(event)
            if event.type == "turn_start" then uv.kill(uv.os_getpid(), "sigkill") end
          end, function() end)]], "tls:/load?events=3000&interval_ms=20")
        assert.equal("Killed", output:match "Killed" or output)
        assert.equal(137, status)
        assert.truthy(server_saw_close(1))
      end)

      -- libcurl itself makes a pair of Unix sockets to wake its thread, without the flag: harmless, and not ours to
      -- close.
      it("children inherit no connection, so that the server sees its close while they live", function()
        local output = run([[
          local function inodes_of(how) -- of the sockets of a child of ours
            local text
            if how == "popen" then
              local pipe = io.popen "ls -l /proc/self/fd"
              text = pipe:read "*a"
              pipe:close()
            else
              text = vim.fn.system { "ls", "-l", "/proc/self/fd" }
            end
            return text:gmatch "socket:%[(%d+)%]"
          end
          local function connections()
            local pipe = io.popen "cat /proc/net/tcp"
            local text = pipe:read "*a"
            pipe:close()
            return text
          end
          local turn = client:turn "x"
          turn:start(function(event)
            if event.type ~= "turn_start" then return end
            vim.fn.jobstart { "sleep", "20" }
            local all = connections()
            for _, how in ipairs { "popen", "system" } do
              for inode in inodes_of(how) do if all:find(" " .. inode .. " ", 1, true) then print("inherited", how) end end
            end
            print(#all > 0)
            turn:cancel()
          end, function() print "cancelled" vim.defer_fn(function() os.exit(0) end, 3000) end)]], "tls:/load?events=3000&interval_ms=20")
        assert.equal("true\ncancelled", output)
        assert.truthy(server_saw_close(1))
      end)

      it("a thousand turns that were started and cancelled leave nothing", function()
        prints("descriptors 0\nthreads 0\ncoroutines 0\nLua memory true\nmemory true", [[
          kept = client -- and with it the engine, to the end
          local function entries(path) local n = 0 for _ in uv.fs_scandir_next, uv.fs_scandir(path) do n = n + 1 end return n end
          local alive = setmetatable({}, { __mode = "k" })
          local function round(count, on_done)
            local left, next_one = count, nil
            local function one()
              local turn = client:turn "x"
              turn:start(function(event)
                alive[coroutine.running()] = true
                if event.type == "turn_start" then turn:cancel() end
              end, function()
                left = left - 1
                if left == 0 then vim.defer_fn(on_done, 100) elseif left >= 20 then vim.schedule(next_one) end
              end)
            end
            next_one = one
            for _ = 1, 20 do one() end
          end
          local function measure()
            collectgarbage() collectgarbage()
            local count = 0
            for _ in pairs(alive) do count = count + 1 end
            return { fds = entries "/proc/self/fd", threads = entries "/proc/self/task", coroutines = count,
              lua_kb = collectgarbage "count", rss = uv.resident_set_memory() }
          end
          round(300, function()
            local before = measure()
            round(1000, function()
              local after = measure()
              print("descriptors", after.fds - before.fds)
              print("threads", after.threads - before.threads)
              print("coroutines", after.coroutines)
              print("Lua memory", after.lua_kb - before.lua_kb < 500 or after.lua_kb - before.lua_kb)
              print("memory", after.rss - before.rss < 8e6 or after.rss - before.rss)
              quit()
            end)
          end)]], "/fault/stall")
      end)
    end)

    describe("the editor never freezes:", function()
      -- The worst lateness of the editor's heart, in ms; the best of some runs, since others work on this machine, too.
      local function worst(environment, target, runs)
        local best
        environment.BASE_URL, environment.CA = server.tls_url .. target, server.ca_file
        for _ = 1, runs do
          local output, status = child.run(neovim.command(editor.path, "'+luafile bench/neovim/heartbeat.lua'"),
            environment)
          assert.equal(0, status, output)
          local found = tonumber(output:match "worst_ms ([%d.]+)")
          best = math.min(best or math.huge, found or error(output))
          if best < 30 then break end
        end
        return best
      end

      it("while fifty TLS streams write, five hosts never answer and five names are never found", function()
        local target = "/load?events=100&interval_ms=20"
        local blocked = worst({ MODE = "block", STREAMS = "1" }, target, 1)
        assert.truthy(blocked > 1500, blocked) -- the control: the measurement sees a freeze
        local busy = worst({ MODE = "thread", STREAMS = "50", EDIT = "1", STUCK = "5", SLOW = "5",
          PRELOAD = slow_names() }, target, 3)
        assert.truthy(busy < blocked / 10, busy)
      end)

      -- A second editor, driven by this one over RPC: what it answers has gone through its queue, as typed keys do.
      it("keys typed meanwhile arrive, in order and soon", function()
        local output = run([[
          local arguments = { vim.v.progpath, "--embed", "--headless", "--clean", "-n", "--cmd",
            "set rtp^=" .. vim.split(vim.o.rtp, ",")[1] }
          local other = vim.fn.jobstart(arguments, { rpc = true })
          vim.fn.rpcrequest(other, "nvim_exec_lua", [=[
            local address, ca = ...
            local client = require("vllm").new { model = "m", base_url = address, tls = { ca_file = ca } }
            streamed = 0
            for _ = 1, 20 do
              client:turn("x"):start(function(event)
                streamed = streamed + 1
                vim.api.nvim_buf_set_lines(0, 1, -1, false, { tostring(streamed) })
              end, function() end)
            end]=], { os.getenv "BASE_URL", os.getenv "CA" })
          vim.fn.rpcrequest(other, "nvim_input", "i")
          local text, worst = ("the quick brown fox "):rep(8), 0
          for key in text:gmatch "." do
            local began = core.now()
            vim.fn.rpcrequest(other, "nvim_input", key)
            vim.fn.rpcrequest(other, "nvim_eval", "1")
            worst = math.max(worst, core.now() - began)
            vim.wait(10, function() return false end)
          end
          local line = vim.fn.rpcrequest(other, "nvim_buf_get_lines", 0, 0, 1, false)[1]
          print(line == text or line, vim.fn.rpcrequest(other, "nvim_exec_lua", "return streamed", {}) > 100, worst < 0.5 or worst)
          vim.fn.jobstop(other)
          quit()]], "tls:/load?events=1000&interval_ms=10")
        assert.equal("true true true", output)
      end)

      -- Functions of Neovim such as nvim_buf_set_text run libuv inside: what is woken there must not keep the editor's
      -- queue full for ever.
      it("waits of the main thread and :qa! come to an end while a callback draws what never ends", function()
        prints("timeout total_s\ntrue\nfalse", [[
          local buffer, drawn = vim.api.nvim_create_buf(true, true), 0
          for _ = 1, 2 do
            client:turn("x"):start(function(event)
              if event.type ~= "text_delta" then return end
              vim.api.nvim_buf_set_text(buffer, 0, 0, 0, 0, { event.text })
              drawn = drawn + 1
            end, function() end)
          end
          vim.wait(60000, function() return drawn > 5000 end)
          local _, _, err = client:turn("y", { timeout = { total_s = 0.3 } }):result()
          print(err.kind, err.clock)
          local before = drawn
          vim.wait(300, function() return drawn > before + 100 end)
          print(drawn > before)
          print((vim.wait(100, function() return false end)))
          quit()]], "/load?events=10000000")
      end)

      it("while a server is faster than the editor", function()
        local busy = worst({ MODE = "thread", STREAMS = "4", EDIT = "1" }, "/load?events=20000", 3)
        assert.truthy(busy < 150, busy)
      end)
    end)
  end)
end
