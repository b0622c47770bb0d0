-- What a Lua user writes as messages, and the exact bytes that become of it.

local core = require "vllm.core"
local media = require "vllm.request.media"
local messages = require "vllm.request.messages"
local spelling = require "vllm.base.spelling"

local null = core.null

local PNG = "\137PNG\r\n\26\n"
local PNG64 = "iVBORw0KGgo="

local function encode(list, options)
  local text, message, param = messages.encode(list, options)
  assert.is_nil(message and (message .. " [" .. tostring(param) .. "]"))
  return text
end

-- { { what, list, expected, options }, … }
local function accepts(cases)
  for _, case in ipairs(cases) do
    it(case[1], function() assert.equal(case[3], encode(case[2], case[4])) end)
  end
end

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

local function user(content) return '{"content":' .. content .. ',"role":"user"}' end
local function system(content) return '{"content":' .. content .. ',"role":"system"}' end
local function said(content) return '{"content":' .. content .. ',"role":"assistant"}' end
local function result(content, id) return '{"content":' .. content .. ',"role":"tool","tool_call_id":"' .. (id or "c1") .. '"}' end
local function text(value) return '{"text":"' .. value .. '","type":"text"}' end
local function image(url) return '{"image_url":{"url":"' .. url .. '"},"type":"image_url"}' end
local function called(arguments, id)
  return '{"role":"assistant","tool_calls":[{"function":{"arguments":' .. arguments .. ',"name":"now"},"id":"'
    .. (id or "c1") .. '","type":"function"}]}'
end

local function ask(arguments, id) return { role = "assistant", calls = { { id = id or "c1", name = "now", arguments = arguments } } } end
local OK = { role = "tool", call = "c1", result = "ok" }

describe("short forms", function()
  accepts {
    { "a string instead of a list", "hi", "[" .. user '"hi"' .. "]" },
    { "strings among messages", { "a", { role = "assistant", text = "b" }, "c" },
      "[" .. user '"a"' .. "," .. said '"b"' .. "," .. user '"c"' .. "]" },
    { "text for content", { { role = "user", text = "a" } }, "[" .. user '"a"' .. "]" },
    { "text and content that agree", { { role = "user", text = "a", content = "a" } }, "[" .. user '"a"' .. "]" },
    { "strings among parts", { { role = "user", content = { "a", { type = "text", text = "b" } } } },
      "[" .. user("[" .. text "a" .. "," .. text "b" .. "]") .. "]" },
    { "one text part is a string", { { role = "user", content = { { type = "text", text = "a" } } } }, "[" .. user '"a"' .. "]" },
    { "one part without a list", { { role = "user", content = { type = "text", text = "a" } } }, "[" .. user '"a"' .. "]" },
    { "an empty list of parts is an empty text", { { role = "user", content = {} } }, "[" .. user '""' .. "]" },
    { "kind for role", { { kind = "system", text = "a" } }, "[" .. system '"a"' .. "]" },
    { "every kind", {
      { kind = "system", text = "s" }, { kind = "context", text = "c" }, { kind = "developer", text = "d" },
      { kind = "notification", text = "n" }, { kind = "user", text = "u" }, { kind = "assistant", text = "a" },
    }, "[" .. system '"s"' .. "," .. system '"c"' .. ',{"content":"d","role":"developer"},'
      .. user '"<system-reminder>\\nn\\n</system-reminder>"' .. "," .. user '"u"' .. "," .. said '"a"' .. "]" },
    { "names", { { role = "user", name = "ann", content = "a" } }, '[{"content":"a","name":"ann","role":"user"}]' },
    { "notes of the caller and the keys of results stay here",
      { { role = "user", content = "a", _seen = true, id = "x", metadata = { a = 1 }, usage = {} } }, "[" .. user '"a"' .. "]" },
  }
end)

describe("wire messages", function()
  accepts {
    { "a call and its result", {
      { role = "assistant", content = null, tool_calls = {
        { id = "c1", type = "function", ["function"] = { name = "now", arguments = '{"z":1e2, "a":12345678901234567890123}' } } } },
      { role = "tool", tool_call_id = "c1", content = "ok" },
    }, "[" .. called '"{\\"z\\":1e2, \\"a\\":12345678901234567890123}"' .. "," .. result '"ok"' .. "]" },
    { "a whole message of vLLM, nulls and empty list included", { "q",
      { role = "assistant", content = "a", refusal = null, annotations = null, audio = null, function_call = null, tool_calls = {},
        reasoning = null, reasoning_content = null } }, "[" .. user '"q"' .. "," .. said '"a"' .. "]" },
    { "content null with calls", { { role = "assistant", content = null, tool_calls = { { id = "c1", name = "now" } } }, OK },
      "[" .. called '"{}"' .. "," .. result '"ok"' .. "]" },
    { "text parts under all their names", { { role = "user", content = {
      { type = "input_text", text = "a" }, { type = "output_text", text = "b" }, { type = "refusal", refusal = "c" } } } },
      "[" .. user("[" .. text "a" .. "," .. text "b" .. "," .. text "c" .. "]") .. "]" },
    { "images with and without detail", { { role = "user", content = {
      { type = "image_url", image_url = { url = "http://x/a", detail = "low" } }, { type = "image_url", image_url = "data:image/png;base64,AA==" } } } },
      "[" .. user '[{"image_url":{"detail":"low","url":"http://x/a"},"type":"image_url"},{"image_url":{"url":"data:image/png;base64,AA=="},"type":"image_url"}]' .. "]" },
    { "audio and video", { { role = "user", content = {
      { type = "input_audio", input_audio = { data = "AA==", format = "wav" } }, { type = "video_url", video_url = { url = "http://x/v" } },
      { type = "audio_url", audio_url = { url = "http://x/s" } } } } },
      "[" .. user '[{"input_audio":{"data":"AA==","format":"wav"},"type":"input_audio"},{"type":"video_url","video_url":{"url":"http://x/v"}},{"audio_url":{"url":"http://x/s"},"type":"audio_url"}]' .. "]" },
    { "vLLM's uuid of a cached image", { { role = "user", content = { { type = "image_url", image_url = { url = "http://x/a" }, uuid = "u1" } } } },
      "[" .. user '[{"image_url":{"url":"http://x/a"},"type":"image_url","uuid":"u1"}]' .. "]" },
    { "tool content as a list of texts", { ask "{}", { role = "tool", tool_call_id = "c1", content = { { type = "text", text = "a" }, { type = "text", text = "b" } } } },
      "[" .. called '"{}"' .. "," .. result '"a\\n\\nb"' .. "]" },
  }
end)

