-- Who may ask for what. The keys here are for trying it out: make your own, with `openssl rand -hex 24`.
return {
  -- Bearer token → user. Without max_completion_tokens there is no limit; without models those below are allowed.
  users = {
    ["try-alice-3f1c"] = { name = "alice", max_completion_tokens = 2048 },
    ["try-bob-77aa"] = { name = "bob", max_completion_tokens = 256, models = { ["Qwen/Qwen3-8B"] = true } },
  },
  -- Models that are served; a user may have a list of their own. VLLM_MODEL is always among these.
  models = { ["Qwen/Qwen3-8B"] = true },
  -- Fields that callers may not set. They are silently removed from a request.
  forbidden = { "n", "best_of", "use_beam_search", "priority", "prompt_logprobs", "cache_salt", "kv_transfer_params",
    "vllm_xargs", "chat_template", "mm_processor_kwargs" },
  -- May callers read vLLM's own words about a request that it refuses (400)? They help, and may name paths, options and
  -- versions.
  tell_refusals = false,
}
