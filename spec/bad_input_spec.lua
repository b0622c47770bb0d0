-- Every wrong value in a call, with the exact sentence that a user reads. Wrong options: bad_options_spec.lua.
local config = require "vllm.request.config"
local core = require "vllm.core"
local fields = require "vllm.request.fields"
local vllm = require "vllm"
local request = require "vllm.request"

local NAN = 0 / 0
local SCHEMA_FORM = 'write { type = "json_schema", json_schema = { name = "…", schema = { … } } }'
local function noop() end

-- A call with a tool whose parameters are these.
local function with_schema(parameters)
  parameters.type = "object"
  return { text = "a", tools = { { name = "f", parameters = parameters } } }
end

-- { call, message, param }
local CALLS = {
  { {}, "messages are missing (`text` is the short form for one user message)", "messages" },
  { { role = "user" }, "unknown key `role`: a message belongs into messages = { { role = \"user\", content = \"…\" } }",
    "role" },
  { { messages = core.null }, "messages are missing (`text` is the short form for one user message)", "messages" },
  { { messages = 7 }, "messages: expected a list of messages, got 7", "messages" },
  { { text = 7 }, "text: expected a string, got 7", "text" },
  { { text = "a", messages = {} }, "text and messages are both given; text is one user message", "text" },
  { { { role = "user", content = "hi" } },
    "unknown key 1: options have names (a list of messages goes into `messages`)", "messages" },
  { { text = "a", tempurature = 1 },
    "unknown key `tempurature` (did you mean `temperature`?); extra_body = { … } sends any name", "tempurature" },
  { { text = "a", maxTokens = 1 },
    "unknown key `maxTokens` (did you mean `max_tokens`?); extra_body = { … } sends any name", "maxTokens" },
  { { message = "a" }, "unknown key `message` (did you mean `messages`?); extra_body = { … } sends any name",
    "message" },
  { { text = "a", api_key = "secret" }, "`api_key` belongs to the client: vllm.new{…} or client:with{…}", "api_key" },
  { { text = "a", apiKey = "secret" },
    "unknown key `apiKey` (did you mean `api_key`?); extra_body = { … } sends any name", "apiKey" },
  { { text = "a", retry = false }, "`retry` belongs to the client: vllm.new{…} or client:with{…}", "retry" },
  { { text = "a", timeout = 30 },
    "timeout: expected a table such as { total_s = 30 } (of connect_s, queue_s, first_event_s, idle_s, finish_s, "
      .. "total_s), got 30", "timeout" },
  { { text = "a", strict_alternating_roles = "yes" },
    'strict_alternating_roles: expected true, false, or a table of system = "fold", assistant = "join", first = '
      .. '"filler" (or its text), got "yes"', "strict_alternating_roles" },
  { { text = "a", strict_alternating_roles = { sistem = "fold" } },
    'strict_alternating_roles: expected true, false, or a table of system = "fold", assistant = "join", first = '
      .. '"filler" (or its text), got a table', "strict_alternating_roles" },
  { { text = "a", strict_alternating_roles = { system = "merge" } },
    'strict_alternating_roles: expected true, false, or a table of system = "fold", assistant = "join", first = '
      .. '"filler" (or its text), got a table', "strict_alternating_roles" },
  { { text = "a", strict_alternating_roles = { first = "" } },
    'strict_alternating_roles: expected true, false, or a table of system = "fold", assistant = "join", first = '
      .. '"filler" (or its text), got a table', "strict_alternating_roles" },
  { { text = "a", reasoning_replay = "sometimes" },
    'reasoning_replay: expected "never", "tool_turns" or "always", got "sometimes"', "reasoning_replay" },
  { { text = "a", reasoning_field = "content" },
    'reasoning_field: expected a name of letters, digits and _ that messages do not have yet, got "content"',
      "reasoning_field" },
  { { text = "a", tool_media = "files" }, 'tool_media: expected "parts" or "text", got "files"', "tool_media" },
  { { text = "a", timeout = { idel_s = 1 } }, "unknown key `timeout.idel_s` (did you mean `idle_s`?)", "timeout" },
  { { text = "a", timeout = { 1 } },
    "unknown key `timeout.1`; known are connect_s, finish_s, first_event_s, idle_s, queue_s, total_s", "timeout" },
  { { text = "a", timeout = { total_s = 0 } },
    "timeout.total_s: expected seconds (0.001 to 2147483), or false for no limit, got 0", "timeout" },
  { { text = "a", timeout_s = 1 },
    "unknown key `timeout_s`: write timeout = { total_s = … } (of connect_s, queue_s, first_event_s, idle_s, "
      .. "finish_s, total_s, in seconds)", "timeout_s" },
  { { body = "{}", timeout = { total_s = "1" } },
    'timeout.total_s: expected seconds (0.001 to 2147483), or false for no limit, got "1"', "timeout" },
  { { text = "a", response_format = "json" },
    'response_format: expected a table with a `type`, got "json"; write { type = "json_object" }, or for a schema '
    .. '{ type = "json_schema", json_schema = { name = "…", schema = { … } } }', "response_format" },
  { { text = "a", response_format = { properties = {} } },
    'response_format: expected a table with a `type`, got a table; write { type = "json_object" }, '
    .. 'or for a schema { type = "json_schema", json_schema = { name = "…", schema = { … } } }', "response_format" },
  { { text = "a", logprobs = 5 }, "logprobs: expected true or false, got 5; their number is top_logprobs", "logprobs" },
  { { text = "a", tools = { name = "f" } },
    "tools: expected a list of tools, got a table; put one tool in braces: tools = { { name = … } }", "tools" },
  { { text = "a", tools = { { name = "f", parameters = { city = { type = "string" } } } } },
    'tools[1].parameters: expected a JSON Schema with type = "object": '
    .. 'write { type = "object", properties = { city = … } }', "tools[1].parameters" },
  { { text = "a", tools = { { name = "f", parameters = { properties = {}, required = {} } } } },
    'tools[1].parameters: expected a JSON Schema with type = "object": it is missing', "tools[1].parameters" },
  { { text = "a", tools = { { name = "f", parameters = { type = "string" } } } },
    'tools[1].parameters: expected a JSON Schema with type = "object": arguments are always an object',
      "tools[1].parameters" },
  { { text = "a", tools = { { type = "function",
    ["function"] = { name = "f", parameters = { { name = "city" } } } } } },
    'tools[1].function.parameters: expected a JSON Schema with type = "object": this is a list',
      "tools[1].function.parameters" },
  { with_schema { required = "city" }, 'tools[1].parameters.required: expected a list of names, got string',
    "tools[1].parameters" },
  { with_schema { properties = { "city" } },
    'tools[1].parameters.properties: expected a table such as { city = { type = "string" } }, got a list',
      "tools[1].parameters" },
  { with_schema { properties = { city = "string" } },
    'tools[1].parameters.properties.city: expected a schema such as { type = "string" }, got string',
      "tools[1].parameters" },
  { { text = "a", structured_outputs = { json = { type = "object",
    properties = { city = { type = "string", required = true } } } } },
    'structured_outputs.json.properties.city.required: write required = { "city" } beside properties',
      "structured_outputs" },
  { { text = "a", tools = { { type = "function",
    ["function"] = { name = "f", parameters = { type = "object", required = true } } } } },
    "tools[1].function.parameters.required: expected a list of names, got boolean", "tools[1].function.parameters" },
  { { text = "a", response_format = { type = "json_schema", json_schema = { schema = { properties = { "city" } } } } },
    'response_format.json_schema.schema.properties: expected a table such as { city = { type = "string" } }, got a '
      .. 'list', "response_format" },
  { { text = "a", response_format = { type = "json" } },
    'response_format.type: write "json_object", or for a schema "json_schema"', "response_format" },
  { { text = "a", structured_outputs = { json = { type = "object", required = "city" } } },
    'structured_outputs.json.required: expected a list of names, got string', "structured_outputs" },
  { { text = "a", structured_outputs = { type = "object", properties = {} } },
    "structured_outputs: this is a bare JSON Schema; write { json = { … } }", "structured_outputs" },
  { { text = "a", structured_outputs = { choice = "yes" } },
    'structured_outputs.choice: expected a list of strings, got string', "structured_outputs" },
  { { text = "a", structured_outputs = { regex = {} } }, "structured_outputs.regex: expected a string, got table",
    "structured_outputs" },
  { { text = "a", structured_outputs = { grammar = 5 } }, "structured_outputs.grammar: expected a string, got number",
    "structured_outputs" },
  { { text = "a", tools = { { name = "f" } }, tool_choice = { name = "f" } },
    'tool_choice.type: expected "function", got nil; to narrow the choice, offer only those tools (extra_body sends '
      .. 'any)', "tool_choice.type" },
  { { messages = { "a", { role = "assistant", calls = { { id = "1", name = "f" } } },
    { role = "tool", call = "1", result = io.stdout } } },
    'messages[3].result: expected a value that JSON can hold, got an open file: read it first, result = file:read "*a"',
      "messages[3].result" },
  { { messages = { { role = "user", content = io.stdout } } },
    "messages[1].content: expected a string or a list of parts, got userdata", "messages[1].content" },
  { { text = "a", guided_json = {} },
    "`guided_json` was removed from vLLM and is ignored there: use structured_outputs.json (extra_body still sends "
      .. "it to an old server)", "guided_json" },
  { { text = "a", guided_regex = "x" },
    "`guided_regex` was removed from vLLM and is ignored there: use structured_outputs.regex (extra_body still sends "
      .. "it to an old server)", "guided_regex" },
  { { text = "a", guided_choice = {} },
    "`guided_choice` was removed from vLLM and is ignored there: use structured_outputs.choice (extra_body still "
      .. "sends it to an old server)",
    "guided_choice" },
  { { text = "a", guided_grammar = "x" },
    "`guided_grammar` was removed from vLLM and is ignored there: use structured_outputs.grammar (extra_body still "
      .. "sends it to an old server)",
    "guided_grammar" },
  { { text = "a", guided_whitespace_pattern = "x" },
    "`guided_whitespace_pattern` was removed from vLLM and is ignored there: use structured_outputs.whitespace_pattern "
      .. "(extra_body still sends it to an old server)", "guided_whitespace_pattern" },
  { { text = "a", guided_decoding_backend = "x" },
    "`guided_decoding_backend` was removed from vLLM and is ignored there: use the server's own configuration "
      .. "(there is no structured_outputs.backend) (extra_body still sends it to an old server)",
      "guided_decoding_backend" },

  { { text = "a", temperature = "0.7" }, 'temperature: expected a number of at least 0, got "0.7"', "temperature" },
  { { text = "a", temperature = -1 }, "temperature: expected a number of at least 0, got -1", "temperature" },
  { { text = "a", temperature = math.huge }, "temperature: expected a number of at least 0, got inf", "temperature" },
  { { text = "a", top_p = 0 }, "top_p: expected a number above 0 and at most 1, got 0", "top_p" },
  { { text = "a", top_p = 1.1 }, "top_p: expected a number above 0 and at most 1, got 1.1", "top_p" },
  { { text = "a", top_k = 0.5 }, "top_k: expected an integer of at least -1, got 0.5", "top_k" },
  { { text = "a", top_k = -2 }, "top_k: expected an integer of at least -1, got -2", "top_k" },
  { { text = "a", min_p = 2 }, "min_p: expected a number between 0 and 1, got 2", "min_p" },
  { { text = "a", presence_penalty = 2.5 }, "presence_penalty: expected a number between -2 and 2, got 2.5",
    "presence_penalty" },
  { { text = "a", repetition_penalty = 0 }, "repetition_penalty: expected a number above 0, got 0",
    "repetition_penalty" },
  { { text = "a", n = 0 }, "n: expected an integer of at least 1, got 0", "n" },
  { { text = "a", n = 1.5 }, "n: expected an integer of at least 1, got 1.5", "n" },
  { { text = "a", seed = 1e300 }, "seed: expected an integer, got 1e+300", "seed" },
  { { text = "a", max_completion_tokens = 0 }, "max_completion_tokens: expected an integer of at least 1, got 0",
    "max_completion_tokens" },
  { { text = "a", stop = "" }, 'stop: expected a non-empty string or a list of non-empty strings, got ""', "stop" },
  { { text = "a", stop = { "" } }, "stop: expected a non-empty string or a list of non-empty strings, got a table",
    "stop" },
  { { text = "a", stop = { "x", nil, "y" } },
    "stop: expected a non-empty string or a list of non-empty strings, got a table", "stop" },
  { { text = "a", stop_token_ids = { "x" } }, "stop_token_ids: expected a list of integers, got a table",
    "stop_token_ids" },
  { { text = "a", bad_words = "x" }, 'bad_words: expected a list of non-empty strings, got "x"', "bad_words" },
  { { text = "a", logit_bias = { yes = 1 } }, "logit_bias: expected a table of token id = number, got a table",
    "logit_bias" },
  { { text = "a", logit_bias = { [5] = "x" } }, "logit_bias: expected a table of token id = number, got a table",
    "logit_bias" },
  { { text = "a", response_format = { type = "object", properties = {} } },
    "response_format: this is a bare JSON Schema; " .. SCHEMA_FORM, "response_format" },
  { { text = "a", response_format = { type = "json_object", schema = {} } },
    "response_format.schema would be ignored by vLLM; " .. SCHEMA_FORM, "response_format" },
  { { text = "a", response_format = { type = "json_object", strict = true } },
    "response_format: unknown key `strict`; known are type; vLLM would ignore it (extra_body sends any)",
      "response_format" },
  { { text = "a", response_format = { type = "json_schema", json_schema = { schema = {}, strct = true } } },
    "response_format: unknown key `json_schema.strct` (did you mean `strict`?); vLLM would ignore it (extra_body "
      .. "sends any)", "response_format" },
  { { text = "a", response_format = { type = "json_schema", json_schema = { schema = {} }, strict = true } },
    "response_format: unknown key `strict`; known are json_schema, type; vLLM would ignore it (extra_body sends any)",
      "response_format" },
  { { text = "a", response_format = { type = "json_schema", schema = {} } },
    "response_format.json_schema: expected a table with a `schema`; " .. SCHEMA_FORM, "response_format" },
  { { text = "a", response_format = { type = "json_schema", json_schema = { name = "x", type = "object" } } },
    "response_format.json_schema.schema: expected the JSON Schema (a table); " .. SCHEMA_FORM, "response_format" },
  { { text = "a", response_format = { type = "json_schema", json_schema = { name = 1, schema = {} } } },
    "response_format.json_schema.name: expected a non-empty string", "response_format" },
  { { text = "a", structured_outputs = { json = {}, strict = true } },
    "structured_outputs: unknown key `strict`; known are choice, "
    .. "disable_additional_properties, disable_any_whitespace, grammar, json, json_object, regex, structural_tag, "
    .. "whitespace_pattern; "
    .. "vLLM would ignore it (extra_body sends any)", "structured_outputs" },
  { { text = "a", structured_outputs = { choise = { "a" } } },
    "structured_outputs: unknown key `choise` (did you mean `choice`?); vLLM would ignore it (extra_body sends any)",
      "structured_outputs" },
  { { text = "a", structured_outputs = { disable_any_whitespace = true } },
    "structured_outputs: expected exactly one of choice, grammar, json, json_object, regex, structural_tag, got none",
      "structured_outputs" },
  { { text = "a", structured_outputs = { json = {}, regex = "x" } },
    "structured_outputs: expected exactly one of choice, grammar, json, json_object, regex, structural_tag, got "
      .. "`json` and `regex`",
    "structured_outputs" },
  { { text = "a", structured_outputs = { structural_tag = { format = noop } } },
    "structured_outputs.structural_tag.format: a function is not a JSON value",
      "structured_outputs.structural_tag.format" },
  { { text = "a", repetition_detection = { max_patern_size = 3 } },
    "repetition_detection: unknown key `max_patern_size` (did you mean `max_pattern_size`?); vLLM would ignore it "
      .. "(extra_body sends any)",
    "repetition_detection" },
  { { text = "a", repetition_detection = { min_count = 1 } },
    "repetition_detection.min_count: expected an integer of at least 2",
    "repetition_detection" },
  { { text = "a", reasoning_effort = "hihg" },
    'reasoning_effort: unknown value "hihg" (did you mean "high"?); extra_body = { … } sends any', "reasoning_effort" },
  { { text = "a", thinking_token_budget = -2 }, "thinking_token_budget: expected an integer of at least -1, got -2",
    "thinking_token_budget" },
  { { text = "a", cache_salt = "a/b" }, 'cache_salt: expected 1 to 128 characters without @ / \\ and NUL, got "a/b"',
    "cache_salt" },
  { { text = "a", cache_salt = "a\0b" }, 'cache_salt: expected 1 to 128 characters without @ / \\ and NUL, got "a?b"',
    "cache_salt" },
  { { text = "a", cache_salt = ("x"):rep(129) },
    'cache_salt: expected 1 to 128 characters without @ / \\ and NUL, got "' .. ("x"):rep(40) .. '…"', "cache_salt" },
  { { text = "a", documents = { { text = 1 } } }, "documents: expected a list of tables of name = string, got a table",
    "documents" },
  { { text = "a", media_io_kwargs = { fps = 1 } },
    "media_io_kwargs: expected a table of tables, such as { video = { fps = 1 } }, got a table", "media_io_kwargs" },
  { { text = "a", vllm_xargs = { a = true } },
    "vllm_xargs: expected a table of name = string, number, or a list of those, got a table", "vllm_xargs" },
  { { text = "a", mm_payload = "both" }, 'mm_payload: expected "tensors" or "none", got "both"', "mm_payload" },
  { { text = "a", routed_experts_prompt_start = -1 },
    "routed_experts_prompt_start: expected an integer of at least 0, got -1", "routed_experts_prompt_start" },
  { { text = "a", watermarkng = true },
    "unknown key `watermarkng` (did you mean `watermarking`?); extra_body = { … } sends any name", "watermarkng" },
  { { text = "a", tools = { { name = "f", defer_loading = 1 } } },
    "tools[1].defer_loading: expected true or false, got 1", "tools[1].defer_loading" },
  { { text = "a", tools = { { name = "f" } }, tool_choice = { type = "allowed_tools" } },
    'tool_choice.type: expected "function", '
    .. 'got "allowed_tools"; to narrow the choice, offer only those tools (extra_body sends any)', "tool_choice.type" },
  { { text = "a", reasoning_effort = 3 }, "reasoning_effort: expected a non-empty string, got 3", "reasoning_effort" },
  { { text = "a", truncation_side = "top" }, 'truncation_side: expected "left" or "right", got "top"',
    "truncation_side" },
  { { text = "a", chat_template_kwargs = { 1 } },
    "chat_template_kwargs: expected a table with names as keys, got a table", "chat_template_kwargs" },
  { { text = "a", parallel_tool_calls = "no" }, 'parallel_tool_calls: expected true or false, got "no"',
    "parallel_tool_calls" },
  { { text = "a", user = noop }, "user: expected a string, got a function", "user" },
  { { text = "a", model = "" }, 'model: expected a non-empty string, got ""', "model" },
  { { text = "a", stream = 1 }, "stream: expected true or false, got 1", "stream" },
  { { text = "a", stream = true, streaming = false }, "stream and streaming are the same option and differ", "stream" },
  { { text = "a", stream_options = true },
    "stream_options: expected a table whose include_usage and continuous_usage_stats are true or false, got true",
      "stream_options" },
  { { text = "a", stream_options = { include_usage = 1 } },
    "stream_options: expected a table whose include_usage and continuous_usage_stats are true or false, got a table",
      "stream_options" },
  { { text = "a", stream = false, stream_options = {} }, "stream_options needs a request that streams",
    "stream_options" },

  { { text = "a", extra_body = 1 }, "extra_body: expected a table with names as keys, got 1", "extra_body" },
  { { text = "a", extra_body = { top_k = 1 }, top_k = 1 }, "extra_body.top_k: `top_k` is also given directly",
    "extra_body.top_k" },
  { { text = "a", extra_body = { stream = false } }, "extra_body.stream: give `stream` itself", "extra_body.stream" },
  { { text = "a", extra_body = { messages = {} } }, "extra_body.messages: `text` is given as well",
    "extra_body.messages" },
  { { system = "a", extra_body = { messages = {} } }, "extra_body.messages: `system` is given as well",
    "extra_body.messages" },
  { { messages = "a", extra_body = { messages = {} } }, "extra_body.messages: `messages` is also given directly",
    "extra_body.messages" },
  { { extra_body = { messages = { { role = noop } } } }, "extra_body.messages[1].role: a function is not a JSON value",
    "extra_body.messages[1].role" },
  { { text = "a", headers = { X = "secret\n" } }, 'headers["X"] holds a line break, a NUL or another control character',
    'headers["X"]' },
  { { text = "a", headers = 1 }, "headers: expected a table of name = value, got 1", "headers" },

  { { text = "a", tools = "f" }, 'tools: expected a list of tools, got "f"', "tools" },
  { { text = "a", tools = { f = {} } }, "tools: expected a list of tools, got a table", "tools" },
  { { text = "a", tools = { "f" } }, 'tools[1]: expected a tool (a table with a `name`), got "f"', "tools[1]" },
  { { text = "a", tools = { { name = "f" }, {} } }, "tools[2].name: expected 1 to 64 of a-z A-Z 0-9 _ -, got nil",
    "tools[2].name" },
  { { text = "a", tools = { { name = "a.b" } } }, 'tools[1].name: expected 1 to 64 of a-z A-Z 0-9 _ -, got "a.b"',
    "tools[1].name" },
  { { text = "a", tools = { { name = "ä" } } }, 'tools[1].name: expected 1 to 64 of a-z A-Z 0-9 _ -, got "ä"',
    "tools[1].name" },
  { { text = "a", tools = { { name = "f\n" } } }, 'tools[1].name: expected 1 to 64 of a-z A-Z 0-9 _ -, got "f?"',
    "tools[1].name" },
  { { text = "a", tools = { { name = ("x"):rep(65) } } },
    'tools[1].name: expected 1 to 64 of a-z A-Z 0-9 _ -, got "' .. ("x"):rep(40) .. '…"', "tools[1].name" },
  { { text = "a", tools = { { ["function"] = { name = "" } } } },
    'tools[1].function.name: expected 1 to 64 of a-z A-Z 0-9 _ -, got ""', "tools[1].function.name" },
  { { text = "a", tools = { { ["function"] = noop } } }, "tools[1].function: expected a table, got a function",
    "tools[1].function" },
  { { text = "a", tools = { { type = "custom", ["function"] = { name = "f" } } } },
    'tools[1].type: expected "function", got "custom"', "tools[1].type" },
  { { text = "a", tools = { { name = "f" }, { name = "f" } } }, 'tools[2].name: the name "f" is given twice',
    "tools[2].name" },
  { { text = "a", tools = { { name = "f" }, { ["function"] = { name = "f" } } } },
    'tools[2].function.name: the name "f" is given twice', "tools[2].function.name" },
  { { text = "a", tools = { { name = "f", description = 1 } } }, "tools[1].description: expected a string, got 1",
    "tools[1].description" },
  { { text = "a", tools = { { name = "f", parameters = "{}" } } },
    'tools[1].parameters: expected a JSON Schema (a table), got "{}"', "tools[1].parameters" },
  { { text = "a", tools = { { name = "f", strict = 1 } } }, "tools[1].strict: expected true or false, got 1",
    "tools[1].strict" },
  { { text = "a", tools = { { name = "f", paramters = {} } } },
    "tools[1].paramters: unknown key (did you mean `parameters`?)", "tools[1].paramters" },
  { { text = "a", tools = { { name = "f", inputSchema = {} } } },
    "tools[1].inputSchema: unknown key (did you mean `parameters`?)", "tools[1].inputSchema" },
  { { text = "a", tool_choice = "auto" }, "tool_choice is given without tools", "tool_choice" },
  { { text = "a", tools = {}, tool_choice = "required" }, "tool_choice is given without tools", "tool_choice" },
  { { text = "a", tools = { { name = "g" }, { name = "f" } }, tool_choice = "any" },
    'tool_choice: there is no tool "any"; the tools are `f`, `g`; "required" makes the model call one of them',
      "tool_choice" },
  { { text = "a", tools = { { name = "f" } }, tool_choice = { type = "function", ["function"] = { name = "g" } } },
    'tool_choice.function.name: there is no tool "g"; the tools are `f`', "tool_choice.function.name" },
  { { text = "a", tools = { { name = "f" } }, tool_choice = { type = "function", name = "f" } },
    "tool_choice.function.name: expected the name of a tool, got nil", "tool_choice.function.name" },
  { { text = "a", tool_choice = true },
    'tool_choice: expected "none", "auto", "required", the name of a tool, or a table, got true', "tool_choice" },

  { { set = {} }, "set is given without body", "set" },
  { { body = 7 }, "body: expected the text of a JSON object, got 7", "body" },
  { { body = "{}", set = 7 }, "set: expected a table, got 7", "set" },
  { { body = "{}", set = { "x" } }, "set: expected names as keys", "set" },
  { { body = "{}", temperature = 1 }, "`temperature` cannot be given together with `body`: put it into `set`",
    "temperature" },
  { { body = "{}", text = "a" },
    "`text` cannot be given together with `body`: the body is sent as it is, but for what `set` replaces", "text" },
  { { body = "{}", set = { temperature = -1 } }, "set: temperature: expected a number of at least 0, got -1",
    "set.temperature" },
  { { body = "{}", set = { system = "Be brief." } },
    "set: `system` is not a member of a body; write set = { messages = … }", "set.system" },
  { { body = "{}", set = { timeout = { total_s = 1 } } }, "set: `timeout` is not a member of a body", "set.timeout" },
  { { body = "{}", set = { retry = false } }, "set: `retry` is not a member of a body", "set.retry" },
  { { body = "{}", set = { stream = 1 } }, "set: stream: expected true or false, got 1", "set.stream" },
  { { body = "{}", set = { tools = { {} } } }, "set: tools[1].name: expected 1 to 64 of a-z A-Z 0-9 _ -, got nil",
    "set.tools[1].name" },
  { { body = "{}", set = { tools = {} } }, "set: tools: an empty list is refused by servers", "set.tools" },
}