describe("calls", function()
  accepts {
    { "table arguments have one spelling", { ask { b = 1, a = { 2, 3 } }, OK },
      "[" .. called '"{\\"a\\":[2,3],\\"b\\":1}"' .. "," .. result '"ok"' .. "]" },
    { "empty table arguments are an object", { ask {}, OK }, "[" .. called '"{}"' .. "," .. result '"ok"' .. "]" },
    { "input stands in for arguments", { { role = "assistant", tool_calls = { { id = "c1", name = "now", input = { a = 1 } } } }, OK },
      "[" .. called '"{\\"a\\":1}"' .. "," .. result '"ok"' .. "]" },
    { "a call as results have it", { { role = "assistant", tool_calls = {
      { type = "tool_call", choice = 0, index = 0, id = "c1", name = "now", arguments = '{"a": 1}', input = { a = 1 } } } }, OK },
      "[" .. called '"{\\"a\\": 1}"' .. "," .. result '"ok"' .. "]" },
    { "a call as a part", { { role = "assistant", content = { "x", { type = "tool_call", id = "c1", name = "now", arguments = {} } } }, OK },
      '[{"content":"x","role":"assistant",' .. called('"{}"'):sub(21) .. "," .. result '"ok"' .. "]" },
    { "a call that the model made invalid goes out as {} with its result", { ask '{"city":', OK },
      "[" .. called '"{}"' .. "," .. result '"ok"' .. "]" },
    { "blank arguments mean {}", { ask "", OK }, "[" .. called '"{}"' .. "," .. result '"ok"' .. "]" },
    { "arguments that are a list go out as {}", { ask "[1]", OK }, "[" .. called '"{}"' .. "," .. result '"ok"' .. "]" },
    { "an id that returns in a later turn", { ask "{}", OK, ask "{}", OK },
      "[" .. called '"{}"' .. "," .. result '"ok"' .. "," .. called '"{}"' .. "," .. result '"ok"' .. "]" },
    { "one id twice in one message takes two results", {
      { role = "assistant", calls = { { id = "c1", name = "now" }, { id = "c1", name = "now" } } }, OK, OK },
      '[{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":"now"},"id":"c1","type":"function"},{"function":{"arguments":"{}","name":"now"},"id":"c1","type":"function"}]},'
      .. result '"ok"' .. "," .. result '"ok"' .. "]" },
    { "an empty assistant message does not separate a call from its result", { ask "{}", { role = "assistant", content = "" }, OK },
      "[" .. called '"{}"' .. "," .. result '"ok"' .. "]" },
    { "a call to which the model gave no name", { { role = "assistant", calls = { { id = "c1", name = "", arguments = "{}" } } }, OK },
      '[{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":""},"id":"c1","type":"function"}]},' .. result '"ok"' .. "]" },
    { "a name nobody would register", { { role = "assistant", calls = { { id = "c1", name = "a.b c", arguments = "{}" } } }, OK },
      '[{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":"a.b c"},"id":"c1","type":"function"}]},' .. result '"ok"' .. "]" },
  }
end)

