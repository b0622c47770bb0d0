--- `vllm.decoder`: the decoder of the C core with this module's errors around it.

local core = require "vllm.core"
local errors = require "vllm.errors"

---@class vllm.Decoder
local Decoder = {}
Decoder.__index = Decoder
Decoder.__name = "vllm.decoder"

local CONTEXT = { url = "", has_key = true, now_unix = 0 }

local function give(self, failure)
  self._err = self._err or errors.from_decoder(failure, CONTEXT)
  return errors.give(self._err)
end

local decoder = {}

---@param options table? see vllm.decoder
---@return vllm.Decoder
function decoder.new(options)
  return setmetatable({ _core = core.decoder(options or {}) }, Decoder)
end

--- Takes bytes of an event stream, cut anywhere.
---@param bytes string
---@return true?
---@return string? message
---@return vllm.Error? err
function Decoder:feed(bytes)
  local ok, failure = self._core:feed(bytes)
  if not ok then return give(self, failure) end
  return true
end

--- Takes one whole completion (a body that is not an event stream).
---@param json_text string
---@return true?
---@return string? message
---@return vllm.Error? err
function Decoder:body(json_text)
  local ok, failure = self._core:body(json_text)
  if not ok then return give(self, failure) end
  return true
end

--- Says that no more bytes will come.
---@return true?
---@return string? message
---@return vllm.Error? err
function Decoder:finish()
  local ok, failure = self._core:finish()
  if not ok then return give(self, failure) end
  return true
end

--- The next event, in the same form as turn:next() gives it.
---@return table|false|nil event false: feed more · nil: the end, or a failure
---@return string? message
---@return vllm.Error? err kinds: truncated, limit, protocol, and those of the server's own error
function Decoder:next()
  local event, failure = self._core:next()
  if event == nil and failure then return give(self, failure) end
  return event
end

--- The result so far, at any time; after an error it holds what had come.
---@return table
function Decoder:result()
  return self._core:result()
end

return decoder
