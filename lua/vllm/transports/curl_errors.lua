--- What libcurl's codes mean to people: the kind of failure, what happened, and what can be done about it. Sources:
-- libcurl's error codes (curl.se/libcurl/c/libcurl-errors.html), OpenSSL's X509 verify results. Only codes that libcurl
-- gives for http and https are told apart. No message holds a header, a key, or the user and password of a URL.

local curl_errors = {}

local MAX_TEXT_BYTES = 255 -- of libcurl's own words, which it cuts there (CURL_ERROR_SIZE)

local KIND_OF_CODE = {
  [1] = "config", [3] = "config", [4] = "config", [43] = "config", [48] = "config", -- the URL, an option
  [5] = "connect", [6] = "connect", [7] = "connect", [97] = "connect",
  [28] = "timeout", -- only the connection has a clock inside libcurl
  [35] = "tls", [51] = "tls", [53] = "tls", [54] = "tls", [58] = "tls", [59] = "tls", [60] = "tls", [64] = "tls",
  [66] = "tls", [77] = "tls", [80] = "tls", [82] = "tls", [83] = "tls", [90] = "tls", [91] = "tls", [98] = "tls",
  [8] = "protocol", [61] = "protocol",
  [18] = "closed", [52] = "closed", [55] = "closed", [56] = "closed", [92] = "closed",
  [2] = "limit", [23] = "limit", [27] = "limit", [63] = "limit", [100] = "limit",
}

-- Wrong files or names stay wrong, however often they are tried.
local HOPELESS = {}
for _, code in ipairs { 51, 53, 54, 58, 59, 60, 66, 77, 82, 83, 90, 91 } do HOPELESS[code] = true end

local UNKNOWN_AUTHORITY = "its certificate is signed by an authority that this machine does not know: "
  .. "name that authority in tls.ca_file if you trust it"

local OF_VERIFY = {
  [9] = "its certificate is not valid yet: check this machine's clock",
  [10] = "its certificate has expired",
  [18] = "its certificate is self-signed: name it in tls.ca_file if you trust it",
  [19] = UNKNOWN_AUTHORITY,
  [20] = UNKNOWN_AUTHORITY,
  [21] = "its certificate comes without the chain to a known authority: name it in tls.ca_file if you trust it",
}

local OF_REASON = {
  refused = "nothing listens there (connection refused); is the server running, and is the port right?",
  noroute = "there is no route to it",
  absent = "there is no such socket",
  denied = "this process may not connect to it",
}

--- What to do when none can be opened.
curl_errors.NO_DESCRIPTOR = "this process has no file descriptor left (`ulimit -n` says how many it may have): "
  .. "close some, or hold fewer turns open at once (max_concurrent)"

local function place_of(request)
  if request.unix_socket then return "the unix socket " .. request.unix_socket end
  local authority = (request.url or ""):match("^%a[%w+.-]*://([^/?#]*)") or "the server"
  return (authority:gsub("^.*@", ""))
end

local ENVIRONMENT = { "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY" } -- as libcurl reads them
local PROXY_PORT = "1080" -- libcurl's, where the URL has none

