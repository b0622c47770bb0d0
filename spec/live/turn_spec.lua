-- A real vLLM, run by spec/live/run: what it answers, and what it sees of us. The model is too small to obey, so where
-- an answer must be a certain one the request's structured_outputs forces it.
local core = require "vllm.core"
local vllm = require "vllm"

local FRANCE = { { role = "user", content = "What is the capital of France?" } }
local PLAN = { { role = "user", content = "Weather in Paris and Rome, please." } }
local WEATHER = { name = "get_weather", description = "Weather of a city", parameters = { type = "object",
  properties = { city = { type = "string", enum = { "Paris", "Rome", "Zürich" } } }, required = { "city" },
    additionalProperties = false } }
local NOW = { name = "now", description = "The time",
  parameters = { type = "object", properties = {}, additionalProperties = false } }
local MARKERS = { [3] = 100, [4] = 100, [5] = 100, [6] = 100 } -- the single tokens of <think> and <tool_call>
local THINK = "<think>\\n(The user wants a city\\.|Easy\\.)\\n</think>\\n\\n"

local function call(name, arguments)
  return ('<tool_call>\\n\\{"name": "%s", "arguments": %s\\}\\n</tool_call>'):format(name, arguments)
end

local plain = assert(vllm.from_env { temperature = 0, max_completion_tokens = 64 })
local reasoning = vllm.new { model = "smollm2", api_key = "test-key", base_url = "http://localhost/v1", temperature = 0,
  max_completion_tokens = 64, unix_socket = assert(os.getenv "VLLM_LIVE_SOCKET") }

local function ask(client, request)
  local result, message = client:turn(request):result()
  assert.truthy(result, message)
  return result
end