-- What other files find out: only where the fault is, and that the message says so, is this file's business.
local FOUND_ELSEWHERE = {
  { { text = "a", extra_body = { x = noop } }, "x" },
  { { text = "a", a_new_field = noop }, "a_new_field" },
  { { text = "a", chat_template_kwargs = { a = { b = NAN } } }, "chat_template_kwargs.a.b" },
  { { text = "a", chat_template_kwargs = { a = 1, [1] = 2 } }, "chat_template_kwargs" },
  { { text = "a", tools = { { name = "f", parameters = { type = "object", default = noop } } } },
    "tools[1].function.parameters.default" },
  { { text = "a", user = "\255" }, "user" },
  { { messages = { { role = "human", content = "x" } } }, "messages[1].role" },
  { { body = "[]" }, "body" },
  { { body = "{" }, "body" },
  { { body = "" }, "body" },
  { { body = "{}x" }, "body" },
  { { body = "{}", set = { x = noop } }, "set.x" },
  { { body = "{}", set = { messages = { { role = "human", content = "x" } } } }, "set.messages[1].role" },
}

local function label(value)
  if type(value) ~= "table" then return tostring(value) end
  return (core.json_encode(value) or "a value that is no JSON"):gsub("%c", "?"):sub(1, 80)
end

local function no_secret(message)
  assert.is_nil(message:find("secret", 1, true), message)
