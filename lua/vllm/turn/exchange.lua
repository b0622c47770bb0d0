--- One plain request and its whole answer over a transport: for small bodies (other endpoints, error bodies).

local guard = require "vllm.base.guard"
local server_errors = require "vllm.base.server_errors"

---@class vllm.Exchange
local Exchange = {}
Exchange.__index = Exchange

local exchange = {}

local NO_REASON = { kind = "protocol", detail = "the transport failed and gave no reason" } -- one of a program's own

--- Sends a request; does not wait.
---@param transport table
---@param request table as the transport's `open` takes it
---@param max_bytes integer of the body; a longer one is cut
---@return vllm.Exchange?
---@return table? failure { kind, detail } of the transport
function exchange.open(transport, request, max_bytes)
  local stream, failure = transport:open(request)
  if not stream then return nil, failure or NO_REASON end
  return setmetatable({ _stream = stream, _max_bytes = max_bytes, _parts = {}, _size = 0 }, Exchange)
end

--- Ends it; may be called again. What a transport of a program's own raises here is lost: the answer is there, or why
--- there is none.
---@param drain boolean? the answer is complete: let the connection live
function Exchange:close(drain)
  local stream = self._stream
  self._stream = nil
  if stream then pcall(stream.close, stream, drain) end
end

-- The rest of the body. true: it is whole, or as long as it may be · false: the deadline passed · nil, failure.
function Exchange:_read(deadline)
  while self._stream do
    local bytes, failure = self._stream:read(deadline)
    if bytes == false then return false end
    if not bytes then
      if failure then return nil, failure end
      return true
    end
    self._parts[#self._parts + 1], self._size = bytes, self._size + #bytes
    if self._size > self._max_bytes then return true end
  end
  return nil, { kind = "cancelled", detail = "the request was given up" }
end

function Exchange:_head(deadline)
  local status, headers = self._stream:head(deadline)
  if not status then return status, headers end
  self.status, self.headers = status, headers
  local known, is_compressed = pcall(server_errors.is_compressed, headers)
  if not known or is_compressed then
    return nil, { kind = "protocol", detail = known and server_errors.COMPRESSED or guard.words(is_compressed) }
  end
  return true
end

-- Not a success: that stands, whatever becomes of its body.
function Exchange:_is_refused()
  return self.status ~= nil and (self.status < 200 or self.status > 299)
end

function Exchange:_answer(is_cut)
  local body = table.concat(self._parts):sub(1, self._max_bytes)
  return { status = self.status, headers = self.headers, body = body, cut = is_cut }
end

--- Goes on with it; may be called again after the deadline.
---@param deadline number? absolute, seconds of core.now()
---@return { status: integer, headers: table, body: string, cut: boolean }|false|nil answer false: the deadline passed;
---  `status` tells whether the head is in
---@return table? failure { kind, detail }
function Exchange:step(deadline)
  local done, failure = true, nil
  if not self.status then done, failure = self:_head(deadline) end
  if done then done, failure = self:_read(deadline) end
  if done == false then return false end
  local is_kept = done or self:_is_refused() and not (failure and failure.kind == "cancelled")
  local is_cut = self._size > self._max_bytes or not done
  self:close(not is_cut)
  if not is_kept then return nil, failure or NO_REASON end
  return self:_answer(is_cut)
end

--- Sends a request and collects the answer.
---@param transport table
---@param request table as the transport's `open` takes it
---@param max_bytes integer
---@param deadline number? absolute
---@return { status: integer, headers: table, body: string, cut: boolean }?
---@return table? failure { kind, detail } of the transport, or of the deadline
function exchange.run(transport, request, max_bytes, deadline)
  local begun, failure = exchange.open(transport, request, max_bytes)
  if not begun then return nil, failure end
  local answer
  answer, failure = begun:step(deadline)
  if answer ~= false then return answer, failure end
  begun:close()
  if begun:_is_refused() then return begun:_answer(true) end
  return nil, { kind = "timeout", detail = begun.status and "the answer did not end in time" or "no answer in time" }
end

return exchange
