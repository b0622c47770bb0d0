-- What cannot be sent as messages: the exact sentence, and the place. What can: messages_spec.lua.

local core = require "vllm.core"
local media = require "vllm.request.media"
local messages = require "vllm.request.messages"

local null = core.null

local PNG = "\137PNG\r\n\26\n"

-- { { what, list, param, rest of the message, options }, … }
local function refuses(cases)
  for _, case in ipairs(cases) do
    it(case[1], function()
      local text, message, param = messages.encode(case[2], case[5])
      assert.is_nil(text)
      assert.equal(case[3] .. ": " .. case[4], message)
      assert.equal(case[3], param)
    end)
  end
end

local function ask(arguments, id)
  return { role = "assistant", calls = { { id = id or "c1", name = "now", arguments = arguments } } }
end
local OK = { role = "tool", call = "c1", result = "ok" }

describe("a list that cannot be sent", function()
  refuses {
    { "no list", 12, "messages", "expected a list of messages or a string, got number" },
    { "one message", { role = "user", content = "a" }, "messages",
      "expected a list, got one message: put it in braces" },
    { "empty", {}, "messages", "nothing to send (no message, or only empty ones of the assistant)" },
    { "only empty messages", { { role = "assistant" } }, "messages",
      "nothing to send (no message, or only empty ones of the assistant)" },
    { "a stray key", { "a", x = 1 }, "messages.x", "expected a list, got a table with keys" },
    { "a hole", { "a", nil, "b" }, "messages[2]",
      "missing (a constructor such as vllm.image gives nil when it fails)" },
    { "a number", { "a", 5 }, "messages[2]", "expected a message (a table) or a string, got number" },
  }
end)

