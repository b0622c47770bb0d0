-- Sessions: what joins the transcript, and when.
local testing = require "vllm.testing"
local vllm = require "vllm"

describe("a session", function()
  it("grows by the input and the answer", function()
    local client, transport = testing.client { "Hello.", "Still here." }
    local session = client:session { id = "s1", messages = { { role = "system", content = "Be brief." } } }
    assert.equal("Hello.", session:turn("Hi"):text())
    assert.equal("Still here.", session:turn("And now?"):text())
    assert.equal(5, #session:messages())
    assert.equal("s1", transport.requests[1].body.user)
    assert.equal("s1", transport.requests[1].body.session_id)
    assert.equal(4, #transport.requests[2].body.messages)
    assert.equal("Hello.", transport.requests[2].body.messages[3].content)
  end)

  it("asks, and waits for the text", function()
    local client, transport = testing.client { "one", "two", { status = 400, body = { error = { message = "no" } } } }
    local session = client:session()
    assert.equal("one", session:ask "1?")
    assert.equal("two", session:ask("2?", { temperature = 0 }))
    assert.equal(0, transport.requests[2].body.temperature)
    assert.equal(4, #session:messages())
    local text, message, err = session:ask "3?"
    assert.is_nil(text)
    assert.equal(message, err.message)
    assert.equal("invalid_request", err.kind)
    local ok, why = pcall(function() session:ask(3) end)
    assert.is_false(ok)
    assert.truthy(why:find "^spec/session_spec.lua:%d+: session:ask: message 1 must be a table or a string, got 3", why)
    ok, why = pcall(function() session:ask("x", { text = "y" }) end)
    assert.is_false(ok)
    assert.truthy(why:find "^spec/session_spec.lua:%d+: session:ask: `text` cannot be given", why)
  end)

  it("has an id that a request can replace or leave out", function()
    local client, transport = testing.client { "1", "2", "3" }
    local session = client:session { id = "s1" }
    assert(session:turn("Hi", { user = "u", session_id = vllm.null }):text())
    assert(session:turn("Hi", { extra_body = { session_id = "s2" } }):text())
    assert(client:session({ id = "" }):turn("Hi"):text())
    local bodies = {}
    for i, request in ipairs(transport.requests) do
      bodies[i] = { request.body.user or false, request.body.session_id or false }
    end
    assert.same({ { "u", false }, { "s1", "s2" }, { false, false } }, bodies)
  end)

  it("keeps its input when a turn fails, and tries again without one", function()
    local client, transport = testing.client { { status = 503, body = "busy" }, "Hello." }
    local session = client:session()
    assert.equal("overloaded", select(3, session:turn("Hi"):text()).kind)
    assert.equal(1, #session:messages())
    assert.equal("Hello.", session:turn():text())
    assert.equal(2, #session:messages())
    assert.equal(1, #transport.requests[2].body.messages)
  end)

  it("takes an input back that was refused before anything was sent: it would spoil every later turn", function()
    local client, transport = testing.client { "Hello." }
    local session = client:session { messages = { { role = "system", content = "Be brief." } } }
    assert.equal("messages[2].content[1]",
      select(3, session:turn({ role = "user", content = { nil, "what is this?" } }):text()).param)
    assert.equal("messages[3].role", select(3, session:turn({ "fine", { role = "usr", content = "x" } }):text()).param)
    assert.equal("temperature", select(3, session:turn("Hi", { temperature = "warm" }):text()).param)
    assert.equal(1, #session:messages())
    assert.equal("Hello.", session:turn("Hi"):text())
    assert.equal(1, #transport.requests)
    assert.equal(3, #session:messages())
  end)

  it("takes back an input whose reading raises, too", function()
    local session = testing.client({ "Hello." }):session()
    local broken = setmetatable({}, { __index = function() error "no field of mine" end })
    assert.error_matches(function() session:turn { role = "user", content = broken } end, "no field of mine", 1, true)
    assert.equal(0, #session:messages())
    assert.equal("Hello.", session:turn("Hi"):text())
  end)

  it("goes on after a turn that was cancelled, or lost", function()
    local client = testing.client { "One.", "Two.", "Three." }
    local session = client:session()
    session:cancel()
    local left = session:turn "Hi"
    left:next()
    assert.equal("busy", session:turn("Ho"):error().kind)
    session:cancel()
    assert.equal("cancelled", left:error().kind)
    assert(session:turn("Ho"):next())
    for _ = 1, 3 do collectgarbage() end
    assert.equal("Three.", session:turn("Hey"):text())
    session:cancel()
  end)

  it("does not change what it was given", function()
    local system = { role = "system", content = "Be brief." }
    local given = { system }
    local session = testing.client({ "Hello." }):session { messages = given }
    local fields = { temperature = 0 }
    assert(session:turn("Hi", fields):result())
    assert.same({ temperature = 0 }, fields)
    assert.same({ { role = "system", content = "Be brief." } }, given)
    assert.equal(system, session:messages()[1])
  end)

  it("takes an answer once, however often the result is asked for", function()
    local client = testing.client { "Hello." }
    local session = client:session()
    local turn = session:turn "Hi"
    turn:result() turn:result() turn:text()
    assert.equal(2, #session:messages())
  end)

  it("takes tool results through append", function()
    local client = testing.client { { tool_calls = { { name = "now" } } }, "Noon." }
    local session = client:session()
    local result = assert(session:turn("Time?", { tools = { { name = "now" } } }):result())
    session:append { role = "tool", call = result.tool_calls[1], result = "12:00" }
    assert.equal("Noon.", session:turn(nil, { tools = { { name = "now" } } }):text())
    assert.equal(4, #session:messages())
  end)

  it("refuses a second turn while one runs", function()
    local client = testing.client { "one two", "three" }
    local session = client:session()
    local first = session:turn "a"
    first:next()
    assert.equal("busy", select(3, session:turn("b"):result()).kind)
    assert.equal("one two", first:text())
    assert.equal(2, #session:messages())
  end)

  it("goes on after a cancelled turn", function()
    local client = testing.client { "one two", "three" }
    local session = client:session()
    local first = session:turn "a"
    first:next()
    first:cancel()
    assert.equal("three", session:turn():text())
    assert.equal(2, #session:messages())
  end)

  it("has a transcript that survives JSON", function()
    local client, transport = testing.client { { text = "Look.",
      tool_calls = { { id = "c1", name = "now", arguments = "{}" } } }, "Noon." }
    local session = client:session()
    local result = assert(session:turn("Time?", { tools = { { name = "now" } } }):result())
    session:append { role = "tool", tool_call_id = result.tool_calls[1].id, content = "12:00" }
    local text = assert(vllm.json.encode(session:messages()))
    local again = client:session { messages = vllm.json.decode(text) }
    assert.equal("Noon.", again:turn(nil, { tools = { { name = "now" } } }):text())
    assert.equal("c1", transport.requests[2].body.messages[3].tool_call_id)
  end)

  it("has media survive JSON, too, as base64", function()
    local PNG, client, transport = "\137PNG\r\n\26\n\255", testing.client { "A dot.", "Still a dot.", "A dot." }
    local file, text = vllm.file { bytes = PNG, name = "a.png" }, vllm.file { bytes = "notes", name = "n.txt" }
    local message = { role = "user", content = { "What is this?", vllm.image { bytes = PNG, detail = "low" }, file,
      text } }
    local session = client:session()
    assert(session:turn(message):result())
    assert(session:turn("Sure?"):result())
    local again = client:session { messages = assert(vllm.json.decode(assert(vllm.json.encode(session:messages())))) }
    assert(again:turn("Sure?"):result())
    assert.same(transport.requests[2].body.messages[1], transport.requests[3].body.messages[1])
    assert.equal(PNG, message.content[2].bytes) -- what was given stays as it was
    assert.equal(text, session:messages()[1].content[4])
  end)

  it("has media of a tool's result survive JSON", function()
    local PNG, client, transport = "\137PNG\r\n\26\n\255", testing.client { "A dot.", "A dot." }
    local calling = { role = "assistant", calls = { { id = "c1", name = "look" }, { id = "c2", name = "look" } } }
    local session = client:session { messages = { "Look.", calling,
      { role = "tool", call = "c1", result = vllm.image { bytes = PNG } },
      { role = "tool", call = "c2", result = { "Here:", vllm.image { bytes = PNG } } } } }
    assert(session:turn():result())
    local saved = session:messages()
    saved[#saved] = nil
    local again = client:session { messages = assert(vllm.json.decode(assert(vllm.json.encode(saved)))) }
    assert(again:turn():result())
    assert.same(transport.requests[1].body.messages, transport.requests[2].body.messages)
    assert.equal("image_url", transport.requests[2].body.messages[4].content[2].type)
  end)

  it("goes on with an answer cut by length in its place", function()
    local client, transport = testing.client { { text = "Once", finish_reason = "length" }, " upon", "Yes." }
    local session = client:session()
    local cut = assert(session:turn("A story."):result())
    local whole = assert(session:turn(nil, { continue = cut }):result())
    assert.equal("Once upon", whole.text)
    assert.same({ { role = "user", content = "A story." }, { role = "assistant", content = "Once" } },
      transport.requests[2].body.messages)
    assert.same({ "A story.", "Once upon" }, { session:messages()[1].content, session:messages()[2].content })
    assert(session:turn("Good?"):result())
    assert.equal(4, #session:messages())
  end)

  it("goes on with an answer that broke off", function()
    local client = testing.client { { text = "Once", cut = true }, " upon" }
    local session = client:session()
    local _, _, err = session:turn("A story."):result()
    assert(session:turn(nil, { continue = err.partial }):result())
    assert.same({ "A story.", "Once upon" }, { session:messages()[1].content, session:messages()[2].content })
  end)

  it("has defaults for its turns, under each turn's own request", function()
    local client, transport = testing.client({ "a", "b", "c" }, { seed = 1, max_tokens = 5 })
    local session = client:session { id = "s1", temperature = 0.5, seed = 2, tools = { { name = "now" } },
      timeout = { idle_s = 7 } }
    local turn = session:turn "Hi"
    assert.equal(7, turn._effort.built.timeout.idle_s)
    assert(turn:result())
    assert(session:turn("Hi", { temperature = 0, seed = vllm.null, tools = vllm.null, max_tokens = 9 }):result())
    local first, second = transport.requests[1].body, transport.requests[2].body
    assert.same({ 0.5, 2, "now", 5 }, { first.temperature, first.seed, first.tools[1]["function"].name,
      first.max_tokens })
    assert.same({ 0, 9 }, { second.temperature, second.max_tokens })
    assert.same({ "nil", "nil" }, { type(second.seed), type(second.tools) })
    assert(client:ask "Hi")
    assert.same({ 1, "nil" }, { transport.requests[3].body.seed, type(transport.requests[3].body.tools) })
  end)

  it("has a system message at the head of every turn, which is none of its messages", function()
    local client, transport = testing.client({ "Parce que.", "Oui.", "Yes.", "Brief.", "b" },
      { system = "Never mind." })
    local session = client:session { system = "Answer in French." }
    assert(session:turn("Why?"):result())
    assert(session:turn("Sure?"):result())
    assert(session:turn("In English?", { system = "Answer in English." }):result())
    assert.same({ role = "system", content = "Answer in French." }, transport.requests[2].body.messages[1])
    assert.same({ 4, "Answer in English." },
      { #transport.requests[2].body.messages, transport.requests[3].body.messages[1].content })
    assert.same({ 6, "user" }, { #session:messages(), session:messages()[1].role })
    local own = { role = "system", content = "Be brief." }
    local other = client:session { system = "Answer in French.", messages = { own } }
    assert(other:turn("Why?"):result())
    assert.same({ own, { role = "user", content = "Why?" } }, transport.requests[4].body.messages)
    assert.equal("system", other:turn("Why?", { system = "x" }):error().param)
    assert.equal(3, #other:messages())
    assert(client:session({ system = vllm.null }):turn("Hi"):result())
    assert.equal(1, #transport.requests[5].body.messages)
  end)

  it("mends itself where the loop stopped between a call and its result", function()
    local CALLS = { tool_calls = { { id = "c1", name = "now" }, { id = "c2", name = "now" } } }
    local client, transport = testing.client { CALLS, "Noon, I think." }
    local session = client:session { tools = { { name = "now" } } }
    assert(session:turn("Time?"):result())
    session:append { role = "tool", tool_call_id = "c2", content = "12:00" }
    local _, message = session:turn("Well?"):result()
    assert.truthy(message:find("session:repair", 1, true), message)
    assert.equal(session, session:repair())
    assert.equal("Noon, I think.", assert(session:turn("Well?"):text()))
    local sent = transport.requests[2].body.messages
    assert.same({ "user", "assistant", "tool", "tool", "user" },
      { sent[1].role, sent[2].role, sent[3].role, sent[4].role, sent[5].role })
    assert.same({ "c2", "12:00", "c1", "Error: this call was interrupted and has no result" },
      { sent[3].tool_call_id, sent[3].content, sent[4].tool_call_id, sent[4].content })
    assert.equal(6, #session:messages())
  end)

  it("mends itself where a result has lost its call, and keeps what is sound", function()
    local client = testing.client { "Hello." }
    local sound = { role = "user", content = "Hi" }
    local session = client:session { messages = { { role = "tool", tool_call_id = "gone", content = "x" }, sound } }
    assert.equal("invalid_request", select(3, session:turn():result()).kind)
    assert.equal("Hello.", session:repair():turn():text())
    assert.equal(sound, session:messages()[1])
  end)

  it("does not mend itself under a turn", function()
    local session = testing.client({ "one two" }):session()
    local turn = session:turn "a"
    turn:next()
    local mended, _, err = session:repair()
    assert.is_nil(mended)
    assert.equal("busy", err.kind)
    assert(turn:result())
    assert.equal(session, session:repair())
    assert.equal(2, #session:messages())
  end)

  it("keeps a user of its own beside its id", function()
    local client, transport = testing.client { "a", "b" }
    assert(client:session({ id = "s1", user = "ada" }):turn("Hi"):result())
    assert(client:session({ id = "s1" }):turn("Hi", { user = "ada" }):result())
    assert.same({ "ada", "ada" }, { transport.requests[1].body.user, transport.requests[2].body.user })
  end)

  it("cancels its turn where it is closed", function()
    local session = testing.client({ "one two" }):session()
    local turn = session:turn "a"
    turn:next()
    getmetatable(session).__close(session)
    assert.equal("cancelled", turn:error().kind)
  end)

  it("gives a list of its own: changing it changes nothing", function()
    local session = testing.client({ "x" }):session { messages = { "Hi" } }
    session:messages()[2] = "intruder"
    assert.equal(1, #session:messages())
  end)

  local HOLE = { "a", nil, "c" }
  HOLE[2] = nil
  local misuse = {
    { function(c) c:session { id = 7 } end, "client:session: id must be a string, got 7" },
    { function(c) c:session { messages = "x" } end, 'client:session: messages must be a list, got "x"' },
    { function(c) c:session { messages = { role = "user", content = "x" } } end,
      "client:session: messages must be a list, got a table" },
    { function(c) c:session { messages = HOLE } end, "client:session: messages must be a list, got a table" },
    { function(c) c:session { messages = { "a", 7 } } end,
      "client:session: message 2 must be a table or a string, got 7" },
    { function(c) c:session { name = "x" } end,
      "client:session: unknown key `name`; extra_body = { … } sends any name" },
    { function(c) c:session { 7 } end,
      "client:session: unknown key 1: options have names (a list of messages goes into `messages`)" },
    { function(c) c:session { history = {} } end,
      "client:session: unknown key `history`: write messages = { … } in a call, or keep a session: client:session { "
        .. "messages = { … } }" },
    { function(c) c:session { temperature = "warm" } end,
      'client:session: temperature: expected a number of at least 0, got "warm"' },
    { function(c) c:session { tools = { { name = "a b" } } } end,
      'client:session: tools[1].name: expected 1 to 64 of a-z A-Z 0-9 _ -, got "a b"' },
    { function(c) c:session { timeout = { read = 1 } } end,
      "client:session: unknown key `timeout.read`: write idle_s (seconds between two events)" },
    { function(c) c:session { text = "x" } end,
      "client:session: `text` belongs to a call: session:turn(input, { … })" },
    { function(c) c:session { set = {} } end, "client:session: `set` belongs to a call: session:turn(input, { … })" },
    { function(c) c:session { retry = false } end,
      "client:session: `retry` belongs to the client: vllm.new{…} or client:with{…}" },
    { function(c) c:session(7) end, "client:session: expected a table of options, got 7" },
    { function(c) c:session "x" end, 'client:session: expected a table of options, got "x"' },
    { function(c) c:session():append(7) end, "session:append: message 1 must be a table or a string, got 7" },
    { function(c) c:session():append("a", nil, "b") end,
      "session:append: message 2 must be a table or a string, got nil" },
    { function(c) c:session():turn(7) end, "session:turn: message 1 must be a table or a string, got 7" },
    { function(c) c:session():turn(HOLE) end, "session:turn: messages must be a list, got a table" },
    { function(c) c:session():turn("a", "b") end, 'session:turn: request must be a table of fields, got "b"' },
    { function(c) c:session():turn("a", { messages = {} }) end,
      "session:turn: `messages` cannot be given, since the session has the messages" },
    { function(c) c:session():turn("a", { body = "{}" }) end,
      "session:turn: `body` cannot be given, since the session has the messages" },
  }
  for _, case in ipairs(misuse) do
    it("throws: " .. case[2], function()
      local ok, why = pcall(case[1], testing.client {})
      assert.is_false(ok)
      assert.equal(case[2], why:match("session_spec%.lua:%d+: (.*)$"))
    end)
  end

  it("appends all or nothing", function()
    local session = testing.client({}):session()
    assert.is_false(pcall(session.append, session, "a", 7))
    assert.is_false(pcall(session.turn, session, { "a", 7 }))
    assert.equal(0, #session:messages())
  end)
end)
