-- From a request table to the exact bytes. Wrong values: bad_input_spec.lua.
local config = require "vllm.request.config"
local core = require "vllm.core"
local request = require "vllm.request"

local HI = '"messages":[{"content":"hi","role":"user"}]'

local function build(call, options)
  options = options or {}
  options.model = options.model or "m"
  return assert(request.build(config.check(options), call))
end

local function body(call, options)
  return build(call, options).body
end

-- The body of a call with `text = "hi"`, without what every body has.
local function rest(call, options)
  call.text, call.stream = "hi", false
  local text = body(call, options)
  local members = core.json_decode(text)
  assert.same({ { role = "user", content = "hi" } }, members.messages)
  members.messages, members.model, members.stream = nil, nil, nil
  return members
end

local function tool(name)
  return { name = name, parameters = { type = "object", properties = {} } }
end

local function wire_tool(name)
  return { type = "function", ["function"] = tool(name) }
end

describe("a body", function()
  it("of a string is one user message, streamed with usage", function()
    assert.equal("{" .. HI .. ',"model":"m","stream":true,"stream_options":{"include_usage":true}}', body "hi")
    assert.equal(body "hi", body { text = "hi" })
    assert.equal(body "hi", body { messages = "hi" })
    assert.equal(body "hi", body { messages = { { role = "user", content = "hi" } } })
  end)

  it("has its keys in byte order around the messages", function()
    local text = body({ text = "hi", temperature = 0.7, max_completion_tokens = 64, parallel_tool_calls = false,
      user = "S", extra_body = { Z = 1 },
      tools = { { name = "f", description = "d" } } }, { stream = false })
    assert.equal('{"Z":1,"max_completion_tokens":64,' .. HI
      .. ',"model":"m","parallel_tool_calls":false,"stream":false,"temperature":0.7,'
      .. '"tools":[{"function":{"description":"d","name":"f","parameters":{"properties":{},"type":"object"}},'
      .. '"type":"function"}],'
      .. '"user":"S"}', text)
  end)

  it("is JSON when nothing stands before or after the messages but the model", function()
    assert.equal("{" .. HI .. ',"model":"m","stream":false}', body({ text = "hi" }, { stream = false }))
    assert.equal('{"a":1,' .. HI .. ',"model":"m","stream":false}',
      body({ text = "hi", extra_body = { a = 1 } }, { stream = false }))
  end)

  it("is the same whatever the order in which the table was filled", function()
    local one, two = { text = "hi" }, { text = "hi" }
    local names = { "seed", "n", "top_k", "min_tokens", "priority", "top_logprobs", "max_tokens" }
    for i = 1, #names do
      one[names[i]], two[names[#names + 1 - i]] = i, #names + 1 - i
    end
    assert.equal(body(one), body(two))
  end)

  it("leaves the request as it was", function()
    local call = { messages = { { role = "user", content = "hi" } }, tools = { tool "f" }, tool_choice = "f", stop = {},
      extra_body = { a = 1 },
      stream_options = { continuous_usage_stats = true }, headers = { ["X-A"] = "1" } }
    body(call)
    assert.same({ messages = { { role = "user", content = "hi" } }, tools = { tool "f" }, tool_choice = "f", stop = {},
      extra_body = { a = 1 },
      stream_options = { continuous_usage_stats = true }, headers = { ["X-A"] = "1" } }, call)
  end)

  it("takes messages that are JSON already as they are", function()
    assert.equal('{"messages": [ {} ] ,"model":"m","stream":false}',
      body({ messages = assert(core.raw ' [ {} ] '), stream = false }))
  end)

  it("takes the messages of extra_body as they are, whatever is in them", function()
    local odd = { { role = "human", content = core.null, text = "x", _x = 1 }, 7 }
    assert.equal('{"messages":[{"_x":1,"content":null,"role":"human","text":"x"},7],"model":"m","stream":false}',
      body({ extra_body = { messages = odd }, stream = false }))
    assert.equal('{"messages":[],"model":"m","stream":false}', body({ extra_body = { messages = {} }, stream = false }))
  end)

  it("is bounded", function()
    local checked = config.check { model = "m", limits = { max_body_bytes = 100 } }
    local built, message, param = request.build(checked, ("x"):rep(200))
    assert.is_nil(built)
    assert.truthy(message:find("max_body_bytes", 1, true), message)
    assert.is_string(param)
    built, message, param = request.build(checked, { text = "x", user = ("x"):rep(200) })
    assert.is_nil(built)
    assert.truthy(message:find("^the body has %d+ bytes, more than limits%.max_body_bytes %(100%)$"), message)
    assert.equal("body", param)
  end)
end)

describe("the call over the client", function()
  it("replaces defaults, and null unsets them", function()
    local options = { temperature = 1, top_p = 0.5, user = "u", model = "a" }
    assert.same({ temperature = 0, user = "u" }, rest({ temperature = 0, top_p = core.null }, options))
    assert.equal("b", core.json_decode(body({ text = "hi", model = "b" }, options)).model)
  end)

  it("streams by either name", function()
    assert.is_false(build({ text = "hi", stream = false }).stream)
    assert.is_false(build({ text = "hi", streaming = false }).stream)
    assert.is_true(build({ text = "hi", streaming = true }, { stream = false }).stream)
    assert.is_false(build({ text = "hi", stream = core.null }, { stream = false }).stream)
  end)
end)

describe("timeout", function()
  local CLIENT = { timeout = { connect_s = 1, total_s = 5 } }
  local CLOCKS = { connect_s = 1, queue_s = 600, first_event_s = 600, idle_s = 300, finish_s = 2, total_s = 5 }

  it("of a call is over the client's, by its keys, and is not sent", function()
    assert.same(CLOCKS, build({ text = "hi" }, CLIENT).timeout)
    local call = { text = "hi", timeout = { total_s = false, idle_s = 7, first_event_s = core.null } }
    assert.same({ connect_s = 1, queue_s = 600, first_event_s = 600, idle_s = 7, finish_s = 2 },
      build(call, CLIENT).timeout)
    assert.same(rest({}, CLIENT), rest({ timeout = { idle_s = 7 } }, CLIENT))
    assert.same({ text = "hi", timeout = { total_s = false, idle_s = 7, first_event_s = core.null } }, call)
    assert.same(CLOCKS, build({ text = "hi", timeout = core.null }, CLIENT).timeout)
  end)

  it("goes beside a ready-made body", function()
    local built = build({ body = '{"stream": true}', timeout = { idle_s = 7 } }, CLIENT)
    assert.equal('{"stream": true}', built.body)
    assert.equal(7, built.timeout.idle_s)
  end)
end)

describe("stream_options", function()
  local function stream_options(call, options)
    call.text = "hi"
    return core.json_decode(body(call, options)).stream_options
  end

  it("ask for usage unless told otherwise", function()
    assert.same({ include_usage = true }, stream_options {})
    assert.is_nil(stream_options { include_usage = false })
    assert.is_nil(stream_options({}, { include_usage = false }))
    assert.same({ include_usage = true }, stream_options({ include_usage = true }, { include_usage = false }))
  end)

  it("are the user's before ours", function()
    assert.same({ include_usage = false }, stream_options { stream_options = { include_usage = false } })
    assert.same({ include_usage = true, continuous_usage_stats = true },
      stream_options { stream_options = { continuous_usage_stats = true } })
    assert.same({ continuous_usage_stats = true },
      stream_options { stream_options = { continuous_usage_stats = true }, include_usage = false })
    assert.same({ a = 1 }, stream_options { extra_body = { stream_options = { a = 1 } } })
  end)

  it("of the client are left out where a call does not stream, since servers refuse them there", function()
    assert.is_nil(stream_options({ stream = false }, { stream_options = { include_usage = true } }))
    assert.is_nil(stream_options({ stream = false }, {}))
  end)
end)

describe("extra_body", function()
  it("is flattened, as it is", function()
    assert.same({ a = 1, temperature = core.null }, rest { extra_body = { a = 1, temperature = core.null } })
    assert.same({ guided_json = {}, tempurature = 1 }, rest { extra_body = { guided_json = {}, tempurature = 1 } })
  end)

  it("of the client joins the call's, which wins; null drops the client's", function()
    local function options() return { extra_body = { a = 1, b = 1 } } end
    assert.same({ a = 1, b = 2, c = 3 }, rest({ extra_body = { b = 2, c = 3 } }, options()))
    assert.same({ top_k = 5, b = 1 }, rest({ top_k = 5 }, { extra_body = { top_k = 1, b = 1 } }))
    assert.same({}, rest({ extra_body = core.null }, options()))
  end)

  it("of the call wins over a default of the client", function()
    assert.same({ top_k = "any" }, rest({ extra_body = { top_k = "any" } }, { top_k = 3 }))
  end)

  it("brings tools and choices that are not looked into", function()
    local members = rest { extra_body = { tools = { "odd" }, tool_choice = "odd" } }
    assert.same({ "odd" }, members.tools)
    assert.equal("odd", members.tool_choice)
    members = rest({ extra_body = { tools = { "odd" } } }, { tools = { tool "f" }, tool_choice = "required" })
    assert.same({ "odd" }, members.tools)
    assert.equal("required", members.tool_choice)
  end)
end)

describe("fields nobody knows", function()
  it("are refused, since a server ignores them without a word; extra_body sends them", function()
    local built, message, param = request.build(config.check { model = "m" }, { text = "hi", some_new_field = 1 })
    assert.is_nil(built)
    assert.equal("unknown key `some_new_field`; extra_body = { … } sends any name", message)
    assert.equal("some_new_field", param)
    assert.same({ some_new_field = 1 }, rest { extra_body = { some_new_field = 1 } })
  end)

  it("cost one search for what they could mean, however many there are, and show no more than a line", function()
    local call, steps = { text = "hi", [("z"):rep(1e5)] = 1 }, 0
    for i = 1, 2000 do call["zzzemperatur" .. i % 10 .. i] = i end
    debug.sethook(function() steps = steps + 1 end, "", 1000)
    local _, message = request.build(config.check { model = "m" }, call)
    debug.sethook()
    assert.is_true(#message < 200, message)
    assert.is_true(steps < 5000, steps .. " thousand instructions")
  end)
end)

describe("wire fields", function()
  it("are sent as they are", function()
    local call = {
      temperature = 0, top_p = 1, top_k = -1, min_p = 0, frequency_penalty = -2, presence_penalty = 2,
        repetition_penalty = 1.5, n = 2,
      seed = 42, stop = "x", logprobs = true, top_logprobs = 0, reasoning_effort = "high", user = "u",
        include_reasoning = false,
      truncation_side = "left", documents = { { title = "t" } }, response_format = { type = "json_object" },
        ignore_eos = true,
      structured_outputs = { choice = { "a", "b" } }, chat_template_kwargs = { enable_thinking = false },
        cache_salt = "s",
      stop_token_ids = { 1, 2 }, bad_words = { "w" }, vllm_xargs = { a = 1 }, priority = -1, request_id = "r",
        max_tokens = 1,
      min_tokens = 0, truncate_prompt_tokens = -1, return_token_ids = true,
    }
    local expected = {}
    for name, value in pairs(call) do expected[name] = value end
    assert.same(expected, rest(call))
  end)

  it("of the newest vLLM are sent as they are", function()
    local call = {
      watermarking = false, return_weight_versions = true, routed_experts_prompt_start = 0, return_token_offsets = true,
        mm_payload = "none",
      return_mm_kwargs = false, thinking_token_budget = -1, cache_salt = ("ä"):rep(128),
        media_io_kwargs = { video = { fps = 1 } },
      vllm_xargs = { a = "x", b = 1.5, c = { "x", 2 } }, documents = { { title = "t", text = "x" } },
        reasoning_effort = "ultra",
      repetition_detection = { max_pattern_size = 3, min_pattern_size = 1, min_count = 2 },
      structured_outputs = { regex = "x", whitespace_pattern = "y", disable_any_whitespace = true,
        disable_additional_properties = true },
    }
    local expected = {}
    for name, value in pairs(call) do expected[name] = value end
    assert.same(expected, rest(call))
  end)

  it("get a structural tag as the text that vLLM wants", function()
    local tag = { format = { type = "const_string", value = "x" } }
    for _, value in ipairs { tag, core.json_encode(tag), assert(core.raw(core.json_encode(tag))) } do
      assert.same({ structural_tag = '{"format":{"type":"const_string","value":"x"}}' },
        rest({ structured_outputs = { structural_tag = value } }).structured_outputs)
    end
    assert.truthy(body({ body = "{}",
      set = { structured_outputs = { structural_tag = tag } } }):find('"structural_tag":"{', 1, true))
    assert.same({ format = tag.format }, tag)
  end)

  it("get a schema its name, which servers demand", function()
    local format = { type = "json_schema", json_schema = { schema = { type = "object" }, strict = true } }
    assert.same({ type = "json_schema",
      json_schema = { name = "response", schema = { type = "object" }, strict = true } },
      rest({ response_format = format }).response_format)
    assert.is_nil(format.json_schema.name)
    format.json_schema.name = "mine"
    assert.same(format, rest({ response_format = format }).response_format)
    assert.truthy(body({ text = "hi",
      response_format = assert(core.raw '{"type":"json_schema"}') }):find('{"type":"json_schema"}', 1, true))
  end)

  it("know logit_bias by number or by text", function()
    assert.truthy(body({ text = "hi", logit_bias = { [50256] = -100 } }):find('"logit_bias":{"50256":-100}', 1, true))
    assert.truthy(body({ text = "hi", logit_bias = { ["50256"] = -100 } }):find('"logit_bias":{"50256":-100}', 1, true))
  end)

  it("leave an empty stop list out", function()
    assert.same({}, rest { stop = {} })
    assert.same({}, rest({}, { stop = {} }))
  end)

  it("take lua-cjson's null and empty array", function()
    assert.same({}, rest({ user = require("cjson").null }, { user = "u", seed = require("cjson").null }))
    local real, mark = package.loaded.cjson, io.stdout -- older versions have no mark: any userdata can stand for it
    package.loaded.cjson = { empty_array = mark }
    local ok, members = pcall(rest, { stop = mark, tools = mark, bad_words = mark })
    package.loaded.cjson = real
    assert.is_true(ok, tostring(members))
    assert.same({ bad_words = {} }, members)
  end)

  it("write an empty list as a list where the schema has one", function()
    assert.truthy(body({ text = "hi", stop_token_ids = {}, bad_words = {} }):find('"bad_words":[]', 1, true))
    assert.truthy(body({ text = "hi", chat_template_kwargs = {} }):find('"chat_template_kwargs":{}', 1, true))
  end)
end)

describe("options for the messages", function()
  it("come from the call, then from the client", function()
    local list = { { role = "user", content = "a" }, { role = "user", content = "b" } }
    local function count(call, options)
      call.messages = list
      return #core.json_decode(body(call, options)).messages
    end
    assert.equal(2, count({}))
    assert.equal(1, count({ strict_alternating_roles = true }))
    assert.equal(1, count({}, { strict_alternating_roles = true }))
    assert.equal(2, count({ strict_alternating_roles = false }, { strict_alternating_roles = true }))
  end)
end)

describe("a ready-made body", function()
  local TEXT = '{ "model":"a" , "messages":[{"role":"user"}],\n "stream" : true, "n": 2 }'

  it("goes out byte for byte, without the client's defaults", function()
    local built = build({ body = TEXT }, { temperature = 1, extra_body = { x = 1 } })
    assert.equal(TEXT, built.body)
    assert.is_true(built.stream)
    assert.equal(2, built.asked.choices)
  end)

  it("is changed only in the members that are set", function()
    local built = build { body = TEXT, set = { model = "b", stream = false } }
    assert.equal('{ "model":"b" , "messages":[{"role":"user"}],\n "stream" : false, "n": 2 }', built.body)
    assert.is_false(built.stream)
  end)

  it("does not stream where it does not say so, as the server reads it", function()
    assert.is_false(build({ body = "{}" }, { stream = true }).stream)
    assert.is_true(build({ body = "{}", set = { stream = true } }).stream)
  end)

  it("gets short forms, empty lists and odd keys in the wire's shape", function()
    local members = core.json_decode(build({ body = "{}",
      set = { tools = { tool "f" }, messages = { { role = "user", content = "hi" } },
      stop_token_ids = {}, ['a"b'] = { 1 }, user = core.null } }).body)
    assert.same({ wire_tool "f" }, members.tools)
    assert.same({ { role = "user", content = "hi" } }, members.messages)
    assert.same({ 1 }, members['a"b'])
    assert.equal(core.null, members.user)
    assert.truthy(build({ body = "{}", set = { stop_token_ids = {} } }).body:find("[]", 1, true))
  end)

  it("knows whether it has tools", function()
    assert.same({ tools = true, call_demanded = true, choices = 1 },
      build({ body = '{"tools":[{}],"tool_choice":"required"}' }).asked)
    assert.is_false(build({ body = '{"tools":[]}' }).asked.tools)
  end)
end)

describe("what a turn is given", function()
  local options = {
    api_key = "sk-secret", base_url = "http://h/v1?code=secret-query", headers = { ["X-Token"] = "secret-token" },
      timeout = { connect_s = 3 },
    unix_socket = "/s", tls = { key_password = "secret-pass", cert = "/c", key = "/k" }, limits = { max_choices = 2 },
      chunks = true,
  }

  it("has the transport's request, a fresh one each time, with what the body is then", function()
    local built = build({ text = "hi", timeout = { connect_s = 1 } }, options)
    local first = built.transport_request
    assert.equal("POST", first.method)
    assert.equal("http://h/v1/chat/completions?code=secret-query", first.url)
    assert.same({ "X-Token", "secret-token" }, first.headers[#first.headers])
    assert.equal(built.body, first.body)
    assert.same({ 1, "/s", "secret-pass", false },
      { first.connect_s, first.unix_socket, first.tls.key_password, first.interrupt })
    built.body = nil
    assert.is_nil(built.transport_request.body)
    assert.is_string(first.body)
  end)

  it("has the request for the list of models", function()
    local asked = build({ text = "hi", headers = { ["X-Call"] = "own" }, timeout = { connect_s = 1 } },
      options).models_request
    assert.same({ "GET", "http://h/v1/models?code=secret-query", 3 }, { asked.method, asked.url, asked.connect_s })
    assert.same({ "Accept", "application/json" }, asked.headers[2])
    assert.same({ "X-Token", "secret-token" }, asked.headers[#asked.headers])
  end)

  it("has the decoder's options and what explains an error", function()
    local built = build({ text = "hi", max_tokens = 7, strict_alternating_roles = true }, options)
    local decoder, context = built.decoder_options, built.context
    assert.same({ 2, true, 7 }, { decoder.max_choices, decoder.chunks, decoder.max_completion_tokens })
    assert.truthy(core.decoder(decoder))
    assert.same({ true, true }, { context.has_key, context.strict })
    assert.is_nil(context.url:find("secret", 1, true))
    assert.is_nil(build("hi").context.strict or build("hi").context.has_key or nil)
  end)

  it("shows no secret in a dump", function()
    local function dump(value)
      if type(value) ~= "table" then return tostring(value) end
      local out = {}
      for key, item in pairs(value) do out[#out + 1] = tostring(key) .. "=" .. dump(item) end
      return table.concat(out, " ")
    end
    assert.is_nil(dump(build({ text = "hi", headers = { ["X-Call"] = "call-secret" } }, options)):find("secret", 1,
      true))
  end)
end)

describe("chunk events", function()
  it("are wanted by the call or the client", function()
    assert.is_false(build("hi").chunks)
    assert.is_true(build({ text = "hi", chunks = true }).chunks)
    assert.is_true(build("hi", { chunks = true }).chunks)
    assert.is_nil(build({ text = "hi", chunks = true }).body:find("chunks", 1, true))
  end)
end)