describe("a message that cannot be sent", function()
  local png = { type = "image", bytes = PNG }
  refuses {
    { "no role", { { content = "a" } }, "messages[1].role", 'missing: a message is { role = "…", content = "…" }' },
    { "another program's role", { { role = "human", content = "a" } }, "messages[1].role",
      "unknown role `human` (did you mean `user`?)" },
    { "a role in capitals", { { role = "USER", content = "a" } }, "messages[1].role",
      "unknown role `USER` (did you mean `user`?)" },
    { "an empty role", { { role = "", content = "a" } }, "messages[1].role",
      "expected a string that is not empty, got string" },
    { "a role of another type", { { role = 5, content = "a" } }, "messages[1].role",
      "expected a string that is not empty, got number" },
    { "a call before an unknown role", { ask "{}", { role = "observation", content = "a" } }, "messages[1].calls[1]",
      "no result follows call `c1` (vllm.repair or session:repair adds one)" },
    { "near role", { { role = "asistant", content = "a" } }, "messages[1].role",
      "unknown role `asistant` (did you mean `assistant`?)" },
    { "role and kind", { { role = "user", kind = "system", content = "a" } }, "messages[1].kind",
      "role and kind are both given, and differ" },
    { "near key", { { role = "user", contnet = "a" } }, "messages[1].contnet",
      "unknown key (did you mean `content`?)" },
    { "near key of the wire", { { role = "assistant", content = "a", reasoning_contnet = "r" } },
      "messages[1].reasoning_contnet",
      "unknown key (did you mean `reasoning_content`?)" },
    { "another program's key for media", { { role = "user", content = "a", images = { "AA==" } } },
      "messages[1].images",
      'media go into content: { "…", vllm.image{ … } }' },
    { "another program's key for calls", { { role = "assistant", content = "a", toolInvocations = {} } },
      "messages[1].toolInvocations",
      "unknown key (did you mean `tool_calls`?)" },
    { "another program's key for content", { { role = "user", parts = { "a" } } }, "messages[1].parts",
      "unknown key (did you mean `content`?)" },
    { "an unknown member that JSON cannot hold", { { role = "user", content = "a", weight = { 1, print } } },
      "messages[1].weight[2]",
      "a function is not a JSON value" },
    { "an extra that is no table", { { role = "user", content = "a", extra = "x" } }, "messages[1].extra",
      "expected a table of names and values, got string" },
    { "an extra that would write a member twice", { { role = "user", content = "a", extra = { role = "system" } } },
      "messages[1].extra.role",
      "give `role` itself" },
    { "a member given twice", { { role = "user", content = "a", weight = 1, extra = { weight = 2 } } },
      "messages[1].extra.weight",
      "`weight` is also given directly" },
    { "tools of a message that are no tools",
      { { role = "developer", content = "a", tools = { { name = "f", paramters = {} } } } },
      "messages[1].tools[1].paramters", "unknown key (did you mean `parameters`?)" },
    { "near key of a call", { { role = "assistant", calls = { { id = "c1", name = "now", argumnets = {} } } } },
      "messages[1].calls[1].argumnets",
      "unknown key (did you mean `arguments`?)" },
    { "another program's key of a call", { { role = "assistant", calls = { { id = "c1", name = "now", args = {} } } } },
      "messages[1].calls[1].args", "unknown key (did you mean `arguments`?)" },
    { "near key of a function", { { role = "assistant",
      tool_calls = { { id = "c1", ["function"] = { name = "now", argument = "" } } } } },
      "messages[1].tool_calls[1].function.argument", "unknown key (did you mean `arguments`?)" },
    { "near key of an image", { { role = "user", content = { { type = "image", url = "http://x", detial = "low" } } } },
      "messages[1].content[1].detial",
      "unknown key (did you mean `detail`?)" },
    { "near key of a URL", { { role = "user",
      content = { { type = "image_url", image_url = { url = "http://x", detial = "low" } } } } },
      "messages[1].content[1].image_url.detial", "unknown key (did you mean `detail`?)" },
    { "a uuid of another type", { { role = "user", content = { { type = "image_url", uuid = 5 } } } },
      "messages[1].content[1].uuid",
      "expected a string that is not empty" },
    { "neither image nor uuid", { { role = "user", content = { { type = "image" } } } }, "messages[1].content[1]",
      "expected exactly one of url, bytes and data in the image" },
    { "near type of vLLM's own", { { role = "user", content = { { type = "prompt_embed", data = "AA==" } } } },
      "messages[1].content[1].type",
      "unknown type of part `prompt_embed` (did you mean `prompt_embeds`?)" },
    { "a type of another type", { { role = "user", content = { { type = 5 } } } }, "messages[1].content[1].type",
      "expected a string, got number" },
    { "a part for the server in a notification",
      { { role = "notification", content = { { type = "tool_reference", name = "f" } } } },
      "messages[1].content[1]", "a part of type tool_reference that is not only text, in a notification, which is" },
    { "text by position", { { role = "user", "a" } }, "messages[1][1]", "unknown key" },
    { "calls of a user", { { role = "user", content = "a", tool_calls = { {} } } }, "messages[1].tool_calls",
      "unknown key: it belongs to a message of role assistant" },
    { "no content", { { role = "user" } }, "messages[1].content", "missing" },
    { "null content", { { role = "system", content = null } }, "messages[1].content", "missing" },
    { "content of another type", { { role = "user", content = 5 } }, "messages[1].content",
      "expected a string or a list of parts, got number" },
    { "text of another type", { { role = "user", text = {} } }, "messages[1].text", "expected a string, got table" },
    { "text and content", { { role = "user", text = "a", content = "b" } }, "messages[1].text",
      "text and content are both given" },
    { "a name of another type", { { role = "user", content = "a", name = 1 } }, "messages[1].name",
      "expected a string that is not empty" },
    { "reasoning of another type", { { role = "assistant", reasoning = {} } }, "messages[1].reasoning",
      "expected a string, got table" },
    { "a part of another type", { { role = "user", content = { "a", 5 } } }, "messages[1].content[2]",
      "expected a string or a part (a table), got number" },
    { "a part without type", { { role = "user", content = { { text = "a" } } } }, "messages[1].content[1].type",
      "a part needs a type (text, image, audio, video, file, structured, …)" },
    { "an unknown part", { { role = "user", content = { { type = "imgae_url" } } } }, "messages[1].content[1].type",
      "unknown type of part `imgae_url` (did you mean `image_url`?)" },
    { "a custom part", { { role = "user", content = { { type = "custom" } } } }, "messages[1].content[1]",
      "custom parts cannot be sent: make text, structured or media of it" },
    { "a part's near key", { { role = "user", content = { { type = "text", tetx = "a" } } } },
      "messages[1].content[1].tetx", "unknown key (did you mean `text`?)" },
    { "a part's key of another program", { { role = "user", content = { { type = "text", content = "a" } } } },
      "messages[1].content[1].content",
      "unknown key (did you mean `text`?)" },
    { "a text part without text", { { role = "user", content = { { type = "text" } } } }, "messages[1].content[1].text",
      "expected a string, got nil" },
    { "reasoning of a user", { { role = "user", content = { { type = "reasoning", text = "r" } } } },
      "messages[1].content[1]", "reasoning belongs in an assistant message" },
    { "a call of a user", { { role = "user", content = { { type = "tool_call" } } } }, "messages[1].content[1]",
      "a tool call belongs in an assistant message" },
    { "a result of a user", { { role = "user", content = { { type = "tool_result" } } } }, "messages[1].content[1]",
      "a tool result belongs in a message of role tool" },
    { "an image of the system", { { role = "system", content = { png } } }, "messages[1].content[1]",
      "image in a message that can hold only text: put it in a user message" },
    { "a path that nobody read", { { role = "user", content = { { type = "image", path = "a.png" } } } },
      "messages[1].content[1].path", "only vllm.image{ path = … } reads files" },
    { "a path as URL", { { role = "user", content = { { type = "image", url = "cat.png" } } } },
      "messages[1].content[1].url",
      "expected a URL (http, https, data); for a local file use vllm.image{ path = … }" },
    { "bytes and URL", { { role = "user", content = { { type = "image", url = "http://x", bytes = "a" } } } },
      "messages[1].content[1]",
      "expected exactly one of url, bytes and data in the image" },
    { "bytes of an unknown type", { { role = "user", content = { { type = "video", bytes = "abc" } } } },
      "messages[1].content[1].mime",
      "cannot tell what kind of video this is: give mime" },
    { "a media type that would break out of a URL",
      { { role = "user", content = { { type = "image", bytes = "a", mime = "a/b,c" } } } },
        "messages[1].content[1].mime",
      "expected a media type such as image/png" },
    { "a binary file", { { role = "user", content = { { type = "file", bytes = "%PDF-1.7 x" } } } },
      "messages[1].content[1]",
      "a binary file (application/pdf) cannot be sent: vLLM takes text, images, audio and video; extract its text "
        .. "first" },
    { "a file that is no UTF-8", { { role = "user", content = { { type = "file", bytes = "caf\233" } } } },
      "messages[1].content[1].bytes",
      "a binary file (of unknown type) cannot be sent: vLLM takes text, images, audio and video; extract its text "
        .. "first (not valid UTF-8 at byte 4)" },
    { "a file kept by a server", { { role = "user", content = { { type = "file", file = { file_id = "f" } } } } },
      "messages[1].content[1].file.file_id",
      "vLLM keeps no files: send the contents" },
    { "a structured value that JSON cannot hold",
      { { role = "user", content = { { type = "structured", value = { a = { 0 / 0 } } } } } },
      "messages[1].content[1].value.a[1]", "JSON has no NaN and no infinity" },
  }

  it("an image that could not be read is named where it is missing", function()
    local text_, message, param = messages.encode { { role = "user",
      content = { "a", media.image { path = "/no/such.png" } } } }
    assert.is_nil(text_)
    assert.equal("messages[1].content[2]", param)
    assert.matches("^messages%[1%]%.content%[2%]: missing: .*/no/such%.png: No such file", message)
  end)
end)

