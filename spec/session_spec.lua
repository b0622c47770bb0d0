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
    assert.equal(4, #transport.requests[2].body.messages)
    assert.equal("Hello.", transport.requests[2].body.messages[3].content)
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
    local client, transport = testing.client { { text = "Look.", tool_calls = { { id = "c1", name = "now", arguments = "{}" } } }, "Noon." }
    local session = client:session()
    local result = assert(session:turn("Time?", { tools = { { name = "now" } } }):result())
    session:append { role = "tool", tool_call_id = result.tool_calls[1].id, content = "12:00" }
    local text = assert(vllm.json.encode(session:messages()))
    local again = client:session { messages = vllm.json.decode(text) }
    assert.equal("Noon.", again:turn(nil, { tools = { { name = "now" } } }):text())
    assert.equal("c1", transport.requests[2].body.messages[3].tool_call_id)
  end)

  it("gives a list of its own: changing it changes nothing", function()
    local session = testing.client({ "x" }):session { messages = { "Hi" } }
    session:messages()[2] = "intruder"
    assert.equal(1, #session:messages())
  end)

  local misuse = {
    { function(c) c:session { id = 7 } end, "client:session: id must be a string, got number" },
    { function(c) c:session { messages = "x" } end, "client:session: messages must be a list, got string" },
    { function(c) c:session { name = "x" } end, "client:session: unknown key `name`" },
    { function(c) c:session():append(7) end, "session:append: a message must be a table or a string, got number" },
  }
  for _, case in ipairs(misuse) do
    it("throws: " .. case[2], function() assert.has_error(function() case[1](testing.client {}) end, case[2]) end)
  end
end)