-- The proxy that libcurl could not reach, or nil. Addresses can be written in many ways, so a place other than the
-- requested one proves nothing: it must be a proxy's.
local function unreached_proxy(text, request)
  local host, port = text:match("^Failed to connect to ([%w.:_-]+) port (%d+)")
  if not host then return nil end
  if host:find(":", 1, true) then host = "[" .. host .. "]" end
  local unreached = host:lower() .. ":" .. port
  if unreached == place_of(request):lower() then return nil end
  local proxies = { request.proxy }
  for _, name in ipairs(request.proxy and {} or ENVIRONMENT) do proxies[#proxies + 1] = os.getenv(name) end
  for _, proxy in ipairs(proxies) do
    local place = proxy:gsub("^%a[%w+.-]*://", ""):gsub("^.*@", ""):gsub("/.*$", ""):lower()
    if place == unreached or place .. ":" .. PROXY_PORT == unreached then return unreached end
  end
end

-- The status of a proxy's answer to CONNECT, in libcurl's words before and since 7.70.
local function tunnel_status(failure)
  local text = failure.code == 56 and failure.text or ""
  return tonumber(text:match "^CONNECT tunnel failed, response (%d+)"
    or text:match "^Received HTTP code (%d+) from proxy")
end

local OF_TUNNEL = {
  [407] = 'it wants a user and a password: proxy = "http://user:password@host:port"',
  [403] = "it does not allow this address; proxy = false bypasses it",
}
local WHO_SET_IT = "it is set by `proxy` of the client or by the environment"

local function about_tunnel(status, place, request)
  local proxy, own = "the proxy", request.proxy
  if own and own ~= "" then proxy = "the proxy " .. own:gsub("^%a[%w+.-]*://", "") end
  local hint = OF_TUNNEL[status] or status >= 500 and "it could not reach the server" or WHO_SET_IT
  return ("%s refused to connect to %s, with status %d: %s"):format(proxy, place, status, hint)
end

-- The same request would be refused again, unless the status depends on time (RFC 9110 section 15.5).
local function is_final(status)
  return status < 500 and status ~= 408 and status ~= 429
end

local function about_connect(failure, place, request)
  local text, refusal = failure.text, tunnel_status(failure)
  if refusal then return about_tunnel(refusal, place, request) end
  if text:find("CONNECT", 1, true) or failure.code == 5 or failure.code == 97 then return "the proxy: " .. text end
  if failure.code == 6 then return "the host name in " .. place .. " cannot be resolved (" .. text .. ")" end
  local proxy = unreached_proxy(text, request)
  if proxy then
    return ("cannot connect to the proxy %s, on the way to %s (%s); is it running? %s; proxy = false bypasses it")
      :format(proxy, place, text, WHO_SET_IT)
  end
  return "cannot connect to " .. place .. ": " .. (OF_REASON[failure.reason] or text)
end

local function about_key(text, request)
  if not text:find("private key", 1, true) then return "tls.cert or tls.key cannot be used (" .. text .. ")" end
  local hint = request.has_password and "is tls.key_password right?" or "if it has a password, give tls.key_password"
  return "tls.key cannot be used: " .. hint .. " (" .. text .. ")"
end

local function about_tls(failure, place, request)
  local text = failure.text
  if text:find("wrong version number", 1, true) or text:find("packet length too long", 1, true) then
    return ("no TLS with %s: the server speaks plain HTTP on this port; use http:// in base_url (%s)")
      :format(place, text)
  end
  if text:find("alert protocol version", 1, true) or text:find("unsupported protocol", 1, true) then
    return place .. " does not offer TLS 1.2 or later, and older versions are not safe (" .. text .. ")"
  end
  if failure.code == 77 then return "tls.ca_file or tls.ca_path cannot be read (" .. text .. ")" end
  if failure.code == 58 then return about_key(text, request) end
  if text:find("certificate required", 1, true) then
    return place .. " wants a client certificate: set tls.cert and tls.key (" .. text .. ")"
  end
  local hint = OF_VERIFY[failure.verify]
  if text:find("certificate subject name", 1, true) or failure.code == 51 then
    hint = "its certificate is for another name than the one in base_url"
  end
  return "no trusted connection to " .. place .. ": " .. (hint and hint .. " (" .. text .. ")" or text)
end

-- A server that did not get as far as HTTP may expect another protocol.
local function hint_of_silence(request)
  local url = request.url or ""
  if url:find("^[hH][tT][tT][pP]:") then return "; if the server speaks TLS, use https:// in base_url" end
  if url:find("^[hH][tT][tT][pP][sS]:") and not request.has_cert then
    return "; if the server wants a client certificate, set tls.cert and tls.key"
  end
  return ""
end

local function about_closed(failure, place, request)
  local code, text = failure.code, failure.text
  local hint = failure.bytes == 0 and hint_of_silence(request) or ""
  if code == 52 then return place .. " closed the connection without an answer" .. hint end
  if code == 18 then return place .. " closed the connection in the middle of its answer (" .. text .. ")" end
  if code == 55 then
    return ("%s closed the connection while the request was being sent (%s)%s"):format(place, text, hint)
  end
  local how = failure.reason == "reset" and "was reset" or "broke"
  return ("the connection to %s %s (%s)%s"):format(place, how, text, hint)
end

-- Codes that libcurl uses for several things are told apart by its words; with other words the code decides.
local function kind_of(failure)
  local code, text = failure.code, failure.text
  if failure.reason == "descriptors" then return "connect" end
  if code == 1 and (text:find("HTTP/0.9", 1, true) or text:find("response", 1, true)) then return "protocol" end
  if code == 56 then
    if text:find("CONNECT", 1, true) then return "connect" end
    if text:find("Too large response headers", 1, true) then return "limit" end
    if text:find("chunk", 1, true) or text:find("hexadecimal", 1, true) then return "protocol" end
    if text:find("alert", 1, true) or text:find("certificate", 1, true) then return "tls" end
  end
  return KIND_OF_CODE[code] or "protocol"
end

local ABOUT = { connect = about_connect, tls = about_tls, closed = about_closed }

local function detail_of(kind, failure, request)
  local place, text = place_of(request), failure.text
  if failure.reason == "descriptors" then return "cannot connect to " .. place .. ": " .. curl_errors.NO_DESCRIPTOR end
  if ABOUT[kind] then return ABOUT[kind](failure, place, request) end
  if kind == "timeout" then
    return ("no connection to %s within timeout.connect_s (%g s)"):format(place, request.connect_s or 0)
  end
  if kind == "limit" then return text end
  if failure.code == 1 and text:find("HTTP/0.9", 1, true) then
    return place .. " answered with something that is not HTTP; if it speaks TLS, use https:// in base_url"
  end
  if kind == "protocol" then return "the answer of " .. place .. " breaks HTTP: " .. text end
  return "libcurl cannot do this request: " .. text
end

--- The error of a request that failed.
---@param failure { code: integer, text: string, reason: string?, verify: integer, bytes: integer } of vllm.curl
---@param request { url: string?, unix_socket: string?, proxy: string?, connect_s: number?, has_cert: boolean?,
---  has_password: boolean? } what was asked of the transport; the proxy without its user
---@return { kind: string, detail: string, retryable: boolean?, curl_code: integer, proxy_status: integer? } err
function curl_errors.of(failure, request)
  if #failure.text >= MAX_TEXT_BYTES then failure.text = failure.text .. "…" end
  local kind = kind_of(failure)
  local err = { kind = kind, detail = detail_of(kind, failure, request), curl_code = failure.code }
  err.proxy_status = tunnel_status(failure)
  local is_hopeless = HOPELESS[failure.code] and failure.reason ~= "descriptors"
  if is_hopeless or err.proxy_status and is_final(err.proxy_status) then err.retryable = false end
  if kind == "timeout" then err.clock, err.limit_s = "connect_s", request.connect_s end
  return err
end

return curl_errors