describe("calls and results that do not fit", function()
  local function wire(arguments) return { role = "assistant",
    tool_calls = { { id = "c1", type = "function", ["function"] = { name = "now", arguments = arguments } } } } end
  refuses {
    { "an open call before another message", { ask "{}", "next" }, "messages[1].calls[1]",
      "no result follows call `c1` (vllm.repair or session:repair adds one)" },
    { "an open call at the end", { "q", wire "{}" }, "messages[2].tool_calls[1]",
      "no result follows call `c1` (vllm.repair or session:repair adds one)" },
    { "the second of two is open", { { role = "assistant",
      tool_calls = { { id = "c1", name = "now" }, { id = "c2", name = "now" } } }, OK }, "messages[1].tool_calls[2]",
      "no result follows call `c2` (vllm.repair or session:repair adds one)" },
    { "an open call in a part", { { role = "assistant",
      content = { { type = "tool_call", id = "c1", name = "now" } } } }, "messages[1].content",
      "no result follows call `c1` (vllm.repair or session:repair adds one)" },
    { "invalid arguments without a result", { wire '{"city":' }, "messages[1].tool_calls[1].function.arguments",
      "not a JSON object, and no result follows (vllm.repair or session:repair adds one)" },
    { "invalid arguments in the short form", { ask "5", "next" }, "messages[1].calls[1].arguments",
      "not a JSON object, and no result follows (vllm.repair or session:repair adds one)" },
    { "a result without a call", { "a", OK }, "messages[2].call",
      "no call with id `c1` in the assistant message before it (vllm.repair or session:repair drops such results)" },
    { "a result of an older turn", { ask "{}", OK, { role = "assistant", calls = { { id = "c2", name = "now" } } },
      { role = "tool", tool_call_id = "c1", content = "" } },
      "messages[4].tool_call_id",
        "no call with id `c1` in the assistant message before it (vllm.repair or session:repair drops such results)" },
    { "a second result", { ask "{}", OK, OK }, "messages[3].call",
      "call `c1` already has a result (vllm.repair or session:repair drops such results)" },
    { "a result without an id", { ask "{}", { role = "tool", result = "a" } }, "messages[2].tool_call_id",
      "expected the call's id (a string), or the call" },
    { "an error in its own key", { ask "{}", { role = "tool", call = "c1", error = "boom" } }, "messages[2].error",
      "unknown key; write result = \"…\", is_error = true" },
    { "another program's output", { ask "{}", { role = "tool", call = "c1", output = "a" } }, "messages[2].output",
      "unknown key (did you mean `result`?)" },
    { "result and content", { ask "{}", { role = "tool", call = "c1", result = "a", content = "b" } },
      "messages[2].result", "result and content are both given" },
    { "is_error of another type", { ask "{}", { role = "tool", call = "c1", result = "a", is_error = 1 } },
      "messages[2].is_error", "expected a boolean, got number" },
    { "a result that JSON cannot hold", { ask "{}", { role = "tool", call = "c1", result = { a = print } } },
      "messages[2].result.a", "a function is not a JSON value" },
    { "calls twice", { { role = "assistant", calls = { {} }, tool_calls = { {} } } }, "messages[1].calls",
      "calls and tool_calls are both given" },
    { "one call for a list", { { role = "assistant", calls = { id = "c1", name = "now" } } }, "messages[1].calls",
      "expected a list of calls, got one call: put it in braces" },
    { "a call without id", { { role = "assistant", calls = { { name = "now" } } } }, "messages[1].calls[1].id",
      "expected the call's id (a string that is not empty)" },
    { "a call without name", { { role = "assistant", calls = { { id = "c1" } } } }, "messages[1].calls[1].name",
      "expected the tool's name (a string)" },
    { "a wire call without name", { { role = "assistant", tool_calls = { { id = "c1", ["function"] = {} } } } },
      "messages[1].tool_calls[1].function.name",
      "expected the tool's name (a string)" },
    { "a call's near key", { { role = "assistant", calls = { { id = "c1", name = "now", argumnets = "{}" } } } },
      "messages[1].calls[1].argumnets", "unknown key (did you mean `arguments`?)" },
    { "a call of another type", { { role = "assistant", calls = { { id = "c1", name = "now", type = "code" } } } },
      "messages[1].calls[1].type",
      "calls of type `code` cannot be sent, only functions" },
    { "arguments of another type", { ask(5) }, "messages[1].calls[1].arguments",
      "expected a JSON text or a table, got number" },
    { "arguments that are a list", { ask { 1, 2 } }, "messages[1].calls[1].arguments", "not a JSON object" },
  }
end)

