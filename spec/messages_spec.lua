-- What a Lua user writes as messages, and the exact bytes that become of it. What is refused: bad_messages_spec.lua.

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

local function user(content) return '{"content":' .. content .. ',"role":"user"}' end
local function system(content) return '{"content":' .. content .. ',"role":"system"}' end
local function said(content) return '{"content":' .. content .. ',"role":"assistant"}' end
local function result(content, id) return '{"content":' .. content .. ',"role":"tool","tool_call_id":"' .. (id or "c1")
  .. '"}' end
local function text(value) return '{"text":"' .. value .. '","type":"text"}' end
local function image(url) return '{"image_url":{"url":"' .. url .. '"},"type":"image_url"}' end
local function called(arguments, id)
  return '{"role":"assistant","tool_calls":[{"function":{"arguments":' .. arguments .. ',"name":"now"},"id":"'
    .. (id or "c1") .. '","type":"function"}]}'
end

local function ask(arguments, id)
  return { role = "assistant", calls = { { id = id or "c1", name = "now", arguments = arguments } } }
end
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
    { "one text part is a string", { { role = "user", content = { { type = "text", text = "a" } } } },
      "[" .. user '"a"' .. "]" },
    { "one part without a list", { { role = "user", content = { type = "text", text = "a" } } },
      "[" .. user '"a"' .. "]" },
    { "an empty list of parts is an empty text", { { role = "user", content = {} } }, "[" .. user '""' .. "]" },
    { "kind for role", { { kind = "system", text = "a" } }, "[" .. system '"a"' .. "]" },
    { "every kind", {
      { kind = "system", text = "s" }, { kind = "context", text = "c" }, { kind = "developer", text = "d" },
      { kind = "notification", text = "n" }, { kind = "user", text = "u" }, { kind = "assistant", text = "a" },
    }, "[" .. system '"s"' .. "," .. system '"c"' .. ',{"content":"d","role":"developer"},'
      .. user '"<system-reminder>\\nn\\n</system-reminder>"' .. "," .. user '"u"' .. "," .. said '"a"' .. "]" },
    { "names", { { role = "user", name = "ann", content = "a" } }, '[{"content":"a","name":"ann","role":"user"}]' },
    { "notes of the caller and the keys of results stay here",
      { { role = "user", content = "a", _seen = true, id = "x", metadata = { a = 1 }, usage = {} } },
        "[" .. user '"a"' .. "]" },
  }
end)

describe("wire messages", function()
  accepts {
    { "a call and its result", {
      { role = "assistant", content = null, tool_calls = {
        { id = "c1", type = "function", ["function"] = { name = "now",
          arguments = '{"z":1e2, "a":12345678901234567890123}' } } } },
      { role = "tool", tool_call_id = "c1", content = "ok" },
    }, "[" .. called '"{\\"z\\":1e2, \\"a\\":12345678901234567890123}"' .. "," .. result '"ok"' .. "]" },
    { "a whole message of vLLM, nulls and empty list included", { "q",
      { role = "assistant", content = "a", refusal = null, annotations = null, audio = null, function_call = null,
        tool_calls = {},
        reasoning = null, reasoning_content = null } }, "[" .. user '"q"' .. "," .. said '"a"' .. "]" },
    { "content null with calls", { { role = "assistant", content = null, tool_calls = { { id = "c1", name = "now" } } },
      OK },
      "[" .. called '"{}"' .. "," .. result '"ok"' .. "]" },
    { "text parts under all their names", { { role = "user", content = {
      { type = "input_text", text = "a" }, { type = "output_text", text = "b" },
        { type = "refusal", refusal = "c" } } } },
      "[" .. user("[" .. text "a" .. "," .. text "b" .. "," .. text "c" .. "]") .. "]" },
    { "images with and without detail", { { role = "user", content = {
      { type = "image_url", image_url = { url = "http://x/a", detail = "low" } },
        { type = "image_url", image_url = "data:image/png;base64,AA==" } } } },
      "[" .. user '[{"image_url":{"detail":"low","url":"http://x/a"},"type":"image_url"},{"image_url":{"url":"data:image/png;base64,AA=="},"type":"image_url"}]' .. "]" },
    { "audio and video", { { role = "user", content = {
      { type = "input_audio", input_audio = { data = "AA==", format = "wav" } },
        { type = "video_url", video_url = { url = "http://x/v" } },
      { type = "audio_url", audio_url = { url = "http://x/s" } } } } },
      "[" .. user '[{"input_audio":{"data":"AA==","format":"wav"},"type":"input_audio"},{"type":"video_url","video_url":{"url":"http://x/v"}},{"audio_url":{"url":"http://x/s"},"type":"audio_url"}]' .. "]" },
    { "vLLM's uuid of a cached image", { { role = "user",
      content = { { type = "image_url", image_url = { url = "http://x/a" }, uuid = "u1" } } } },
      "[" .. user '[{"image_url":{"url":"http://x/a"},"type":"image_url","uuid":"u1"}]' .. "]" },
    { "tool content as a list of texts",
      { ask "{}", { role = "tool", tool_call_id = "c1",
        content = { { type = "text", text = "a" }, { type = "text", text = "b" } } } },
      "[" .. called '"{}"' .. "," .. result '"a\\n\\nb"' .. "]" },
  }
end)

