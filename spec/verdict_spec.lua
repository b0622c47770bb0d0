-- The kind of an error: what decides it, and what must not.
local server_errors = require "vllm.base.server_errors"

local CONTEXT = { url = "http://h/v1/chat/completions", has_key = true, now_unix = 784111777 }

describe("context lengths, in every wording met so far", function()
  local cases = {
    { "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4000 in the messages, "
      .. "1000 in the completion). Please reduce the length of the messages or completion.",
      { limit = 4096, requested = 5000, prompt = 4000, completion = 1000 } },
    { "'max_tokens' or 'max_completion_tokens' is too large: 9000. This model's maximum context length is 8192 tokens "
      .. "and your request has 20 input tokens (9000 > 8192 - 20).",
      { limit = 8192, prompt = 20, completion = 9000 } },
    { "You passed 9000 input tokens and requested 100 output tokens. However, the model's context length is only 8192 "
      .. "tokens, resulting in a maximum input length of 8092 tokens. Please reduce the length of the input prompt.",
      { limit = 8192, prompt = 9000, completion = 100 } },
    { "This model's maximum context length is 2048 tokens. However, you requested 100 output tokens and your prompt "
      .. "contains at least 1949 input tokens, for a total of at least 2049 tokens.",
      { limit = 2048, prompt = 1949, completion = 100, requested = 2049, prompt_is_lower_bound = true } },
    { "max_tokens=4000 cannot be greater than max_model_len=2048.", { limit = 2048, completion = 4000 } },
    { "Input length (3000) exceeds model's maximum context length (2048).", { limit = 2048, prompt = 3000 } },
    { "The decoder prompt (length 3000) is longer than the maximum model length of 2048. Make sure that …",
      { limit = 2048, prompt = 3000 } },
    { "litellm.ContextWindowExceededError: too much", {} },
    { "The input (3000 tokens) is longer than the model's context length (2048 tokens).", { limit = 2048 } },
  }
  for _, case in ipairs(cases) do
    it(case[1]:sub(1, 60), function()
      local body = '{"error":{"message":"' .. case[1]:gsub('"', '\\"') .. '","code":400}}'
      local err = server_errors.from_status(400, {}, body, CONTEXT)
      assert.equal("context_length", err.kind)
      assert.same(case[2], err.context)
      assert.is_false(err.retryable)
    end)
  end
end)

describe("what a server echoes of the request", function()
  local PROMPT = "maximum context length, roles must alternate"
  local cases = {
    { "in vLLM's own sentence",
      "{\"error\":{\"message\":\"1 validation error:\\n  {'loc': 'body.messages', 'msg': 'Field required', "
      .. "'input': '" .. PROMPT .. "'}\",\"param\":\"body.messages\",\"code\":400}}" },
    { "in FastAPI's entries", '{"detail":[{"loc":["body"],"msg":"no","input":"' .. PROMPT .. '"}]}' },
    { "in another member", '{"error":{"message":"no","code":400},"request":"' .. PROMPT .. '"}' },
  }
  for _, case in ipairs(cases) do
    it("does not decide the kind: " .. case[1], function()
      assert.equal("invalid_request", server_errors.from_status(400, {}, case[2], CONTEXT).kind)
    end)
  end

  it("does not decide it for a picture that is too large either", function()
    local err = server_errors.from_status(400, {},
      '{"error":{"message":"the image is too large: 9000 pixels","code":400}}', CONTEXT)
    assert.equal("invalid_request", err.kind)
  end)
end)

describe("a prompt that is too long", function()
  local cases = {
    { 429, '{"error":{"message":"litellm.ContextWindowExceededError: no","code":"429"}}' },
    { 500, '{"error":{"message":"This model\'s maximum context length is 10 tokens.","code":500}}' },
    { 413, '{"error":{"message":"prompt is too long"}}' },
    { 400,
      '{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\\"message\\":\\"Prompt is too '
        .. 'long\\"}"}}}' },
    { 400, '{"error":{"message":"max_tokens is too large: 9. This model supports at most 8 completion tokens"}}' },
    { 400, '{"error":{"message":"no","type":"exceed_context_size_error"}}' },
  }
  for _, case in ipairs(cases) do
    it(("is not retryable, with status %d: %s"):format(case[1], case[2]:sub(1, 50)), function()
      local err = server_errors.from_status(case[1], {}, case[2], CONTEXT)
      assert.equal("context_length", err.kind)
      assert.is_false(err.retryable)
    end)
  end

  it("has no number of sixteen digits or more", function()
    local err = server_errors.from_status(400, {}, "maximum context length is " .. ("9"):rep(400), CONTEXT)
    assert.same({}, err.context)
  end)
end)
