--- Text from elsewhere, made valid UTF-8 for a server and harmless for a terminal.

local core = require "vllm.core"

local text = {}

local function refuse(name, value)
  require("vllm.base.misuse").check_dot(name, value, 3)
  error(("vllm.%s: expected a string, got %s"):format(name, type(value)), 3)
end

--- Makes text of bytes: valid UTF-8 is returned as it is, anything else becomes U+FFFD (a question mark in a diamond).
--- Use it for output of programs and contents of files before they go to a model: requests must be UTF-8, and are
--- refused otherwise.
---@param bytes string
---@return string
function text.text(bytes)
  if type(bytes) ~= "string" then refuse("text", bytes) end
  return core.repair_utf8(bytes)
end

-- Each stops at the next ESC, so that a text full of unfinished sequences is still read only once. Source: ECMA-48, 5.3
-- to 5.6, 8.3.
local SEQUENCES = {
  "\27%][^\7\27]*\7", "\27%][^\7\27]*\27\\", -- OSC: titles, links, the clipboard
  "\27[PX^_][^\27]*\27\\", -- DCS, SOS, PM, APC
  "\27%[[0-?]*[ -/]*[@-~]", -- CSI: colours, the cursor
  "\27[ -/]*[0-OQ-WYZ\\`-~]", -- the rest: a reset, other character sets
}

local function stripped(bytes)
  bytes = bytes:gsub("\194\155", "\27["):gsub("\194\157", "\27]") -- CSI and OSC as one code point
  if bytes:find("\27", 1, true) then
    for _, pattern in ipairs(SEQUENCES) do bytes = bytes:gsub(pattern, "") end
  end
  return (bytes:gsub("[%z\1-\8\11-\31\127]", ""):gsub("\194[\128-\159]", ""))
end

--- Makes text safe for a terminal: removes escape sequences, and control characters other than line feeds and tabs.
--- Otherwise what a model writes could move the cursor, change the window's title or fill the clipboard. If a sequence
--- is cut (between two deltas, say), its control characters are removed; the rest stays and is harmless.
---@param bytes string repaired as in vllm.text
---@return string
function text.printable(bytes)
  if type(bytes) ~= "string" then refuse("printable", bytes) end
  bytes = core.repair_utf8(bytes)
  return bytes:find("[%z\1-\8\11-\31\127\194]") and stripped(bytes) or bytes
end

return text
