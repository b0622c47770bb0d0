-- What servers and gateways were seen to send, each rebuilt from a public report of another client's users: `source` is
-- repository#number on GitHub. A row says what the answer is, streamed in one piece and byte by byte, and as one body
-- where the report has that form; or the words and the bytes that the error shows.
require "spec.support.env"
local testing = require "vllm.testing"

local DONE = "data: [DONE]\n\n"

local function event(json) return "data: " .. json .. "\n\n" end
local function chunk(delta, finish, more)
  return event(('{"id":"c","choices":[{"index":0,"delta":%s,"finish_reason":%s%s}]}')
    :format(delta, finish and '"' .. finish .. '"' or "null", more or ""))
end
local function whole(message, finish, more)
  return ('{"id":"c","choices":[{"index":0,"message":%s,"finish_reason":"%s"%s}]}'):format(message, finish, more or "")
end
local function calls(...) return '{"tool_calls":[' .. table.concat({ ... }, ",") .. "]}" end
local HI, STOP, CALLED = chunk '{"content":"Hi"}', chunk("{}", "stop"), chunk("{}", "tool_calls")
local HI_STOP = { text = "Hi", finish_reason = "stop" }
local PARIS = { { id = "a", name = "get_weather", arguments = '{"city":"Paris"}' } }
local USAGE = '"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}'

