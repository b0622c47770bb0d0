--- The wire fields of chat completions, each with its check: the one table that both configuration and calls use.
-- A type or a range is refused here only if every version of vLLM refuses or misreads it. The server judges the rest.
-- Source: vLLM's ChatCompletionRequest and SamplingParams.

local formats = require "vllm.request.formats"
local spelling = require "vllm.base.spelling"
local values = require "vllm.base.values"

local fields = {}

local TWO_TO_63 = 2 ^ 63

-- A check: { what is expected, function(value) → boolean, function(good value) → what is wrong inside it, or nil },
-- and perhaps `advice`: function(wrong value) → what to write instead, or nil.

local function is_finite(value)
  return type(value) == "number" and value == value and value ~= math.huge and value ~= -math.huge
end

-- Within 64 bits, whether Lua holds it as an integer or as a float.
local function is_integer(value)
  return is_finite(value) and value == math.floor(value) and value >= -TWO_TO_63 and value < TWO_TO_63
end

local function is_table(value)
  return type(value) == "table"
end

local function is_object(value)
  return is_table(value) and (next(value) == nil or type(next(value)) == "string" or values.is_raw(value))
end

local function is_text(value)
  return type(value) == "string" and value ~= ""
end

local function number(bounds, test)
  return { "a number" .. bounds, function(value) return is_finite(value) and (not test or test(value)) end }
end

local function integer(bounds, test)
  return { "an integer" .. bounds, function(value) return is_integer(value) and (not test or test(value)) end }
end

local function at_least(low)
  return integer(" of at least " .. low, function(value) return value >= low end)
end

local function list_of(what, test)
  return { "a list of " .. what, function(value)
    if values.is_raw(value) then return true end
    local length = values.list_length(value)
    for i = 1, length or 0 do
      if not test(value[i]) then return false end
    end
    return length ~= nil
  end }
end

local BOOLEAN = { "true or false", function(value) return type(value) == "boolean" end }
local STRING = { "a string", function(value) return type(value) == "string" end }
local TEXT = { "a non-empty string", is_text }
local OBJECT = { "a table with names as keys", is_object }
local INTEGERS = list_of("integers", is_integer)
local TEXTS = list_of("non-empty strings", is_text)
local PENALTY = number(" between -2 and 2", function(value) return value >= -2 and value <= 2 end)

local function is_biases(value)
  if not is_table(value) or values.is_raw(value) then return is_table(value) end
  for id, bias in pairs(value) do
    local is_id = is_integer(id) or (type(id) == "string" and id:find("^%-?%d+$") ~= nil)
    if not is_id or not is_finite(bias) then return false end
  end
  return true
end

local function is_stop(value)
  return is_text(value) or TEXTS[2](value)
end

local function is_typed(value)
  return values.is_raw(value) or (is_object(value) and is_text(value.type))
end

local function is_map_of(test)
  return function(value)
    if not is_object(value) then return false end
    for _, item in pairs(values.is_raw(value) and {} or value) do
      if not (values.is_null(item) or test(item)) then return false end
    end
    return true
  end
end

local function is_string(value) return type(value) == "string" end
local is_strings = is_map_of(is_string)

-- vLLM makes 1 of true.
local function is_scalar(value) return is_string(value) or is_finite(value) end

local function is_argument(value)
  if is_scalar(value) then return true end
  local length = values.list_length(value)
  for i = 1, length or 0 do
    if not is_scalar(value[i]) then return false end
  end
  return length ~= nil
end

local MAPS = { "a table of tables, such as { video = { fps = 1 } }", is_map_of(is_object) }
local ARGUMENTS = { "a table of name = string, number, or a list of those", is_map_of(is_argument) }

local MAX_SALT = 128

-- As vLLM's validator has it, not its schema, which says 1024.
local function is_salt(value)
  return is_text(value) and not value:find("[@/\\%z]") and select(2, value:gsub("[^\128-\191]", "")) <= MAX_SALT
end

-- The set has grown and will grow: only a misspelling is reported.
local EFFORTS = { none = true, minimal = true, low = true, medium = true, high = true, xhigh = true, max = true }

