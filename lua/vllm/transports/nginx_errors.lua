--- What the words of nginx's cosockets mean for a person: which kind of failure it is, what happened, and which
--- directive helps.
-- Sources: the manual of the Lua module for nginx, errno(3), OpenSSL's X509 verify results ("20: unable to get …").

local nginx_errors = {}

local OF_CONNECT = {
  { "refused", "nothing listens there (connection refused); is the server running, and is the port right?" },
  { "no route", "there is no route to it" },
  { "unreachable", "there is no route to it" },
  { "no such file", "there is no such socket" },
  { "too many open files",
    "this worker has no file descriptor left: raise `worker_rlimit_nofile` above `worker_connections` in nginx.conf" },
  -- nginx 1.22 gives the errno of something before.
  { "operation now in progress",
    "this worker has no connection left, unless its log says otherwise: raise `worker_connections` in nginx.conf" },
  { "permission denied", "the user of nginx's workers may not connect to it" },
}

local TRUST = "the certificates that nginx trusts are those of `lua_ssl_trusted_certificate` in nginx.conf"

-- By OpenSSL's words: lua-resty-core 0.1.25 may put the number of an earlier failure in front. The first that is found
-- counts.
local OF_VERIFY = {
  { "not yet valid", "its certificate is not valid yet: check this machine's clock" },
  { "has expired", "its certificate has expired" },
  { "certificate in certificate chain", "an authority that nginx does not know signed its certificate; " .. TRUST },
  { "local issuer certificate", "an authority that nginx does not know signed its certificate; " .. TRUST },
  { "first certificate", "its certificate comes without the chain that leads to a known authority; " .. TRUST },
  { "self[- ]signed", "its certificate is self-signed; " .. TRUST },
  { "chain too long", "its certificate chain is longer than `lua_ssl_verify_depth` in nginx.conf allows (default 1)" },
  { "host mismatch", "its certificate is for another name than the one in base_url" },
  { "^refused$", "its certificate is not accepted (with `lua_socket_log_errors on` nginx's error log says why); "
    .. TRUST .. ", at `lua_ssl_verify_depth`" },
}

local function hint_of(why, asked)
  if asked.is_ip and (why == "refused" or why:find("host mismatch", 1, true)) then
    return "nginx can check a certificate against a name, not against an IP address: use a name in base_url"
  end
  for _, entry in ipairs(OF_VERIFY) do
    if why:find(entry[1]) then return entry[2] end
  end
end

local function about_connect(why, place)
  local text = why:lower()
  if text:find("no resolver defined", 1, true) then
    return ("the host name in %s cannot be resolved: nginx needs a `resolver` in nginx.conf"):format(place), false
  end
  if text:find("could not be resolved", 1, true) then
    return ("the host name in %s cannot be resolved (%s)"):format(place, why)
  end
  for _, entry in ipairs(OF_CONNECT) do
    if text:find(entry[1], 1, true) then return ("cannot connect to %s: %s"):format(place, entry[2]) end
  end
  return ("cannot connect to %s: %s"):format(place, why)
end

local function about_tls(why, asked)
  local place, text = asked.place, why:gsub("^%d+: ", "")
  local hint = hint_of(text, asked)
  if hint then return ("no trusted connection to %s: %s (%s)"):format(place, hint, text), false end
  return ("no TLS with %s (%s); if the server speaks plain HTTP on this port, write http:// in base_url")
    :format(place, text)
end

local IF_TLS = "; if the server speaks TLS, write https:// in base_url"
local DURING = {
  send = "closed the connection while the request was being sent",
  head = "closed the connection without an answer",
  body = "closed the connection in the middle of its answer",
}

local function about_closed(step, why, asked)
  local hint = step ~= "body" and asked.scheme == "http" and IF_TLS or ""
  local what = why == "closed" and DURING[step] or ("%s (%s)"):format(DURING[step], why)
  return asked.place .. " " .. what .. hint
end

--- The failure of a step.
---@param step "connect"|"tls"|"send"|"head"|"body"
---@param why string the cosocket's words
---@param asked { place: string, scheme: string, is_ip: boolean }
---@return { kind: string, detail: string, retryable: boolean? }
function nginx_errors.of(step, why, asked)
  if step == "connect" then
    local detail, retryable = about_connect(why, asked.place)
    return { kind = "connect", detail = detail, retryable = retryable }
  elseif step == "tls" then
    local detail, retryable = about_tls(why, asked)
    return { kind = "tls", detail = detail, retryable = retryable }
  end
  return { kind = "closed", detail = about_closed(step, why, asked) }
end

--- An answer that cannot be read.
---@param failure { kind: string, detail: string } of core.http1
---@param asked { place: string, scheme: string, status: integer? }
---@return { kind: string, detail: string }
function nginx_errors.of_answer(failure, asked)
  if failure.kind == "limit" then return { kind = "limit", detail = failure.detail } end
  local hint = not asked.status and asked.scheme == "http" and IF_TLS or ""
  return {
    kind = failure.kind, detail = ("the answer of %s breaks HTTP: %s%s"):format(asked.place, failure.detail, hint),
  }
end

--- The connection took longer than it may.
---@param place string
---@param limit_s number
---@return { kind: string, detail: string, clock: string, limit_s: number }
function nginx_errors.late(place, limit_s)
  return { kind = "timeout", clock = "connect_s", limit_s = limit_s,
    detail = ("no connection to %s within timeout.connect_s (%g s)"):format(place, limit_s) }
end

return nginx_errors