describe("calls", function()
  accepts {
    { "table arguments have one spelling", { ask { b = 1, a = { 2, 3 } }, OK },
      "[" .. called '"{\\"a\\":[2,3],\\"b\\":1}"' .. "," .. result '"ok"' .. "]" },
    { "empty table arguments are an object", { ask {}, OK }, "[" .. called '"{}"' .. "," .. result '"ok"' .. "]" },
    { "input stands in for arguments", { { role = "assistant",
      tool_calls = { { id = "c1", name = "now", input = { a = 1 } } } }, OK },
      "[" .. called '"{\\"a\\":1}"' .. "," .. result '"ok"' .. "]" },
    { "a call as results have it", { { role = "assistant", tool_calls = {
      { type = "tool_call", choice = 0, index = 0, id = "c1", name = "now", arguments = '{"a": 1}',
        input = { a = 1 } } } }, OK },
      "[" .. called '"{\\"a\\": 1}"' .. "," .. result '"ok"' .. "]" },
    { "a call as a part", { { role = "assistant",
      content = { "x", { type = "tool_call", id = "c1", name = "now", arguments = {} } } }, OK },
      '[{"content":"x","role":"assistant",' .. called('"{}"'):sub(21) .. "," .. result '"ok"' .. "]" },
    { "a call that the model made invalid goes out as {} with its result", { ask '{"city":', OK },
      "[" .. called '"{}"' .. "," .. result '"ok"' .. "]" },
    { "blank arguments mean {}", { ask "", OK }, "[" .. called '"{}"' .. "," .. result '"ok"' .. "]" },
    { "arguments that are a list go out as {}", { ask "[1]", OK },
      "[" .. called '"{}"' .. "," .. result '"ok"' .. "]" },
    { "an id that returns in a later turn", { ask "{}", OK, ask "{}", OK },
      "[" .. called '"{}"' .. "," .. result '"ok"' .. "," .. called '"{}"' .. "," .. result '"ok"' .. "]" },
    { "one id twice in one message takes two results", {
      { role = "assistant", calls = { { id = "c1", name = "now" }, { id = "c1", name = "now" } } }, OK, OK },
      '[{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":"now"},"id":"c1","type":"function"},{"function":{"arguments":"{}","name":"now"},"id":"c1","type":"function"}]},'
      .. result '"ok"' .. "," .. result '"ok"' .. "]" },
    { "an empty assistant message does not separate a call from its result",
      { ask "{}", { role = "assistant", content = "" }, OK },
      "[" .. called '"{}"' .. "," .. result '"ok"' .. "]" },
    { "a call to which the model gave no name",
      { { role = "assistant", calls = { { id = "c1", name = "", arguments = "{}" } } }, OK },
      '[{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":""},"id":"c1","type":"function"}]},'
        .. result '"ok"' .. "]" },
    { "a name nobody would register", { { role = "assistant",
      calls = { { id = "c1", name = "a.b c", arguments = "{}" } } }, OK },
      '[{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":"a.b c"},"id":"c1","type":"function"}]},'
        .. result '"ok"' .. "]" },
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
    { "rows that happen to have a type are data",
      answer { { type = "file", path = "/a" }, { type = "dir", path = "/b" } },
      out [["[{\"path\":\"/a\",\"type\":\"file\"},{\"path\":\"/b\",\"type\":\"dir\"}]"]] },
    { "and so is one", answer { type = "circle", radius = 3 }, out [["{\"radius\":3,\"type\":\"circle\"}"]] },
    { "text parts", answer { { type = "text", text = "a" }, "b" }, out '"a\\n\\nb"' },
    { "media are parts", answer { "shot:", { type = "image", bytes = PNG } },
      out("[" .. text "shot:" .. "," .. image("data:image/png;base64," .. PNG64) .. "]") },
    { "media by URL", answer { type = "image", url = "http://x/a.png" }, out("[" .. image "http://x/a.png" .. "]") },
    { "media as other protocols have it", answer { { type = "image", data = PNG64, mimeType = "image/png" } },
      out("[" .. image("data:image/png;base64," .. PNG64) .. "]") },
    { "sound and video, too", answer { { type = "audio", bytes = "ID3", mime = "audio/mpeg" },
      { type = "video", url = "http://x/v" } },
      out '[{"input_audio":{"data":"SUQz","format":"mp3"},"type":"input_audio"},{"type":"video_url","video_url":{"url":"http://x/v"}}]' },
    { "a failure with media", answer({ "black:", { type = "image", url = "http://x/a.png" } }, { is_error = true }),
      out("[" .. text "Error:" .. "," .. text "black:" .. "," .. image "http://x/a.png" .. "]") },
    { "found tools", answer { { type = "tool_reference", name = "get_weather" } },
      out '[{"name":"get_weather","type":"tool_reference"}]' },
    { "media as a readable mark, where that is wanted", answer { "shot:", { type = "image", bytes = PNG .. "xx" } },
      out '"shot:\\n\\n[image image/png, 10 bytes]"', AS_TEXT },
    { "a mark of a URL", answer { type = "image", url = "http://x/a.png" }, out '"[image http://x/a.png]"', AS_TEXT },
    { "a mark of base64", answer { { type = "image", data = PNG64, mimeType = "image/png" } },
      out '"[image, as data of 34 bytes]"', AS_TEXT },
    { "a mark of what the server knows", answer { { type = "image", uuid = "u1" } }, out '"[image]"', AS_TEXT },
    { "a structured part", answer { { type = "structured", value = { a = 1 } } }, out [["{\"a\":1}"]] },
    { "a text file", answer { { type = "file", text = "x", name = "a.txt" } }, out '"Attached file: a.txt\\n\\nx"' },
    { "a failure says so", answer("no disk", { is_error = true }), out '"Error: no disk"' },
    { "a failure that says so already", answer("Error: no disk", { is_error = true }), out '"Error: no disk"' },
    { "a failed table", answer({ code = 1 }, { is_error = true }), out [["Error: {\"code\":1}"]] },
    { "a failure without a word", answer(nil, { is_error = true }), out '"Error: the tool gave no details"' },
    { "is_error false", answer("fine", { is_error = false }), out '"fine"' },
    { "the call itself", { ask "{}", { role = "tool", call = { id = "c1", name = "now" }, result = "ok" } },
      out '"ok"' },
    { "a list of tool_result parts is a message each", {
      { role = "assistant", calls = { { id = "c1", name = "now" }, { id = "c2", name = "now" } } },
      { role = "tool", content = { { type = "tool_result", call_id = "c1", output = "a" },
        { type = "tool_result", call = "c2", result = { 1 }, is_error = true } } } },
      '[{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":"now"},"id":"c1","type":"function"},{"function":{"arguments":"{}","name":"now"},"id":"c2","type":"function"}]},'
      .. result '"a"' .. "," .. result('"Error: [1]"', "c2") .. "]" },
  }
end)

