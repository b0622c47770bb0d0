--- Where misuse throws: at the line of the program that made the mistake. Few programs need it, so it is a file of its
-- own.

-- The sources of this module begin like this one: "@/usr/share/lua/5.4/vllm/base/raise.lua" gives
-- "@/usr/share/lua/5.4/vllm/". A stripped or bundled chunk has no path of its own: then whatever has the same source
-- counts as ours.
local own_source = debug.getinfo(1, "S").source
local OURS = own_source:match "^(.*[/\\])base[/\\]raise%.lua$" or own_source

-- C and the places of tail calls (Lua 5.1) have no line that could be shown.
local function is_of_program(frame)
  return frame.what ~= "C" and frame.what ~= "tail" and frame.source:sub(1, #OURS) ~= OURS
end

--- Throws `message` at the innermost line outside this module; without a position where the coroutine has no such line.
---@param message string
local function raise(message)
  local level = 1
  local frame = debug.getinfo(level, "S")
  while frame and not is_of_program(frame) do
    level = level + 1
    frame = debug.getinfo(level, "S")
  end
  error(message, frame and level or 0)
end

return raise