describe("results", function()
  local function answer(value, more)
    local message = { role = "tool", call = "c1", result = value }
    for key, item in pairs(more or {}) do message[key] = item end
    return { ask "{}", message }
  end
  local function out(content) return "[" .. called '"{}"' .. "," .. result(content) .. "]" end
  local AS_TEXT = { tool_media = "text" }
  accepts {
    { "text as it is", answer "a\nb", out '"a\\nb"' },
    { "a table as compact JSON", answer { b = { 1, 2 }, a = true }, out [["{\"a\":true,\"b\":[1,2]}"]] },
    { "a list of strings is data", answer { "a", "b" }, out [["[\"a\",\"b\"]"]] },
    { "an empty table", answer {}, out '"{}"' },
    { "numbers and booleans", answer(12), out '"12"' },
    { "false is a result", answer(false), out '"false"' },
    { "nothing is an empty text", answer(nil), out '""' },
    { "rows that happen to have a type are data", answer { { type = "file", path = "/a" }, { type = "dir", path = "/b" } },
      out [["[{\"path\":\"/a\",\"type\":\"file\"},{\"path\":\"/b\",\"type\":\"dir\"}]"]] },
    { "and so is one", answer { type = "circle", radius = 3 }, out [["{\"radius\":3,\"type\":\"circle\"}"]] },
    { "text parts", answer { { type = "text", text = "a" }, "b" }, out '"a\\n\\nb"' },
    { "media are parts", answer { "shot:", { type = "image", bytes = PNG } },
      out("[" .. text "shot:" .. "," .. image("data:image/png;base64," .. PNG64) .. "]") },
    { "media by URL", answer { type = "image", url = "http://x/a.png" }, out("[" .. image "http://x/a.png" .. "]") },
    { "media as other protocols have it", answer { { type = "image", data = PNG64, mimeType = "image/png" } },
      out("[" .. image("data:image/png;base64," .. PNG64) .. "]") },
    { "sound and video, too", answer { { type = "audio", bytes = "ID3", mime = "audio/mpeg" }, { type = "video", url = "http://x/v" } },
      out '[{"input_audio":{"data":"SUQz","format":"mp3"},"type":"input_audio"},{"type":"video_url","video_url":{"url":"http://x/v"}}]' },
    { "a failure with media", answer({ "black:", { type = "image", url = "http://x/a.png" } }, { is_error = true }),
      out("[" .. text "Error:" .. "," .. text "black:" .. "," .. image "http://x/a.png" .. "]") },
    { "found tools", answer { { type = "tool_reference", name = "get_weather" } }, out '[{"name":"get_weather","type":"tool_reference"}]' },
    { "media as a readable mark, where that is wanted", answer { "shot:", { type = "image", bytes = PNG .. "xx" } },
      out '"shot:\\n\\n[image image/png, 10 bytes]"', AS_TEXT },
    { "a mark of a URL", answer { type = "image", url = "http://x/a.png" }, out '"[image http://x/a.png]"', AS_TEXT },
    { "a mark of base64", answer { { type = "image", data = PNG64, mimeType = "image/png" } }, out '"[image, as data of 34 bytes]"', AS_TEXT },
    { "a mark of what the server knows", answer { { type = "image", uuid = "u1" } }, out '"[image]"', AS_TEXT },
    { "a structured part", answer { { type = "structured", value = { a = 1 } } }, out [["{\"a\":1}"]] },
    { "a text file", answer { { type = "file", text = "x", name = "a.txt" } }, out '"Attached file: a.txt\\n\\nx"' },
    { "a failure says so", answer("no disk", { is_error = true }), out '"Error: no disk"' },
    { "a failure that says so already", answer("Error: no disk", { is_error = true }), out '"Error: no disk"' },
    { "a failed table", answer({ code = 1 }, { is_error = true }), out [["Error: {\"code\":1}"]] },
    { "a failure without a word", answer(nil, { is_error = true }), out '"Error: the tool gave no details"' },
    { "is_error false", answer("fine", { is_error = false }), out '"fine"' },
    { "the call itself", { ask "{}", { role = "tool", call = { id = "c1", name = "now" }, result = "ok" } }, out '"ok"' },
    { "a list of tool_result parts is a message each", {
      { role = "assistant", calls = { { id = "c1", name = "now" }, { id = "c2", name = "now" } } },
      { role = "tool", content = { { type = "tool_result", call_id = "c1", output = "a" }, { type = "tool_result", call = "c2", result = { 1 }, is_error = true } } } },
      '[{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":"now"},"id":"c1","type":"function"},{"function":{"arguments":"{}","name":"now"},"id":"c2","type":"function"}]},'
      .. result '"a"' .. "," .. result('"Error: [1]"', "c2") .. "]" },
  }
end)

describe("assistant messages", function()
  accepts {
    { "several texts are an array", { { role = "assistant", content = { "a", "", "b" } } },
      "[" .. said("[" .. text "a" .. "," .. text "b" .. "]") .. "]" },
    { "structured text is compact", { { role = "assistant", content = { { type = "structured", value = { a = { 1 } } } } } },
      "[" .. said [["{\"a\":[1]}"]] .. "]" },
    { "a refusal is kept as text", { { role = "assistant", refusal = "no" } }, "[" .. said '"no"' .. "]" },
    { "generated images leave a mark", { { role = "assistant", content = { "here:", { type = "image", url = "data:image/png;base64,AA==" } } } },
      "[" .. said("[" .. text "here:" .. "," .. text "[image, as data of 26 bytes]" .. "]") .. "]" },
    { "speech goes back as its words", { { role = "assistant", content = null, audio = { id = "a1", data = "AA==", transcript = "hello" } } }, "[" .. said '"hello"' .. "]" },
    { "speech without words leaves a mark", { { role = "assistant", content = null, audio = { id = "a1" } } }, "[" .. said '"[audio]"' .. "]" },
    { "empty ones are left out", { "a", { role = "assistant", content = "" }, { role = "assistant" }, { role = "assistant", reasoning = "r" }, "b" },
      "[" .. user '"a"' .. "," .. user '"b"' .. "]" },
  }
end)

describe("reasoning", function()
  local function history()
    return { { role = "assistant", reasoning = "why", content = "a" },
      { role = "assistant", content = { { type = "thinking", thinking = "so" } }, calls = { { id = "c1", name = "now" } } }, OK }
  end
  local plain, thinking = said '"a"', '{"content":"a","reasoning":"why","role":"assistant"}'
  local function with(field) return '{"' .. field .. '":"so",' .. called('"{}"'):sub(2) end
  local rest = "," .. result '"ok"' .. "]"
  accepts {
    { "is not replayed by default", history(), "[" .. plain .. "," .. called '"{}"' .. rest },
    { "never", history(), "[" .. plain .. "," .. called '"{}"' .. rest, { reasoning_replay = "never" } },
    { "tool_turns: where there are calls", history(), "[" .. plain .. "," .. with "reasoning" .. rest, { reasoning_replay = "tool_turns" } },
    { "always", history(), "[" .. thinking .. "," .. with "reasoning" .. rest, { reasoning_replay = "always" } },
    { "under another field", history(), "[" .. plain .. "," .. with "reasoning_content" .. rest,
      { reasoning_replay = "tool_turns", reasoning_field = "reasoning_content" } },
    { "reasoning_content is read, too", { { role = "assistant", reasoning = "", reasoning_content = "why", content = "a" } }, "[" .. thinking .. "]",
      { reasoning_replay = "always" } },
    { "a message of reasoning alone is sent when it is replayed", { "q", { role = "assistant", reasoning = "r" } },
      "[" .. user '"q"' .. ',{"reasoning":"r","role":"assistant"}]', { reasoning_replay = "always" } },
  }
end)

