--- Text from elsewhere: as a server takes it, and as a terminal may show it.

local core = require "vllm.core"

local text = {}

local function refuse(name, value)
  require("vllm.base.misuse").check_dot(name, value, 3)
  error(("vllm.%s: a string is needed, got %s"):format(name, type(value)), 3)
end

--- Bytes as text: the same string where it is UTF-8, else with U+FFFD (a question mark in a diamond) in place of what is not. For what
--- programs and files say, before it goes to a model: a request holds UTF-8 only, and names what is not.
---@param bytes string
---@return string
function text.text(bytes)
  if type(bytes) ~= "string" then refuse("text", bytes) end
  return core.repair_utf8(bytes)
end

-- Each ends where another ESC begins, so that a text of many beginnings is still read once. Source: ECMA-48, sections 5.3 to 5.6, 8.3.
local SEQUENCES = {
  "\27%][^\7\27]*\7", "\27%][^\7\27]*\27\\", -- OSC: titles, links, the clipboard
  "\27[PX^_][^\27]*\27\\", -- DCS, SOS, PM, APC
  "\27%[[0-?]*[ -/]*[@-~]", -- CSI: colours, the cursor
  "\27[ -/]*[0-OQ-WYZ\\`-~]", -- the rest: a reset, other character sets
}

local function stripped(own)
  own = own:gsub("\194\155", "\27["):gsub("\194\157", "\27]") -- CSI and OSC as one code point
  if own:find("\27", 1, true) then
    for _, pattern in ipairs(SEQUENCES) do own = own:gsub(pattern, "") end
  end
  return (own:gsub("[%z\1-\8\11-\31\127]", ""):gsub("\194[\128-\159]", ""))
end

--- Text as a terminal may show it: without escape sequences and control characters, but for line feeds and tabs. What a model writes
--- could else move the cursor, change the window's title or fill the clipboard. Of a sequence that is cut (between two deltas, say) the
--- control characters go and the rest stays, which does nothing.
---@param own string repaired as by vllm.text
---@return string
function text.printable(own)
  if type(own) ~= "string" then refuse("printable", own) end
  own = core.repair_utf8(own)
  return own:find("[%z\1-\8\11-\31\127\194]") and stripped(own) or own
end

return text
