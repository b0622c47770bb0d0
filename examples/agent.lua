-- An agent loop written by hand: ask, stream the text, run the tools that the model calls, append their results,
-- repeat. If a tool is named, the model must call it first.
-- VLLM_MODEL=… [VLLM_BASE_URL=http://host:8000/v1] lua examples/agent.lua [question [tool]]
local vllm = require "vllm"

local question = arg[1] or "What is the weather in Paris? Use the tool."
local MAX_ROUNDS = 8

-- What the model may call. `run` is ours and is not sent: it gets the decoded arguments, and its result goes to the
-- model.
local tools = {
  {
    name = "get_weather",
    description = "Current weather of a city",
    parameters = {
      type = "object", required = { "city" },
      properties = { city = { type = "string", description = "Name of the city" } },
    },
    run = function(input)
      if type(input.city) ~= "string" then error("city must be a string", 0) end
      return { city = input.city, celsius = 18, sky = "sunny" }
    end,
  },
}

local tool_named = {}
for _, tool in ipairs(tools) do tool_named[tool.name] = tool end

-- The tool message that answers a call. A failure is an answer, too: the model reads it and can try again.
local function answer(call)
  local tool = tool_named[call.name]
  local ok, value = pcall(function()
    if call.invalid then error("the call cannot be run: " .. call.invalid, 0) end
    if not tool then error("there is no tool " .. call.name, 0) end
    return tool.run(call.input)
  end)
  return { role = "tool", call = call, result = ok and value or tostring(value), is_error = not ok }
end

local client = assert(vllm.from_env { temperature = 0, max_completion_tokens = 256 })
local messages = {
  { role = "system", content = "You are a helpful assistant. Be brief." },
  { role = "user", content = question },
}
print("> " .. question)

for round = 1, MAX_ROUNDS do
  local turn = client:turn { messages = messages, tools = tools, tool_choice = round == 1 and arg[2] or nil }
  for event in turn:events() do
    if event.type == "text_delta" then
      io.write(vllm.printable(event.text))
      io.flush()
    elseif event.type == "tool_call" then
      print(vllm.printable(("[%s %s]"):format(event.name, event.arguments)))
    end
  end

  local result = assert(turn:result())
  messages[#messages + 1] = result.message
  if result.text then print() end
  for _, hint in ipairs(result.hints) do io.stderr:write("note: ", hint, "\n") end
  if #result.tool_calls == 0 then
    local usage = result.usage
    local FORMAT = "(%d + %d tokens, finish: %s)"
    if usage then print(FORMAT:format(usage.prompt_tokens, usage.completion_tokens, result.finish_reason)) end
    return
  end

  for _, call in ipairs(result.tool_calls) do
    local message = answer(call)
    local shown = type(message.result) == "table" and vllm.json.encode(message.result) or message.result
    print(vllm.printable(("[→ %s]"):format(shown)))
    messages[#messages + 1] = message
  end
end
error(("no answer after %d rounds of tools"):format(MAX_ROUNDS), 0)
