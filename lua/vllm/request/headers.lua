--- Request headers as users write them: checked, joined with the client's own. Values are never shown: they may be
-- keys. Source: RFC 9110 section 5 (a name is a token; a value has no control characters but the tab).

local core = require "vllm.core"
local values = require "vllm.base.values"

local headers = {}

-- These say where a body ends, so the transport writes them.
local FRAMING = { ["content-length"] = true, ["transfer-encoding"] = true }

-- For a malformed key a server gives an error that points elsewhere.
local function fault_of_authorization(value)
  if value:lower():find("^bearer%s+bearer%s") then return "has `Bearer` twice" end
  if value:find("^%s") or value:find("%s$") then return "begins or ends with a blank" end
  if value:lower():find("^bearer%s") and not value:find("^%a+ %S+$") then
    return "must be `Bearer`, one blank and the key"
  end
end

--- Why a header cannot be sent, or nil; a predicate that shows no value.
---@param name any
---@param value any
---@return string?
function headers.fault(name, value)
  if type(name) ~= "string" or not name:find("^[a-zA-Z0-9!#$%%&'*+.^_`|~-]+$") then
    return "is not a header name" .. (type(name) == "number" and ': a header is written ["Name"] = "value"' or "")
  end
  if FRAMING[name:lower()] then return "is written by the client itself" end
  if type(value) ~= "string" then return "must be a string, got a " .. type(value) end
  if value:find("[%z\1-\8\10-\31\127]") then return "holds a line break, a NUL or another control character" end
  if name:lower() == "authorization" and value ~= "" then return fault_of_authorization(value) end
end

--- A checked list from a user's table, sorted by name. Null or false: leave that header out.
---@param map table name → value
---@return { [1]: string, [2]: string|false }[]?
---@return string? message
---@return string? param `headers["X-Name"]`
function headers.check(map)
  local list, seen = {}, {}
  for _, name in ipairs(values.sorted_keys(map)) do
    local value = map[name]
    if values.is_null(value) then value = false end
    local param = ("headers[%s]"):format(values.shown(name))
    local why = headers.fault(name, value or "")
    if why then return nil, param .. " " .. why, param end
    if seen[name:lower()] then return nil, param .. " is given twice", param end
    seen[name:lower()] = true
    list[#list + 1] = { name, value }
  end
  return list
end

-- Joins lists of {name, value}: a later header replaces an earlier one of the same name in its place, `false` takes it
-- away.
local function join(...)
  local joined, place = {}, {}
  for i = 1, select("#", ...) do
    for _, header in ipairs((select(i, ...))) do
      local key = header[1]:lower()
      place[key] = place[key] or #joined + 1
      joined[place[key]] = header
    end
  end
  local list = {}
  for _, header in ipairs(joined) do
    if header[2] then list[#list + 1] = { header[1], header[2] } end
  end
  return list
end

--- The headers of a request: ours, under the client's, under the call's; the same name in any case replaces.
---@param config table a checked configuration
---@param stream boolean does the request stream?
---@param own { [1]: string, [2]: string|false }[]? the call's, as `check` gives them
---@return { [1]: string, [2]: string }[]
function headers.of_request(config, stream, own)
  local ours = {
    { "Content-Type", "application/json" }, { "Accept", stream and "text/event-stream" or "application/json" },
    { "User-Agent", "lua-vllm/" .. core.version }, { "Accept-Encoding", "identity" },
  }
  if config.authorization then ours[#ours + 1] = { "Authorization", config.authorization } end
  return join(ours, config.headers, own or {})
end

local MIN_SECRET_BYTES = 8 -- a shorter value is a word such as `prod`, which messages need
local PUBLIC = { ["accept"] = true, ["accept-encoding"] = true, ["content-type"] = true, ["user-agent"] = true }
-- Words that are not part of a secret.
local SCHEMES = { basic = true, bearer = true, token = true, apikey = true, key = true }

-- What is secret in a value: all but its scheme; for Basic credentials also the password alone, as the server sees it.
local function parts_of(value, name)
  if name == "cookie" then
    local parts = { value }
    for one in value:gmatch("=([^;]+)") do parts[#parts + 1] = #one >= MIN_SECRET_BYTES and one or nil end
    return parts
  end
  local scheme, rest = value:match("^(%a+) +(.+)$")
  if not scheme or not SCHEMES[scheme:lower()] then return { value, rest } end
  local plain = scheme:lower() == "basic" and core.base64_decode(rest)
  return { rest, plain and (plain:match("^[^:]*:(.+)$") or plain) or nil }
end

--- The values that may be secrets, for redact.lua.
---@param list table of {name, value}, as `check` gives it
---@return string[]
function headers.secrets(list)
  local secrets = {}
  for _, header in ipairs(list) do
    local name, value = header[1]:lower(), header[2]
    if value and #value >= MIN_SECRET_BYTES and not PUBLIC[name] then
      for _, part in ipairs(parts_of(value, name)) do secrets[#secrets + 1] = part end
    end
  end
  return secrets
end

return headers