local rows = {
  -- Usage
  { "usage in the choice", source = "earendil-works/pi#2017 (Moonshot)",
    HI .. chunk("{}", "stop", "," .. USAGE) .. DONE,
    { text = "Hi", finish_reason = "stop", tokens = 5 }, body = whole('{"content":"Hi"}', "stop", "," .. USAGE) },
  { "usage in the choice and beside the choices", source = "earendil-works/pi#2017 (Moonshot)",
    HI .. event('{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop",' .. USAGE:gsub("5}", "9}") .. "}],"
      .. USAGE .. "}") .. DONE,
    { text = "Hi", tokens = 5 } },
  { "usage of x_groq stays there", source = "of Groq's API",
    HI .. event('{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{' .. USAGE .. "}}")
      .. DONE,
    { text = "Hi", groq_tokens = 5 } },
  { "empty usage in every chunk, finish reasons without letters",
    source = "zed-industries/zed#42893, ollama/ollama#4357",
    event '{"id":"c","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":""}],"usage":{}}'
    .. event('{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],' .. USAGE .. "}")
      .. event '{"choices":[],"usage":{}}' .. DONE,
    { text = "Hi", finish_reason = "stop", tokens = 5 } },
  { "counts and times as floats", source = "siyuan-note/siyuan#14787, BoundaryML/baml#1746 (SambaNova)", HI .. STOP
    .. event '{"id":"c","created":1746709563.492141,"choices":[],"usage":{"prompt_tokens":3.0,"completion_tokens":2e0,"total_tokens":5.0,"prompt_tokens_details":null}}'
    .. DONE, { text = "Hi", tokens = 5 } },
  { "chunks without choices, with a price", source = "anomalyco/opencode#42918",
    event '{"id":"","object":"chat.completion.chunk","model":"","choices":[]}' .. HI .. STOP
      .. event '{"choices":[],"cost":"0"}' .. DONE, HI_STOP },

  -- Calls
  { "fragments without an index", source = "open-webui/computer#224 (Gemini)",
    chunk(calls '{"id":"a","type":"function","function":{"name":"get_weather","arguments":"{\\"city\\":"},"extra_content":{"google":{"x":1}}}')
    .. chunk(calls '{"type":"function","function":{"arguments":"\\"Paris\\"}"}}') .. STOP .. DONE,
      { calls = PARIS, finish_reason = "stop" } },
  { "arguments as an object", source = "ggml-org/llama.cpp#20198",
    chunk(calls '{"index":0,"id":"a","type":"function","function":{"name":"get_weather","arguments":{"city":"Paris"}}}')
      .. CALLED .. DONE,
    { calls = PARIS }, body = whole(calls '{"id":"a","function":{"name":"get_weather","arguments":{"city":"Paris"}}}',
      "tool_calls") },
  { "the name in every fragment", source = "Sliverkiss/workbuddy2api#82",
    chunk(calls '{"index":0,"id":"a","function":{"name":"get_weather","arguments":""}}')
    .. chunk(calls '{"index":0,"function":{"name":"get_weather","arguments":"{\\"city\\""}}')
    .. chunk(calls '{"index":0,"function":{"name":"get_weather","arguments":":\\"Paris\\"}"}}') .. CALLED .. DONE,
      { calls = PARIS } },
  { "the name in pieces", source = "ankit373/hydra#958",
    chunk(calls '{"index":0,"id":"a","function":{"name":"get_wea","arguments":""}}')
    .. chunk(calls '{"index":0,"function":{"name":"ther","arguments":"{\\"city\\":\\"Paris\\"}"}}') .. CALLED .. DONE,
      { calls = PARIS } },
  { 'the name "null" in later fragments', source = "BerriAI/litellm#12513",
    chunk(calls '{"index":0,"id":"a","function":{"name":"get_weather","arguments":""}}')
    .. chunk(calls '{"index":0,"id":"","function":{"name":"null","arguments":"{\\"city\\":\\"Paris\\"}"}}')
    .. chunk(calls '{"index":0,"id":"","function":{"name":"null","arguments":""}}') .. CALLED .. DONE,
      { calls = PARIS } },
  { "null arguments behind whole ones", source = "QuantumNous/new-api#3326 (DashScope)",
    chunk(calls '{"index":0,"id":"a","function":{"name":"get_weather","arguments":"{\\"city\\":\\"Paris\\"}"}}')
    .. chunk(calls '{"index":0,"id":"","function":{"name":null,"arguments":null}}') .. CALLED .. DONE,
      { calls = PARIS } },
  { "the index -1", source = "aws-samples/bedrock-access-gateway#247",
    chunk(calls '{"index":-1,"id":"a","function":{"name":"get_weather","arguments":""}}')
    .. chunk(calls '{"index":-1,"function":{"arguments":"{\\"city\\":"}}')
      .. chunk(calls '{"index":-1,"function":{"arguments":"\\"Paris\\"}"}}') .. CALLED .. DONE,
    { calls = PARIS } },
  { "indexes as texts", source = "anvia-hq/anvia#262",
    chunk(calls('{"index":"0","id":"a","function":{"name":"get_weather","arguments":"{\\"city\\":"}}',
      '{"index":"1","id":"b","function":{"name":"f","arguments":"{}"}}'))
        .. chunk(calls '{"index":"0","function":{"arguments":"\\"Paris\\"}"}}') .. CALLED .. DONE,
    { calls = { PARIS[1], { id = "b", name = "f", arguments = "{}" } } } },
  { "an empty type in later fragments", source = "liquidos-ai/AutoAgents#99 (DeepSeek)",
    chunk(calls '{"index":0,"id":"a","type":"function","function":{"name":"get_weather","arguments":""}}')
    .. chunk(calls '{"index":0,"type":"","function":{"arguments":"{\\"city\\":\\"Paris\\"}"}}') .. CALLED .. DONE,
      { calls = PARIS } },
  { "two calls' arguments under one id: not to be run, and shown", source = "NousResearch/hermes-agent#62937",
    chunk(calls '{"index":0,"id":"a","function":{"name":"f","arguments":"{\\"a\\":1}"}}')
      .. chunk(calls '{"index":0,"function":{"arguments":"{\\"a\\":2}"}}') .. CALLED .. DONE,
    { calls = { { id = "a", name = "f", arguments = '{"a":1}{"a":2}', invalid = true } } } },
  { "{} before the arguments: not to be run, and shown", source = "envoyproxy/ai-gateway#1466 (Claude)",
    chunk(calls '{"index":1,"id":"a","function":{"name":"f","arguments":"{}"}}')
      .. chunk(calls '{"index":1,"id":null,"function":{"name":"","arguments":""}}')
    .. chunk(calls '{"index":1,"id":null,"function":{"name":"","arguments":"{\\"a\\":1}"}}') .. CALLED .. DONE,
    { calls = { { id = "a", name = "f", arguments = '{}{"a":1}', invalid = true } } } },

  -- Text and reasoning
  { "thinking in the content", source = "symfony/ai#2422 (Mistral)",
    chunk '{"content":[{"type":"thinking","thinking":[{"type":"text","text":"h"}]}]}'
    .. chunk '{"content":[{"type":"thinking","thinking":[{"type":"text","text":"m"}]}]}' .. HI .. STOP .. DONE,
    { text = "Hi", reasoning = "hm" },
      body = whole('{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text",'
        .. '"text":"Hi"}]}', "stop") },
  { "reasoning as a summary in the content", source = "databricks/appkit#559 (gpt-oss)",
    chunk '{"content":[{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]}]}'
      .. chunk '{"content":[{"type":"text","text":"Hi"}]}' .. STOP .. DONE,
    { text = "Hi", reasoning = "hm" },
    body = whole('{"content":[{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]},{"type":"text",'
      .. '"text":"Hi"}]}', "stop") },
  { "reasoning as an object", source = "envoyproxy/ai-gateway#1222 (Bedrock)", chunk '{"content":"","role":"assistant"}'
    .. chunk '{"role":"assistant","reasoning_content":{"text":"h"}}' .. chunk '{"reasoning_content":{"text":"m"}}'
      .. HI .. STOP .. DONE,
    { text = "Hi", reasoning = "hm" },
      body = whole('{"content":"Hi","reasoning":{"effort":"low"},"reasoning_content":{"text":"hm"}}', "stop") },
  { "an empty text between two thoughts", source = "earendil-works/pi#9674",
    chunk '{"reasoning_content":"h"}' .. chunk '{"content":""}' .. chunk '{"reasoning_content":"m"}' .. HI .. STOP
      .. DONE, { text = "Hi", reasoning = "hm" } },
  { "the whole message at the end", source = "abundantbeing/hermes-browser-extension#11",
    HI .. chunk '{"content":" you"}'
    .. event '{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"Hi you"},"finish_reason":"stop"}]}' .. DONE, { text = "Hi you" } },
  { "the message so far beside each delta", source = "open-webui/open-webui#9927 (Perplexity)",
    event '{"id":"c","choices":[{"index":0,"message":{"content":"Hi"},"delta":{"content":"Hi"},"finish_reason":null}]}'
    .. event '{"id":"c","choices":[{"index":0,"message":{"content":"Hi you"},"delta":{"content":" you"},"finish_reason":"stop"}]}' .. DONE, { text = "Hi you" } },
  -- Deltas that each hold all the text so far are not told from a model that repeats itself: "ha", "haha" are both.
  -- They stay what they say.
  { "deltas that grow", source = "QwenLM/qwen-code#3896",
    chunk '{"content":"ha"}' .. chunk '{"content":"haha"}' .. STOP .. DONE, { text = "hahaha" } },
  { "text behind a finish reason that came too early", source = "Chevey339/kelivo#1003",
    chunk('{"content":""}', "stop") .. HI .. STOP .. DONE, HI_STOP },
  { "text in the chunk of the finish reason", source = "lobehub/lobehub#3252 (Qwen)",
    chunk('{"content":"Hi"}', "stop") .. DONE, HI_STOP },
  { "[DONE] in the text", source = "rahilp/second-brain-cloudflare#353",
    chunk '{"content":"Keep [DONE] here"}' .. STOP .. DONE, { text = "Keep [DONE] here" } },
  { "U+2028 and U+0085 as they are", source = "Soju06/codex-lb#1010",
    chunk '{"content":"a\226\128\168b\194\133c"}' .. STOP .. DONE, { text = "a\226\128\168b\194\133c" } },
  { "no choices first, no delta last",
    source = "AbanteAI/archive-old-cli-mentat#429, langchain-ai/langchain#18977 (Azure)",
    event '{"id":"","choices":[],"created":0,"model":"","prompt_filter_results":[{"prompt_index":0}]}' .. HI .. STOP
    .. event '{"id":"","model":"","choices":[{"finish_reason":null,"index":0,"content_filter_offsets":{"check_offset":44}}],"usage":null}' .. DONE, HI_STOP },
  { "a number as stop_reason", source = "foundation-model-stack/fms-guardrails-orchestrator#452 (vLLM)",
    HI .. chunk("{}", "stop", ',"stop_reason":13') .. DONE, { text = "Hi", stop_reason = 13 },
      body = whole('{"content":"Hi"}', "stop", ',"stop_reason":13') },
  { "choices that count the chunks: told", source = "microsoft/foundry-local#144",
    event '{"id":"chat.1","choices":[{"delta":{"content":"Hi"},"message":{"content":"Hi"},"index":0,"finish_reason":null}]}'
    .. event '{"id":"chat.2","choices":[{"delta":{"content":" you"},"message":{"content":" you"},"index":1,"finish_reason":"stop"}]}' .. DONE,
    { text = "Hi", id = "chat.1", hint = "asked for 1 choice, got 2" } },

  -- Events
  { "a warning of a gateway", source = "langwatch/tasks#700",
    HI .. event '{"warning":"provider_did_not_report_usage_on_stream"}' .. STOP .. DONE,
    { text = "Hi", finish_reason = "stop", warning = "provider_did_not_report_usage_on_stream" } },
  { "a comment wrapped in data", source = "mnfst/llm-gateway#2053 (OpenRouter)",
    event ": OPENROUTER PROCESSING" .. HI .. event ":" .. STOP .. DONE, HI_STOP },
  { "data wrapped in data", source = "paiml/aprender#2015, openclaw/openclaw#97474",
    "data: " .. HI:gsub("\n\n", "\n\n\n\n") .. "data: " .. STOP .. "data:data: data: [DONE]\n\n", HI_STOP },
  { "null as a chunk", source = "earendil-works/pi#2466", event "null" .. HI .. event "null" .. STOP .. DONE, HI_STOP },
  { "an id, a comment and a blank line", source = "theopenco/llmgateway#2334",
    "id: 1\n" .. HI .. ": ping\n\nid: 2\n" .. STOP .. "id: 3\n" .. DONE, HI_STOP },
  { "events without data, empty data", source = "diegosouzapw/OmniRoute#1146",
    HI .. "event: keepalive\n\nevent: keepalive\ndata:\n\ndata:\n\n" .. STOP .. DONE, HI_STOP },
  { "one chunk over several lines of data", source = "durable-streams/durable-streams#77",
    'data: {\ndata:   "id": "c",\ndata:   "choices": [ { "index": 0, "delta": { "content": "Hi" },\ndata:     '
      .. '"finish_reason": "stop" }\ndata:   ]\ndata: }\n\n' .. DONE,
    HI_STOP },
  { "chunks that one line break parts", source = "ggml-org/llama.cpp#14268, rexxars/eventsource-parser#31 (GLM, Kimi)",
    (HI .. chunk '{"content":" you"}' .. STOP .. DONE):gsub("\n\n", "\n"),
      { text = "Hi you", finish_reason = "stop" } },
  { "the same, with CRLF and blank lines now and then", source = "rexxars/eventsource-parser#31",
    (HI .. chunk '{"content":" you"}'):gsub("\n\n", "\r\n") .. "\r\n" .. (STOP .. DONE):gsub("\n\n", "\r\n"),
      { text = "Hi you", finish_reason = "stop" } },
  { "a byte order mark", source = "openai/openai-python#3819", "\239\187\191" .. HI .. STOP .. DONE, HI_STOP },
  { "no blank behind the colon", source = "tashfeenahmed/freellmapi#1087", (HI .. STOP .. DONE):gsub("data: ", "data:"),
    HI_STOP },
  { "events that are called plain text", source = "containers/ramalama#2902", HI .. STOP .. DONE, HI_STOP,
    headers = { ["content-type"] = "text/plain; charset=utf-8" } },
  { "events that are called JSON", source = "vllm-project/vllm-ascend#6985", HI .. STOP .. DONE, HI_STOP,
    headers = { ["content-type"] = "application/json" } },

  -- Errors that show what came
  { "no choices, and words about it", source = "NousResearch/hermes-agent#86635 (DeepInfra)",
    event '{"id":"c","choices":null,"error_type":"BadRequestError","error_message":"maximum context length is 4096 tokens"}' .. DONE,
    fails = "context_length", words = "maximum context length is 4096", shows = '"BadRequestError"' },
  { "words in the middle, and [DONE] without a finish reason", source = "NousResearch/hermes-agent#86635",
    HI .. event '{"id":"c","choices":null,"error_message":"the worker died"}' .. DONE,
    fails = "truncated", words = "the worker died", shows = '"error_message"', partial = "Hi" },
  { "a control character in a string", source = "Soju06/codex-lb#1010", chunk '{"content":"c\11d"}' .. STOP .. DONE,
    fails = "protocol", words = '"c', shows = '"content":"c\11d"' },
  { "-Infinity as a logprob", source = "sgl-project/sglang#4097",
    HI .. chunk('{"content":"!"}', "stop", ',"logprobs":{"content":[{"token":"!","logprob":-Infinity}]}') .. DONE,
    fails = "protocol", words = "-Infinity", shows = '"logprob":-Infinity', partial = "Hi" },
  { "plain text at the end", source = "avishek0769/DocChat#267", HI .. "Stream ended with error.", fails = "truncated",
    words = "Stream ended with error.",
    shows = "Stream ended with error.", partial = "Hi" },
  { "choices as an object", source = "a kind beside cline/cline#8518",
    event '{"id":"c","choices":{"0":{"delta":{"content":"Hi"}}}}' .. DONE,
    fails = "protocol", words = '{"id":"c","choices":{', shows = '"delta":{"content":"Hi"}' },
}