local function failing(client, request)
  local result, message, err = client:turn(request):result()
  assert.is_nil(result)
  assert.equal(err.kind .. ": ", message:sub(1, #err.kind + 2))
  return err
end

local function running_requests()
  local text = assert(plain:request("GET", "/metrics")).body
  return tonumber(text:match "vllm:num_requests_running{[^}]*} ([%d.]+)")
end

-- Looks ten times a second, since a server that is asked all the time gets to nothing else. Gives the seconds it took.
local function wait_until(seconds, condition)
  local began = core.now()
  repeat
    if condition() then return core.now() - began end
    os.execute "sleep 0.1"
  until core.now() > began + seconds
  return nil
end

-- Within a second on an idle machine; the figure is printed, and only never is a failure.
local function falls_to_zero()
  local took = wait_until(10, function() return running_requests() == 0 end)
  if took then io.write(("(running requests fell to 0 within %.1f s) "):format(took)) end
  return took
end

describe("text", function()
  it("streams, and adds up to what the buffered answer says", function()
    local pieces = {}
    local turn = plain:turn { messages = FRANCE }
    for text in turn:text_deltas() do pieces[#pieces + 1] = text end
    local result = assert(turn:result())
    assert.equal(result.text, table.concat(pieces))
    assert.is_true(#pieces > 1)
    assert.equal("stop", result.finish_reason)
    assert.is_true(result.complete)
    local buffered = ask(plain, { messages = FRANCE, streaming = false })
    assert.equal(buffered.text, result.text)
    assert.same(buffered.message, result.message)
    assert.equal(buffered.usage.total_tokens, result.usage.total_tokens)
  end)

  it("has usage, an id, a model, a request id and timings", function()
    local result = ask(plain, { messages = FRANCE })
    assert.is_true(result.usage.prompt_tokens > 0 and result.usage.completion_tokens > 0)
    assert.truthy(result.id:find "^chatcmpl%-")
    assert.equal("smollm2", result.model)
    assert.truthy(result.headers["x-request-id"])
    assert.is_true(result.timing.total_s >= result.timing.first_delta_s)
  end)

  it("keeps every code point", function()
    local text = "naïve café — žluťoučký kůň 🙂🚀 你好,世界 👩‍👩‍👧 end"
    assert.equal(text, ask(plain, { messages = FRANCE, structured_outputs = { choice = { text } },
      max_completion_tokens = 120 }).text)
  end)

  it("that ends by length says so", function()
    local result = ask(plain, { messages = { "Count from one to one hundred." }, max_completion_tokens = 7 })
    assert.equal("length", result.finish_reason)
    assert.equal(7, result.usage.completion_tokens)
  end)

  it("stops at a stop string and names it", function()
    local result = ask(plain, { messages = { "Count from 1 to 9: 1, 2, 3," }, stop = "5" })
    assert.equal("5", result.stop_reason)
  end)

  it("comes in two choices, streamed and buffered", function()
    for _, streaming in ipairs { true, false } do
      local result = ask(plain, { messages = FRANCE, n = 2, temperature = 1, seed = 7, max_completion_tokens = 24,
        streaming = streaming })
      assert.equal(2, #result.choices)
      assert.equal(1, result.choices[2].choice)
      assert.is_true(#result.choices[1].text > 0 and #result.choices[2].text > 0)
    end
  end)

  it("has logprobs and token ids when they are asked for", function()
    local tokens, ids = 0, 0
    local turn = plain:turn { messages = FRANCE, logprobs = true, top_logprobs = 2, return_token_ids = true }
    for event in turn:events() do
      if event.type == "tokens" then
        tokens = tokens + #((event.logprobs or {}).content or {})
        ids = ids + #(event.token_ids or {})
      end
    end
    local spent = turn:result().usage.completion_tokens
    assert.is_true(tokens >= spent - 1 and tokens <= spent)
    assert.is_true(ids >= spent - 1 and ids <= spent)
  end)

  it("follows a JSON schema", function()
    local schema = { type = "object", properties = { name = { enum = { "Ada", "李雷" } },
      age = { type = "integer", minimum = 1, maximum = 99 } },
      required = { "name", "age" }, additionalProperties = false }
    local result = ask(plain, { messages = { "Invent a person." },
      response_format = { type = "json_schema", json_schema = { name = "person", strict = true, schema = schema } } })
    local person = assert(vllm.json.decode(result.text))
    assert.is_true(person.name == "Ada" or person.name == "李雷")
    assert.is_true(person.age >= 1 and person.age <= 99)
  end)

  it("goes on from an assistant's beginning", function()
    local result = ask(plain, { messages = { FRANCE[1], { role = "assistant", content = "The capital of" } },
      add_generation_prompt = false, continue_final_message = true })
    assert.is_true(#result.text > 0)
  end)

  it("can be nothing at all", function()
    local text, _, err = plain:ask { messages = FRANCE, structured_outputs = { regex = "" } }
    assert.is_nil(text)
    assert.equal("no_output", err.kind)
  end)
end)

describe("a tool call", function()
  it("by auto: raw arguments, input, and a second round that answers", function()
    for _, streaming in ipairs { true, false } do
      local messages = { PLAN[1] }
      local result = ask(plain, { messages = messages, tools = { WEATHER }, streaming = streaming,
        structured_outputs = { regex = call("get_weather", '\\{"city": "(Paris|Rome)"\\}') } })
      assert.equal(1, #result.tool_calls)
      assert.equal("get_weather", result.tool_calls[1].name)
      assert.is_true(result.tool_calls[1].input.city == "Paris" or result.tool_calls[1].input.city == "Rome")
      messages[2] = result.message
      messages[3] = { role = "tool", call = result.tool_calls[1], result = { celsius = 18 } }
      assert.is_true(#ask(plain, { messages = messages, tools = { WEATHER },
        structured_outputs = { choice = { "18 degrees." } } }).text > 0)
    end
  end)

  it("in parallel: two calls with ids of their own", function()
    local regex = call("get_weather", '\\{"city": "Paris"\\}') .. "\\n" .. call("get_weather", '\\{"city": "Rome"\\}')
    local result = ask(plain, { messages = PLAN, tools = { WEATHER }, structured_outputs = { regex = regex },
      max_completion_tokens = 120 })
    assert.equal(2, #result.tool_calls)
    assert.are_not.equal(result.tool_calls[1].id, result.tool_calls[2].id)
    assert.equal("Rome", result.tool_calls[2].input.city)
  end)

  it("by name and by required, which this server constrains to JSON", function()
    for _, choice in ipairs { "get_weather", "required" } do
      for _, streaming in ipairs { true, false } do
        local result = ask(plain, { messages = PLAN, tools = { WEATHER }, tool_choice = choice, streaming = streaming,
          max_completion_tokens = 120 })
        for _, one in ipairs(result.tool_calls) do
          assert.equal("get_weather", one.name)
          assert.is_true((one.input == nil) ~= (one.invalid == nil))
        end
        assert.is_true(#result.tool_calls > 0 or #result.hints > 0)
      end
    end
  end)

  it("without arguments is an empty object", function()
    local result = ask(plain, { messages = PLAN, tools = { NOW },
      structured_outputs = { regex = call("now", "\\{\\}") } })
    assert.same({}, result.tool_calls[1].input)
  end)

  it("that the model wrote wrong is invalid, and can be answered", function()
    local regex = '<tool_call>\\n\\{"name": "get_weather", "arguments": \\{"city": \\n</tool_call>'
    local result = ask(plain, { messages = PLAN, tools = { WEATHER }, structured_outputs = { regex = regex } })
    if result.tool_calls[1] then
      assert.truthy(result.tool_calls[1].invalid)
      local messages = { PLAN[1], result.message,
        { role = "tool", call = result.tool_calls[1], result = "not JSON", is_error = true } }
      assert.is_true(#ask(plain, { messages = messages, tools = { WEATHER },
        structured_outputs = { choice = { "Sorry." } } }).text > 0)
    else
      assert.is_true(#result.text > 0)
    end
  end)

  it("that is cut is never valid", function()
    local result = ask(plain, { messages = PLAN, tools = { WEATHER }, tool_choice = "get_weather",
      max_completion_tokens = 3 })
    assert.equal("length", result.finish_reason)
    for _, one in ipairs(result.tool_calls) do assert.truthy(one.invalid) end
    assert.is_true(#result.hints > 0)
  end)
end)

describe("reasoning, over a Unix socket", function()
  it("comes apart from the text, streamed and buffered", function()
    for _, streaming in ipairs { true, false } do
      local result = ask(reasoning, { messages = FRANCE, logit_bias = MARKERS,
        structured_outputs = { regex = THINK .. "Paris\\." }, streaming = streaming })
      assert.truthy(result.reasoning:find("city", 1, true) or result.reasoning:find("Easy", 1, true))
      assert.truthy(result.text:find("Paris.", 1, true))
    end
  end)

  it("with a tool call after it", function()
    local result = ask(reasoning, { messages = PLAN, tools = { WEATHER }, logit_bias = MARKERS,
      max_completion_tokens = 120,
      structured_outputs = { regex = THINK .. call("get_weather", '\\{"city": "(Paris|Rome)"\\}') } })
    assert.equal(1, #result.tool_calls)
    assert.truthy(result.reasoning)
  end)

  it("that is the whole answer is told, not printed as nothing", function()
    local text, message, err = reasoning:ask { messages = FRANCE }
    assert.is_nil(text)
    assert.equal("no_output", err.kind)
    assert.truthy(message:find("reasoning", 1, true))
  end)

  it("can be replayed", function()
    local first = ask(reasoning, { messages = FRANCE, logit_bias = MARKERS,
      structured_outputs = { regex = THINK .. "Paris\\." } })
    local request = { messages = { FRANCE[1], first.message, "And of Italy?" }, reasoning_replay = "always",
      streaming = false }
    assert.truthy(reasoning:body(request):find('"reasoning":', 1, true))
    ask(reasoning, request)
  end)
end)

describe("an error", function()
  local BIG = { { role = "user", content = ("word "):rep(3000) } }
  local cases = {
    { "a context too long", { messages = BIG }, "context_length", 400 },
    { "a context too long, buffered", { messages = BIG, streaming = false }, "context_length", 400 },
    { "too many tokens asked for", { messages = FRANCE, max_completion_tokens = 4000 }, "context_length", 400 },
    { "a late system message", { messages = { FRANCE[1], { role = "system", content = "late" } } }, "role_order", 400 },
    { "a temperature that is too high", { messages = FRANCE, temperature = 3 }, "invalid_request", 400 },
    { "a schema of nonsense", { messages = FRANCE,
      response_format = { type = "json_schema", json_schema = { name = "x", schema = { type = "nonsense" } } } },
      "invalid_request", 200 },
    { "a bad regex", { messages = FRANCE, structured_outputs = { regex = "(" } }, "invalid_request", 200 },
    { "an image for a model without eyes",
      { messages = { { role = "user", content = { "What?",
      vllm.image { url = "data:image/png;base64,iVBORw0KGgo=" } } } } },
      "invalid_request", 400 },
    { "no messages", { messages = {}, extra_body = {} }, "invalid_request" },
    { "an unknown model", { messages = FRANCE, model = "nope" }, "not_found", 404 },
  }
  for _, case in ipairs(cases) do
    it("for " .. case[1] .. " is " .. case[3], function()
      local err = failing(plain, case[2])
      assert.equal(case[3], err.kind)
      assert.equal(case[4], err.status)
      assert.is_false(err.retryable)
    end)
  end

  it("names the models that are served", function()
    assert.truthy(failing(plain, { messages = FRANCE, model = "nope" }).message:find("smollm2", 1, true))
  end)

  it("for a wrong key and for none", function()
    assert.equal("auth", failing(plain:with { api_key = "wrong" }, "hi").kind)
    assert.truthy(failing(plain:with { api_key = "" }, "hi").message:find("requires a key", 1, true))
  end)

  it("for a wrong path and a wrong method", function()
    local root = plain.config.root_url("")
    assert.equal("not_found", failing(plain:with { base_url = root .. "/v1/nothing" }, "hi").kind)
    assert.equal("not_found", select(3, plain:request("GET", "/v1/chat/completions")).kind)
  end)

  it("for a body that is not JSON", function()
    assert.equal("invalid_request", select(3, plain:request("POST", "/v1/chat/completions", '{"model":')).kind)
  end)

  it("has the numbers of a context that is too long", function()
    local err = failing(plain, { messages = BIG })
    assert.equal(2048, err.context.limit)
    assert.is_true(err.context.prompt_is_lower_bound)
  end)
end)

describe("other endpoints", function()
  it("answer through client:request", function()
    assert.equal("smollm2", assert(plain:request("GET", "/v1/models")).json.data[1].id)
    assert.truthy(assert(plain:request("GET", "/version")).json.version)
    local tokens = assert(plain:request("POST", "/tokenize", { model = "smollm2", messages = FRANCE })).json
    assert.equal(tokens.count, #tokens.tokens)
  end)
end)

describe("client:tokens", function()
  it("counts what a turn's usage counts, with tools and template arguments", function()
    local request = { messages = PLAN, tools = { WEATHER, NOW }, chat_template_kwargs = { enable_thinking = false } }
    local counted = assert(plain:tokens(request))
    assert.equal(ask(plain, request).usage.prompt_tokens, counted.count)
    assert.is_true(counted.max_model_len > counted.count)
  end)
end)

describe("cancel", function()
  local story = { messages = { "Write a long story about a lighthouse." }, max_completion_tokens = 1500,
    ignore_eos = true }

  it("is seen by the server: its running requests fall to 0", function()
    local turn = plain:turn(story)
    for event in turn:events() do if event.type == "text_delta" then break end end
    assert.is_true(running_requests() >= 1)
    turn:cancel()
    assert.truthy(falls_to_zero())
    assert.is_true(#turn:error().partial.text > 0)
  end)

  it("before the first byte is seen, too", function()
    local turn = plain:turn(story)
    turn:poll()
    turn:poll()
    assert.truthy(wait_until(10, function() turn:poll() return running_requests() >= 1 end))
    turn:cancel()
    assert.truthy(falls_to_zero())
  end)

  it("by collection, as a net", function()
    local turn = plain:turn(story)
    turn:next()
    turn = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.truthy(falls_to_zero())
  end)
end)

describe("a connection", function()
  it("is used again by later turns", function()
    local reused = false -- not always by the very next one: the answer's last chunk comes a little behind [DONE]
    for _ = 1, 5 do reused = ask(plain, { messages = FRANCE, max_completion_tokens = 2 }).timing.reused or reused end
    assert.is_true(reused)
  end)
end)

describe("relay", function()
  it("passes on what the server sent, byte for byte", function()
    local passed = {}
    local turn = plain:turn { messages = FRANCE }
    assert(turn:open())
    local result = assert(turn:relay(function(bytes) passed[#passed + 1] = bytes end))
    local decoder = vllm.decoder()
    assert(decoder:feed(table.concat(passed)))
    while decoder:next() do end
    assert.equal(result.text, decoder:result().text)
    assert.truthy(passed[#passed]:find("[DONE]", 1, true))
  end)
end)

describe("an answer that broke off", function()
  it("is gone on with, and is one message", function()
    local turn, seen = plain:turn { messages = FRANCE, ignore_eos = true }, 0
    for event in turn:events() do
      if event.type == "text_delta" then seen = seen + 1 end
      if seen == 8 then break end
    end
    turn:cancel()
    local err = turn:error()
    assert.is_true(err.resumable)
    local result = ask(plain, { messages = FRANCE, ignore_eos = true, max_completion_tokens = 12,
      continue = err.partial })
    assert.equal(err.partial.text, result.text:sub(1, #err.partial.text))
    assert.truthy(#result.text > #err.partial.text)
    assert.equal(result.text, result.message.content)
    assert.equal(12, result.usage.completion_tokens)
    assert.equal("length", result.finish_reason)
  end)
end)

describe("many at a time", function()
  local transports_curl = require "vllm.transports.curl"

  for _, mode in ipairs { "inline", "thread" } do
    it("in one thread, with the engine " .. mode, function()
      local client, questions = plain:with { transport = transports_curl.new { mode = mode } }, {}
      for i = 1, 12 do questions[i] = ("Count from 1 to %d."):format(i) end
      local most, open = 0, 0
      local values, failures = vllm.map(questions, { concurrency = 6 }, function(question)
        open = open + 1
        most = math.max(most, open)
        local text, message, err = client:ask { text = question, max_completion_tokens = 8, ignore_eos = true }
        open = open - 1
        return text, message, err
      end)
      assert.same({}, failures)
      assert.equal(12, #values)
      assert.equal(6, most)
    end)
  end
end)