end


describe("a call returns the fault of", function()
  local checked = config.check { model = "m" }

  for i, case in ipairs(CALLS) do
    it(("%d: %s"):format(i, label(case[1])), function()
      local built, message, param = request.build(checked, case[1])
      assert.is_nil(built)
      assert.equal(case[2], message)
      assert.equal(case[3], param)
      no_secret(message)
    end)
  end

  for i, case in ipairs(FOUND_ELSEWHERE) do
    it(("%d, found elsewhere: %s"):format(i, label(case[1])), function()
      local built, message, param = request.build(checked, case[1])
      assert.is_nil(built)
      assert.equal(case[2], param)
      assert.truthy(message:find(param:gsub("^set%.", ""), 1, true), message)
    end)
  end

  it("a key that is no name", function()
    local built, message = request.build(checked, { text = "a", [true] = 1 })
    assert.is_nil(built)
    assert.equal("unknown key true: options have names (a list of messages goes into `messages`)", message)
  end)

  it("nothing: misuse throws", function()
    assert.has_error(function() request.build(checked, 7) end, "expected a request (a table or a string), got 7")
    assert.has_error(function() request.build(checked) end, "expected a request (a table or a string), got nil")
  end)
end)

-- Userdata is not null: an open file, a socket or another program's object is a mistake wherever a value is meant.
describe("an open file where a value is meant is refused", function()
  local function refused(call)
    local built, message, param = request.build(config.check { model = "m" }, call)
    assert.is_nil(built, param)
    assert.is_string(message)
  end

  it("as a field or an option of a call", function()
    for _, names in ipairs { fields.wire, fields.own } do
      for name in pairs(names) do refused { text = "a", [name] = io.stdout } end
    end
    for name in pairs(config.call_only) do refused { text = name ~= "messages" and "a" or nil, [name] = io.stdout } end
  end)

  it("as an option of a client", function()
    for name in pairs(config.client_only) do assert.is_false(pcall(config.check, { model = "m", [name] = io.stdout }),
      name) end
  end)

  it("in a message, a call and a tool", function()
    for _, key in ipairs { "role", "kind", "content", "text", "name", "calls", "tool_calls", "reasoning", "refusal",
      "new" } do
      local message = { role = "assistant", [key] = io.stdout }
      if key == "kind" then message.role = nil end
      refused { messages = { message } }
    end
    for _, key in ipairs { "id", "name", "arguments", "function", "new" } do
      local call = { id = "1", name = "f", arguments = "{}" }
      call[key] = io.stdout
      refused { messages = { { role = "assistant", calls = { call } }, { role = "tool", call = "1", result = "x" } } }
    end
    for _, key in ipairs { "call", "result", "is_error", "content", "new" } do
      local result = { role = "tool", call = "1", [key] = io.stdout }
      refused { messages = { { role = "assistant", calls = { { id = "1", name = "f" } } }, result } }
    end
    for _, key in ipairs { "name", "description", "parameters", "strict", "function" } do
      refused { text = "a", tools = { { name = key ~= "name" and "f" or io.stdout, [key] = io.stdout } } }
    end
  end)
end)

