-- Wrong arguments: an error that names what is wrong, at the line of the mistake; what was given stays as it was.
local testing = require "vllm.testing"
local vllm = require "vllm"

local NAN = 0 / 0

local function a_client()
  return (testing.client { "ok" })
end

-- { a call with a mistake, the sentence }
local MISUSE = {
  { function() vllm.new() end, "vllm.new: expected a table of options, got nil" },
  { function() vllm.new { model = "m", temperature = NAN } end,
    "vllm.new: temperature: expected a number of at least 0, got nan" },
  { function() vllm.new { model = "m", [1.5] = 1 } end,
    "vllm.new: unknown key 1.5: options have names (a list of messages goes into `messages`)" },
  { function() vllm.from_env "x" end, 'vllm.from_env: expected a table of overrides, got "x"' },
  { function() vllm.from_env { colour = 1 } end,
    "vllm.from_env: unknown key `colour`; extra_body = { … } sends any name" },
  { function() vllm.decoder(5) end, "vllm.decoder: expected a table of options, got 5" },
  { function() vllm.decoder { max_evnt_bytes = 1 } end,
    "vllm.decoder: unknown key `max_evnt_bytes` (did you mean `max_event_bytes`?)" },
  { function() vllm.decoder { [1] = 1 } end,
    "vllm.decoder: unknown key `1`; known are chunks, max_choices, max_depth, max_event_bytes, max_message_bytes, "
      .. "max_tool_calls" },
  { function() vllm.decoder { max_depth = 1e9 } end, "vllm.decoder: max_depth: expected a whole number from 1 to 128" },
  { function() vllm.decoder { max_event_bytes = NAN } end,
    "vllm.decoder: max_event_bytes: expected a whole number from 1 to 1099511627776" },
  { function() vllm.decoder { chunks = 1 } end, "vllm.decoder: chunks: expected a boolean" },
  { function() vllm.decoder():feed() end, "decoder:feed: expected a string, got nil" },
  { function() vllm.decoder():feed(5) end, "decoder:feed: expected a string, got 5" },
  { function() vllm.decoder():body {} end, "decoder:body: expected a string, got a table" },
  { function() vllm.sse(true) end, "vllm.sse: expected a table of options, got true" },
  { function() vllm.sse { chunks = true } end,
    "vllm.sse: unknown key `chunks`; known are lenient_end, max_event_bytes" },
  { function() vllm.sse { max_event_bytes = 0 } end,
    "vllm.sse: max_event_bytes: expected a whole number from 1 to 1099511627776" },
  { function() vllm.repair() end, "vllm.repair: expected a list of messages, got nil" },
  { function() vllm.repair { role = "user", content = "x" } end,
    "vllm.repair: expected a list of messages, got one message: put it in braces" },
  { function() vllm.repair { messages = { "x" } } end,
    "vllm.repair: expected a list of messages, got a table with `messages`: give those" },
  { function() vllm.repair { "x", note = 1 } end,
    "vllm.repair: expected a list of messages, got a table with the key `note`" },
  { function() vllm.repair { nil, "x" } end, "vllm.repair: expected a list of messages, got one with holes" },
  { function() vllm.repair(a_client():session()) end,
    "vllm.repair: expected a list of messages, got a session: write session:repair()" },
  { function() vllm.map({ a = 1 }, print) end, "vllm.map: expected a list, got a table with the key `a`" },
  { function() vllm.new { model = "m", transport = testing.transport {}, proxy = "http://p:1" } end,
    "vllm.new: the transport `testing` cannot honour `proxy`" },
  { function() a_client():with { tls = { verify = false } } end,
    "vllm.new: the transport `testing` cannot honour `tls.verify`" },
  { function() testing.client({}, { colour = 1 }) end,
    "vllm.new: unknown key `colour`; extra_body = { … } sends any name" },
  { function() testing.client({}, { interrupt = "cancel" }) end,
    "vllm.new: the transport `testing` cannot honour `interrupt`" },
  { function() a_client().ask = 1 end, "client.ask is a function of the client" },
  { function() testing.client { text = "x" } end,
    "vllm.testing: expected a list of replies, got a table with the key `text`: put braces around one reply" },
  { function() vllm.array "x" end, "vllm.array: expected a table, got string" },
  { function() vllm.raw {} end, "vllm.raw: expected a string, got table" },
  { function() vllm.image() end, "vllm.image: expected a table such as { path = … }, got nil" },
  { function() vllm.audio { path = "a", url = "b" } end, "vllm.audio: expected exactly one of path, url and bytes" },
  { function() vllm.video { paths = "a" } end, "vllm.video: unknown key `paths` (did you mean `path`?)" },
  { function() vllm.file { url = "http://h/" } end,
    "vllm.file: files go by path or bytes; only images, audio and video go by URL" },
  { function() vllm.json.decode() end, "vllm.json.decode: expected a string, got nil" },
  { function() vllm.json.encode(1, { indnt = 1 }) end,
    "vllm.json.encode: unknown key `indnt` (did you mean `indent`?)" },
  { function() a_client().ask "x" end, "client:ask: call it with a colon: client:ask(…)" },
  { function() a_client().turn { text = "x" } end, "client:turn: call it with a colon: client:turn(…)" },
  { function() vllm:new { model = "m" } end, "vllm.new: call it with a dot: vllm.new(…)" },
  { function() a_client():session().turn "x" end, "session:turn: call it with a colon: session:turn(…)" },
  { function() a_client():session().append "x" end, "session:append: call it with a colon: session:append(…)" },
  { function() a_client():session().messages() end, "session:messages: call it with a colon: session:messages(…)" },
  { function() a_client():session().repair() end, "session:repair: call it with a colon: session:repair(…)" },
  { function() a_client():session().cancel() end, "session:cancel: call it with a colon: session:cancel(…)" },
  { function() vllm:map({}, print) end, "vllm.map: call it with a dot: vllm.map(…)" },
  { function() vllm:run(print) end, "vllm.run: call it with a dot: vllm.run(…)" },
  { function() vllm:spawn(print) end, "vllm.spawn: call it with a dot: vllm.spawn(…)" },
  { function() vllm:sleep(1) end, "vllm.sleep: call it with a dot: vllm.sleep(…)" },
  { function() vllm:image { path = "x" } end, "vllm.image: call it with a dot: vllm.image(…)" },
  { function() vllm:text "x" end, "vllm.text: call it with a dot: vllm.text(…)" },
  { function() vllm:printable "x" end, "vllm.printable: call it with a dot: vllm.printable(…)" },
  { function() vllm:repair {} end, "vllm.repair: call it with a dot: vllm.repair(…)" },
  { function() vllm:ask "x" end, "vllm.ask: call it with a dot: vllm.ask(…)" },
  { function() vllm:from_env() end, "vllm.from_env: call it with a dot: vllm.from_env(…)" },
  { function() vllm.image { "cat.png" } end, "vllm.image: expected a named field: vllm.image { path = … }" },
  { function() a_client():ask({ { role = "user", content = "x" } }, { temperature = 0 }) end,
    "client:ask: a request is one table, { messages = …, temperature = … }; got another argument, a table" },
  { function() return a_client().chat.completions.create {} end,
    "client.chat is not here: write client:ask(…) for the text, client:turn(…) for a stream or the whole result" },
  { function() a_client():generate "x" end,
    "client.generate is not here: write client:ask(…) for the text, client:turn(…) for a stream or the whole result" },
  { function() return a_client().models.list() end,
    'client.models is not here: write client:request("GET", "/v1/models")' },
  { function() a_client():start("x", print) end, "client.start is not here: a turn has it: client:turn(…):start(…)" },
  { function() for _ in a_client():text_deltas "x" do error "none" end end,
    "client.text_deltas is not here: a turn has it: client:turn(…):text_deltas()" },
  { function() a_client():result() end, "client.result is not here: a turn has it: client:turn(…):result()" },
  { function() a_client():cancel() end, "client.cancel is not here: a turn has it: turn:cancel(); so has a session" },
  { function() a_client():session():start(print) end,
    "session.start is not here: a turn has it: session:turn(…):start(…)" },
  { function() a_client():session():stop() end, "session.stop is not here: write session:cancel()" },
  { function() a_client():session():send "x" end,
    "session.send is not here: write session:ask(…) for the text, session:turn(…) for a stream or the whole result" },
  { function() a_client():session():reset() end, "session.reset is not here: begin another one: client:session()" },
  { function() return vllm.OpenAI { model = "m" } end,
    'vllm.OpenAI is not here: write vllm.new { model = "…", base_url = "http://…/v1" }' },
  { function() return vllm.Client { model = "m" } end,
    'vllm.Client is not here: write vllm.new { model = "…", base_url = "http://…/v1" }' },
  { function() for _ in a_client():turn "x" do error "no iterator" end end,
    "a turn is not an iterator: write turn:events() or turn:text_deltas()" },
  { function() a_client().session() end, "client:session: call it with a colon: client:session(…)" },
  { function() for _ in a_client():turn("x").events do error "an endless loop" end end,
    "turn:events: call it with a colon: turn:events(…)" },
  { function() a_client():turn("x").text_deltas() end, "turn:text_deltas: call it with a colon: turn:text_deltas(…)" },
  { function() a_client():turn() end, "client:turn: expected a request (a table or a string), got nil" },
  { function() a_client():ask(5) end, "client:ask: expected a request (a table or a string), got 5" },
  { function() a_client():body() end, "client:body: expected a request (a table or a string), got nil" },
  { function() a_client():with(5) end, "client:with: expected a table of options, got number" },
  { function() a_client():with { colour = 1 } end,
    "client:with: unknown key `colour`; extra_body = { … } sends any name" },
  { function() a_client():session(5) end, "client:session: expected a table of options, got 5" },
  { function() a_client():request("GET", "/x", 5) end,
    "client:request: body must be a table, a string or nil, got number" },
  { function() a_client():request("get", "/x") end, 'client:request: method must be a word in capitals, got "get"' },
  { function() a_client():request("GET", "x") end, 'client:request: path must begin with /, got "x"' },
  { function() a_client():request("GET", "/x", { timeout = { total_s = 1 } }) end,
    'client:request: GET carries no body; options are the fourth argument: client:request("GET", path, nil, { '
      .. 'timeout = … })' },
  { function() a_client():request("GET", "/x", "a=b") end,
    "client:request: GET carries no body; put what it asks for into the path: /path?name=value" },
  { function() a_client():request("HEAD", "/x", {}) end,
    "client:request: HEAD carries no body; put what it asks for into the path: /path?name=value" },
  { function() a_client():request("POST", "/x", { timeout = { total_s = 1 } }) end,
    'client:request: the third argument is the body; options are the fourth: client:request("POST", path, body, { '
      .. 'timeout = … })' },
  { function() a_client():session().messages = {} end,
    "session.messages is a function; client:session { messages = … } begins another session, session:append(…) adds" },
  { function() a_client():session().turn = 1 end, "session.turn is a function of the session" },
  { function() a_client():session().system = "x" end,
    "session.system: set when the session is made, client:session { system = … }, or for one turn, "
      .. "session:turn(input, { system = … })" },
  { function() a_client():session().temperature = 1 end,
    "session.temperature: set when the session is made, client:session { temperature = … }, or for one turn, "
      .. "session:turn(input, { temperature = … })" },
  { function() a_client():session().retry = false end,
    "session.retry belongs to the client: client:with { retry = … }:session()" },
  { function() a_client():session().id = 5 end, "session.id must be a string, got 5" },
  { function() a_client():turn("x").temperature = 1 end,
    "turn.temperature: a turn does not change; client:turn { temperature = … } makes one with it" },
  { function() a_client():turn("x").messages = {} end,
    "turn.messages: a turn does not change; client:turn { messages = … } makes one with it" },
  { function() a_client():turn("x").on_event = print end,
    "turn.on_event: a turn does not change; client:with { on_event = … }:turn(…) makes one with it" },
  { function() a_client():turn("x").text = "y" end, "turn.text is a function of the turn" },
  { function() a_client().messages = {} end,
    "client.messages: a client does not change; messages go into a call or a session: "
      .. "client:session { messages = … }" },
  { function() a_client():session():append({ "a", "b" }) end,
    "session:append: message 1 is a list: give its messages one by one" },
  { function() a_client():turn("x"):next "a" end, 'turn:next: expected a number of seconds, got "a"' },
  { function() a_client():turn("x"):each() end, "turn:each: expected a function, got nil" },
  { function() a_client():turn("x"):text_deltas(print) end,
    "turn:text_deltas: gives an iterator and takes nothing, got a function; turn:each(fn) calls a function" },
  { function() a_client():turn("x"):events(print) end,
    "turn:events: gives an iterator and takes nothing, got a function; turn:each(fn) calls a function" },
  { function() a_client():session():append("user", "hi") end,
    'session:append: a message is one table: { role = "user", content = … }' },
  { function() a_client():turn("x"):relay {} end, "turn:relay: expected a function, got table" },
  { function() testing.transport() end, "vllm.testing: expected a list of replies, got nil" },
  { function() testing.transport { 5, { txt = "x" } } end,
    "vllm.testing: reply 2: unknown key `txt`; known are body, bytes, cut, detail, error, fail, "
    .. "finish_reason, headers, reasoning, refusal, status, text, tool_calls, usage" },
  { function() testing.transport { { fail = "tired" } } end,
    'vllm.testing: reply 1: fail: expected a kind of error, got "tired"' },
  { function() testing.client() end, "vllm.testing: expected a list of replies, got nil" },
  { function() testing.client({}, { split = 0.5 }) end,
    "vllm.testing: split: expected a whole number of bytes, at least 1, got 0.5" },
  { function() a_client():request("GET", "/", nil, { timeout = 5 }) end,
    "client:request: timeout: expected a table such as { total_s = 30 } (of connect_s, queue_s, first_event_s, "
      .. "idle_s, finish_s, total_s), got 5" },
  { function() a_client():request("GET", "/", nil, { timeout = { totl_s = 5 } }) end,
    "client:request: unknown key `timeout.totl_s` (did you mean `total_s`?)" },
  { function() a_client():request("GET", "/", nil, { retry = false }) end,
    "client:request: unknown key `retry`; known are timeout" },
  { function() a_client():request("GET", "/", nil, 5) end, "client:request: expected options as a table, got 5" },
  { function() testing.transport({}, { split = 0 }) end,
    "vllm.testing: split: expected a whole number of bytes, at least 1, got 0" },
  { function() testing.transport({}, { split = NAN }) end,
    "vllm.testing: split: expected a whole number of bytes, at least 1, got nan" },
}