describe("assistant messages", function()
  accepts {
    { "several texts are an array", { { role = "assistant", content = { "a", "", "b" } } },
      "[" .. said("[" .. text "a" .. "," .. text "b" .. "]") .. "]" },
    { "structured text is compact", { { role = "assistant",
      content = { { type = "structured", value = { a = { 1 } } } } } },
      "[" .. said [["{\"a\":[1]}"]] .. "]" },
    { "a refusal is kept as text", { { role = "assistant", refusal = "no" } }, "[" .. said '"no"' .. "]" },
    { "generated images leave a mark", { { role = "assistant",
      content = { "here:", { type = "image", url = "data:image/png;base64,AA==" } } } },
      "[" .. said("[" .. text "here:" .. "," .. text "[image, as data of 26 bytes]" .. "]") .. "]" },
    { "speech goes back as its words", { { role = "assistant", content = null,
      audio = { id = "a1", data = "AA==", transcript = "hello" } } }, "[" .. said '"hello"' .. "]" },
    { "speech without words leaves a mark", { { role = "assistant", content = null, audio = { id = "a1" } } },
      "[" .. said '"[audio]"' .. "]" },
    { "empty ones are left out", { "a", { role = "assistant", content = "" }, { role = "assistant" },
      { role = "assistant", reasoning = "r" }, "b" },
      "[" .. user '"a"' .. "," .. user '"b"' .. "]" },
  }
end)

