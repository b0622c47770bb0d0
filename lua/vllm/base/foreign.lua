--- Words of other clients, and what to write here instead. A server silently ignores unknown names, so a habit from
-- elsewhere would be lost without an error. Case and separators do not count: `maxRetries` is `max_retries`.
--
-- No word of vLLM's own wire is among them. Sources: the parameters of openai-python and -node, anthropic, LangChain,
-- LlamaIndex, LiteLLM, instructor, pydantic-ai, Vercel's AI SDK, ollama, google-genai, mistral, cohere, the llm CLI,
-- transformers, llama.cpp, SGLang, and of Lua and Neovim clients.

local spelling = require "vllm.base.spelling"

local foreign = {}

local SCHEMA = 'write response_format = { type = "json_schema", json_schema = { name = "…", schema = { … } } }'
local MESSAGES = "write messages = { … } in a call, or keep a session: client:session { messages = { … } }"
local HEADERS = "write headers = { [\"…\"] = \"…\" }"
local CALLBACK = "write on_event = function(event) … end for a client, turn:each or turn:start for a turn"
local TRACE = "write on_event = function(event) … end for a client; a transport sees the requests: docs/recipes.md, "
  .. "every request"
local MEMBERS = "write its members one by one, as they are; extra_body = { … } takes those that are unknown here"
local THINKING = "write chat_template_kwargs = { enable_thinking = true } (as the model's template has it), "
  .. "reasoning_effort or thinking_token_budget; extra_body sends it to a server that has a field of this name"

