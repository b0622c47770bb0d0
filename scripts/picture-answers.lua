--- What the model says in the pictures of the documents: prints a script for the test server
--- (spec/support/server/script.c).
-- usage: lua scripts/picture-answers.lua chat|neovim >steps     k-th request, k-th answer; a word each 40 ms.

local json = require "vllm.json"

local WORD_MS = 40

local ANSWERS = {
  chat = {
    { reasoning = "The user asks about the weather. I have a tool for that.",
      call = { name = "get_weather", arguments = '{"city": "Paris"}' } },
    { text = "It is sunny in Paris, at 18 °C." },
    { reasoning = "23 is odd. Not by 3: 2 + 3 = 5. Not by 5. 5 × 5 is larger.",
      text = "Yes. No number from 2 to 4 divides 23, and 5 × 5 is more than 23, so it is prime." },
    { text = "The primes are 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, "
      .. "89, 97" },
  },
  neovim = {
    { reasoning = "F to C: minus 32, divided by 1.8. Sign does not matter.",
      text = "Yes: the formula is linear, so it holds below zero as well.\n\nI would test\n- `celsius(32)` is 0\n- "
        .. "`celsius(212)` is 100\n"
        .. "- `celsius(-40)` is -40, where both scales meet" },
  },
}

local function step(data)
  local line = ("data: %s\n\n"):format(data)
  print("send " .. line:gsub("[%c\\\127-\255]", function(c) return ("\\x%02x"):format(c:byte()) end))
end

local function chunk(delta, finish)
  step(json.encode { id = "chatcmpl-1", object = "chat.completion.chunk", created = 0, model = "model",
    choices = { { index = 0, delta = delta, finish_reason = finish or json.null } } })
end

local function words(name, text)
  for word in (text or ""):gmatch "%s*%S+" do
    chunk { [name] = word }
    print("wait " .. WORD_MS)
  end
end

local function head()
  print([[send HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n]])
end

for i, answer in ipairs(ANSWERS[arg[1]]) do
  if i > 1 then print "next" end
  head()
  words("reasoning", answer.reasoning)
  words("content", answer.text)
  local call = answer.call
  if call then chunk { tool_calls = { { index = 0, id = "call_1", type = "function", ["function"] = call } } } end
  chunk({}, call and "tool_calls" or "stop")
  local usage = { prompt_tokens = 40 * i, completion_tokens = 12 * i, total_tokens = 52 * i }
  step(json.encode { id = "chatcmpl-1", choices = {}, usage = usage })
  step "[DONE]"
  print "close"
end
