--- The server's address: http and https URLs, completed to the chat endpoint; and how a URL may be shown.
-- Source: RFC 3986; a unix socket is an option of its own, not a URL.

local core = require "vllm.core"
local excerpt = require "vllm.base.excerpt"

local url = {}

local MAX_SHOWN_BYTES = 200
local MIN_SECRET_VALUE_BYTES = 8 -- a shorter value of a query is a word such as `true`, which messages need
local HIDDEN = "…"
local CHAT = "/chat/completions"

local NO_HOST = "[^%w%._\128-\255-]" -- names of every script, but nothing encoded, and no separator of a URL
local MAX_LABEL_BYTES = 63 -- RFC 1035 section 2.3.4

local function is_host(text)
  for label in text:gmatch("[^.]+") do
    if #label > MAX_LABEL_BYTES then return false end
  end
  return text ~= "" and not text:find(NO_HOST)
end

-- `host:port` as far as it is one: anything else in its place may be a password, or a key.
local function shown_place(text)
  local host, port = text:match("^(%[[%x:.]*%]?)(.*)$")
  local is_literal = host ~= nil
  if not is_literal then host, port = text:match("^([^:]*)(.*)$") end
  if not is_literal and host ~= "" and not is_host((host:gsub("%s", ""))) then host = HIDDEN end
  if port ~= ":" and port ~= "" and not port:find("^:%d%d?%d?%d?%d?$") then port = ":" .. HIDDEN end
  return host .. port
end

-- Without a scheme the parts cannot be told apart.
local function shown_words(text)
  local first = text:match("^[^/]*")
  local shown = text:gsub("[^/]+", shown_place)
  local looks_like_one = first:find("[.:]") or first == "localhost" or first == ""
  return looks_like_one and shown or HIDDEN .. shown:sub(#shown_place(first) + 1)
end

--- A URL as it may stand in a message: without user, password, query values, and what could be any of them. Works on
--- any text.
---@param text string
---@return string
function url.shown(text)
  local scheme, rest = text:match("^([a-zA-Z][a-zA-Z0-9+.-]*://)(.*)$")
  rest = (rest or text):gsub("^.*@", "")
  local address, tail = rest:match("^([^?#]*)(.?)")
  local place, path = address:match("^([^/]*)(.*)$")
  local shown = scheme and scheme .. shown_place(place) .. path or shown_words(address)
  shown = shown:gsub("\n", "?")
  return excerpt.of(shown .. (tail ~= "" and tail .. HIDDEN or ""), MAX_SHOWN_BYTES)
end

local function split_authority(authority)
  if authority:find("\\", 1, true) then
    return nil, "has a backslash before its path, where programs differ in what the host is"
  end
  local userinfo, place = authority:match("^(.*)@(.*)$")
  place = place or authority
  local host, port = place:match("^(%[[%x:.]+%]):?(%d*)$")
  if not host then
    host, port = place:match("^([^%[%]:]+):?(%d*)$")
    host = host and is_host(host) and host
  end
  if not host then return nil, place:find("^:") and "has no host" or "has a host or port that cannot be read" end
  if port == "" and place:sub(-1) == ":" then return nil, "has an empty port" end
  if port ~= "" and (#port > 5 or tonumber(port) < 1 or tonumber(port) > 65535) then
    return nil, "has a port outside 1..65535"
  end
  return { place = place, userinfo = userinfo }
end

--- Takes a URL apart.
---@param text string
---@param schemes table set of allowed schemes
---@return { scheme: string, place: string, userinfo: string?, path: string, query: string }?
---@return string? why a predicate: "has no host"
function url.parse(text, schemes)
  if text:find("[%z\1-\31\127]") then return nil, "holds a line break or another control character" end
  if text:find(" ", 1, true) then return nil, "holds a space" end
  local scheme, authority, rest = text:match("^([a-zA-Z][a-zA-Z0-9+.-]*)://([^/?#]*)(.*)$")
  if not scheme then return nil, "has no scheme (http:// or https://)" end
  scheme = scheme:lower()
  if not schemes[scheme] then return nil, "has the scheme " .. scheme .. ", which is not supported" end
  if authority:match("([^@]*)$") == "" then return nil, "has no host" end
  if rest:find("#", 1, true) then return nil, "has a fragment (#), which no server sees" end
  local parts, why = split_authority(authority)
  if not parts then return nil, why end
  parts.scheme, parts.path, parts.query = scheme, rest:match("^([^?]*)(.*)$")
  return parts
end

local function complete(path)
  if path == "" or path == "/" then return "/v1" .. CHAT end
  local base = path:match("^(.*/v1)/?$")
  return base and base .. CHAT or path
end

-- What precedes the other addresses of a server: all before /v1/, else all before /chat/completions. Any other path
-- tells nothing.
local function prefix_of(path)
  return path:match("^(.*)/v1/") or path:match("^(.*)" .. CHAT .. "/?$") or ""
end

local SERVER_SCHEMES = { http = true, https = true }

--- The chat endpoint that a base_url means.
---@param text string an empty path or one ending in /v1 is completed; any other path and every query is kept
---@return { url: string, root: string, models: string, query: string, userinfo: string? }? `root` is what /v1/models
---  and others are appended to, `models` the address of the list of models, `query` begins with `?` or is empty; none
---  of them holds the user
---@return string? why a predicate
function url.endpoint(text)
  local parts, why = url.parse(text, SERVER_SCHEMES)
  if not parts then return nil, why end
  local origin, path = parts.scheme .. "://" .. parts.place, complete(parts.path)
  local models = path:find(CHAT .. "/?$") and path:gsub(CHAT .. "/?$", "") or prefix_of(path) .. "/v1"
  return {
    url = origin .. path .. parts.query, root = origin .. prefix_of(path), query = parts.query,
    userinfo = parts.userinfo, models = origin .. models .. "/models" .. parts.query,
  }
end

local function decoded(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

--- The value of an Authorization header for the user and password of a URL (RFC 7617).
---@param userinfo string percent-encoded `user:password`
---@return string
function url.basic_authorization(userinfo)
  local plain = decoded(userinfo)
  return "Basic " .. core.base64_encode(plain:find(":", 1, true) and plain or plain .. ":")
end

--- The secrets of a URL: its password (the user, if there is none) and the values of its query, as written and decoded.
---@param text string
---@return string[]
function url.secrets(text)
  local list = {}
  local function add(secret)
    list[#list + 1] = secret
    list[#list + 1] = decoded(secret)
  end
  local authority, rest = text:gsub("^%a[%w+.-]*://", ""):match("^([^/?#]*)(.*)$")
  local userinfo = authority:match("^(.*)@")
  if userinfo then
    add(userinfo:match("^[^:]*:(.*)$") or userinfo)
    list[#list + 1] = url.basic_authorization(userinfo):match(" (.+)$")
  end
  for item in (rest:match("%?(.*)$") or ""):gmatch("[^&]+") do
    local value = item:match("=(.*)$") or item
    if #value >= MIN_SECRET_VALUE_BYTES then add(value) end
  end
  return list
end

return url
