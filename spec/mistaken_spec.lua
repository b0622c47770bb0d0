-- Tables that stand where a message, or its content, is wanted.
local messages = require "vllm.request.messages"
local testing = require "vllm.testing"

local A_MESSAGE = 'missing: a message is { role = "…", content = "…" }'
local PNG_PART = { type = "image", bytes = "\137PNG\r\n\26\n" }

local function a_result() return (testing.client({ "b" }):turn("a"):result()) end

-- { what, list, path, the sentence }
local CASES = {
  { "role and text by position", { { "user", "a" } }, "messages[1].role", A_MESSAGE .. "; this is a list" },
  { "a list of messages in the list", { { { role = "user", content = "a" } } }, "messages[1].role",
    A_MESSAGE .. "; this is a list" },
  { "a part alone", { "a", PNG_PART }, "messages[2].role",
    A_MESSAGE .. "; this is a part, which belongs into the content of a message" },
  { "a message whose role has another name", { { type = "human", content = "a" } }, "messages[1].role", A_MESSAGE },
  { "a part alone that has no type", { "a", { url = "http://h/" } }, "messages[2].role", A_MESSAGE },
  { "a result", { "a", a_result() }, "messages[2].role", A_MESSAGE .. "; this is a result: append its `message`" },
  { "a turn", { "a", testing.client({ "b" }):turn "a" }, "messages[2].role",
    A_MESSAGE .. "; this is a turn: append the `message` of its result" },
  { "a session", { testing.client({ "b" }):session() }, "messages[1].role",
    A_MESSAGE .. "; this is a session, which has messages of its own: session:ask(…)" },
  { "a tool's call", { "a", { id = "c1", name = "now", arguments = "{}", input = {} } }, "messages[2].role",
    A_MESSAGE .. "; this is a call" },
  { "a request", { { messages = { "a" } } }, "messages[1].role", A_MESSAGE .. "; this is a request" },
  { "a result as content", { "a", { role = "assistant", content = a_result() } }, "messages[2].content",
    "expected a string or a list of parts; this is a result: append its `message`" },
  { "a message as content", { "a", { role = "assistant", content = a_result().message } }, "messages[2].content",
    "expected a string or a list of parts; this is a message" },
  { "one part without a type as content", { { role = "user", content = { text = "a" } } }, "messages[1].content",
    "expected a string or a list of parts, got a table with the key `text`" },
  { "a part with a stray key beside the list", { { role = "user", content = { "a", x = 1 } } }, "messages[1].content.x",
    "expected a list, got a table with keys" },
}

describe("in the place of a message or its content", function()
  for _, case in ipairs(CASES) do
    it(case[1] .. " is told", function()
      local text, message, param = messages.encode(case[2])
      assert.is_nil(text)
      assert.equal(case[3] .. ": " .. case[4], message)
      assert.equal(case[3], param)
    end)
  end
end)
