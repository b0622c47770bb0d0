--- Removes a client's secrets from what others wrote: servers and proxies are known to echo requests.
--
-- A text is redacted before we cut it. If it was cut elsewhere (by a limit on what is read, or by a server's "..."), it
-- may end with the beginning of a secret, or have one before the mark of the cut; that is removed, too. A secret is
-- found as it is, and as JSON, HTML and URLs spell it.

local core = require "vllm.core"

local redact = {}

local MASK = "***"
local CUTS = { "…", "..." }
local LEFT_OUT = "(left out: it could not be redacted)"
local MIN_BYTES = 4 -- shorter texts occur everywhere
local MIN_CONTENT_BYTES = 8 -- in a model's words and in headers: `EMPTY` is a common key

---@class vllm.Redactor
local Redactor = {}
Redactor.__index = Redactor

-- Spellings --------------------------------------------------------------------------------------------------------

local HTML = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }

-- Python's, Go's, Express's and Ruby's, PHP's.
local HTML_QUOTES = {
  { ['"'] = "&quot;", ["'"] = "&#x27;" }, { ['"'] = "&#34;", ["'"] = "&#39;" },
  { ['"'] = "&quot;", ["'"] = "&#39;" }, { ['"'] = "&quot;", ["'"] = "&#039;" },
}

local function json(text)
  local quoted = core.json_encode(text)
  return quoted and quoted:sub(2, -2) or text
end

local function escaped(text, set, format)
  return (text:gsub(set, function(c) return format:format(c:byte()) end))
end