describe("notes of the caller's own that point back", function()
  it("do not make the search for a fault endless", function()
    local content = {}
    for i = 1, 60 do content[i] = { type = "text", text = "fine " .. i, _all = content } end
    content[61] = { type = "text", text = "b\255" }
    local json, why = messages.encode { { role = "user", content = content } }
    assert.is_nil(json)
    assert.equal("not valid UTF-8 at byte 2 (vllm.text(bytes) repairs it)", why:match(": (.*)$"))
  end)
end)

describe("text that is not UTF-8", function()
  refuses {
    { "a string", { "fine", "ab\255" }, "messages[2]", "not valid UTF-8 at byte 3 (vllm.text(bytes) repairs it)" },
    { "content", { { role = "user", content = "\128" } }, "messages[1].content",
      "not valid UTF-8 at byte 1 (vllm.text(bytes) repairs it)" },
    { "a part", { { role = "user", content = { "a", { type = "text", text = "b\237\160\128" } } } },
      "messages[1].content[2].text", "not valid UTF-8 at byte 2 (vllm.text(bytes) repairs it)" },
    { "arguments", { { role = "assistant", calls = { { id = "c1", name = "now", arguments = '{"a":"\255"}' } } }, OK },
      "messages[1].calls[1].arguments", "not valid UTF-8 at byte 7 (vllm.text(bytes) repairs it)" },
    { "in a merge", { "a", "b\255", "c" }, "messages[2]", "not valid UTF-8 at byte 2 (vllm.text(bytes) repairs it)",
      { strict_alternating_roles = true } },
  }
end)

