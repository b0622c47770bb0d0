--- Makes foreign text fit for a message: short, printable, whole code points. What a server or a caller sent must not
-- control a terminal or make a message that cannot be written as JSON.

local core = require "vllm.core"

local excerpt = {}

local MARK = "…"

--- The beginning of a text. Control characters other than line feeds become `?`. In text that is not UTF-8, so do all
--- bytes that are not ASCII.
---@param text string
---@param max_bytes integer longer text is cut there and marked
---@return string
function excerpt.of(text, max_bytes)
  local cut = #text > max_bytes
  -- The last character may be incomplete.
  if cut then text = text:sub(1, max_bytes):gsub("[\192-\255][\128-\191]*$", "") end
  text = text:gsub("[%z\1-\9\11-\31\127]", "?")
  if not core.json_encode(text) then text = text:gsub("[\128-\255]", "?") end
  return cut and text .. MARK or text
end

return excerpt