local function spellings(secret)
  local quoted = json(secret)
  local list = {
    secret, quoted, (quoted:gsub("/", "\\/")), escaped(quoted, "[&<>]", "\\u%04x"), -- the last: Go, Ruby
    escaped((secret:gsub("\\", "\\\\")), "[\"&'+<>`]", "\\u%04X"), -- .NET
    escaped(secret, "[^%w%-._~]", "%%%02X"), escaped(secret, "[^%w%-._~]", "%%%02x"),
  }
  for _, quotes in ipairs(HTML_QUOTES) do
    list[#list + 1] = (secret:gsub("[&<>]", HTML):gsub("[\"']", quotes))
  end
  for i = 1, #list do list[#list + 1] = json(list[i]) end -- JSON inside a JSON string, as proxies pass it on
  return list
end

-- A text that contains a spelling, or the beginning of one, contains one of these. They are few, so that other texts
-- cost little.
local function anchors(found)
  local list, is_known = {}, {}
  for _, spelling in ipairs(found) do
    local anchor = spelling.text:sub(1, MIN_BYTES)
    if not is_known[anchor] then list[#list + 1], is_known[anchor] = anchor, true end
  end
  return list
end

--- A redactor. It contains the secrets: keep it out of reach of dumps.
---@param ... string[] lists of secrets
---@return vllm.Redactor
function redact.new(...)
  local found, is_known = {}, {}
  for i = 1, select("#", ...) do
    for _, secret in ipairs((select(i, ...))) do
      for _, text in ipairs(#secret >= MIN_BYTES and spellings(secret) or {}) do
        if not is_known[text] then found[#found + 1] = { text = text, is_long = #secret >= MIN_CONTENT_BYTES } end
        is_known[text] = true
      end
    end
  end
  table.sort(found, function(a, b) return #a.text > #b.text end) -- one may contain another
  return setmetatable({ _spellings = found, _anchors = anchors(found) }, Redactor)
end

-- Texts ------------------------------------------------------------------------------------------------------------

local function without(text, secret)
  local at, stop = text:find(secret, 1, true)
  if not at then return text end
  local kept, from = {}, 1
  while at do
    kept[#kept + 1], from = text:sub(from, at - 1), stop + 1
    at, stop = text:find(secret, from, true)
  end
  kept[#kept + 1] = text:sub(from)
  return table.concat(kept, MASK)
end

-- Masks the end of a text if it is the beginning of a secret.
local function without_tail(text, secret)
  local anchor = secret:sub(1, MIN_BYTES)
  local at = text:find(anchor, math.max(1, #text - #secret + 2), true)
  while at do
    if secret:sub(1, #text - at + 1) == text:sub(at) then return text:sub(1, at - 1) .. MASK end
    at = text:find(anchor, at + 1, true)
  end
  return text
end

-- The same before each mark of a cut.
local function without_tails(text, mark, secret)
  local kept, from = {}, 1
  local at, stop = text:find(mark, 1, true)
  while at do
    kept[#kept + 1], kept[#kept + 2] = without_tail(text:sub(from, at - 1), secret), mark
    from = stop + 1
    at, stop = text:find(mark, from, true)
  end
  kept[#kept + 1] = without_tail(text:sub(from), secret)
  return table.concat(kept)
end

local function redacted(text, secret)
  local anchor = secret:sub(1, MIN_BYTES)
  if not text:find(anchor, 1, true) then return text end
  text = without(text, secret)
  if not text:find(anchor, 1, true) then return text end
  for _, mark in ipairs(CUTS) do text = without_tails(text, mark, secret) end
  return text
end

local function may_contain(self, text)
  for _, anchor in ipairs(self._anchors) do
    if text:find(anchor, 1, true) then return true end
  end
  return false
end

local function text_without(self, text, is_content)
  if not may_contain(self, text) then return text end
  for _, spelling in ipairs(self._spellings) do
    if spelling.is_long or not is_content then text = redacted(text, spelling.text) end
  end
  return text
end

--- A text without the secrets. Never raises: what cannot be redacted is left out.
---@param text string
---@param is_content boolean? it is a model's or a header's: short secrets stay, since they may be ordinary words
---@return string
function Redactor:text(text, is_content)
  local ok, got = pcall(text_without, self, text, is_content)
  return ok and got or LEFT_OUT
end

-- Values -----------------------------------------------------------------------------------------------------------

-- `known`: texts and tables seen so far → their replacements.
local function cleaned(self, value, is_content, known)
  if type(value) ~= "string" and type(value) ~= "table" then return value end
  if known[value] ~= nil then return known[value] end
  if type(value) == "string" then
    known[value] = text_without(self, value, is_content)
    return known[value]
  end
  known[value] = value
  local renamed = {}
  for key, member in pairs(value) do
    local name = cleaned(self, key, is_content, known)
    if name ~= key then renamed[key] = name end
    value[key] = cleaned(self, member, is_content, known)
  end
  for key, name in pairs(renamed) do value[name], value[key] = value[key], nil end
  return value
end

--- A value without the secrets. Tables are changed in place, at every depth.
---@param value any
---@param is_content boolean? as for text
---@return any
function Redactor:value(value, is_content)
  return cleaned(self, value, is_content, {})
end

--- A copy of the headers without the secrets. Never raises, whatever a program's own transport returned.
---@param headers table<string, string>
---@return table<string, string>
function Redactor:headers(headers)
  local out = {}
  for name, value in pairs(type(headers) == "table" and headers or {}) do out[name] = self:text(value, true) end
  return out
end

local KEPT = { kind = true, partial = true } -- members of an error

local function clean_error(self, err)
  local known = {}
  for name, value in pairs(err) do
    if not KEPT[name] and name ~= "message" then err[name] = cleaned(self, value, false, known) end
  end
  err.message = err.kind .. text_without(self, err.message:sub(#err.kind + 1))
end

--- An error without the secrets; its partial result is left as it is. Never raises, like `text`.
---@param err vllm.Error changed in place
---@return vllm.Error
function Redactor:error(err)
  if pcall(clean_error, self, err) then return err end
  for name, value in pairs(err) do
    if not KEPT[name] and (type(value) == "string" or type(value) == "table") then err[name] = nil end
  end
  err.message = err.kind .. ": " .. LEFT_OUT
  return err
end

return redact
