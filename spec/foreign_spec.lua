-- Words of other clients: each is refused wherever options are taken, with what to write here. A server would ignore it
-- without a word.
local config = require "vllm.request.config"
local fields = require "vllm.request.fields"
local foreign = require "vllm.base.foreign"
local request = require "vllm.request"
local spelling = require "vllm.base.spelling"
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
    system_prompt = 'system = "…"', instructions = 'system = "…"', systemInstruction = 'system = "…"',
      prompt = 'text = "…"',
    max_retries = "retry = { max = … }", maxRetries = "retry = { max = … }", retries = "retry = { max = … }",
    schema = "response_format = { type = \"json_schema\"",
      response_model = "response_format = { type = \"json_schema\"",
    images = "vllm.image", image = "vllm.image", history = "messages = { … }", stop_sequences = "stop = { ",
    ["max-new-tokens"] = "max_completion_tokens", apiBase = "base_url", abortSignal = "turn:cancel()",
      enable_thinking = "chat_template_kwargs",
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
    for _, known in ipairs { fields.wire, fields.own, config.client_only, config.call_only } do
      for name in pairs(known) do assert.is_nil(foreign.words.request[(name:gsub("_", ""))], name) end
    end
  end)

  it("is answered with names that exist", function()
    for _, advice in pairs(foreign.words.request) do
      for name in advice:gmatch "write ([%a_]+) =" do
        assert.truthy(fields.wire[name] or fields.own[name] or config.client_only[name] or config.call_only[name],
          advice)
      end
    end
  end)
end)

-- The parameters of each client, as its documentation names them.
local CLIENTS = {
  ["openai-python"] = "api_key organization project base_url timeout max_retries default_headers default_query "
    .. "http_client messages model "
    .. "audio! frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens "
    .. "metadata! modalities! n "
    .. "parallel_tool_calls prediction! presence_penalty prompt_cache_key! reasoning_effort response_format "
    .. "safety_identifier seed "
    .. "service_tier! stop store! stream stream_options temperature tool_choice tools top_logprobs top_p user "
    .. "verbosity! "
    .. "web_search_options! extra_headers extra_query extra_body input instructions max_output_tokens "
    .. "previous_response_id conversation "
    .. "reasoning",
  ["openai-node"] = "apiKey baseURL maxRetries defaultHeaders defaultQuery fetch fetchOptions signal idempotencyKey "
    .. "logLevel",
  anthropic = "api_key auth_token system max_tokens messages stop_sequences thinking top_k tool_choice "
    .. "disable_parallel_tool_use",
  LangChain = "model_name openai_api_key openai_api_base openai_organization openai_proxy request_timeout max_retries "
    .. "model_kwargs "
    .. "streaming stream_usage callbacks verbose rate_limiter! maxConcurrency recursion_limit",
  LlamaIndex = "api_base context_window additional_kwargs max_retries default_headers reuse_client! system_prompt "
    .. "chat_history "
    .. "callback_manager",
  LiteLLM = "api_base api_version num_retries fallbacks! request_timeout drop_params! extra_headers "
    .. "custom_llm_provider! mock_response!",
  instructor = "response_model max_retries validation_context! strict!",
  ["pydantic-ai"] = "system_prompt instructions output_type result_type retries model_settings message_history "
    .. "user_prompt toolsets "
    .. "output_retries deps! usage_limits!",
  ["Vercel's AI SDK"] = "model system prompt messages tools toolChoice activeTools maxOutputTokens temperature topP "
    .. "topK presencePenalty "
    .. "frequencyPenalty stopSequences seed maxRetries abortSignal headers providerOptions stopWhen maxSteps onFinish "
    .. "onChunk onError schema",
  ollama = "host options format think keep_alive! images template raw! system prompt num_ctx num_predict "
    .. "repeat_penalty",
  ["google-genai"] = "systemInstruction contents generation_config maxOutputTokens stopSequences responseSchema "
    .. "response_json_schema "
    .. "responseMimeType candidateCount safety_settings! thinkingConfig tool_config http_options "
    .. "automatic_function_calling",
  mistral = "random_seed safe_prompt! server_url timeout_ms retry_config prompt_mode!",
  cohere = "message preamble chat_history conversation_id p k tool_results connectors! documents stop_sequences",
  ["the llm CLI"] = "prompt system system_fragments attachments fragments schema tools options conversation key "
    .. "chain_limit hide_reasoning",
  transformers = "inputs parameters token max_new_tokens do_sample num_beams num_return_sequences return_full_text! "
    .. "top_n_tokens",
  ["vllm.LLM"] = "tensor_parallel_size gpu_memory_utilization dtype quantization max_model_len sampling_params "
    .. "guided_decoding lora_request "
    .. "extra_args best_of",
  ["llama.cpp and SGLang"] = "n_predict n_probs cache_prompt! mirostat! grammar json_schema regex ebnf lora_path "
    .. "separate_reasoning",
  ["Neovim plugins"] = "endpoint api_key_name api_key_cmd extra_request_body openai_params openai_api_endpoint "
    .. "system_prompt request_body url",
}

describe("the parameters of", function()
  local function is_known(name)
    return config.is_option(name) or spelling.nearest(name, fields.wire, fields.own, config.client_only,
      config.call_only) ~= nil
  end
  for client_name, parameters in pairs(CLIENTS) do
    it(client_name .. " are known here, or told what to write; only those with ! have no counterpart", function()
      for name, mark in parameters:gmatch "([%w_]+)(!?)" do
        assert.equal(mark == "", is_known(name) or foreign.advice("request", name) ~= nil
          or fields.why_removed(name) ~= nil, name)
      end
    end)
  end
end)

-- { a call with the word, the sentence }
local GROUPS = {
  { function() vllm.new { model = "m", timeout = { read = 5 } } end,
    "unknown key `timeout.read`: write idle_s (seconds between two events)" },
  { function() vllm.new { model = "m", timeout = { connectTimeout = 5 } } end,
    "unknown key `timeout.connectTimeout`: write connect_s (seconds)" },
  { function() vllm.new { model = "m", retry = { retries = 5 } } end,
    "unknown key `retry.retries`: write max (attempts after the first)" },
  { function() vllm.new { model = "m", tls = { cafile = "/ca" } } end, "unknown key `tls.cafile`: write ca_file" },
  { function() vllm.new { model = "m", tls = { insecure = true } } end,
    "unknown key `tls.insecure`: write verify = true or false" },
  { function() vllm.image { file = "cat.png" } end, "unknown key `file`: write path" },
  { function() vllm.image { base64 = "…" } end,
    "unknown key `base64`: write bytes (the file's own bytes, without base64)" },
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
    local WORDS = { parameters = { "inputSchema", "input_schema", "schema", "args", "args_schema", "properties" },
      description = { "desc", "docstring" } }
    for meant, words in pairs(WORDS) do
      for _, word in ipairs(words) do
        local built, message = request.build(config.check { model = "m" },
          { text = "a", tools = { { name = "f", [word] = { type = "object" } } } })
        assert.is_nil(built)
        assert.equal(("tools[1].%s: unknown key (did you mean `%s`?)"):format(word, meant), message)
      end
    end
  end)
end)
