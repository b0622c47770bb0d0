-- The defects of the system whose job this is, in what it sends, and what we do instead. (What it reads:
-- seed_decoder_spec.lua.)

local core = require "vllm.core"
local media = require "vllm.request.media"
local messages = require "vllm.request.messages"
local repair = require("vllm.request.repair").repair

local function decode(list, options) return core.json_decode((assert(messages.encode(list, options)))) end
local function roles(list, options)
  local out = {}
  for i, message in ipairs(decode(list, options)) do out[i] = message.role end
  return table.concat(out, " ")
end
local function ask(arguments)
  return { role = "assistant", calls = { { id = "c1", name = "now", arguments = arguments } } }
end
local function answer(value, is_error) return { role = "tool", call = "c1", result = value, is_error = is_error } end

describe("the seed's defects in requests", function()
  it("D9: reasoning is kept apart and never sent back as the assistant's text", function()
    local history = { { role = "assistant", reasoning = "think", content = "ok" } }
    assert.same({ { role = "assistant", content = "ok" } }, decode(history))
    assert.same({ { role = "assistant", content = "ok", reasoning = "think" } },
      decode(history, { reasoning_replay = "always" }))
  end)

  it("D13: an image that the model made does not poison the conversation; a line of text stands for it", function()
    local out = decode { { role = "assistant", content = { "Here:", { type = "image", url = "https://x/cat.png" } } },
      "thanks" }
    assert.same({ { type = "text", text = "Here:" }, { type = "text", text = "[image https://x/cat.png]" } },
      out[1].content)
    assert.equal("thanks", out[2].content)
  end)

  it("D16: raw arguments go back byte for byte: key order, number spelling, integers of any length", function()
    local raw = '{"z": 1e2, "a":12345678901234567890123,  "m":[1.0,"\\u00e9"]}'
    assert.equal(raw, decode({ ask(raw), answer "ok" })[1].tool_calls[1]["function"].arguments)
    assert.equal('{"a":1,"b":[2],"c":9007199254740991}',
      decode({ ask { c = 9007199254740991, b = { 2 }, a = 1 }, answer "ok" })[1].tool_calls[1]["function"].arguments)
  end)

  it("D16: keys are sorted, so the same messages are the same bytes in every process", function()
    assert.equal('[{"content":"ok","name":"bob","reasoning":"r","role":"assistant",'
      .. '"tool_calls":[{"function":{"arguments":"{}","name":"now"},"id":"c1","type":"function"}]},'
      .. '{"content":"x","role":"tool","tool_call_id":"c1"}]',
      messages.encode({ { tool_calls = { { type = "function", id = "c1",
        ["function"] = { name = "now", arguments = "{}" } } }, role = "assistant", reasoning = "r", name = "bob",
        content = "ok" },
        { role = "tool", tool_call_id = "c1", content = "x" } }, { reasoning_replay = "always" }))
  end)

  it("D18: context, later system messages and a leading assistant can be made to fit strict templates", function()
    local function strict(merge) return { strict_alternating_roles = merge } end
    local system = { { role = "system", text = "s" }, { role = "context", text = "c" }, "u" }
    assert.equal("system system user", roles(system, strict(true)))
    assert.equal("system user", roles(system, strict { system = "fold" }))
    assert.equal("s\n\nc", decode(system, strict { system = "fold" })[1].content)
    local split = { "a", { role = "context", text = "c" }, "b" }
    assert.equal("user system user", roles(split, strict(true)))
    assert.equal("system user", roles(split, strict { system = "fold" }))
    local twice = { "a", { role = "assistant", text = "x" }, { role = "assistant", text = "y" } }
    assert.equal("user assistant assistant", roles(twice, strict(true)))
    assert.equal("user assistant", roles(twice, strict { assistant = "join" }))
    local leading = { { role = "system", text = "s" }, { role = "assistant", text = "x" }, "b" }
    assert.equal("system assistant user", roles(leading, strict(true)))
    assert.equal("system user assistant user", roles(leading, strict { first = "filler" }))
    assert.equal("system user assistant",
      roles({ { role = "developer", text = "d" }, "u", { role = "assistant", text = "a" } },
      strict { system = "fold" }))
  end)

  it("D19: a tool's failure says so to the model, once", function()
    assert.equal("Error: no disk", decode({ ask "{}", answer("no disk", true) })[2].content)
    assert.equal("Error: no disk", decode({ ask "{}", answer("Error: no disk", true) })[2].content)
    assert.equal("no disk", decode({ ask "{}", answer("no disk", false) })[2].content)
  end)

  it("D20: a tool's parts and files are parts or readable text, never a dump of bytes", function()
    local shot = { "see", { type = "image", bytes = "\137PNG\r\n\26\n" .. ("\255"):rep(1024 * 1024) },
      { type = "file", text = "a=1", name = "x.ini" } }
    local body = messages.encode({ ask "{}", answer(shot) }, { tool_media = "text" })
    assert.is_true(#body < 400)
    assert.equal("see\n\n[image image/png, 1048584 bytes]\n\nAttached file: x.ini\n\na=1",
      core.json_decode(body)[2].content)
    local parts = decode({ ask "{}", answer(shot) })[2].content
    assert.same({ "text", "image_url", "text" }, { parts[1].type, parts[2].type, parts[3].type })
    assert.equal('{"temperature":18}', decode({ ask "{}", answer { temperature = 18 } })[2].content)
  end)

  it("D21: a text file's contents reach the model", function()
    assert.equal("Attached file: notes.txt (text/plain)\n\nmilk\n",
      decode({ { role = "user", content = { media.file { bytes = "milk\n", name = "notes.txt",
      mime = "text/plain" } } } })[1].content)
  end)

  it("D21: a binary file is an error that says what to do, not a caption", function()
    local text, message, param = messages.encode { { role = "user",
      content = { media.file { bytes = "%PDF-1.7", name = "a.pdf" } } } }
    assert.is_nil(text)
    assert.equal("messages[1].content[1]", param)
    assert.matches("application/pdf.*extract its text first", message)
  end)

  it("D21: video goes out by URL and by bytes", function()
    local out = decode { { role = "user",
      content = { media.video { url = "https://x/v.mp4" }, media.video { bytes = "\0\0\0\24ftypisom" } } } }
    assert.equal("https://x/v.mp4", out[1].content[1].video_url.url)
    assert.equal("data:video/mp4;base64,AAAAGGZ0eXBpc29t", out[1].content[2].video_url.url)
  end)

  it("D21: audio keeps its own format", function()
    assert.same({ data = "ZkxhQw==", format = "flac" },
      decode({ { role = "user", content = { media.audio { bytes = "fLaC" } } } })[1].content[1].input_audio)
  end)

  it("D21: a user message without parts is an empty text, and one without content an error", function()
    assert.equal('[{"content":"","role":"user"}]', messages.encode { { role = "user", content = {} } })
    assert.equal("messages[1].content: missing", (select(2, messages.encode { { role = "user" } })))
  end)

  it("D22: a base URL is completed, an empty key sends no header, and a key shows nowhere", function()
    local config, request = require "vllm.request.config", require "vllm.request"
    local function built(options)
      options.model = "m"
      return assert(request.build(config.check(options), "hi"))
    end
    local function authorization(options)
      for _, header in ipairs(built(options).headers) do
        if header[1]:lower() == "authorization" then return header[2] end
      end
    end
    assert.equal("http://h:1/v1/chat/completions", built({ base_url = "http://h:1/v1" }).url)
    assert.equal("http://h:1/v1/chat/completions", built({ base_url = "http://h:1" }).url)
    assert.equal("http://h:1/v1/chat/completions", built({ base_url = "http://h:1/v1/chat/completions" }).url)
    assert.is_nil(authorization { api_key = "" })
    assert.equal("Bearer sesame", authorization { api_key = "sesame" })
    local checked = config.check { model = "m", api_key = "sesame" }
    assert.is_nil(config.describe(checked):find("sesame", 1, true))
    for _, value in pairs(checked) do assert.are_not.equal("sesame", value) end
    assert.truthy(built({ extra_body = { anything = 1 } }).body:find('"anything":1', 1, true))
  end)

  it("D3: a call that the model made invalid goes out as {} with its error result, and the history stays usable",
    function()
    local broken = ask '{"city":'
    local out = decode { "q", broken, answer("arguments are not JSON", true), "go on" }
    assert.equal("{}", out[2].tool_calls[1]["function"].arguments)
    assert.equal('{"city":', broken.calls[1].arguments)
    assert.equal("Error: arguments are not JSON", out[3].content)
  end)

  it("D34: a transcript with an open call is refused with its place, and repair answers the call", function()
    for _, open in ipairs { { "q", ask "{}" }, { "q", ask "{}", "are you there?" } } do
      local text, message, param = messages.encode(open)
      assert.is_nil(text)
      assert.equal("messages[2].calls[1]", param)
      assert.matches("vllm%.repair", message)
      local out = decode(repair(open))
      assert.same({ "tool", "c1", "Error: this call was interrupted and has no result" },
        { out[3].role, out[3].tool_call_id, out[3].content })
    end
  end)
end)