for _, name in ipairs { "open", "each", "start", "on_ready", "result", "text", "relay", "cancel" } do
  MISUSE[#MISUSE + 1] = { function()
    local method = a_client():turn("x")[name] -- the call below is what `turn.text()` is
    method()
  end, ("turn:%s: call it with a colon: turn:%s(…)"):format(name, name) }
end

for _, name in ipairs { "join", "cancel" } do
  MISUSE[#MISUSE + 1] = { function()
    vllm.run(function()
      local method = vllm.spawn(function() end)[name]
      method()
    end)
  end, ("task:%s: call it with a colon: task:%s(…)"):format(name, name), is_in_task = true }
end

describe("misuse throws, naming what is wrong, at the caller's line", function()
  for i, case in ipairs(MISUSE) do
    it(i .. ": " .. case[2], function()
      local ok, why = pcall(case[1])
      assert.is_false(ok)
      if case.is_in_task then why = why:match "^[^\n]*" end -- a traceback follows
      assert.equal(case[2], why:match("misuse_spec%.lua:%d+: (.*)$") or why)
      assert.truthy(why:find("misuse_spec.lua:", 1, true), why)
    end)
  end
end)

describe("the position of a misuse is the innermost line of the program", function()
  local load = rawget(_G, "loadstring") or load
  local NEW = "vllm.new: expected a table of options, got nil"

  -- What `code`, a chunk of that source with vllm as its argument, raises.
  local function raised(source, code)
    local ok, why = pcall(assert(load("local vllm = ...\n" .. code, source)), vllm)
    assert.is_false(ok)
    return why
  end

  local function assert_here(why)
    assert.equal(NEW, why:match("misuse_spec%.lua:%d+: (.*)$"), why)
  end

  it("when pcall calls the function itself", function()
    local ok, why = pcall(vllm.new)
    assert.is_false(ok)
    assert_here(why)
  end)

  it("when the program tail-calls it", function()
    local function new(options) return vllm.new(options) end
    local _, why = pcall(function()
      local client = new(nil)
      return client
    end)
    assert_here(why)
  end)

  it("inside a coroutine, and without a line of the program there is none", function()
    local _, why = coroutine.resume(coroutine.create(function() vllm.new() end))
    assert_here(why)
    local _, bare = coroutine.resume(coroutine.create(vllm.new))
    assert.equal(NEW, bare)
  end)

  it("inside the callback of vllm.map", function()
    local why
    vllm.run(function()
      vllm.map({ 1 }, function() why = select(2, pcall(vllm.new)) end)
    end)
    assert_here(why)
  end)

  it("in a file called vllm.lua, and in a folder of that name", function()
    assert.equal("./vllm.lua:2: " .. NEW, raised("@./vllm.lua", "vllm.new()"))
    assert.equal("./vllm/bot.lua:3: " .. NEW, raised("@./vllm/bot.lua", "\nvllm.new()"))
    assert.equal("/srv/vllm/init.lua:2: " .. NEW, raised("@/srv/vllm/init.lua", "vllm.new()"))
    assert.equal('[string "vllm"]:2: ' .. NEW, raised("=[string \"vllm\"]", "vllm.new()"))
  end)

  -- raise.lua as another source has it, raising from a function of the source `caller`.
  local function raised_by(source, caller)
    local own_source = debug.getinfo(require "vllm.base.raise", "S").source
    local file = assert(io.open((own_source:gsub("^@", ""))))
    local raising = assert(load(file:read "*a", source))()
    file:close()
    local raise = assert(load("local raise = ...\nreturn function() raise 'wrong' end", caller))(raising)
    return select(2, pcall(assert(load("local raise = ...\nraise()", "@program.lua")), raise))
  end

  it("wherever the module is installed", function()
    assert.equal("program.lua:2: wrong", raised_by("@./vllm/base/raise.lua", "@./vllm/request/config.lua"))
    assert.equal("program.lua:2: wrong", raised_by("@C:\\lua\\vllm\\base\\raise.lua", "@C:\\lua\\vllm\\client.lua"))
    assert.equal("/b/vllm/client.lua:2: wrong", raised_by("@/a/vllm/base/raise.lua", "@/b/vllm/client.lua"))
  end)

  it("where the module's chunks are stripped of their names", function()
    assert.equal("program.lua:2: wrong", raised_by("=?", "=?"))
  end)
end)

