-- What a refusal says to do: it must be something that can help.
local advice = require "vllm.base.advice"
local server_errors = require "vllm.base.server_errors"
local testing = require "vllm.testing"

local function say(message) return ('{"error":{"message":"%s","code":400}}'):format(message) end

local NONE = {}
local ALL = { system = "fold", assistant = "join", first = "filler" }
local URL = "http://h:8000/v1/chat/completions"

-- { what, status, body, context, what is said }
local CASES = {
  { "roles that alternate", 400, say "Conversation roles must alternate user/assistant", {},
    "strict_alternating_roles = true merges adjacent user messages" },
  { "the same where that is on", 400, say "Conversation roles must alternate user/assistant", { strict = true },
    'strict_alternating_roles is on but not enough: { assistant = "join", first = "filler" } does more' },
  { "the same where all is on", 400, say "Conversation roles must alternate user/assistant", { strict = ALL },
    "strict_alternating_roles already does all it can: look for a message of another role in between" },
  { "a template without system role", 400, say "System role not supported", { strict = true },
    "this template has no system role: put that text into the first user message" },
  { "a template of two roles", 400, say "Only user and assistant roles are supported!", {},
    "this template takes neither system nor tool messages: put their text into user messages" },
  { "a late system message", 400, say "System message must be at the beginning.", {},
    'strict_alternating_roles = { system = "fold" } moves all system text into one message at the front' },
  { "the same where they are folded", 400, say "System message must be at the beginning.", { strict = ALL }, NONE },
  { "a developer message", 400, say "Unexpected role 'developer' after role 'user'", {},
    "this template does not know this role: send the message as system" },
  { "an unknown role", 400, say "Unexpected role 'critic'", {}, "this template does not know this role" },
  { "a last message of the assistant", 400, say "Expected last role User or Tool for serving but got assistant", {},
    "the last message must be a user's or a tool's; `continue` continues an answer" },

  { "an address that is not there", 404, '{"detail":"Not Found"}', {},
    "the server has no such address: " .. URL .. "; base_url usually ends in /v1" },
  { "an address that takes no POST", 405, '{"detail":"Method Not Allowed"}', {},
    "the server does not take this method at " .. URL .. "; base_url usually ends in /v1" },
  { "a caller's method", 405, "", { is_of_caller = true }, "the server does not take this method at " .. URL },

  { "a firewall's page", 403, "<html><title>Access denied</title></html>", { has_key = true },
    "a firewall or a proxy in front of the server refused this request; the key may be right" },
  { "a firewall's word", 403, "RBAC: access denied", { has_key = true },
    "a firewall or a proxy in front of the server refused this request; the key may be right" },
  { "a firewall's silence", 403, "", {},
    "a firewall or a proxy in front of the server refused this request, or requires a key (api_key)" },
  { "a server's 403", 403, say "Country not supported", { has_key = true },
    "the server refused this request, but not necessarily the key" },
  { "a server's 403 without a key", 403, say "Forbidden", {},
    "the server requires a key: set api_key or VLLM_API_KEY" },
  { "a refused key", 401, say "Unauthorized", { has_key = true }, "the server rejected the key" },

  { "stream_options", 400, say "Unknown parameter: 'stream_options'", {},
    "include_usage = false leaves stream_options out" },
  { "stream_options of a schema", 422,
    '{"detail":[{"loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}', {},
    "include_usage = false leaves stream_options out" },
  { "too many stop strings", 400,
    '{"error":{"message":"List should have at most 4 items after validation, not 5","param":"stop","code":400}}', {},
    "vLLM takes at most VLLM_MAX_STOP_STRINGS stop strings (4 by default)" },
  { "a member that does not go back", 400,
    say "'messages.1' : for 'role:assistant' property 'executed_tools' is unsupported", {},
    "message.extra = nil leaves out members that a server sent with an answer but does not accept" },
  { "the same of a schema", 422,
    '{"detail":[{"loc":["body","messages",1,"assistant","citations"],"msg":"Extra inputs are not permitted"}]}', {},
    "message.extra = nil leaves out members that a server sent with an answer but does not accept" },
  { "a field of the request", 422, '{"detail":[{"loc":["body","top_k"],"msg":"Extra inputs are not permitted"}]}', {},
    NONE },
  { "at most of something else", 400, say "n must be at most 4", {}, NONE },
  { "an image in a tool's result", 400,
    say "Image URLs are only allowed for messages with role 'user', but this message with role 'tool' contains one", {},
    'tool_media = "text" replaces media in tool results with a line of text' },
  { "an image for a model of texts", 400, say "m is not a multimodal model", {},
    'this model takes only text; tool_media = "text" replaces media in tool results with a line of text' },
  { "images that a server is told not to take", 400, say "At most 0 image(s) may be provided in one prompt.", {},
    'this model takes none; tool_media = "text" replaces media in tool results with a line of text' },
}

describe("a refusal advises about", function()
  for _, case in ipairs(CASES) do
    it(case[1], function()
      local context = { url = URL, has_key = false, now_unix = 0 }
      for key, value in pairs(case[4]) do context[key] = value end
      local message = server_errors.from_status(case[2], {}, case[3], context).message
      local said = message:match("%(status %d+%); (.*)$")
      if case[5] == NONE then assert.is_nil(said) else assert.equal(case[5], said) end
    end)
  end

  it("the request's own option, not the client's", function()
    local reply = { status = 400, body = say "roles must alternate" }
    local client = testing.client({ reply, reply }, { strict_alternating_roles = true })
    assert.truthy(select(2, client:ask "x"):find("is on but not enough", 1, true))
    assert.truthy(select(2, client:ask("x", { strict_alternating_roles = false })):find("merges adjacent", 1, true))
  end)

  it("an error inside a stream, too", function()
    local text = advice.of("role_order", nil, { message = "Conversation roles must alternate" }, {})
    assert.equal("strict_alternating_roles = true merges adjacent user messages", text)
  end)
end)
