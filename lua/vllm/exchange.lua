--- One plain request and its whole answer over a transport: for small bodies (other endpoints, error bodies).

local errors = require "vllm.errors"

local exchange = {}

--- Reads the rest of a body, at most max_bytes of it.
---@param stream table of a transport
---@param max_bytes integer
---@param deadline number? absolute, seconds of core.now()
---@return string|false|nil body false: the deadline passed
---@return string|table? what "cut" when the body was longer; the failure table when body is nil
function exchange.body(stream, max_bytes, deadline)
  local parts, size = {}, 0
  while true do
    local bytes, failure = stream:read(deadline)
    if bytes == false then return false end
    if not bytes then
      if failure then return nil, failure end
      return table.concat(parts)
    end
    parts[#parts + 1], size = bytes, size + #bytes
    if size > max_bytes then return table.concat(parts):sub(1, max_bytes), "cut" end
  end
end

--- Sends a request and collects the answer.
---@param transport table
---@param request table as the transport's `open` takes it
---@param max_bytes integer
---@param deadline number? absolute
---@return { status: integer, headers: table, body: string, cut: boolean }?
---@return table? failure { kind, detail } of the transport, or of a deadline
function exchange.run(transport, request, max_bytes, deadline)
  local stream, failure = transport:open(request)
  if not stream then return nil, failure end
  local status, headers = stream:head(deadline)
  if not status then
    stream:close()
    return nil, status == nil and headers or { kind = "timeout", detail = "no answer in time" }
  end
  if errors.is_compressed(headers) then
    stream:close()
    return nil, { kind = "protocol", detail = errors.COMPRESSED }
  end
  local body, how = exchange.body(stream, max_bytes, deadline)
  stream:close(body and how ~= "cut")
  if not body then return nil, body == nil and how or { kind = "timeout", detail = "the answer did not end in time" } end
  return { status = status, headers = headers, body = body, cut = how == "cut" }
end

return exchange