-- { what to write, the words }
local REQUEST = {
  { "write system = \"…\"",
    "system_prompt system_message system_text system_instruction system_instructions instructions instruction "
      .. "preamble preamble_override developer_message system_fragments" },
  { "write text = \"…\" (one user message) or messages = { … }",
    "prompt user_prompt user_message input inputs contents question query_text prompt_template raw_prompting" },
  { "a message belongs into messages = { { role = \"user\", content = \"…\" } }",
    "role content contents_list message_content" },
  { MESSAGES, "history chat_history message_history conversation_history previous_messages initial_messages memory" },
  { "keep a session: client:session { messages = { … } }",
    "conversation conversation_id previous_response_id thread_id thread" },
  { "end the messages with the assistant's beginning, and write continue_final_message = true, "
      .. "add_generation_prompt = false",
    "prefill assistant_prefix assistant_prefill response_prefix" },
  { "write parts: messages = { { role = \"user\", content = { \"…\", vllm.image { path = \"…\" } } } } "
      .. "(vllm.audio, vllm.video, vllm.file)",
    "image images image_url audios videos attachments attachment files file fragments bytes mime" },
  { "write model = \"…\"",
    "model_name model_id model_path deployment deployment_id deployment_name azure_deployment engine" },
  { "write model = the adapter's name", "lora lora_path lora_name lora_request adapter" },
  { "write base_url = \"http://…\"",
    "api_base openai_api_base endpoint server_url api_url url uri server address api_endpoint azure_endpoint "
      .. "request_url port api_host openai_api_endpoint openai_api_host" },
  { "write it into the query of base_url", "api_version default_query extra_query query_params" },
  { "write text = \"…\" for a question; the query of an address belongs into base_url", "query" },
  { "write api_key = \"…\"",
    "key token auth_token access_token api_token openai_api_key bearer bearer_token authorization auth secret "
      .. "api_key_name api_key_cmd" },
  { HEADERS,
    "default_headers extra_headers http_headers request_headers custom_headers organization openai_organization "
      .. "org project user_agent idempotency_key http_options" },
  { "write retry = { max = … } for a client (attempts after the first)",
    "max_retries retries num_retries max_retry retry_count max_attempts attempts retry_attempts retry_config "
      .. "retry_policy retry_options backoff output_retries tool_retries" },
  { "write timeout = { total_s = … } (of connect_s, queue_s, first_event_s, idle_s, finish_s, total_s, in seconds)",
    "request_timeout stream_timeout timeout_s timeout_ms timeout_seconds connect_timeout read_timeout "
      .. "total_timeout max_time deadline" },
  { "write tls = { ca_file = \"…\", verify = true } for a client",
    "verify verify_ssl ssl_verify ssl insecure allow_insecure ca_bundle ca_file cacert cafile cert client_cert "
      .. "ssl_context" },
  { "write proxy = \"http://…\" for a client", "proxies http_proxy https_proxy openai_proxy proxy_url" },
  { "write unix_socket = \"/path\" for a client", "socket_path uds socket unix" },
  { "write transport = … for a client (docs/architecture.md); proxy, tls and unix_socket are options of their own",
    "http_client http_agent http_async_client fetch fetch_options" },
  { "write max_concurrent = … for a client, or vllm.map(list, { concurrency = … }, fn)",
    "max_concurrency concurrency max_parallel max_connections num_workers parallel_requests" },
  { CALLBACK,
    "callback callbacks callback_manager on_chunk on_token on_text on_data on_delta on_finish on_complete on_error "
      .. "on_end on_done stream_callback handler hooks" },
  { TRACE, "logger log log_level logging debug verbose set_verbose trace on_request on_response" },
  { "write retry = { on_retry = function(event) … end } for a client", "on_retry" },
  { "write vllm.spawn(fn) inside vllm.run, or turn:start(on_event, on_done)", "async asynchronous background" },
  { "write json = { decode = … } for a client", "decode decoder json_decode json_library" },
  { "call turn:cancel()", "signal abort_signal abort_controller cancellation_token" },
  { "write stream = true or false", "streaming_mode is_stream disable_streaming stream_mode" },
  { "write include_usage = true", "stream_usage return_usage" },
  { "write max_completion_tokens = …",
    "max_output_tokens max_new_tokens max_gen_tokens max_gen_toks num_predict n_predict max_length "
      .. "max_tokens_to_sample max_response_tokens" },
  { "the length of the context is the server's (--max-model-len)",
    "num_ctx n_ctx context_window context_length max_context_length max_model_len max_input_tokens" },
  { "write stop = { \"…\" }", "stop_sequences stop_strings stop_words stop_tokens eos" },
  { "write n = …", "candidate_count num_return_sequences num_completions best_of" },
  { "write seed = …", "random_seed" },
  { "write top_p = …", "p nucleus" },
  { "write top_k = …", "k" },
  { "write repetition_penalty = …", "repeat_penalty" },
  { "write temperature = 0", "do_sample" },
  { "write use_beam_search = true and n = …", "num_beams beam_width" },
  { SCHEMA,
    "schema json_schema response_schema response_json_schema response_model output_schema output_type result_type "
      .. "output structured_output with_structured_output text_format output_config output_format schema_name" },
  { 'write response_format = { type = "json_object" }, or a schema: ' .. SCHEMA:sub(7),
    "format json_mode json_object response_mime_type force_json" },
  { "write structured_outputs = { regex = …, choice = …, grammar = … } (one)",
    "regex ebnf grammar choices choice guided_decoding" },
  { "write tools = { { name = \"…\", parameters = { … } } }",
    "functions tool_list toolset toolsets builtin_tools available_tools active_tools" },
  { "write tool_choice = \"none\", \"auto\", \"required\" or the name of a tool",
    "function_call tool_config force_tool function_choice function_calling_config" },
  { "write parallel_tool_calls = false", "disable_parallel_tool_use" },
  { "leave it out: a tool message answers its call, { role = \"tool\", call = call, result = … }",
    "tool_results tool_outputs" },
  { THINKING,
    "thinking think enable_thinking thinking_config thinking_budget reasoning budget_tokens reasoning_budget" },
  { "write include_reasoning = false", "exclude_reasoning hide_reasoning separate_reasoning" },
  { MEMBERS,
    "options model_kwargs additional_kwargs extra_request_body request_body extra_params model_settings "
      .. "generation_config generation_kwargs sampling_params provider_options config configuration params "
      .. "parameters kwargs completion_args default_params openai_params opts" },
  { "write vllm_xargs = { … }", "extra_args" },
  { "write chat_template_kwargs = { … }", "template_kwargs template_args" },
  { "write chat_template = \"…\"", "template" },
  { "it belongs to the server: vllm serve …",
    "tensor_parallel_size pipeline_parallel_size gpu_memory_utilization dtype quantization trust_remote_code "
      .. "max_num_seqs tokenizer enforce_eager swap_space download_dir" },
  { "an agent has the loop over calls: vllm.agent { … } (docs/agents.md)",
    "max_steps max_turns max_iterations max_tool_rounds stop_when recursion_limit chain_limit "
      .. "automatic_function_calling" },
  { "write user = \"…\"", "user_id end_user end_user_id safety_identifier" },
  { "write logprobs = true, top_logprobs = …", "n_probs top_n_tokens response_logprobs" },
  { "ask side by side: vllm.map(list, fn)", "batch requests prompts batch_size" },
}

local TIMEOUT = {
  { "write connect_s (seconds)", "connect connect_timeout connection connect_ms" },
  { "write idle_s (seconds between two events)", "read read_timeout sock_read idle idle_ms chunk chunk_timeout" },
  { "write first_event_s (seconds until the answer begins)",
    "first_token first_byte ttft first_event response response_header" },
  { "write total_s (seconds)", "total request timeout seconds max total_ms total_timeout step" },
  { "leave it out: a body that cannot be sent counts for first_event_s", "write send pool" },
}

