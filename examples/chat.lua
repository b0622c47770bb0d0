-- A streaming chat in the terminal. Pasted text is one message, however many lines it has. Ctrl-C stops an answer; at
-- the prompt it ends the chat, like Ctrl-D.
-- VLLM_MODEL=… [VLLM_BASE_URL=http://host:8000/v1] lua examples/chat.lua
local core = require "vllm.core"
local vllm = require "vllm"

local function succeeds(command)
  local status = os.execute(command)
  return status == true or status == 0 -- Lua 5.1 gives a number
end

local client = assert(vllm.from_env { interrupt = "cancel" })
local session = client:session()
local is_terminal = os.getenv "TERM" ~= "dumb" and succeeds "test -t 0 && test -t 1"
local DIM, PLAIN = is_terminal and "\27[2m" or "", is_terminal and "\27[0m" or ""

-- Bracketed paste: the terminal puts marks around pasted text, and must not show them.
local function set_terminal(is_on)
  if not is_terminal then return end
  succeeds(is_on and "stty -echoctl" or "stty echoctl")
  io.write(is_on and "\27[?2004h" or "\27[?2004l")
  io.flush()
end

io.stdin:setvbuf "no" -- core.poll does not see what is in a buffer

-- A line, or all lines of a paste with what was typed around them. nil: end of input.
local function read_message()
  local lines, in_paste = {}, false
  repeat
    repeat until core.poll({ 0 }, 3600) -- io.read would not be woken by Ctrl-C
    local line = io.read "*l"
    if not line then break end
    for mark in line:gmatch "\27%[20([01])~" do in_paste = mark == "0" end
    lines[#lines + 1] = line:gsub("\27%[20[01]~", "")
  until not in_paste
  return lines[1] and vllm.text(table.concat(lines, "\n"))
end

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
      io.write(vllm.printable(event.text))
      io.flush()
    end
  end
end

local function answer(text)
  local result, message, err = show(session:turn(text))
  io.write(PLAIN, "\n")
  if result then
    for _, hint in ipairs(result.hints) do print("(" .. hint .. ")") end
  elseif err.kind == "cancelled" then
    print("(stopped)")
    -- Keep the part of the answer that the user saw.
    if err.partial and err.partial.text then session:append { role = "assistant", content = err.partial.text } end
  else
    print("(" .. vllm.printable(message) .. ")")
  end
end

local function chat()
  print("Talking to " .. client.config.model)
  repeat
    io.write("\nyou> ")
    io.flush()
    local text = read_message()
    if text and text:find "%S" then answer(text) end
  until not text
end

set_terminal(true)
local ok, why = pcall(chat)
set_terminal(false)
print()
if not ok and not tostring(why):find "interrupted!" then error(why, 0) end