describe("user content", function()
  local function parts(...) return { { role = "user", content = { ... } } } end
  accepts {
    { "structured is indented JSON", parts { type = "structured", value = { b = 1, a = "x" } }, "[" .. user [["{\n  \"a\": \"x\",\n  \"b\": 1\n}"]] .. "]" },
    { "an image of bytes, its type seen", parts("a", { type = "image", bytes = PNG }),
      "[" .. user("[" .. text "a" .. "," .. image("data:image/png;base64," .. PNG64) .. "]") .. "]" },
    { "an image of base64", parts { type = "image", data = PNG64, mimeType = "image/png" }, "[" .. user("[" .. image("data:image/png;base64," .. PNG64) .. "]") .. "]" },
    { "a media part with its modality", parts { type = "media", modality = "image", url = "https://x/a" }, "[" .. user("[" .. image "https://x/a" .. "]") .. "]" },
    { "a file of the server's disk", parts { type = "image", url = "file:///data/a.png" }, "[" .. user("[" .. image "file:///data/a.png" .. "]") .. "]" },
    { "audio of bytes", parts { type = "audio", bytes = "ID3", mime = "audio/mpeg" }, "[" .. user '[{"input_audio":{"data":"SUQz","format":"mp3"},"type":"input_audio"}]' .. "]" },
    { "audio of another format keeps its name", parts { type = "audio", bytes = "fLaC" }, "[" .. user '[{"input_audio":{"data":"ZkxhQw==","format":"flac"},"type":"input_audio"}]' .. "]" },
    { "audio of a data URL", parts { type = "audio", url = "data:audio/x-wav;base64,AA==" }, "[" .. user '[{"input_audio":{"data":"AA==","format":"wav"},"type":"input_audio"}]' .. "]" },
    { "audio by URL", parts { type = "audio", url = "http://x/a.wav" }, "[" .. user '[{"audio_url":{"url":"http://x/a.wav"},"type":"audio_url"}]' .. "]" },
    { "video of bytes", parts { type = "video", bytes = "\0\0\0\24ftypisom" }, "[" .. user '[{"type":"video_url","video_url":{"url":"data:video/mp4;base64,AAAAGGZ0eXBpc29t"}}]' .. "]" },
    { "video by URL", parts { type = "video", url = "http://x/v" }, "[" .. user '[{"type":"video_url","video_url":{"url":"http://x/v"}}]' .. "]" },
    { "a text file reaches the model", parts { type = "file", bytes = "a = 1\n", name = "x.lua", mime = "text/x-lua" }, "[" .. user '"Attached file: x.lua (text/x-lua)\\n\\na = 1\\n"' .. "]" },
    { "a file without a name", parts { type = "file", text = "a" }, "[" .. user '"Attached file\\n\\na"' .. "]" },
    { "an image file is an image", parts { type = "file", bytes = PNG, name = "a.png" }, "[" .. user("[" .. image("data:image/png;base64," .. PNG64) .. "]") .. "]" },
    { "the wire's file part", parts { type = "file", file = { filename = "a.txt", file_data = "data:text/plain;base64,aGk=" } }, "[" .. user '"Attached file: a.txt (text/plain)\\n\\nhi"' .. "]" },
    { "what a constructor makes", parts(media.image { url = "http://x/a", detail = "high" }), "[" .. user '[{"image_url":{"detail":"high","url":"http://x/a"},"type":"image_url"}]' .. "]" },
    { "control characters and all planes", parts "\0\t\"\\\127 \195\169 \240\159\152\128", '[{"content":"\\u0000\\t\\"\\\\\127 \195\169 \240\159\152\128","role":"user"}]' },
  }
end)

describe("system content", function()
  accepts {
    { "texts are joined by a blank line", { { role = "system", content = { "a", "b" } } }, "[" .. system '"a\\n\\nb"' .. "]" },
    { "a text file", { { role = "context", content = { "Notes:", { type = "file", text = "x", name = "n" } } } }, "[" .. system '"Notes:\\n\\nAttached file: n\\n\\nx"' .. "]" },
    { "structured, indented", { { role = "notification", content = { { type = "structured", value = { a = 1 } } } } },
      "[" .. user [["<system-reminder>\n{\n  \"a\": 1\n}\n</system-reminder>"]] .. "]" },
  }
end)

describe("strict_alternating_roles", function()
  local strict = { strict_alternating_roles = true }
  local function with(merge) return { strict_alternating_roles = merge } end
  local late = { { role = "system", text = "s" }, "x", { role = "context", text = "c" }, "y" }
  accepts {
    { "false merges nothing", { "x", "y" }, "[" .. user '"x"' .. "," .. user '"y"' .. "]", with(false) },
    { "true merges users into an array", { "x", { role = "assistant" }, "y", { role = "notification", text = "n" } },
      "[" .. user("[" .. text "x" .. "," .. text "y" .. "," .. text "<system-reminder>\\nn\\n</system-reminder>" .. "]") .. "]", strict },
    { "true leaves system and assistants alone", { "x", { role = "context", text = "c" }, "y", { role = "assistant", text = "a" }, { role = "assistant", text = "b" } },
      "[" .. user '"x"' .. "," .. system '"c"' .. "," .. user '"y"' .. "," .. said '"a"' .. "," .. said '"b"' .. "]", strict },
    { "fold", late, "[" .. system '"s\\n\\nc"' .. "," .. user("[" .. text "x" .. "," .. text "y" .. "]") .. "]", with { system = "fold" } },
    { "fold makes a system message at the front", { "x", { role = "developer", text = "d" } }, "[" .. system '"d"' .. "," .. user '"x"' .. "]", with { system = "fold" } },
    { "join", { "x", { role = "assistant", text = "a" }, { role = "assistant", text = "b", calls = { { id = "c1", name = "now" } } }, OK },
      "[" .. user '"x"' .. ',{"content":"a\\n\\nb",' .. called('"{}"'):sub(2) .. "," .. result '"ok"' .. "]", with { assistant = "join" } },
    { "filler", { { role = "assistant", text = "a" }, "x" }, "[" .. user '"."' .. "," .. said '"a"' .. "," .. user '"x"' .. "]", with { first = "filler" } },
    { "a filler of one's own", { { role = "system", text = "s" }, { role = "assistant", text = "a" } }, "[" .. system '"s"' .. "," .. user '"Go on."' .. "," .. said '"a"' .. "]",
      with { first = "Go on." } },
  }
end)