local RETRY = {
  { "write max (attempts after the first)",
    "max_retries retries num_retries attempts max_attempts count times limit total" },
  { "write base_s (seconds)",
    "backoff backoff_factor base base_delay initial initial_delay initial_interval min_delay delay wait" },
  { "write cap_s (seconds)", "max_delay max_interval cap max_wait max_backoff" },
  { "write statuses = { … }", "status_codes on_codes retry_on status_forcelist codes status" },
  { "write on_retry = function(event) … end", "callback before_sleep hook" },
}

local TLS = {
  { "write ca_file", "ca cafile ca_bundle cacert ca_cert ca_certs" },
  { "write ca_path", "ca_dir capath" },
  { "write cert", "certfile cert_file client_cert certificate sslcert" },
  { "write key", "keyfile key_file client_key private_key sslkey" },
  { "write verify = true or false",
    "insecure verify_ssl ssl_verify check_hostname reject_unauthorized verify_peer skip_verify" },
}

local MEDIA = {
  { "write path", "file filename file_path filepath src" },
  { "write url (a data: URL is also one)", "uri image_url link href" },
  { "write bytes (the file's own bytes, without base64)", "data base64 b64 b64_json content raw buffer" },
  { "write mime (such as \"image/png\")", "media_type mime_type content_type format type" },
}

local TOOL = {
  { "parameters", "input_schema schema params args arguments parameters_json_schema args_schema properties" },
  { "description", "desc docstring" },
}

local MAP = {
  { "write concurrency", "max_concurrency max_concurrent workers max_workers num_workers parallel limit n batch_size" },
}

-- Methods and functions.
local CLIENT = {
  { "write client:ask(…) for the text, client:turn(…) for a stream or the whole result",
    "chat completion completions complete create generate generate_content invoke ainvoke predict query prompt "
      .. "send stream chat_stream response responses message" },
  { "write client:session()", "conversation start_chat new_chat history" },
  { "write client:request(\"GET\", \"/v1/models\")", "models list_models get_models" },
  { "write client:request(\"POST\", \"/v1/embeddings\", { model = \"…\", input = \"…\" })",
    "embeddings embedding embed" },
  { "write client:tokens(request)", "tokenize count_tokens token_count" },
  { "write client:with { … }", "with_options with_config bind options" },
  { "write vllm.map(list, fn)", "batch abatch" },
  { "a turn has it: turn:cancel(); so has a session", "cancel abort" },
  { "write vllm.agent { client = client }", "agent run" },
  -- our own, where they are not
  { "a turn has it: client:turn(…):start(…)", "start" },
  { "a turn has it: client:turn(…):each(…)", "each" },
  { "a turn has it: client:turn(…):events()", "events" },
  { "a turn has it: client:turn(…):text_deltas()", "text_deltas" },
  { "a turn has it: client:turn(…):result()", "result" },
  { "a turn has it: client:turn(…):relay(…)", "relay" },
}

local SESSION = {
  { "write session:ask(…) for the text, session:turn(…) for a stream or the whole result",
    "send say chat prompt invoke stream send_message generate complete" },
  { "write session:cancel()", "stop abort" },
  { "a turn has it: session:turn(…):start(…)", "start" },
  { "a turn has it: session:turn(…):each(…)", "each" },
  { "a turn has it: session:turn(…):events()", "events" },
  { "a turn has it: session:turn(…):text_deltas()", "text_deltas" },
  { "a turn has it: session:turn(…):result()", "result" },
  { "write session:append(…)", "add push insert add_message add_user_message append_message" },
  { "write session:messages()", "history get_messages get_history transcript" },
  { "begin another one: client:session()", "reset clear" },
  { "write vllm.json.encode(session:messages()); client:session { messages = … } continues it",
    "save export to_json serialize" },
}

-- Options of an agent.
local AGENT = {
  { "write instructions", "system_prompt prompt persona preamble system_message instruction" },
  { "write max_steps", "max_turns max_iterations max_rounds max_loops recursion_limit step_limit request_limit" },
  { "write tools", "functions toolkit toolsets tool_list" },
  { "write parallel", "max_parallel tool_concurrency tool_call_concurrency max_workers concurrency" },
  { "write on_event", "hooks callbacks observers observer on_step on_step_finish middleware" },
  { "write policy", "approvals permissions can_use_tool guardrails interrupt_on needs_approval" },
  { "write budget = { total_tokens = …, total_s = … }",
    "usage_limits max_total_tokens token_budget time_budget deadline" },
  { "write compact", "compaction context_editing summarization memory" },
}