local function effort_fault(value)
  local meant = not EFFORTS[value] and spelling.nearest(value, EFFORTS)
  if not meant then return nil end
  return (': unknown value "%s" (did you mean "%s"?); extra_body = { … } sends any'):format(value, meant)
end

local function is_tool_choice(value)
  return is_text(value) or (is_object(value) and next(value) ~= nil)
end

local function is_stream_options(value)
  if values.is_raw(value) then return false end
  if not is_object(value) then return false end
  for _, name in ipairs { "include_usage", "continuous_usage_stats" } do
    if value[name] ~= nil and type(value[name]) ~= "boolean" then return false end
  end
  return true
end

local function tools_advice(value)
  if is_table(value) and (value.name ~= nil or value["function"] ~= nil) then
    return "put one tool in braces: tools = { { name = … } }"
  end
end

local function logprobs_advice(value)
  return type(value) == "number" and "their number is top_logprobs" or nil
end

--- Wire field → check. Valid in vllm.new (a default for each request) and in a call. `messages` and `stream` are not
--- among them.
fields.wire = {
  model = TEXT, user = STRING,
  temperature = number(" of at least 0", function(value) return value >= 0 end),
  top_p = number(" above 0 and at most 1", function(value) return value > 0 and value <= 1 end),
  top_k = at_least(-1),
  min_p = number(" between 0 and 1", function(value) return value >= 0 and value <= 1 end),
  frequency_penalty = PENALTY, presence_penalty = PENALTY,
  repetition_penalty = number(" above 0", function(value) return value > 0 end),
  length_penalty = number(""), use_beam_search = BOOLEAN,
  max_completion_tokens = at_least(1), max_tokens = at_least(1), min_tokens = at_least(0),
  n = at_least(1), seed = integer(""),
  logit_bias = { "a table of token id = number", is_biases },
  logprobs = { BOOLEAN[1], BOOLEAN[2], advice = logprobs_advice },
  top_logprobs = at_least(-1), prompt_logprobs = at_least(-1), logprob_token_ids = INTEGERS,
  stop = { "a non-empty string or a list of non-empty strings", is_stop },
  stop_token_ids = INTEGERS, allowed_token_ids = INTEGERS, bad_words = TEXTS,
  include_stop_str_in_output = BOOLEAN, ignore_eos = BOOLEAN,
  skip_special_tokens = BOOLEAN, spaces_between_special_tokens = BOOLEAN,
  truncate_prompt_tokens = at_least(-1),
  truncation_side = { '"left" or "right"', function(value) return value == "left" or value == "right" end },
  stream_options = { "a table whose include_usage and continuous_usage_stats are true or false", is_stream_options },
  stream_interval = at_least(1),
  tools = { "a list of tools", function(value) return values.is_raw(value) or values.list_length(value) ~= nil end,
    advice = tools_advice },
  tool_choice = { '"none", "auto", "required", the name of a tool, or a table', is_tool_choice },
  parallel_tool_calls = BOOLEAN,
  response_format = { "a table with a `type`", is_typed, formats.response_format,
    advice = formats.response_format_advice },
  structured_outputs = { OBJECT[1], is_object, formats.structured_outputs },
  reasoning_effort = { TEXT[1], is_text, effort_fault }, include_reasoning = BOOLEAN,
  thinking_token_budget = at_least(-1),
  echo = BOOLEAN, add_generation_prompt = BOOLEAN, continue_final_message = BOOLEAN, add_special_tokens = BOOLEAN,
  documents = list_of("tables of name = string", is_strings), chat_template = TEXT, chat_template_kwargs = OBJECT,
  mm_processor_kwargs = OBJECT, media_io_kwargs = MAPS,
  priority = integer(""), request_id = TEXT, session_id = TEXT,
  cache_salt = { "1 to 128 characters without @ / \\ and NUL", is_salt }, watermarking = BOOLEAN,
  return_tokens_as_token_ids = BOOLEAN, return_token_ids = BOOLEAN, return_prompt_text = BOOLEAN,
  return_weight_versions = BOOLEAN, routed_experts_prompt_start = at_least(0),
  return_token_offsets = BOOLEAN, return_mm_kwargs = BOOLEAN, -- these two and mm_payload: for vLLM's render addresses
  mm_payload = { '"tensors" or "none"', function(value) return value == "tensors" or value == "none" end },
  kv_transfer_params = OBJECT, ec_transfer_params = OBJECT, vllm_xargs = ARGUMENTS,
  repetition_detection = { OBJECT[1], is_object, formats.repetition_detection },
}

