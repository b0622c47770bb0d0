-- The examples as a person uses them in a terminal: pastes, empty lines, Ctrl-C, and what a model may not do to the
-- screen.
require "spec.support.env"
local vllm = require "vllm"
local answers = require "spec.support.answers"
local child = require "spec.support.child"
local server = require "spec.support.server"

local IS_LUAJIT = rawget(_G, "jit") ~= nil
local EVIL = answers.text [[\u001b]0;owned\u0007\u001b[2Jgood\rday\u009b5m]]
local EVIL_CALL = answers.deltas("tool_calls",
  [[{"tool_calls":[{"index":0,"id":"call00001","function":{"name":"get_weather","arguments":"{\"city\":\"\u001b[31mX\"}"}}]}]])

describe("examples", function()
  local running
  setup(function() running = server.start {} end)
  teardown(function() running:stop() end)
  before_each(function() running:clear_log() end)

  local function environment(path)
    return { VLLM_BASE_URL = running.url .. (path or "") .. "/v1", VLLM_MODEL = "test-model", TERM = "dumb" }
  end

  -- What an example printed that read these bytes. Errors go the same way.
  local function fed(example, bytes, path)
    return child.with_file(bytes, function(file)
      return child.run(("%s examples/%s < %s"):format(arg[-1], example, child.quote(file)), environment(path))
    end)
  end

  local function asked()
    local list = {}
    for i, request in ipairs(running:log "request") do
      list[i] = request.body:match '"content":"([^"]*)","role":"user"}%]'
    end
    return list
  end

  it("chat: an empty line ends nothing, a paste is one message, and what is not UTF-8 is sent repaired", function()
    local text, status = fed("chat.lua",
      "\n  \nhello\n\27[200~one\n\ntwo\n\27[201~\nsee \27[200~a\nb\27[201~, both\ncaf\233\n\27[200~last\n")
    assert.equal(0, status, text)
    assert.same({ "hello", "one\\n\\ntwo\\n", "see a\\nb, both", "caf\239\191\189", "last" }, asked())
    assert.equal(8, select(2, text:gsub("you> ", "")))
    assert.is_nil(text:find("\27", 1, true))
  end)

  it("show nothing of a model's escape sequences", function()
    for _, example in ipairs { "hello.lua", "agent.lua", "chat.lua" } do
      local text = fed(example, "hi\n", answers.script(running, EVIL))
      assert.truthy(text:find("goodday", 1, true), text)
      assert.is_nil(text:find "[%z\1-\8\11-\31\127]", text)
      assert.is_nil(text:find("\194\155", 1, true), text)
    end
    local text = fed("agent.lua", "", answers.script(running, EVIL_CALL, EVIL))
    assert.truthy(text:find('[get_weather {"city":', 1, true), text)
    assert.is_nil(text:find("\27", 1, true), text)
  end)

  it("lookup reads a JSON file with lua-cjson and answers calls from it", function()
    local script = answers.script(running, answers.calls { { "lookup", '{"path":["a","2"]}' } }, EVIL)
    local text, status = child.with_file('{"a":[1,{"b":[]}]}', function(file)
      return child.run(("%s examples/lookup.lua %s"):format(arg[-1], file), environment(script))
    end)
    assert.equal(0, status, text)
    assert.truthy(text:find('[lookup {"path":["a","2"]}]', 1, true), text)
    assert.truthy(text:find("goodday", 1, true), text)
    assert.truthy(running:log("request")[2].body:find('"content":"{\\"value\\":{\\"b\\":', 1, true))
  end)

  -- Starts a program whose input never ends, sends it Ctrl-C when it has printed `mark`, and gives what it printed
  -- then.
  local function interrupted(command, mark)
    local fifo = os.tmpname()
    os.remove(fifo)
    local words = {}
    for name, value in pairs(environment()) do words[#words + 1] = name .. "=" .. child.quote(value) end
    local pipe = assert(io.popen(("mkfifo %s && exec env %s timeout 20 sh -c %s 2>&1")
      :format(fifo, table.concat(words, " "),
      child.quote(("echo $$; exec %s %s <>%s"):format(arg[-1], command, fifo)))))
    local pid, seen = pipe:read "*l", ""
    while not seen:find(mark, 1, true) do seen = seen .. assert(pipe:read(1), seen) end
    assert(child.run("kill -INT " .. pid))
    local rest = pipe:read "*a"
    pipe:close()
    os.remove(fifo)
    return rest
  end

  it("chat ends silently by Ctrl-C at its prompt", function()
    assert.equal("\n", interrupted("examples/chat.lua", "you> "))
  end)

  it("vllm.map and vllm.run end by Ctrl-C without a traceback of theirs", function()
    local begin = 'local vllm = require "vllm" local function wait() io.write "ready" io.flush() vllm.sleep(60) end '
    for _, code in ipairs { "vllm.map({ 1 }, wait)", "vllm.run(wait)" } do
      local text = child.with_file(begin .. code, function(file) return interrupted(file, "ready") end)
      if _VERSION == "Lua 5.1" and not IS_LUAJIT then
        assert.truthy(text:find("error object is not a string", 1, true), text) -- what lua5.1 says of any object
      else
        assert.truthy(text:find("cancelled: interrupted by Ctrl-C", 1, true), text)
      end
      -- luajit appends one to every error
      if not IS_LUAJIT then assert.is_nil(text:find("traceback", 1, true), text) end
    end
  end)

  -- A server that gives these answers, one after the other.
  local function scripted(...) return answers.script(running, ...) end

  it("approve asks in the terminal, runs what is allowed, and tells the model what is not", function()
    local DELETE = answers.calls { { "delete_note", '{"name":"groceries"}' }, { "list_notes", "{}" } }
    local text, status = fed("approve.lua", "y\n", scripted(DELETE, answers.text "Two are left."))
    assert.equal(0, status, text)
    assert.truthy(text:find('delete_note {"name":"groceries"}: allow it? [y/N] ', 1, true), text)
    assert.truthy(text:find("[delete_note → deleted]", 1, true), text)
    assert.truthy(text:find("Two are left.", 1, true), text)
    running:clear_log()
    text, status = fed("approve.lua", "keep them\n", scripted(DELETE, answers.text "As you like."))
    assert.equal(0, status, text)
    assert.truthy(running:log("request")[2].body:find("the call was denied: keep them", 1, true))
  end)

  it("parallel shows each call as it works", function()
    local call = answers.calls { { "get_weather", '{"city":"Paris"}' }, { "get_weather", '{"city":"Oslo"}' } }
    local text, status = fed("parallel.lua", "", scripted(call, answers.text "Warm."))
    assert.equal(0, status, text)
    for _, part in ipairs { "Paris 50 %", "Oslo 100 %", '{"celsius":12,"city":"Oslo"}', "Warm.", "(2 steps" } do
      assert.truthy(text:find(part, 1, true), text)
    end
  end)

  it("team lets one agent delegate to others", function()
    local text, status = fed("team.lua", "", scripted(
      answers.calls { { "reader", '{"task":"the comet"}' } }, answers.calls { { "look_up", '{"word":"comet"}' } },
      answers.text "It was seen over Oslo.", answers.text "Comet over Oslo"))
    assert.equal(0, status, text)
    assert.truthy(text:find('[editor → reader {"task":"the comet"}]', 1, true), text)
    assert.truthy(text:find("Comet over Oslo", 1, true), text)
    assert.truthy(running:log("request")[3].body:find("A comet was seen over Oslo on 3 May.", 1, true))
  end)

  it("resume goes on after it was killed in a tool, and runs the tool once", function()
    child.with_file("", function(path)
      assert(os.remove(path))
      local script = scripted(answers.calls { { "get_weather", '{"city":"Paris"}' } }, answers.text "I could not see.")
      local slow = environment(script)
      slow.SLOW = "30"
      local command = ("%s examples/resume.lua %s"):format(arg[-1], path)
      -- Killed when the tool is at work.
      local text = child.run(("%s >%s.out & until grep -q looking %s.out; do sleep 0.05; done; kill -9 $!; cat %s.out; rm %s.out")
        :format(command, path, path, path, path), slow)
      assert.truthy(text:find("looking at the sky over Paris", 1, true), text)
      local status
      text, status = child.run(command, slow)
      assert.equal(0, status, text)
      assert.is_nil(text:find("looking at the sky", 1, true), text)
      assert.truthy(text:find("I could not see.", 1, true), text)
      assert.truthy(running:log("request")[2].body:find("the call was interrupted before it had a result", 1, true))
      assert(os.remove(path))
    end)
  end)

  it("background tells the model of a work's end when it comes", function()
    local slow = environment(scripted(answers.calls { { "start_build", "{}" } }, answers.text "A joke.",
      answers.text "It went well."))
    slow.BUILD_S = "0.01"
    local text, status = child.run(("%s examples/background.lua"):format(arg[-1]), slow)
    assert.equal(0, status, text)
    assert.truthy(text:find("It went well.", 1, true), text)
    assert.truthy(running:log("request")[3].body:find("The build has ended: 3 files, no errors.", 1, true))
  end)

  it("agents_md gives the instructions of this folder and those above it", function()
    child.with_file("", function(path)
      local root = path .. ".d"
      assert(os.execute(("mkdir -p %s/a/b && echo outer > %s/AGENTS.md && echo inner > %s/a/b/AGENTS.md"):format(root, root, root)))
      local here = child.run "pwd"
      here = here:match "[^\n]+"
      local paths = ("LUA_PATH='%s/lua/?.lua;%s/lua/?/init.lua;;' LUA_CPATH='%s/build/%s/?.so;;'")
        :format(here, here, here, require("spec.support.env").lua)
      local text, status = child.run(("cd %s/a/b && %s %s %s/examples/agents_md.lua"):format(root, paths, arg[-1], here),
        environment(scripted(answers.text "Read it.")))
      os.execute("rm -r " .. root)
      assert.equal(0, status, text)
      local body = running:log("request")[1].body
      local outer, inner = body:find("outer", 1, true), body:find("inner", 1, true)
      assert.truthy(outer and inner and outer < inner, body)
    end)
  end)

  it("otlp sends a span for the run, each call of the model and each tool", function()
    local traces = running:script { { "send", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}" } }
    local with_collector = environment(scripted(answers.calls { { "get_weather", '{"city":"Paris"}' } }, answers.text "18."))
    with_collector.OTLP_URL = running.url .. traces .. "/v1"
    local text, status = child.run(("%s examples/otlp.lua"):format(arg[-1]), with_collector)
    assert.equal(0, status, text)
    assert.truthy(text:find("(4 spans sent)", 1, true), text)
    local sent = vllm.json.decode(running:log("request")[3].body).resourceSpans[1].scopeSpans[1].spans
    local names, of = {}, {}
    for i, span in ipairs(sent) do names[i], of[span.name] = span.name, span end
    table.sort(names)
    assert.same({ "chat", "chat", "execute_tool get_weather", "invoke_agent" }, names)
    assert.equal(of.invoke_agent.spanId, of["execute_tool get_weather"].parentSpanId)
    assert.equal(32, #of.chat.traceId)
  end)
end)
