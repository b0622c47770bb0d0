-- Roles, members and parts that nobody here knows: what goes out. What is refused of them: messages_spec.lua.

local core = require "vllm.core"
local media = require "vllm.request.media"
local messages = require "vllm.request.messages"

local null = core.null

local PNG = "\137PNG\r\n\26\n"
local PNG64 = "iVBORw0KGgo="
local OK = { role = "tool", call = "c1", result = "ok" }
local ANSWERED = '{"content":"ok","role":"tool","tool_call_id":"c1"}'
local CALLED = '{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":"now"},"id":"c1",'
  .. '"type":"function"}]}'

-- { { what, list, expected, options }, … }
local function accepts(cases)
  for _, case in ipairs(cases) do
    it(case[1], function() assert.equal(case[3], assert(messages.encode(case[2], case[4]))) end)
  end
end

local function user(content) return '{"content":' .. content .. ',"role":"user"}' end
local function system(content) return '{"content":' .. content .. ',"role":"system"}' end
local function text(value) return '{"text":"' .. value .. '","type":"text"}' end
local function image(url) return '{"image_url":{"url":"' .. url .. '"},"type":"image_url"}' end

describe("what only the server knows", function()
  local EPHEMERAL = { type = "ephemeral" }
  local function one(content) return { { role = "user", content = { content } } } end
  local function calling(call) return { { role = "assistant", tool_calls = { call } }, OK } end
  accepts {
    { "a role", { { role = "observation", content = "a" } }, '[{"content":"a","role":"observation"}]' },
    { "a role with parts, a name and members",
      { { role = "ipython", name = "n", x = 1, content = { "a", { type = "image", url = "http://x" } } } },
      '[{"content":[' .. text "a" .. "," .. image "http://x" .. '],"name":"n","role":"ipython","x":1}]' },
    { "a role without content", { { role = "function", name = "f" } }, '[{"name":"f","role":"function"}]' },
    { "members of a message", { { role = "assistant", content = "a", prefix = true,
      reasoning_details = { { text = "r" } }, _note = 1, z = null } },
      '[{"content":"a","prefix":true,"reasoning_details":[{"text":"r"}],"role":"assistant"}]' },
    { "members in extra, but for what never goes out",
      { { role = "assistant", content = "a", extra = { z = 1, a = { null }, annotations = { 1 } } } },
      '[{"a":[null],"content":"a","role":"assistant","z":1}]' },
    { "an extra with nothing in it", { { role = "user", content = "a", extra = {} } }, "[" .. user '"a"' .. "]" },
    { "tools and task of a developer", { { role = "developer", content = "a", tools = { { name = "f" } },
      task = "query" } },
      '[{"content":"a","role":"developer","task":"query","tools":[{"function":{"name":"f",'
        .. '"parameters":{"properties":{},"type":"object"}},"type":"function"}]}]' },
    { "members of a result", { { role = "assistant", calls = { { id = "c1", name = "now" } } },
      { role = "tool", call = "c1", result = "ok", cache_control = EPHEMERAL } },
      "[" .. CALLED .. ',{"cache_control":{"type":"ephemeral"},' .. ANSWERED:sub(2) .. "]" },
    { "a member of a message that has nothing else is not sent alone", { "a", { role = "assistant", x = 1 } },
      "[" .. user '"a"' .. "]" },
    { "a member that is replayed as reasoning is sent once",
      { { role = "assistant", content = "a", reasoning = "r", extra = { thoughts = "r" } } },
      '[{"content":"a","role":"assistant","thoughts":"r"}]',
        { reasoning_replay = "always", reasoning_field = "thoughts" } },
    { "members of a call", calling { id = "c1", type = "function", extra_content = { google = 1 },
      ["function"] = { name = "now", arguments = "{}" } },
      '[{"role":"assistant","tool_calls":[{"extra_content":{"google":1},"function":{"arguments":"{}","name":"now"},'
        .. '"id":"c1","type":"function"}]},' .. ANSWERED .. "]" },
    { "members of a call in extra, and of its function",
      calling { id = "c1", extra = { x = 1 }, ["function"] = { name = "now", z = 2 } },
      '[{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":"now","z":2},"id":"c1",'
        .. '"type":"function","x":1}]},' .. ANSWERED .. "]" },
    { "members of a part", one { type = "text", text = "a", cache_control = EPHEMERAL },
      "[" .. user '[{"cache_control":{"type":"ephemeral"},"text":"a","type":"text"}]' .. "]" },
    { "members of a system part: then its content is a list",
      { { role = "system", content = { "a", { type = "text", text = "b", cache_control = EPHEMERAL } } } },
      "[" .. system("[" .. text "a" .. ',{"cache_control":{"type":"ephemeral"},"text":"b","type":"text"}]') .. "]" },
    { "members of an image", one { type = "image", url = "http://x", cache_control = EPHEMERAL, _note = 1 },
      "[" .. user('[{"cache_control":{"type":"ephemeral"},' .. image("http://x"):sub(2) .. "]") .. "]" },
    { "members of a wire image and of its URL",
      one { type = "image_url", image_url = { url = "http://x", format = "webp", detail = "low" }, x = 1 },
      "[" .. user '[{"image_url":{"detail":"low","format":"webp","url":"http://x"},"type":"image_url","x":1}]' .. "]" },
    { "members of sound", one { type = "input_audio", input_audio = { data = "AA==", format = "wav" }, x = 1 },
      "[" .. user '[{"input_audio":{"data":"AA==","format":"wav"},"type":"input_audio","x":1}]' .. "]" },
    { "an image by its uuid alone", one { type = "image_url", image_url = null, uuid = "u1" },
      "[" .. user '[{"image_url":null,"type":"image_url","uuid":"u1"}]' .. "]" },
    { "the same, of a constructor", one(media.image { uuid = "u1" }),
      "[" .. user '[{"image_url":null,"type":"image_url","uuid":"u1"}]' .. "]" },
    { "an image with its uuid", one(media.image { bytes = PNG, uuid = "u1" }),
      "[" .. user('[{"image_url":{"url":"data:image/png;base64,' .. PNG64 .. '"},"type":"image_url","uuid":"u1"}]')
        .. "]" },
    { "a sound by its uuid alone", one { type = "input_audio", input_audio = null, uuid = "u1" },
      "[" .. user '[{"audio_url":null,"type":"audio_url","uuid":"u1"}]' .. "]" },
    { "a video and a sound by uuid", { { role = "user",
      content = { media.video { uuid = "v" }, media.audio { uuid = "a" } } } },
      "[" .. user '[{"type":"video_url","uuid":"v","video_url":null},{"audio_url":null,"type":"audio_url","uuid":"a"}]'
        .. "]" },
    { "vLLM's own types of parts", { { role = "user",
      content = { { type = "prompt_embeds", data = "AA==" }, { type = "video_embeds", video_embeds = "AA==" },
      { type = "image_embeds", image_embeds = "AA==", uuid = "u", _x = 1 } } } },
      "["
        .. user '[{"data":"AA==","type":"prompt_embeds"},{"type":"video_embeds","video_embeds":"AA=="},{"image_embeds":"AA==","type":"image_embeds","uuid":"u"}]' .. "]" },
    { "thinking as a list of texts", { { role = "assistant",
      content = { { type = "thinking", thinking = { { type = "text", text = "r" } } }, "a" } } },
      '[{"content":"a","reasoning":"r","role":"assistant"}]', { reasoning_replay = "always" } },
  }
end)