describe("a body beyond its bound", function()
  refuses {
    { "names the option", { ("x"):rep(100) }, "messages", "exceeds max_body_bytes", { max_body_bytes = 64 } },
  }
end)

-- Shapes at random, from a generator of our own so that a failure comes back on every machine.
describe("hostile input", function()
  local seed
  local function random(n)
    seed = (seed * 16807) % 2147483647
    return seed % n + 1
  end
  local function pick(list) return list[random(#list)] end

  local values = { "a", "", "\255", "c1", "{}", "data:,x", "http://x/y", "text", "image", "user", 0, -1, 1.5, true,
    false, null, print, {}, { "a" }, { {} } }
  local keys = { "role", "kind", "content", "text", "calls", "tool_calls", "tool_call_id", "call", "result", "is_error",
    "reasoning", "refusal", "audio", "name", "_x", "zzz", "extra", "tools", "prefix", 1, 2, true }
  local part_keys = { "type", "text", "url", "bytes", "data", "mime", "image_url", "input_audio", "file", "value",
    "modality", "id", "name", "arguments", "function", "thinking", "uuid", "extra", "zzz", 1 }
  local types = { "text", "image", "audio", "video", "file", "media", "structured", "reasoning", "tool_call",
    "tool_result", "image_url", "input_audio", "custom", "function", "prompt_embeds", "odd" }
  local roles = { "system", "context", "developer", "user", "notification", "assistant", "tool", "observation" }

  local function object(depth, some_keys)
    local out = {}
    for _ = 1, random(4) - 1 do out[pick(some_keys)] = pick(values) end
    if some_keys == part_keys and random(3) > 1 then out.type = pick(types) end
    if depth > 0 and random(2) == 1 then out[pick(some_keys)] = { object(depth - 1, part_keys),
      object(depth - 1, part_keys) } end
    return out
  end
  local function message()
    if random(8) == 1 then return pick(values) end
    local out = object(2, keys)
    if random(4) > 1 then out.role = pick(roles) end
    if random(3) == 1 then out.content = { object(1, part_keys), pick(values) } end
    if random(3) == 1 then out.calls = { { id = "c1", name = "now", arguments = pick(values) } } end
    return out
  end

  it("never throws: it is either JSON or a message that begins with its place", function()
    seed = 20240607
    local sent = 0
    for _ = 1, 6000 do
      local list = {}
      for i = 1, random(4) do list[i] = message() end
      local options = { strict_alternating_roles = pick { false, true,
        { system = "fold", assistant = "join", first = "filler" } },
          reasoning_replay = pick { "never", "always", "tool_turns" },
        tool_media = pick { "parts", "text" } }
      local json, why, param = messages.encode(list, options)
      if json then
        sent = sent + 1
        assert(core.json_check(json))
      else
        assert.equal("messages", param:sub(1, 8))
        assert.equal(param .. ": ", why:sub(1, #param + 2))
      end
    end
    assert.is_true(sent > 100, sent .. " lists were sent")
  end)
end)