describe("reasoning", function()
  local function history()
    return { { role = "assistant", reasoning = "why", content = "a" },
      { role = "assistant", content = { { type = "thinking", thinking = "so" } },
        calls = { { id = "c1", name = "now" } } }, OK }
  end
  local plain, thinking = said '"a"', '{"content":"a","reasoning":"why","role":"assistant"}'
  local function with(field) return '{"' .. field .. '":"so",' .. called('"{}"'):sub(2) end
  local rest = "," .. result '"ok"' .. "]"
  accepts {
    { "is not replayed by default", history(), "[" .. plain .. "," .. called '"{}"' .. rest },
    { "never", history(), "[" .. plain .. "," .. called '"{}"' .. rest, { reasoning_replay = "never" } },
    { "tool_turns: where there are calls", history(), "[" .. plain .. "," .. with "reasoning" .. rest,
      { reasoning_replay = "tool_turns" } },
    { "always", history(), "[" .. thinking .. "," .. with "reasoning" .. rest, { reasoning_replay = "always" } },
    { "under another field", history(), "[" .. plain .. "," .. with "reasoning_content" .. rest,
      { reasoning_replay = "tool_turns", reasoning_field = "reasoning_content" } },
    { "reasoning_content is read, too", { { role = "assistant", reasoning = "", reasoning_content = "why",
      content = "a" } }, "[" .. thinking .. "]",
      { reasoning_replay = "always" } },
    { "a message of reasoning alone is sent when it is replayed", { "q", { role = "assistant", reasoning = "r" } },
      "[" .. user '"q"' .. ',{"reasoning":"r","role":"assistant"}]', { reasoning_replay = "always" } },
  }
end)

describe("user content", function()
  local function parts(...) return { { role = "user", content = { ... } } } end
  accepts {
    { "structured is indented JSON", parts { type = "structured", value = { b = 1, a = "x" } },
      "[" .. user [["{\n  \"a\": \"x\",\n  \"b\": 1\n}"]] .. "]" },
    { "an image of bytes, its type seen", parts("a", { type = "image", bytes = PNG }),
      "[" .. user("[" .. text "a" .. "," .. image("data:image/png;base64," .. PNG64) .. "]") .. "]" },
    { "an image of base64", parts { type = "image", data = PNG64, mimeType = "image/png" },
      "[" .. user("[" .. image("data:image/png;base64," .. PNG64) .. "]") .. "]" },
    { "a media part with its modality", parts { type = "media", modality = "image", url = "https://x/a" },
      "[" .. user("[" .. image "https://x/a" .. "]") .. "]" },
    { "a file of the server's disk", parts { type = "image", url = "file:///data/a.png" },
      "[" .. user("[" .. image "file:///data/a.png" .. "]") .. "]" },
    { "audio of bytes", parts { type = "audio", bytes = "ID3", mime = "audio/mpeg" },
      "[" .. user '[{"input_audio":{"data":"SUQz","format":"mp3"},"type":"input_audio"}]' .. "]" },
    { "audio of another format keeps its name", parts { type = "audio", bytes = "fLaC" },
      "[" .. user '[{"input_audio":{"data":"ZkxhQw==","format":"flac"},"type":"input_audio"}]' .. "]" },
    { "audio of a data URL", parts { type = "audio", url = "data:audio/x-wav;base64,AA==" },
      "[" .. user '[{"input_audio":{"data":"AA==","format":"wav"},"type":"input_audio"}]' .. "]" },
    { "audio by URL", parts { type = "audio", url = "http://x/a.wav" },
      "[" .. user '[{"audio_url":{"url":"http://x/a.wav"},"type":"audio_url"}]' .. "]" },
    { "video of bytes", parts { type = "video", bytes = "\0\0\0\24ftypisom" },
      "[" .. user '[{"type":"video_url","video_url":{"url":"data:video/mp4;base64,AAAAGGZ0eXBpc29t"}}]' .. "]" },
    { "video by URL", parts { type = "video", url = "http://x/v" },
      "[" .. user '[{"type":"video_url","video_url":{"url":"http://x/v"}}]' .. "]" },
    { "a text file reaches the model", parts { type = "file", bytes = "a = 1\n", name = "x.lua", mime = "text/x-lua" },
      "[" .. user '"Attached file: x.lua (text/x-lua)\\n\\na = 1\\n"' .. "]" },
    { "a file without a name", parts { type = "file", text = "a" }, "[" .. user '"Attached file\\n\\na"' .. "]" },
    { "an image file is an image", parts { type = "file", bytes = PNG, name = "a.png" },
      "[" .. user("[" .. image("data:image/png;base64," .. PNG64) .. "]") .. "]" },
    { "the wire's file part", parts { type = "file",
      file = { filename = "a.txt", file_data = "data:text/plain;base64,aGk=" } },
        "[" .. user '"Attached file: a.txt (text/plain)\\n\\nhi"' .. "]" },
    { "what a constructor makes", parts(media.image { url = "http://x/a", detail = "high" }),
      "[" .. user '[{"image_url":{"detail":"high","url":"http://x/a"},"type":"image_url"}]' .. "]" },
    { "control characters and all planes", parts "\0\t\"\\\127 \195\169 \240\159\152\128",
      '[{"content":"\\u0000\\t\\"\\\\\127 \195\169 \240\159\152\128","role":"user"}]' },
  }
end)

