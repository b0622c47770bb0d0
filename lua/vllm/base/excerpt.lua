--- Foreign text as it may stand in a message for people: short, printable, whole code points. What a server or a caller sent must not
-- steer a terminal, nor make a message that cannot be written as JSON.

local core = require "vllm.core"

local excerpt = {}

local MARK = "…"

--- The beginning of a text. Control characters but the line feed become `?`, and so does all that is not ASCII in text that is not UTF-8.
---@param text string
---@param max_bytes integer longer text is cut there, and marked
---@return string
function excerpt.of(text, max_bytes)
  local cut = #text > max_bytes
  if cut then text = text:sub(1, max_bytes):gsub("[\192-\255][\128-\191]*$", "") end -- the last character may lack its end
  text = text:gsub("[%z\1-\9\11-\31\127]", "?")
  if not core.json_encode(text) then text = text:gsub("[\128-\255]", "?") end
  return cut and text .. MARK or text
end

return excerpt
