--- `vllm.decoder`: the C core's decoder, with errors as the rest of the module has them.

local core = require "vllm.core"
local errors = require "vllm.base.errors"
local guard = require "vllm.base.guard"
local misuse = require "vllm.base.misuse"
local server_errors = require "vllm.base.server_errors"
local spelling = require "vllm.base.spelling"
local values = require "vllm.base.values"

---@class vllm.Decoder
local Decoder = {}
Decoder.__index = Decoder
Decoder.__name = "vllm.decoder"

local MAX_BODY_BYTES = 65536
local CONTEXT = { url = "", has_key = true, now_unix = 0 }

local function give(self, failure)
  if failure.body then failure.body = failure.body:sub(1, MAX_BODY_BYTES) end
  local plain = { body = failure.body }
  self._err = self._err or guard.explained(failure, plain, server_errors.from_decoder, failure, CONTEXT)
  return errors.give(self._err)
end

local decoder = {}

local DECODER_OPTIONS = {
  max_event_bytes = true, max_message_bytes = true, max_tool_calls = true, max_choices = true, max_depth = true,
  chunks = true,
}
local SSE_OPTIONS = { max_event_bytes = true, lenient_end = true }

-- Misuse throws at the caller of the public function. The C module checks the values.
local function make(constructor, name, options, known)
  if options == nil then options = {} end
  if type(options) ~= "table" then
    misuse.raise(("%s: expected a table of options, got %s"):format(name, values.shown(options)))
  end
  local unknown_key = spelling.unknown_key(options, known)
  if unknown_key then misuse.raise(("%s: %s"):format(name, unknown_key)) end
  local ok, made = pcall(constructor, options)
  if not ok then misuse.raise(("%s: %s"):format(name, made)) end
  return made
end

--- For vllm.decoder.
---@param options table?
---@return vllm.Decoder
function decoder.new(options)
  local made = make(core.decoder, "vllm.decoder", options, DECODER_OPTIONS)
  return setmetatable({ _core = made }, Decoder)
end

--- For vllm.sse; see `new`.
---@param options table?
---@return userdata
function decoder.sse(options)
  return make(core.sse, "vllm.sse", options, SSE_OPTIONS)
end

local function check_text(method, text)
  if type(text) ~= "string" then
    misuse.raise(("decoder:%s: expected a string, got %s"):format(method, values.shown(text)))
  end
end

--- Feeds bytes of an event stream; they may be cut anywhere.
---@param bytes string
---@return true?
---@return string? message
---@return vllm.Error? err
function Decoder:feed(bytes)
  check_text("feed", bytes)
  local ok, failure = self._core:feed(bytes)
  if not ok then return give(self, failure) end
  return true
end

--- Feeds one whole completion (a body that is not an event stream).
---@param json_text string
---@return true?
---@return string? message
---@return vllm.Error? err
function Decoder:body(json_text)
  check_text("body", json_text)
  local ok, failure = self._core:body(json_text)
  if not ok then return give(self, failure) end
  return true
end

--- Tells the decoder that no more bytes will come.
---@return true?
---@return string? message
---@return vllm.Error? err
function Decoder:finish()
  local ok, failure = self._core:finish()
  if not ok then return give(self, failure) end
  return true
end

--- The next event, as turn:next() returns it.
---@return table|false|nil event false: feed more · nil: the end, or an error
---@return string? message
---@return vllm.Error? err kinds: truncated, limit, protocol, and those of the server's own error
function Decoder:next()
  local event, failure = self._core:next()
  if event == nil and failure then return give(self, failure) end
  return event
end

--- The result so far, at any time. After an error: what had arrived by then.
---@return table
function Decoder:result()
  return self._core:result()
end

return decoder