-- A transcript may be a stranger's: what is said of it goes to logs, terminals and, as JSON, back to him.
describe("what is said of a stranger's transcript", function()
  local client = require("vllm.testing").client {}
  local ODD = "\27[31m\7\0\255"
  local LONG = ("k"):rep(100000)
  local function cases(name)
    return {
      { messages = { { role = "tool", call_id = name, content = "x" } } },
      { messages = { "q", { role = "assistant", calls = { { id = name, name = "f" } } }, "r" } },
      { messages = { { role = "assistant", calls = { { id = "a", name = "f", type = name } } } } },
      { messages = { { role = "user", content = { { type = "structured", value = 1, [name] = 1 } } } } },
      { messages = { { role = "notification", content = { { type = name } } } } },
      { messages = { { role = "user", content = "x", extra = { [name] = print } } } },
      { messages = { [name] = 1 } },
    }
  end

  it("holds no control character, is JSON, and has an end", function()
    for _, name in ipairs { ODD, LONG } do
      for i, call in ipairs(cases(name)) do
        local turn = client:turn(call)
        for _, answer in ipairs { { client:body(call) }, { turn:result() } } do
          local message, err = answer[2], answer[3]
          for _, text in ipairs { message, err.param } do
            assert.is_nil(text:find("[%z\1-\31]"), i)
            assert.is_true(#text < 2100 and vllm.json.encode(text) ~= nil, i)
          end
        end
      end
    end
    local _, message, err = client:request("POST", "/tokenize", { [ODD] = print })
    assert.is_nil(message:find("[%z\1-\31]") or err.param:find("[%z\1-\31]"))
  end)
end)