describe("system content", function()
  accepts {
    { "texts are joined by a blank line", { { role = "system", content = { "a", "b" } } },
      "[" .. system '"a\\n\\nb"' .. "]" },
    { "a text file", { { role = "context", content = { "Notes:", { type = "file", text = "x", name = "n" } } } },
      "[" .. system '"Notes:\\n\\nAttached file: n\\n\\nx"' .. "]" },
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
      "[" .. user("[" .. text "x" .. "," .. text "y" .. "," .. text "<system-reminder>\\nn\\n</system-reminder>" .. "]")
        .. "]", strict },
    { "true leaves system and assistants alone",
      { "x", { role = "context", text = "c" }, "y", { role = "assistant", text = "a" },
        { role = "assistant", text = "b" } },
      "[" .. user '"x"' .. "," .. system '"c"' .. "," .. user '"y"' .. "," .. said '"a"' .. "," .. said '"b"' .. "]",
        strict },
    { "fold", late, "[" .. system '"s\\n\\nc"' .. "," .. user("[" .. text "x" .. "," .. text "y" .. "]") .. "]",
      with { system = "fold" } },
    { "fold makes a system message at the front", { "x", { role = "developer", text = "d" } },
      "[" .. system '"d"' .. "," .. user '"x"' .. "]", with { system = "fold" } },
    { "join", { "x", { role = "assistant", text = "a" },
      { role = "assistant", text = "b", calls = { { id = "c1", name = "now" } } }, OK },
      "[" .. user '"x"' .. ',{"content":"a\\n\\nb",' .. called('"{}"'):sub(2) .. "," .. result '"ok"' .. "]",
        with { assistant = "join" } },
    { "filler", { { role = "assistant", text = "a" }, "x" },
      "[" .. user '"."' .. "," .. said '"a"' .. "," .. user '"x"' .. "]", with { first = "filler" } },
    { "a filler of one's own", { { role = "system", text = "s" }, { role = "assistant", text = "a" } },
      "[" .. system '"s"' .. "," .. user '"Go on."' .. "," .. said '"a"' .. "]",
      with { first = "Go on." } },
  }
end)

describe("the whole", function()
  it("never changes what it was given", function()
    local call = { id = "c1", name = "now", arguments = { a = 1 } }
    local list = { "a", { role = "assistant", calls = { call }, reasoning = "r" },
      { role = "tool", call = call, result = { 1 } } }
    local before = core.json_encode(list)
    encode(list, { strict_alternating_roles = { system = "fold", assistant = "join", first = "filler" },
      reasoning_replay = "always" })
    assert.equal(before, core.json_encode(list))
  end)

  it("a longer history begins with the bytes of the shorter one", function()
    local list, last = { { role = "system", text = "s" } }, nil
    for turn = 1, 20 do
      local id = "c" .. turn
      list[#list + 1] = "q" .. turn
      list[#list + 1] = { role = "assistant", reasoning = "r",
        calls = { { id = id, name = "now", arguments = { turn = turn } } } }
      list[#list + 1] = { role = "tool", call = id, result = { turn = turn } }
      list[#list + 1] = { role = "assistant", reasoning = "r", content = "a" .. turn }
      local body = encode(list, { reasoning_replay = "tool_turns",
        strict_alternating_roles = { assistant = "join", first = "filler" } })
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
      for i = 1, count do list[i] = (i % 2 == 0) and { role = "assistant", content = "answer" }
        or { role = "user", content = "question" } end
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
    assert.equal("[" .. want .. "," .. result '"ok"' .. "]",
      encode { answer.message, { role = "tool", call = answer.tool_calls[1], result = "ok" } })
    assert.equal("[" .. want .. "," .. result '"ok"' .. "]",
      encode { { role = "assistant", text = "a", calls = answer.tool_calls }, OK })
  end)
end)