local AGENT_TOOL = {
  { "write run = function(input, call) … end", "execute handler fn func callback call invoke action impl run_fn" },
  { "write parameters", "input_schema schema params args arguments parameters_json_schema args_schema properties" },
  { "write description", "desc docstring" },
  { 'write approval = "ask"',
    "needs_approval require_approval requires_approval confirm requires_confirmation require_confirmation interrupt" },
  { "write timeout_s", "timeout timeout_ms timeout_seconds" },
  { "write output_limit", "max_output max_output_bytes max_result_size" },
}

-- Methods of an agent, its sessions and its runs. Our own words are among them, where others of these three have them.
local AGENT_METHOD = {
  { "write agent:ask(…) for the text, agent:run(…) for events or the whole result",
    "turn chat send generate invoke call execute complete stream prompt run_sync run_stream kickoff" },
  { "a run has it: agent:run(…)", "start each events result next poll text on_ready cancel" },
  { "take the events of type `text_delta`: agent:run(…):events()", "text_deltas" },
  { "a session has it: agent:session()",
    "step approve approve_all deny deny_all answer steer queue pending messages state usage" },
  { "an agent remembers nothing; a session has it: agent:session():messages()", "history transcript" },
  { "an agent does not change: agent:with { tools = { … } }", "add_tool add_tools register_tool register" },
}

local AGENT_SESSION = {
  { "write session:ask(…) for the text, session:run(…) for events or the whole result",
    "turn chat send say generate invoke call execute complete stream prompt send_message" },
  { "a run has it: session:run(…)", "start each events result next poll text on_ready" },
  { "take the events of type `text_delta`: session:run(…):events()", "text_deltas" },
  { "write session:run(input); session:steer(input) or session:queue(input) while a run is under way",
    "append add push insert add_message append_message follow_up enqueue" },
  { "write session:messages()", "history get_messages get_history transcript" },
  { "write session:state(); agent:session { state = … } goes on with it",
    "save export serialize to_json snapshot checkpoint restore load" },
  { "write session:run() without input", "resume continue" },
  { "write session:deny(id, why)", "reject decline" },
  { "write session:approve(id)", "accept confirm allow" },
  { "write session:answer(id, value)", "submit submit_tool_outputs add_tool_result tool_result respond" },
  { "write session:cancel()", "stop abort interrupt" },
  { "begin another one: agent:session()", "reset clear" },
  { "an agent has it: agent:with { … }", "with" },
}

local RUN = {
  { "take the events of type `text_delta`: run:events(), or run:each(fn)", "text_deltas stream deltas" },
  { "a run makes several requests; a turn has it: client:turn(…)", "relay open body" },
  { "its session has it: run.session", "approve approve_all deny deny_all answer steer queue state run step" },
  { "its result has it: run:result()", "pending messages usage steps hints message finish_reason" },
  { "write run:result() or run:text()", "wait join await get ask output" },
  { "write run:cancel(); why a run stopped is in its result: run:result().stop", "stop abort" },
}

local COMPACT = {
  { "write vllm.compact.summarise { … }", "summarize summary" },
  { "write vllm.compact.keep_recent(count)", "keep_last trim truncate sliding_window window last" },
  { "write vllm.compact.clear_results { … }", "clear_tool_results clear_tools clear_tool_uses" },
}

local MODULE = {
  { "write vllm.new { model = \"…\", base_url = \"http://…/v1\" }",
    "client openai async_openai llm chat_openai ollama create_client connect init setup" },
  { "a client has it: vllm.new { … }:turn(…)", "turn stream chat completions complete generate" },
  { "a client has it: vllm.new { … }:session()", "session conversation" },
  { "write vllm.json", "encode decode" },
  { "write vllm.spawn(fn)", "async go" },
}

local function indexed(list)
  local words = {}
  for _, entry in ipairs(list) do
    for word in entry[2]:gmatch "%S+" do words[spelling.squash(word)] = entry[1] end
  end
  return words
end

--- Group of names → squashed word → what to write. `request`: of clients, calls and sessions.
foreign.words = {
  request = indexed(REQUEST), timeout = indexed(TIMEOUT), retry = indexed(RETRY), tls = indexed(TLS),
  media = indexed(MEDIA),
  tool = indexed(TOOL), map = indexed(MAP), client = indexed(CLIENT), session = indexed(SESSION),
  module = indexed(MODULE), agent = indexed(AGENT), agent_tool = indexed(AGENT_TOOL),
  agent_method = indexed(AGENT_METHOD), agent_session = indexed(AGENT_SESSION), run = indexed(RUN),
  compact = indexed(COMPACT),
}

--- What to write instead of a word of others.
---@param group string of foreign.words; one that is unknown has no words
---@param name any
---@return string? advice an imperative: `write system = "…"`; of the group `tool` the key that is meant
function foreign.advice(group, name)
  local words = foreign.words[group]
  if not words or type(name) ~= "string" or #name > spelling.MAX_NAME then return nil end
  return words[spelling.squash(name)]
end

return foreign