local REASONING_REPLAY = { never = true, tool_turns = true, always = true }
local ALTERNATION = {
  system = function(value) return value == "fold" end, assistant = function(value) return value == "join" end,
  first = is_text,
}

local function is_alternation(value)
  if type(value) == "boolean" then return true end
  if not is_object(value) then return false end
  for name, choice in pairs(value) do
    if not ALTERNATION[name] or not ALTERNATION[name](choice) then return false end
  end
  return true
end

-- What messages have already.
local TAKEN = { content = true, name = true, role = true, tool_calls = true, refusal = true, audio = true }

local function is_reasoning_field(value)
  return type(value) == "string" and value:find("^[a-zA-Z_][a-zA-Z0-9_]*$") ~= nil and not TAKEN[value]
end

-- The content of the system message. Its parts are checked where the messages are.
local function is_system(value)
  return value == false or is_text(value) or (values.list_length(value) or 0) > 0
end

local function system_advice(value)
  if is_table(value) and (value.role ~= nil or value.kind ~= nil or value.content ~= nil) then
    return 'a message is not needed: system = "…"'
  end
end

--- Our own options of a request, which never go on the wire as they are. Valid in vllm.new and in a call.
fields.own = {
  system = { "a non-empty string (the text of the system message) or a list of parts", is_system,
    advice = system_advice },
  stream = BOOLEAN, streaming = BOOLEAN, include_usage = BOOLEAN, chunks = BOOLEAN,
  strict_alternating_roles = {
    'true, false, or a table of system = "fold", assistant = "join", first = "filler" (or its text)', is_alternation,
  },
  reasoning_replay = { '"never", "tool_turns" or "always"', function(value) return REASONING_REPLAY[value] ~= nil end },
  reasoning_field = { "a name of letters, digits and _ that messages do not have yet", is_reasoning_field },
  tool_media = { '"parts" or "text"', function(value) return value == "parts" or value == "text" end },
  headers = { "a table of name = value", is_table },
  timeout = {
    "a table such as { total_s = 30 } (of connect_s, queue_s, first_event_s, idle_s, finish_s, total_s)", is_table,
  },
  extra_body = {
    "a table with names as keys", function(value) return is_object(value) and not values.is_raw(value) end,
  },
}

--- Fields that vLLM once had and ignores since 0.12, and what took their place.
fields.removed = {
  guided_json = "structured_outputs.json", guided_regex = "structured_outputs.regex",
  guided_choice = "structured_outputs.choice", guided_grammar = "structured_outputs.grammar",
  guided_whitespace_pattern = "structured_outputs.whitespace_pattern",
  guided_decoding_backend = "the server's own configuration (there is no structured_outputs.backend)",
  structural_tag = "structured_outputs.structural_tag",
}

--- The sentence for a removed field.
---@param name string
---@return string? nil: the field was not removed
function fields.why_removed(name)
  local successor = fields.removed[name]
  if not successor then return nil end
  return ("`%s` was removed from vLLM and is ignored there: use %s (extra_body still sends it to an old server)")
    :format(name, successor)
end

--- Checks one value against a check of this module.
---@param check table of fields.wire or fields.own
---@param name string as it shall stand in the message
---@param value any
---@return string? message nil: the value is good
function fields.fault(check, name, value)
  if not check[2](value) then
    local advice = check.advice and check.advice(value)
    return ("%s: expected %s, got %s%s"):format(name, check[1], values.shown(value), advice and "; " .. advice or "")
  end
  local why = check[3] and not values.is_raw(value) and check[3](value)
  return why and name .. why or nil
end

return fields