describe("a list that cannot be sent", function()
  refuses {
    { "no list", 12, "messages", "expected a list of messages or a string, got number" },
    { "one message", { role = "user", content = "a" }, "messages", "expected a list, got one message: put it in braces" },
    { "empty", {}, "messages", "nothing to send (no message, or only empty ones of the assistant)" },
    { "only empty messages", { { role = "assistant" } }, "messages", "nothing to send (no message, or only empty ones of the assistant)" },
    { "a stray key", { "a", x = 1 }, "messages.x", "expected a list, got a table with keys" },
    { "a hole", { "a", nil, "b" }, "messages[2]", "missing (a constructor such as vllm.image gives nil when it fails)" },
    { "a number", { "a", 5 }, "messages[2]", "expected a message (a table) or a string, got number" },
  }
end)

describe("a message that cannot be sent", function()
  local png = { type = "image", bytes = PNG }
  refuses {
    { "no role", { { content = "a" } }, "messages[1].role", 'missing: a message is { role = "…", content = "…" }' },
    { "another program's role", { { role = "human", content = "a" } }, "messages[1].role", "unknown role `human` (did you mean `user`?)" },
    { "a role in capitals", { { role = "USER", content = "a" } }, "messages[1].role", "unknown role `USER` (did you mean `user`?)" },
    { "an empty role", { { role = "", content = "a" } }, "messages[1].role", "expected a string that is not empty, got string" },
    { "a role of another type", { { role = 5, content = "a" } }, "messages[1].role", "expected a string that is not empty, got number" },
    { "a call before an unknown role", { ask "{}", { role = "observation", content = "a" } }, "messages[1].calls[1]",
      "no result follows call `c1` (vllm.repair or session:repair adds one)" },
    { "near role", { { role = "asistant", content = "a" } }, "messages[1].role", "unknown role `asistant` (did you mean `assistant`?)" },
    { "role and kind", { { role = "user", kind = "system", content = "a" } }, "messages[1].kind", "role and kind are both given, and differ" },
    { "near key", { { role = "user", contnet = "a" } }, "messages[1].contnet", "unknown key (did you mean `content`?)" },
    { "near key of the wire", { { role = "assistant", content = "a", reasoning_contnet = "r" } }, "messages[1].reasoning_contnet",
      "unknown key (did you mean `reasoning_content`?)" },
    { "another program's key for media", { { role = "user", content = "a", images = { "AA==" } } }, "messages[1].images",
      'media go into content: { "…", vllm.image{ … } }' },
    { "another program's key for calls", { { role = "assistant", content = "a", toolInvocations = {} } }, "messages[1].toolInvocations",
      "unknown key (did you mean `tool_calls`?)" },
    { "another program's key for content", { { role = "user", parts = { "a" } } }, "messages[1].parts", "unknown key (did you mean `content`?)" },
    { "an unknown member that JSON cannot hold", { { role = "user", content = "a", weight = { 1, print } } }, "messages[1].weight[2]",
      "a function is not a JSON value" },
    { "an extra that is no table", { { role = "user", content = "a", extra = "x" } }, "messages[1].extra",
      "expected a table of names and values, got string" },
    { "an extra that would write a member twice", { { role = "user", content = "a", extra = { role = "system" } } }, "messages[1].extra.role",
      "give `role` itself" },
    { "a member given twice", { { role = "user", content = "a", weight = 1, extra = { weight = 2 } } }, "messages[1].extra.weight",
      "`weight` is also given directly" },
    { "tools of a message that are no tools", { { role = "developer", content = "a", tools = { { name = "f", paramters = {} } } } },
      "messages[1].tools[1].paramters", "unknown key (did you mean `parameters`?)" },
    { "near key of a call", { { role = "assistant", calls = { { id = "c1", name = "now", argumnets = {} } } } }, "messages[1].calls[1].argumnets",
      "unknown key (did you mean `arguments`?)" },
    { "another program's key of a call", { { role = "assistant", calls = { { id = "c1", name = "now", args = {} } } } },
      "messages[1].calls[1].args", "unknown key (did you mean `arguments`?)" },
    { "near key of a function", { { role = "assistant", tool_calls = { { id = "c1", ["function"] = { name = "now", argument = "" } } } } },
      "messages[1].tool_calls[1].function.argument", "unknown key (did you mean `arguments`?)" },
    { "near key of an image", { { role = "user", content = { { type = "image", url = "http://x", detial = "low" } } } }, "messages[1].content[1].detial",
      "unknown key (did you mean `detail`?)" },
    { "near key of a URL", { { role = "user", content = { { type = "image_url", image_url = { url = "http://x", detial = "low" } } } } },
      "messages[1].content[1].image_url.detial", "unknown key (did you mean `detail`?)" },
    { "a uuid of another type", { { role = "user", content = { { type = "image_url", uuid = 5 } } } }, "messages[1].content[1].uuid",
      "expected a string that is not empty" },
    { "neither image nor uuid", { { role = "user", content = { { type = "image" } } } }, "messages[1].content[1]",
      "expected exactly one of url, bytes and data in the image" },
    { "near type of vLLM's own", { { role = "user", content = { { type = "prompt_embed", data = "AA==" } } } }, "messages[1].content[1].type",
      "unknown type of part `prompt_embed` (did you mean `prompt_embeds`?)" },
    { "a type of another type", { { role = "user", content = { { type = 5 } } } }, "messages[1].content[1].type", "expected a string, got number" },
    { "a part for the server in a notification", { { role = "notification", content = { { type = "tool_reference", name = "f" } } } },
      "messages[1].content[1]", "a part of type tool_reference that is not only text, in a notification, which is" },
    { "text by position", { { role = "user", "a" } }, "messages[1][1]", "unknown key" },
    { "calls of a user", { { role = "user", content = "a", tool_calls = { {} } } }, "messages[1].tool_calls",
      "unknown key: it belongs to a message of role assistant" },
    { "no content", { { role = "user" } }, "messages[1].content", "missing" },
    { "null content", { { role = "system", content = null } }, "messages[1].content", "missing" },
    { "content of another type", { { role = "user", content = 5 } }, "messages[1].content", "expected a string or a list of parts, got number" },
    { "text of another type", { { role = "user", text = {} } }, "messages[1].text", "expected a string, got table" },
    { "text and content", { { role = "user", text = "a", content = "b" } }, "messages[1].text", "text and content are both given" },
    { "a name of another type", { { role = "user", content = "a", name = 1 } }, "messages[1].name", "expected a string that is not empty" },
    { "reasoning of another type", { { role = "assistant", reasoning = {} } }, "messages[1].reasoning", "expected a string, got table" },
    { "a part of another type", { { role = "user", content = { "a", 5 } } }, "messages[1].content[2]", "expected a string or a part (a table), got number" },
    { "a part without type", { { role = "user", content = { { text = "a" } } } }, "messages[1].content[1].type",
      "a part needs a type (text, image, audio, video, file, structured, …)" },
    { "an unknown part", { { role = "user", content = { { type = "imgae_url" } } } }, "messages[1].content[1].type", "unknown type of part `imgae_url` (did you mean `image_url`?)" },
    { "a custom part", { { role = "user", content = { { type = "custom" } } } }, "messages[1].content[1]", "custom parts cannot be sent: make text, structured or media of it" },
    { "a part's near key", { { role = "user", content = { { type = "text", tetx = "a" } } } }, "messages[1].content[1].tetx", "unknown key (did you mean `text`?)" },
    { "a part's key of another program", { { role = "user", content = { { type = "text", content = "a" } } } }, "messages[1].content[1].content",
      "unknown key (did you mean `text`?)" },
    { "a text part without text", { { role = "user", content = { { type = "text" } } } }, "messages[1].content[1].text", "expected a string, got nil" },
    { "reasoning of a user", { { role = "user", content = { { type = "reasoning", text = "r" } } } }, "messages[1].content[1]", "reasoning belongs in an assistant message" },
    { "a call of a user", { { role = "user", content = { { type = "tool_call" } } } }, "messages[1].content[1]", "a tool call belongs in an assistant message" },
    { "a result of a user", { { role = "user", content = { { type = "tool_result" } } } }, "messages[1].content[1]", "a tool result belongs in a message of role tool" },
    { "an image of the system", { { role = "system", content = { png } } }, "messages[1].content[1]", "image in a message that can hold only text: put it in a user message" },
    { "a path that nobody read", { { role = "user", content = { { type = "image", path = "a.png" } } } }, "messages[1].content[1].path", "only vllm.image{ path = … } reads files" },
    { "a path as URL", { { role = "user", content = { { type = "image", url = "cat.png" } } } }, "messages[1].content[1].url",
      "expected a URL (http, https, data); for a local file use vllm.image{ path = … }" },
    { "bytes and URL", { { role = "user", content = { { type = "image", url = "http://x", bytes = "a" } } } }, "messages[1].content[1]",
      "expected exactly one of url, bytes and data in the image" },
    { "bytes of an unknown type", { { role = "user", content = { { type = "video", bytes = "abc" } } } }, "messages[1].content[1].mime",
      "cannot tell what kind of video this is: give mime" },
    { "a media type that would break out of a URL", { { role = "user", content = { { type = "image", bytes = "a", mime = "a/b,c" } } } }, "messages[1].content[1].mime",
      "expected a media type such as image/png" },
    { "a binary file", { { role = "user", content = { { type = "file", bytes = "%PDF-1.7 x" } } } }, "messages[1].content[1]",
      "a binary file (application/pdf) cannot be sent: vLLM takes text, images, audio and video; extract its text first" },
    { "a file that is no UTF-8", { { role = "user", content = { { type = "file", bytes = "caf\233" } } } }, "messages[1].content[1].bytes",
      "a binary file (of unknown type) cannot be sent: vLLM takes text, images, audio and video; extract its text first (not valid UTF-8 at byte 4)" },
    { "a file kept by a server", { { role = "user", content = { { type = "file", file = { file_id = "f" } } } } }, "messages[1].content[1].file.file_id",
      "vLLM keeps no files: send the contents" },
    { "a structured value that JSON cannot hold", { { role = "user", content = { { type = "structured", value = { a = { 0 / 0 } } } } } },
      "messages[1].content[1].value.a[1]", "JSON has no NaN and no infinity" },
  }

  it("an image that could not be read is named where it is missing", function()
    local text_, message, param = messages.encode { { role = "user", content = { "a", media.image { path = "/no/such.png" } } } }
    assert.is_nil(text_)
    assert.equal("messages[1].content[2]", param)
    assert.matches("^messages%[1%]%.content%[2%]: missing: .*/no/such%.png: No such file", message)
  end)
end)

