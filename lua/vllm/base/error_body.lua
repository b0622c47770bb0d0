--- What an error body says, whatever its shape: JSON of which nothing can be taken for granted, HTML, or plain text.
-- Its words are the strings, and the lists of strings, under the usual names; names are compared without case, `_` and
-- `-`. Objects under other names are searched only if the usual names say nothing, since they may echo the request.
-- Each value is looked at a limited number of times. Sources: recorded servers (spec/fixtures), RFC 9457, RFC 6749
-- section 5.2, FastAPI, Google's and Amazon's APIs.

local core = require "vllm.core"
local excerpt = require "vllm.base.excerpt"

local error_body = {}

local MAX_PLAIN_BYTES = 300
local MAX_TITLE_BYTES = 200
local MAX_DEPTH = 6
local MAX_WORDS = 8
local MAX_ENTRIES = 16 -- of one list, and of objects under unknown names

-- In the order in which the message shows them.
local WORD_NAMES = {
  "error", "errors", "message", "msg", "detail", "details", "errormessage", "errormsg", "errmsg", "errordescription",
  "statusmessage", "statusmsg", "reason", "title", "description", "exception", "faultstring", "metadata", "raw",
}
local IS_WORD = {}
for _, name in ipairs(WORD_NAMES) do IS_WORD[name] = true end

-- Names that only errors have. The others may also be members of answers that are not completions.
local TELLTALE = {
  error = true, errors = true, detail = true, errormessage = true, errormsg = true, errmsg = true,
  errordescription = true, exception = true, faultstring = true,
}
local CODE_NAMES = { "code", "errorcode", "errcode", "statuscode" }
local ECHOES = { request = true, input = true, body = true, messages = true, prompt = true }

local function decode(text)
  return (core.json_decode(text, { drop_nulls = true, array_mt = false }))
end

local function scalar(value)
  local kind = type(value)
  return (kind == "string" or kind == "number") and value or nil
end

local function on_one_line(text)
  return (text:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", ""))
end

-- Plain searches, since a pattern would try each of a page's many tags against the whole rest.
local function title_of_html(body)
  local _, name = body:lower():find("<title", 1, true)
  local open = name and body:find(">", name, true)
  local close = open and body:find("<", open, true)
  if not close then return "" end
  return on_one_line(body:sub(open + 1, math.min(close - 1, open + MAX_TITLE_BYTES)))
end

local function text_of_html(body)
  local title = title_of_html(body)
  local shown = title ~= "" and " (" .. title .. ")" or ""
  return "the server returned an HTML page" .. shown .. "; is there a proxy in between?"
end

--- The beginning of bytes that were not understood, on one line, fit for a message.
---@param body string
---@return string
function error_body.beginning(body)
  if body:find("^%s*<") then return text_of_html(body) end
  return on_one_line(excerpt.of(body, MAX_PLAIN_BYTES))
end

local function plain_name(key)
  return type(key) == "string" and (key:lower():gsub("[_-]", "")) or ""
end

-- The members by their plain names, and the keys of tables under unknown names.
local function sorted_out(object)
  local known, others = {}, {}
  for key, value in pairs(object) do
    local name = plain_name(key)
    known[name] = known[name] or value
    local is_other = type(value) == "table" and not IS_WORD[name] and not ECHOES[name]
    if is_other and #others < MAX_ENTRIES then others[#others + 1] = key end
  end
  table.sort(others)
  return known, others
end

-- FastAPI: which part of the request an error is about.
local function place_of(loc)
  if type(loc) ~= "table" then return scalar(loc) end
  local steps = {}
  for i = 1, math.min(#loc, MAX_ENTRIES) do steps[#steps + 1] = scalar(loc[i]) end
  return #steps > 0 and table.concat(steps, ".") or nil
end

local gather

-- Proxies pass on the upstream server's JSON as a string.
local function gather_text(text, depth, place, found)
  local had = #found.words
  if text:find("^%s*[{%[]") and depth <= MAX_DEPTH then gather(decode(text), depth + 1, place, found, true) end
  if #found.words > had or not text:find("%S") then return end
  text = place and place .. ": " .. text or text
  for _, other in ipairs(found.words) do
    if other == text then return end
  end
  found.words[had + 1] = text
end

-- The innermost object with words names the error; those around it fill in what is missing.
local function note_names(known, found)
  for _, name in ipairs(CODE_NAMES) do found.code = found.code or scalar(known[name]) end
  if type(known.status) == "number" then found.code = found.code or known.status end
  found.type, found.param = found.type or scalar(known.type), found.param or scalar(known.param)
end

local function gather_object(object, depth, place, found)
  local known, others = sorted_out(object)
  local before = #found.words
  place = place_of(known.loc) or place
  for _, name in ipairs(WORD_NAMES) do
    local had = #found.words
    gather(known[name], depth + 1, place, found, true)
    found.is_error = found.is_error or TELLTALE[name] and #found.words > had
  end
  if #found.words == before then
    for _, key in ipairs(others) do gather(object[key], depth + 1, place, found, false) end
  end
  if #found.words > before or depth == 1 then note_names(known, found) end
end

-- `is_named`: the value is under one of WORD_NAMES.
function gather(value, depth, place, found, is_named)
  if #found.words == MAX_WORDS then return end
  if type(value) == "string" and is_named then
    gather_text(value, depth, place, found)
  elseif type(value) ~= "table" or depth > MAX_DEPTH then
    return
  elseif value[1] == nil then
    gather_object(value, depth, place, found)
  else
    for i = 1, math.min(#value, MAX_ENTRIES) do gather(value[i], depth, place, found, is_named) end
  end
end

---@class vllm.ErrorBody
---@field message string? the words, or else the beginning of the body
---@field code string|number?
---@field type string|number?
---@field param string|number?
---@field is_error boolean it calls itself an error
---@field is_understood boolean words were found in it

-- Does this code mean a failure? Some servers send 0 or 200 for success.
local function is_failure(code)
  local number = tonumber(code)
  return code ~= nil and (not number or number >= 300)
end

--- The parts of an error body.
---@param body string?
---@return vllm.ErrorBody
function error_body.parse(body)
  if not body or not body:find("%S") then return { is_error = false, is_understood = false } end
  local found = { words = {} }
  gather(decode(body), 1, nil, found, true)
  local is_understood = #found.words > 0
  return {
    message = is_understood and table.concat(found.words, "; ") or error_body.beginning(body),
    code = found.code, type = found.type, param = found.param, is_understood = is_understood,
    is_error = is_understood and (found.is_error or is_failure(found.code)) or false,
  }
end

return error_body
