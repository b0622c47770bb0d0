-- Near misses of known names, and the sentence for a key that is not known.
local config = require "vllm.request.config"
local fields = require "vllm.request.fields"
local spelling = require "vllm.base.spelling"

local known_distances = {}
local textbook_distance

-- The textbook recursion.
local function recurse(a, b)
  if #a == 0 or #b == 0 then return math.max(#a, #b) end
  local cost = a:sub(-1) == b:sub(-1) and 0 or 1
  local best = math.min(textbook_distance(a:sub(1, -2), b) + 1, textbook_distance(a, b:sub(1, -2)) + 1,
    textbook_distance(a:sub(1, -2), b:sub(1, -2)) + cost)
  if #a > 1 and #b > 1 and a:sub(-1) == b:sub(-2, -2) and a:sub(-2, -2) == b:sub(-1) then
    best = math.min(best, textbook_distance(a:sub(1, -3), b:sub(1, -3)) + 1)
  end
  return best
end

function textbook_distance(a, b)
  local pair = a .. " " .. b
  known_distances[pair] = known_distances[pair] or recurse(a, b)
  return known_distances[pair]
end

describe("spelling.nearest", function()
  it("counts as the textbook does", function()
    local names = { "abcd", "abdc", "badc", "bcd", "abxd", "abcde", "xabcde", "abcdef", "bacdfe", "cdefab", "abcxyf",
      "aabbcc", "ab", "abc" }
    for _, a in ipairs(names) do
      for _, b in ipairs(names) do
        local shorter = math.min(#a, #b)
        local allowed = shorter <= 3 and 0 or shorter <= 5 and 1 or 2
        assert.equal(textbook_distance(a, b) <= allowed and b or nil, spelling.nearest(a, { [b] = true }),
          a .. " " .. b)
      end
    end
  end)

  it("finds slips of the pen", function()
    local slips = {
      tempurature = "temperature", temprature = "temperature", temperatrue = "temperature", maxTokens = "max_tokens",
      ["top-p"] = "top_p", topK = "top_k", message = nil, tool = "tools", toolChoice = "tool_choice", seeds = "seed",
      max_completion_token = "max_completion_tokens", includeStopStrInOutput = "include_stop_str_in_output",
        STOP = "stop",
    }
    for slip, meant in pairs(slips) do assert.equal(meant, spelling.nearest(slip, fields.wire), slip) end
  end)

  it("leaves the fields of other servers alone", function()
    local others = {
      "service_tier", "store", "metadata", "modalities", "verbosity", "prompt_cache_key", "safety_identifier",
        "prediction", "audio",
      "web_search_options", "functions", "function_call", "typical_p", "mirostat", "mirostat_tau", "mirostat_eta",
        "dynatemp_range",
      "n_predict", "n_keep", "cache_prompt", "id_slot", "samplers", "grammar", "json_schema", "repeat_penalty",
        "repeat_last_n",
      "n_probs", "post_sampling_probs", "regex", "ebnf", "no_stop_trim", "lora_path", "session_params", "stop_regex",
        "rid",
      "separate_reasoning", "stream_reasoning", "custom_logit_processor", "best_of", "tfs_z", "t_max_predict_ms", "k",
        "x",
      "top_n_sigma", "xtc_probability", "dry_multiplier", "thinking", "lora_request", "max_new_tokens", "plugins",
        "provider", "route",
    }
    for _, name in ipairs(others) do
      assert.is_nil(spelling.nearest(name, fields.wire, fields.own, config.client_only), name)
    end
  end)

  it("gives the same answer whichever order a table is walked in", function()
    assert.equal("top_k", spelling.nearest("top_a", { top_p = 1, top_k = 1 }))
    assert.equal("top_k", spelling.nearest("top_a", { top_k = 1, top_p = 1 }))
    assert.equal("top_k", spelling.nearest("top_a", { top_p = 1 }, { top_k = 1 }))
  end)

  it("does not spend time on a key that is no name", function()
    assert.is_nil(spelling.nearest(("temperature"):rep(1e5), fields.wire))
  end)
end)

describe("spelling.squash", function()
  it("leaves out what names do not differ by", function()
    for _, name in ipairs { "max_tokens", "maxTokens", "max-tokens", "max.tokens", "MAX TOKENS" } do
      assert.equal("maxtokens", spelling.squash(name))
    end
  end)
end)

describe("spelling.unknown_key", function()
  it("is nil where every key is known", function()
    assert.is_nil(spelling.unknown_key({}, { a = true }))
    assert.is_nil(spelling.unknown_key({ a = false }, { a = true }))
  end)

  it("names the first one by its bytes, with the near name or all that there are", function()
    assert.equal("unknown key `tls.ca_fiel` (did you mean `ca_file`?)",
      spelling.unknown_key({ ca_fiel = 1, zzz = 1 }, { ca_file = true, key = true }, "tls."))
    assert.equal("unknown key `x`; known are ca_file, key",
      spelling.unknown_key({ x = 1 }, { key = true, ca_file = true }))
    assert.equal("unknown key `1`; known are key", spelling.unknown_key({ "a" }, { key = true }))
  end)

  it("cuts a long one, and shows no control character", function()
    local sentence = spelling.unknown_key({ ["\27[2J" .. ("x"):rep(1000)] = 1 }, { key = true })
    assert.is_true(#sentence < 120, sentence)
    assert.is_nil(sentence:find("%c"))
  end)
end)