describe("calls and results that do not fit", function()
  local function wire(arguments) return { role = "assistant", tool_calls = { { id = "c1", type = "function", ["function"] = { name = "now", arguments = arguments } } } } end
  refuses {
    { "an open call before another message", { ask "{}", "next" }, "messages[1].calls[1]", "no result follows call `c1` (vllm.repair or session:repair adds one)" },
    { "an open call at the end", { "q", wire "{}" }, "messages[2].tool_calls[1]", "no result follows call `c1` (vllm.repair or session:repair adds one)" },
    { "the second of two is open", { { role = "assistant", tool_calls = { { id = "c1", name = "now" }, { id = "c2", name = "now" } } }, OK }, "messages[1].tool_calls[2]",
      "no result follows call `c2` (vllm.repair or session:repair adds one)" },
    { "an open call in a part", { { role = "assistant", content = { { type = "tool_call", id = "c1", name = "now" } } } }, "messages[1].content",
      "no result follows call `c1` (vllm.repair or session:repair adds one)" },
    { "invalid arguments without a result", { wire '{"city":' }, "messages[1].tool_calls[1].function.arguments", "not a JSON object, and no result follows (vllm.repair or session:repair adds one)" },
    { "invalid arguments in the short form", { ask "5", "next" }, "messages[1].calls[1].arguments", "not a JSON object, and no result follows (vllm.repair or session:repair adds one)" },
    { "a result without a call", { "a", OK }, "messages[2].call", "no call with id `c1` in the assistant message before it (vllm.repair or session:repair drops such results)" },
    { "a result of an older turn", { ask "{}", OK, { role = "assistant", calls = { { id = "c2", name = "now" } } }, { role = "tool", tool_call_id = "c1", content = "" } },
      "messages[4].tool_call_id", "no call with id `c1` in the assistant message before it (vllm.repair or session:repair drops such results)" },
    { "a second result", { ask "{}", OK, OK }, "messages[3].call", "call `c1` already has a result (vllm.repair or session:repair drops such results)" },
    { "a result without an id", { ask "{}", { role = "tool", result = "a" } }, "messages[2].tool_call_id", "expected the call's id (a string), or the call" },
    { "an error in its own key", { ask "{}", { role = "tool", call = "c1", error = "boom" } }, "messages[2].error",
      "unknown key; write result = \"…\", is_error = true" },
    { "another program's output", { ask "{}", { role = "tool", call = "c1", output = "a" } }, "messages[2].output", "unknown key (did you mean `result`?)" },
    { "result and content", { ask "{}", { role = "tool", call = "c1", result = "a", content = "b" } }, "messages[2].result", "result and content are both given" },
    { "is_error of another type", { ask "{}", { role = "tool", call = "c1", result = "a", is_error = 1 } }, "messages[2].is_error", "expected a boolean, got number" },
    { "a result that JSON cannot hold", { ask "{}", { role = "tool", call = "c1", result = { a = print } } }, "messages[2].result.a", "a function is not a JSON value" },
    { "calls twice", { { role = "assistant", calls = { {} }, tool_calls = { {} } } }, "messages[1].calls", "calls and tool_calls are both given" },
    { "one call for a list", { { role = "assistant", calls = { id = "c1", name = "now" } } }, "messages[1].calls", "expected a list of calls, got one call: put it in braces" },
    { "a call without id", { { role = "assistant", calls = { { name = "now" } } } }, "messages[1].calls[1].id", "expected the call's id (a string that is not empty)" },
    { "a call without name", { { role = "assistant", calls = { { id = "c1" } } } }, "messages[1].calls[1].name", "expected the tool's name (a string)" },
    { "a wire call without name", { { role = "assistant", tool_calls = { { id = "c1", ["function"] = {} } } } }, "messages[1].tool_calls[1].function.name",
      "expected the tool's name (a string)" },
    { "a call's near key", { { role = "assistant", calls = { { id = "c1", name = "now", argumnets = "{}" } } } }, "messages[1].calls[1].argumnets", "unknown key (did you mean `arguments`?)" },
    { "a call of another type", { { role = "assistant", calls = { { id = "c1", name = "now", type = "code" } } } }, "messages[1].calls[1].type",
      "calls of type `code` cannot be sent, only functions" },
    { "arguments of another type", { ask(5) }, "messages[1].calls[1].arguments", "expected a JSON text or a table, got number" },
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
    { "content", { { role = "user", content = "\128" } }, "messages[1].content", "not valid UTF-8 at byte 1 (vllm.text(bytes) repairs it)" },
    { "a part", { { role = "user", content = { "a", { type = "text", text = "b\237\160\128" } } } }, "messages[1].content[2].text", "not valid UTF-8 at byte 2 (vllm.text(bytes) repairs it)" },
    { "arguments", { { role = "assistant", calls = { { id = "c1", name = "now", arguments = '{"a":"\255"}' } } }, OK }, "messages[1].calls[1].arguments", "not valid UTF-8 at byte 7 (vllm.text(bytes) repairs it)" },
    { "in a merge", { "a", "b\255", "c" }, "messages[2]", "not valid UTF-8 at byte 2 (vllm.text(bytes) repairs it)", { strict_alternating_roles = true } },
  }
end)

