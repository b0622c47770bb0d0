-- A chat in the terminal that streams. Ctrl-C stops the answer, not the chat; an empty line or Ctrl-D ends it.
-- VLLM_MODEL=… [VLLM_BASE_URL=http://host:8000/v1] lua examples/chat.lua
local vllm = require "vllm"

local client = assert(vllm.from_env { interrupt = "cancel" })
local session = client:session()
local is_terminal = os.getenv("TERM") ~= nil and os.getenv("TERM") ~= "dumb"
local DIM, PLAIN = is_terminal and "\27[2m" or "", is_terminal and "\27[0m" or ""

local function show(turn)
  local dim = false
  while true do
    local event, message, err = turn:next()
    if message then return nil, message, err end
    if not event then return turn:result() end
    local is_reasoning = event.type == "reasoning_delta"
    if is_reasoning or event.type == "text_delta" then
      if is_reasoning ~= dim then
        io.write(is_reasoning and DIM or PLAIN)
        if not is_reasoning then io.write("\n") end
      end
      dim = is_reasoning
      io.write(event.text)
      io.flush()
    end
  end
end

print("Talking to " .. client.config.model)
while true do
  io.write("\nyou> ")
  io.flush()
  local line = io.read("*l")
  if not line or line == "" then break end

  local result, message, err = show(session:turn(line))
  io.write(PLAIN, "\n")
  if result then
    for _, hint in ipairs(result.hints) do print("(" .. hint .. ")") end
  elseif err.kind == "cancelled" then
    print("(stopped)")
    -- What was said stays said: keep the part of the answer that was seen.
    if err.partial and err.partial.text then session:append { role = "assistant", content = err.partial.text } end
  else
    print("(" .. message .. ")")
  end
end