describe("vllm.json.encode", function()
  it("says what to write of a session and of a turn", function()
    assert.same({ nil, "a session is not a JSON value: encode session:messages()", "" },
      { vllm.json.encode(a_client():session()) })
    assert.same({ nil, "a turn is not a JSON value: encode what turn:result() returns", "" },
      { vllm.json.encode(a_client():turn "x") })
  end)
end)

describe("a member that nobody has", function()
  it("is nil, unless it is another client's word", function()
    assert.is_nil(vllm.nonsense)
    assert.is_nil(a_client().nonsense)
    assert.is_nil(a_client()[1])
    assert.is_nil(a_client():session().nonsense)
    local own = a_client()
    own.chat = "the program's own"
    assert.equal("the program's own", own.chat)
  end)
end)

-- A copy with everything in it, tables that occur twice once.
local function copy(value, seen)
  if type(value) ~= "table" then return value end
  if seen[value] then return seen[value] end
  local out = {}
  seen[value] = out
  for key, member in pairs(value) do out[key] = copy(member, seen) end
  return setmetatable(out, getmetatable(value))
end

describe("what a user gives is read, never changed:", function()
  local call = { id = "c1", name = "now", arguments = { zone = "UTC" } }
  local request = {
    messages = {
      "Hi", { role = "user", content = { "look", { type = "image", bytes = "\137PNG\r\n\26\n", mime = "image/png" } },
        _note = {} },
      { role = "assistant", calls = { call }, reasoning = "hm" },
      { role = "tool", call = call, result = { 1, { two = 2 } } }, { role = "user", text = "so?" },
    },
    tools = { { name = "now", parameters = {}, run = function() end } }, tool_choice = "now", stop = { "x" },
      logit_bias = { [5] = 1 },
    stream_options = { continuous_usage_stats = true }, extra_body = { extra = { 1 } },
      headers = { ["X-A"] = "b", ["X-B"] = false },
    strict_alternating_roles = { system = "fold", assistant = "join", first = "filler" }, reasoning_replay = "always",
  }
  local options = {
    timeout = { idle_s = 5 }, limits = { max_depth = 9 }, headers = { ["X-C"] = "d" }, extra_body = { more = 1 },
      stop = { "y" },
    tls = { verify = true },
  }

  it("a request and the options, by a turn", function()
    local before_request, before_options = copy(request, {}), copy(options, {})
    local client = testing.client({ { tool_calls = { { name = "now" } } } },
      { headers = options.headers, timeout = options.timeout,
      limits = options.limits, extra_body = options.extra_body, stop = options.stop })
    assert(client:turn(request):result())
    assert(client:with { stop = vllm.null })
    assert.same(before_request, request)
    assert.same(before_options, options)
    assert.is_nil(getmetatable(request.messages) or getmetatable(request.tools) or getmetatable(request.stop))
  end)

  it("messages, by vllm.repair", function()
    local broken = { "a", { role = "assistant", calls = { call } }, "b",
      { role = "tool", tool_call_id = "zz", content = "lost" } }
    local before = copy(broken, {})
    vllm.repair(broken)
    assert.same(before, broken)
  end)

  it("options, by later changes of the caller's own tables", function()
    local mine = { "x" }
    local client = testing.client({ "ok" }, { stop = mine })
    mine[1] = "changed"
    assert.truthy(client:body("Hi"):find('"stop":["x"]', 1, true))
  end)
end)

