-- Tools that work at the same time, each with a line that shows how far it is.
-- VLLM_MODEL=… [VLLM_BASE_URL=http://host:8000/v1] lua examples/parallel.lua [question]
local vllm = require "vllm"

local question = arg[1] or "How warm is it in Paris, Oslo and Rome? Ask for all of them at once."

local agent = vllm.agent {
  instructions = "Use the tool. Be brief.",
  tools = { {
    name = "get_weather", description = "Current weather of a city",
    parameters = { type = "object", properties = { city = { type = "string" } }, required = { "city" } },
    run = function(input, call)
      for percent = 25, 100, 25 do
        vllm.sleep(0.05 + #input.city / 100) -- a real tool would ask a server here
        call:progress(("%s %d %%"):format(input.city, percent))
      end
      return { city = input.city, celsius = #input.city * 3 }
    end,
  } },
}

-- What each call is doing, in the order of their beginnings; on a terminal the lines stay where they are.
local is_terminal = os.getenv "TERM" ~= nil and os.getenv "TERM" ~= "dumb"
local line_of, lines = {}, {}

local function draw(id, text)
  local is_new = not line_of[id]
  if is_new then
    lines[#lines + 1] = text
    line_of[id] = #lines
  end
  lines[line_of[id]] = text
  local up = #lines - line_of[id] + 1
  text = vllm.printable(text)
  if is_new or not is_terminal then return print(text) end
  io.write(("\27[%dA\r\27[K%s\27[%dB\r"):format(up, text, up))
  io.flush()
end

local function show(event)
  if event.type == "tool_start" then draw(event.id, event.name .. " " .. vllm.json.encode(event.input))
  elseif event.type == "tool_progress" then draw(event.id, event.text)
  elseif event.type == "tool_result" then
    draw(event.id, ("%s (%.1f s): %s"):format(event.name, event.took_s, event.message.content))
  elseif event.type == "text_delta" then
    io.write(vllm.printable(event.text))
    io.flush()
  end
end

print("> " .. question)
local result = assert(agent:run(question):each(show))
print(("\n(%d steps, %d tokens)"):format(#result.steps, result.usage.total_tokens or 0))