local OFFERED = { { name = "f" }, { name = "get_weather" } }

local function ask(reply, split)
  local client = testing.client({ reply }, { retry = false, split = split })
  return client:turn({ messages = "x", tools = OFFERED, logprobs = true, streaming = reply.body == nil }):result()
end

local function shown_calls(result)
  local list = {}
  for i, call in ipairs(result.tool_calls) do
    list[i] = { id = call.id, name = call.name, arguments = call.arguments, invalid = call.invalid and true }
  end
  return list
end

local function check(result, want)
  for name, value in pairs(want) do
    if name == "calls" then
      assert.same(value, shown_calls(result))
    elseif name == "tokens" then
      assert.equal(value, result.usage.total_tokens)
    elseif name == "groq_tokens" then
      assert.equal(value, result.extra.x_groq.usage.total_tokens)
    elseif name == "warning" then
      assert.equal(value, result.extra.warning)
    elseif name == "hint" then
      assert.truthy(table.concat(result.hints, "\n"):find(value, 1, true))
    else
      assert.equal(value, result[name])
    end
  end
  assert.equal(want.hint and 1 or 0, #result.hints)
end

local function check_failure(row, result, message, err)
  assert.is_nil(result)
  assert.equal(row.fails, err.kind)
  assert.truthy(message:find(row.words, 1, true), message)
  assert.truthy(err.body:find(row.shows, 1, true), err.body)
  assert.equal(row.partial, err.partial and err.partial.text)
end

describe("as reported of others:", function()
  for _, row in ipairs(rows) do
    it(("%s [%s]"):format(row[1], row.source), function()
      for split = 0, 1 do
        local reply = { bytes = row[2], headers = row.headers }
        if row.fails then
          check_failure(row, ask(reply, split == 1 and 1 or nil))
        else
          check(assert(ask(reply, split == 1 and 1 or nil)), row[3])
        end
      end
      if row.body then check(assert(ask { status = 200, body = row.body }), row[3]) end
    end)
  end
end)