describe("a body beyond its bound", function()
  refuses {
    { "names the option", { ("x"):rep(100) }, "messages", "exceeds max_body_bytes", { max_body_bytes = 64 } },
  }
end)

describe("the whole", function()
  it("never changes what it was given", function()
    local call = { id = "c1", name = "now", arguments = { a = 1 } }
    local list = { "a", { role = "assistant", calls = { call }, reasoning = "r" }, { role = "tool", call = call, result = { 1 } } }
    local before = core.json_encode(list)
    encode(list, { strict_alternating_roles = { system = "fold", assistant = "join", first = "filler" }, reasoning_replay = "always" })
    assert.equal(before, core.json_encode(list))
  end)

  it("a longer history begins with the bytes of the shorter one", function()
    local list, last = { { role = "system", text = "s" } }, nil
    for turn = 1, 20 do
      local id = "c" .. turn
      list[#list + 1] = "q" .. turn
      list[#list + 1] = { role = "assistant", reasoning = "r", calls = { { id = id, name = "now", arguments = { turn = turn } } } }
      list[#list + 1] = { role = "tool", call = id, result = { turn = turn } }
      list[#list + 1] = { role = "assistant", reasoning = "r", content = "a" .. turn }
      local body = encode(list, { reasoning_replay = "tool_turns", strict_alternating_roles = { assistant = "join", first = "filler" } })
      if last then assert.equal(last:sub(1, -2), body:sub(1, #last - 1)) end
      last = body
    end
  end)

  it("reads back as JSON", function()
    local list = { "a\0\"\\\n", { role = "assistant", text = "b", calls = { { id = "c1", name = "now" } } }, OK }
    local back = core.json_decode(encode(list))
    assert.equal(3, #back)
    assert.equal("a\0\"\\\n", back[1].content)
    assert.equal("c1", back[2].tool_calls[1].id)
    assert.equal("c1", back[3].tool_call_id)
  end)

  it("costs in proportion to the messages, not to their square", function()
    local function work(count)
      local list = {}
      for i = 1, count do list[i] = (i % 2 == 0) and { role = "assistant", content = "answer" } or { role = "user", content = "question" } end
      local steps = 0
      debug.sethook(function() steps = steps + 1 end, "", 100)
      encode(list, { strict_alternating_roles = { system = "fold", assistant = "join" } })
      debug.sethook()
      return steps
    end
    local jit = rawget(_G, "jit")
    if jit then jit.off() end -- compiled code calls no hook
    local small, large = work(500), work(4000)
    if jit then jit.on() end
    assert.is_true(large < small * 10, ("%d steps for 500 messages, %d for 4000"):format(small, large))
  end)

  it("of a stranger, full of names that nobody knows, is not searched for slips without end", function()
    local list, searched, nearest = {}, 0, spelling.nearest
    for i = 1, 100 do
      local name = ("x%d_abcdefgh"):format(i)
      list[i] = { role = name, content = { { type = name, [name] = 1 } }, [name .. "a"] = 1, cache_control = 2 }
    end
    list[101] = { role = "asistant", content = "a" }
    spelling.nearest = function(...)
      searched = searched + 1
      return nearest(...)
    end
    local sent, message = messages.encode(list)
    local slip = select(2, messages.encode { list[1], list[101] }) -- another transcript
    spelling.nearest = nearest
    assert.is_nil(message)
    assert.truthy(sent:find '"asistant"')
    assert.is_true(searched <= 70, searched .. " searches")
    assert.equal("messages[2].role: unknown role `asistant` (did you mean `assistant`?)", slip)
  end)

  it("a decoded answer can be appended as it is", function()
    local decoder = core.decoder {}
    assert(decoder:feed('data: {"choices":[{"index":0,"delta":{"reasoning":"r","content":"a","tool_calls":[{"index":0,"id":"c1","function":{"name":"now","arguments":"{\\"b\\": 1e2"}}]}}]}\n\n'
      .. 'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]},"finish_reason":"tool_calls"}]}\n\ndata: [DONE]\n\n'))
    assert(decoder:finish())
    repeat local event = decoder:next() until not event
    local answer = decoder:result()
    local want = '{"content":"a","role":"assistant",' .. called('"{\\"b\\": 1e2}"'):sub(21)
    assert.equal("[" .. want .. "," .. result '"ok"' .. "]", encode { answer.message, { role = "tool", call = answer.tool_calls[1], result = "ok" } })
    assert.equal("[" .. want .. "," .. result '"ok"' .. "]", encode { { role = "assistant", text = "a", calls = answer.tool_calls }, OK })
  end)
end)

-- Shapes at random, from a generator of our own so that a failure comes back on every machine.
describe("hostile input", function()
  local seed
  local function random(n)
    seed = (seed * 16807) % 2147483647
    return seed % n + 1
  end
  local function pick(list) return list[random(#list)] end

  local values = { "a", "", "\255", "c1", "{}", "data:,x", "http://x/y", "text", "image", "user", 0, -1, 1.5, true, false, null, print, {}, { "a" }, { {} } }
  local keys = { "role", "kind", "content", "text", "calls", "tool_calls", "tool_call_id", "call", "result", "is_error", "reasoning", "refusal", "audio", "name", "_x", "zzz", "extra", "tools", "prefix", 1, 2, true }
  local part_keys = { "type", "text", "url", "bytes", "data", "mime", "image_url", "input_audio", "file", "value", "modality", "id", "name", "arguments", "function", "thinking", "uuid", "extra", "zzz", 1 }
  local types = { "text", "image", "audio", "video", "file", "media", "structured", "reasoning", "tool_call", "tool_result", "image_url", "input_audio", "custom", "function", "prompt_embeds", "odd" }
  local roles = { "system", "context", "developer", "user", "notification", "assistant", "tool", "observation" }

  local function object(depth, some_keys)
    local out = {}
    for _ = 1, random(4) - 1 do out[pick(some_keys)] = pick(values) end
    if some_keys == part_keys and random(3) > 1 then out.type = pick(types) end
    if depth > 0 and random(2) == 1 then out[pick(some_keys)] = { object(depth - 1, part_keys), object(depth - 1, part_keys) } end
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
      local options = { strict_alternating_roles = pick { false, true, { system = "fold", assistant = "join", first = "filler" } }, reasoning_replay = pick { "never", "always", "tool_turns" },
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
