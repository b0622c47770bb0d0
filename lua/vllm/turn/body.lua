--- The body of an answer: what its head announces, and one that was not announced as an event stream. That may be one
--- all
--- the same, or a whole completion, or an error.

local core = require "vllm.core"
local server_errors = require "vllm.base.server_errors"

---@class vllm.Body
---@field bytes integer how many have come
local Body = {}
Body.__index = Body

local SNIFF_BYTES = 64
local MAX_MARK_BYTES = 24

local body = { EMPTY = "the server answered with status %d and an empty body" }

---@return vllm.Body
function body.new()
  return setmetatable({ bytes = 0 }, Body)
end

---@param piece string
function Body:add(piece)
  self[#self + 1], self.bytes = piece, self.bytes + #piece
end

--- All that has come.
---@return string
function Body:text()
  return table.concat(self)
end

--- Has enough come to tell whether it is an event stream?
---@return boolean
function Body:can_be_told()
  return self.bytes >= SNIFF_BYTES
end

--- Does the last piece end like a JSON value? A guess, and cheap.
---@return boolean
function Body:seems_whole()
  local last = self[#self]
  return last ~= nil and last:find("[}%]]%s*$") ~= nil
end

---@return boolean
function Body:is_json()
  return core.json_check(self:text()) == true
end

--- What a head announces.
---@param status integer
---@param headers table
---@return "stream"|"sniff"|"refused"|nil phase sniff: anything, since a stream may be called JSON, and JSON nothing
---@return string? why it cannot be read: it is compressed
function body.announced(status, headers)
  local why = server_errors.is_compressed(headers) and server_errors.COMPRESSED or nil
  if status < 200 or status > 299 then return "refused", why end
  if why then return nil, why end
  local kind = (headers["content-type"] or ""):lower()
  return kind:find("text/event-stream", 1, true) and "stream" or "sniff"
end

--- Does a text begin like an event stream?
---@param text string
---@return boolean
function body.is_event_stream(text)
  text = text:gsub("^\239\187\191", "")
  for _, field in ipairs { "data:", "event:", ":", "id:", "retry:" } do
    if text:sub(1, #field) == field then return true end
  end
  return false
end

-- A completion followed by a mark of the end, as in a stream, or preceded by a byte order mark.
local function is_dressed(text)
  return text:find("^\239\187\191") or text:find("data: *%[DONE%]%s*$", -MAX_MARK_BYTES)
end

--- Gives a whole body to the decoder. One that is dressed as a stream is read as it would be under text/event-stream.
---@param decoder userdata of core.decoder
---@param text string
---@return true?
---@return table? failure of core.decoder
function body.decode(decoder, text)
  if not is_dressed(text) then return decoder:body(text) end
  local ok, failure = decoder:feed(text)
  if not ok then return ok, failure end
  return decoder:finish()
end

return body
