-- Words of other clients: each is refused wherever options are taken, with what to write here. A server would ignore it without a word.
local config = require "vllm.config"
local fields = require "vllm.fields"
local foreign = require "vllm.foreign"
local request = require "vllm.request"
local testing = require "vllm.testing"
local vllm = require "vllm"

local client = testing.client { "ok" }

-- Every place that takes request options: a function that gives the refusal.
local PLACES = {
  ["vllm.new"] = function(options) options.model = "m" return select(2, pcall(vllm.new, options)) end,
  ["vllm.from_env"] = function(options) return select(2, pcall(vllm.from_env, options)) end,
  ["client:with"] = function(options) return select(2, pcall(client.with, client, options)) end,
  ["client:turn"] = function(options) options.text = "Why?" return client:turn(options):error().message end,
  ["client:ask"] = function(options) return select(2, client:ask("Why?", options)) end,
  ["client:body"] = function(options) return select(2, client:body("Why?", options)) end,
  ["client:session"] = function(options) return select(2, pcall(client.session, client, options)) end,
  ["session:turn"] = function(options) return client:session():turn("Why?", options):error().message end,
}

local function sorted(map)
  local list = {}
  for key in pairs(map) do list[#list + 1] = key end
  table.sort(list)
  return list
end

describe("a word of another client", function()
  for place, refusal in pairs(PLACES) do
    it("is refused by " .. place .. ", with what to write", function()
      for _, word in ipairs(sorted(foreign.words.request)) do
        local message = refusal { [word] = "x" }
        assert.is_string(message, word)
        assert.truthy(message:find((" `%s`: %s"):format(word, foreign.words.request[word]), 1, true), message)
      end
    end)
  end

  local CASES = {
    system_prompt = 'system = "…"', instructions = 'system = "…"', systemInstruction = 'system = "…"', prompt = 'text = "…"',
    max_retries = "retry = { max = … }", maxRetries = "retry = { max = … }", retries = "retry = { max = … }",
    schema = "response_format = { type = \"json_schema\"", response_model = "response_format = { type = \"json_schema\"",
    images = "vllm.image", image = "vllm.image", history = "messages = { … }", stop_sequences = "stop = { ",
    ["max-new-tokens"] = "max_completion_tokens", apiBase = "base_url", abortSignal = "turn:cancel()", enable_thinking = "chat_template_kwargs",
    onToken = "on_event", model_kwargs = "extra_body", random_seed = "seed",
  }
  for word, advice in pairs(CASES) do
    it("is told by its usual spelling: " .. word, function()
      local _, message, err = client:ask("Why?", { [word] = "x" })
      assert.truthy(message:find(advice, 1, true), message)
      assert.equal(word, err.param)
      assert.truthy(select(2, pcall(vllm.new, { model = "m", [word] = "x" })):find(advice, 1, true))
    end)
  end

  it("is none of vLLM's fields and none of our options", function()
    for _, word in ipairs(sorted(foreign.words.request)) do
      for _, known in ipairs { fields.wire, fields.own, config.client_only, config.call_only } do
        for name in pairs(known) do assert.are_not.equal(word, (name:gsub("_", ""))) end
      end
    end
  end)

  it("is answered with names that exist", function()
    for _, advice in pairs(foreign.words.request) do
      for name in advice:gmatch "write ([%a_]+) =" do
        assert.truthy(fields.wire[name] or fields.own[name] or config.client_only[name] or config.call_only[name], advice)
      end
    end
  end)
end)

-- { a call with the word, the sentence }
local GROUPS = {
  { function() vllm.new { model = "m", timeout = { read = 5 } } end, "unknown key `timeout.read`: write idle_s (seconds between two events)" },
  { function() vllm.new { model = "m", timeout = { connectTimeout = 5 } } end, "unknown key `timeout.connectTimeout`: write connect_s (seconds)" },
  { function() vllm.new { model = "m", retry = { retries = 5 } } end, "unknown key `retry.retries`: write max (attempts after the first)" },
  { function() vllm.new { model = "m", tls = { cafile = "/ca" } } end, "unknown key `tls.cafile`: write ca_file" },
  { function() vllm.new { model = "m", tls = { insecure = true } } end, "unknown key `tls.insecure`: write verify = true or false" },
  { function() vllm.image { file = "cat.png" } end, "unknown key `file`: write path" },
  { function() vllm.image { base64 = "…" } end, "unknown key `base64`: write bytes (the file's own bytes, without base64)" },
  { function() vllm.map({}, { workers = 2 }, print) end, "unknown key `workers`: write concurrency" },
}

describe("a word of another client in a table of options", function()
  for _, case in ipairs(GROUPS) do
    it("is told: " .. case[2], function()
      local ok, why = pcall(case[1])
      assert.is_false(ok)
      assert.truthy(why:find(case[2], 1, true), why)
    end)
  end

  it("is told in a tool, where it would lose the schema", function()
    for _, word in ipairs { "inputSchema", "input_schema", "schema", "args" } do
      local built, message = request.build(config.check { model = "m" }, { text = "a", tools = { { name = "f", [word] = { type = "object" } } } })
      assert.is_nil(built)
      assert.equal(("tools[1].%s is not sent (did you mean `parameters`?)"):format(word), message)
    end
  end)
end)
