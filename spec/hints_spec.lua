-- Hints: sentences that a person can act on, from answers that real servers gave.
local hints = require "vllm.turn.hints"

local function result(choice, tokens)
  return { choices = { choice }, usage = tokens and { completion_tokens = tokens } }
end

describe("hints", function()
  local cases = {
    { "a plain answer needs none", { text = "Paris.", finish_reason = "stop" }, {}, {} },
    { "a call needs none", { tool_calls = { {} }, finish_reason = "tool_calls" }, { tools = true }, {} },
    { "all reasoning", { reasoning = "x", finish_reason = "stop" }, {}, { "whole answer came as reasoning" } },
    { "reasoning cut", { reasoning = "x", finish_reason = "length" }, {}, { "still reasoning" } },
    { "reasoning, then white space only", { reasoning = "x", text = "\n\n", finish_reason = "stop" }, {},
      { "whole answer came as reasoning" } },
    { "length and nothing", { finish_reason = "length" }, {}, { "14 tokens were spent" }, 14 },
    { "tokens and nothing", { finish_reason = "stop" }, {}, { "14 tokens were spent and nothing came" }, 14 },
    { "raw call with tools", { text = 'ok <tool_call>{"name":"f"}</tool_call>', finish_reason = "stop" },
      { tools = true }, { "--tool-call-parser" } },
    { "raw call without tools", { text = "<tool_call>", finish_reason = "stop" }, {}, { "offered no tools" } },
    { "raw thinking", { text = "<think>hm</think> Paris", finish_reason = "stop" }, {}, { "--reasoning-parser" } },
    { "a call demanded, none came", { text = "Paris", finish_reason = "stop" }, { tools = true, call_demanded = true },
      { "tool_choice demanded a call" } },
    { "tool_calls without a call", { text = "x", finish_reason = "tool_calls" }, { tools = true },
      { "speaks of tool calls" } },
    { "all tokens spent on a call", { tool_calls = { {} }, finish_reason = "tool_calls" },
      { tools = true, max_completion_tokens = 9 },
      { "as many tokens as were allowed" }, 9 },
    { "a call with a token to spare", { tool_calls = { {} }, finish_reason = "tool_calls" },
      { tools = true, max_completion_tokens = 10 }, {}, 9 },
    { "a stop string within the reasoning", { reasoning = "x", finish_reason = "stop", stop_reason = "User:" },
      { stop = true },
      { 'the stop string "User:" came within the reasoning' } },
    { "perhaps a stop string within the reasoning", { reasoning = "x", finish_reason = "stop" }, { stop = true },
      { "a stop string came within it, " } },
    { "a stop token is no stop string", { reasoning = "x", finish_reason = "stop", stop_reason = 128009 }, {},
      { "whole answer came as reasoning" } },
    { "reasoning that a filter ended", { reasoning = "x", finish_reason = "content_filter" }, {},
      { 'ended by "content_filter" while' } },
    { "reasoning cut, in Mistral's word", { reasoning = "x", finish_reason = "model_length" }, {},
      { "still reasoning: raise" } },
    { "reasoning cut, in capitals", { reasoning = "x", finish_reason = "MAX_TOKENS" }, {},
      { "still reasoning: raise" } },
    { "reasoning alone, in capitals", { reasoning = "x", finish_reason = "STOP" }, {},
      { "whole answer came as reasoning" } },
    { "reasoning alone, in TGI's word", { reasoning = "x", finish_reason = "eos_token" }, {},
      { "whole answer came as reasoning" } },
    { "length in a call, in capitals", { tool_calls = { {} }, finish_reason = "LENGTH" }, { tools = true },
      { "must not be run" } },
    { "a stop string at once", { finish_reason = "stop", stop_reason = "\n" }, {}, { 'the stop string "' }, 2 },
    { "a filter at once", { finish_reason = "content_filter" }, {}, { 'ended by "content_filter" before' }, 2 },
    { "length in a raw call", { text = 'ok <tool_call>{"name":"f', finish_reason = "length" }, { tools = true },
      { "length within a tool call" } },
    { "a whole raw call, then length", { text = "<tool_call>{}</tool_call> and", finish_reason = "length" },
      { tools = true }, { "--tool-call-parser" } },
    { "length in raw thinking", { text = "<think>hm", finish_reason = "length" }, {}, { "still thinking: raise" } },
    { "an end of thinking without its beginning", { text = "hm</think> Paris", finish_reason = "length" }, {},
      { "--reasoning-parser" } },
    { "a call demanded, ended by a filter", { text = "Par", finish_reason = "content_filter" },
      { tools = true, call_demanded = true }, {} },
    { "length in a call", { tool_calls = { {} }, finish_reason = "length" }, { tools = true }, { "must not be run" } },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      local list = hints.of(result(case[2], case[5]), case[3])
      assert.equal(#case[4], #list)
      for i, words in ipairs(case[4]) do assert.truthy(list[i]:find(words, 1, true), list[i]) end
    end)
  end

  it("has nothing to say of no choice at all", function()
    assert.same({}, hints.of({ choices = {} }, {}))
  end)
end)