describe("a request that is no request gives an error value, and a turn sends nothing:", function()
  local cyclic = { role = "user" }
  cyclic.content = { cyclic }
  local cases = {
    { { messages = { cyclic } }, "messages[1].content[1].type" },
    { { messages = { { role = "user", content = { { type = "structured", value = cyclic } } } } },
      "messages[1].content[1].value.content[1]" },
    { { messages = { [1] = "a", [3] = "c" } }, "messages[2]" }, { { messages = { [0] = "a" } }, "messages" },
    { { messages = { [1e15] = "a" } }, "messages[1]" }, { { messages = { [-1] = "a" } }, "messages" },
    { { messages = { [0.5] = "a" } }, "messages" }, { { messages = { "a", x = "b" } }, "messages.x" },
    { { messages = { role = "user", content = "x" } }, "messages" }, { { messages = {} }, "messages" },
      { {}, "messages" },
    { { "Hi" }, "messages" }, { { messages = { { [1] = "x" } } }, "messages[1].role" },
      { { messages = { 5 } }, "messages[1]" },
    { { messages = { { role = "user", content = 5 } } }, "messages[1].content" },
      { { messages = { { role = {}, content = "x" } } }, "messages[1].role" },
    { { messages = "x", temperature = NAN }, "temperature" }, { { messages = "x", max_tokens = -1 }, "max_tokens" },
    { { messages = "x", max_tokens = 1e300 }, "max_tokens" }, { { messages = "x", n = math.huge }, "n" },
    { { messages = "x", [{}] = 1 }, "messages" },
      { { messages = "x", chat_template_kwargs = { f = print } }, "chat_template_kwargs.f" },
    { { messages = "x", vllm_xargs = { a = NAN } }, "vllm_xargs" },
  }
  for i, case in ipairs(cases) do
    it(i .. ": " .. case[2], function()
      local client, transport = testing.client { "never" }
      local turn = client:turn(case[1])
      local result, message, err = turn:result()
      assert.is_nil(result)
      assert.equal("invalid_request", err.kind)
      assert.equal(case[2], err.param)
      assert.equal(err.message, message)
      assert.truthy(message:find(case[2], 1, true) or case[2] == "messages", message)
      assert.equal(err, turn:error())
      assert.equal(err, select(3, turn:next()))
      assert.equal(message, select(2, pcall(turn:events())))
      assert.equal(0, #transport.requests)
    end)
  end

  it("a hundred thousand messages are a request", function()
    local messages = {}
    for i = 1, 100000 do messages[i] = { role = i % 2 == 1 and "user" or "assistant", content = "m" .. i } end
    local client, transport = testing.client { "ok" }
    assert.equal("ok", client:ask { messages = messages })
    assert.equal("m100000", transport.requests[1].body.messages[100000].content)
  end)

  it("a metatable that raises is the caller's error, and the client goes on", function()
    local bad = setmetatable({}, { __index = function() error("mine", 0) end })
    local client = testing.client { "ok" }
    local ok, why = pcall(client.turn, client, { messages = { bad } })
    assert.is_false(ok)
    assert.equal("mine", why)
    assert.equal("ok", client:ask "Hi")
  end)
end)
