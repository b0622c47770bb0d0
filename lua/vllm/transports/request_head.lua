--- The head of an HTTP/1.1 request, for transports that write it themselves. Refuses what could smuggle a second
-- request into it. Source: RFC 9112 sections 2 to 6, RFC 9110 sections 5, 7.2 and 9.1.

local headers = require "vllm.request.headers"
local url = require "vllm.request.url"

local request_head = {}

local SCHEMES = { http = true, https = true }
local DEFAULT_PORT = { http = 80, https = 443 }

local function fault(detail)
  return nil, { kind = "config", detail = detail }
end

--- Where a URL points to.
---@param text string
---@return { scheme: string, place: string, host: string, port: integer, name: string, path: string }? address `host` as
---  it is connected to; `name` the same without brackets, in lower case and without a dot at its end; `path` with its
---  query
---@return table? failure { kind, detail }
function request_head.address(text)
  local parts, why = url.parse(text, SCHEMES)
  if not parts then return fault("the URL " .. why .. ": " .. url.shown(text)) end
  local host, port = parts.place:match("^(%[.*%]):?(%d*)$")
  if not host then host, port = parts.place:match("^([^:]*):?(%d*)$") end
  return {
    scheme = parts.scheme, place = parts.place, host = host, port = tonumber(port) or DEFAULT_PORT[parts.scheme],
    name = host:gsub("[%[%]]", ""):gsub("%.$", ""):lower(),
    path = (parts.path == "" and "/" or parts.path) .. parts.query,
  }
end

--- The head's bytes.
---@param address table of request_head.address
---@param request { method: string, headers: { [1]: string, [2]: string }[]?, body: string? }
---@return string?
---@return table? failure { kind, detail }
function request_head.write(address, request)
  if not request.method:find("^[%w!#$%%&'*+.^_`|~-]+$") then return fault("the method is not a token") end
  local lines, has_host = { request.method .. " " .. address.path .. " HTTP/1.1" }, false
  for _, header in ipairs(request.headers or {}) do
    local name, value = header[1], header[2]
    local why = headers.fault(name, value)
    if why then return fault(("the header `%s` %s"):format(tostring(name):gsub("%c", "?"), why)) end
    has_host = has_host or name:lower() == "host"
    lines[#lines + 1] = name .. ": " .. value
  end
  if not has_host then table.insert(lines, 2, "Host: " .. address.place) end
  if request.body or request.method == "POST" then lines[#lines + 1] = "Content-Length: " .. #(request.body or "") end
  lines[#lines + 1] = "\r\n"
  return table.concat(lines, "\r\n")
end

return request_head
