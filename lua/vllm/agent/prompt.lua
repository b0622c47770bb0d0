--- What one request gives the model to read, kept until the next: is that an extension, so that the server finds the
--- beginning in its prefix cache? And how long is it?
-- A session's messages stay the same tables, so they are compared by identity, and no body is encoded for this. An
-- extension shares the lists of the one before it, which knows how many entries are its own.

local prompts = {}

---@class vllm.agent.Prompt
---@field model any
---@field differs_at string? from the one before it: `tools`, `instructions`, `messages[3]`; nil: it is an extension
---@field tokens number? counted by the server, or estimated
---@field counted integer? by the usage of the answer
---@field _messages table[]
---@field _contents any[] of the messages, which may have changed in place since
---@field _count integer
---@field _tools table[]
local Prompt = {}
Prompt.__index = Prompt

local MAX_DEPTH = 64

-- Equal values, however deep.
local function is_equal(a, b, depth)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" or depth > MAX_DEPTH then return false end
  for key, value in next, a do
    if not is_equal(value, rawget(b, key), depth + 1) then return false end
  end
  for key in next, b do
    if rawget(a, key) == nil then return false end
  end
  return true
end

local LEADING = { system = true, developer = true }

local function place_of(message, i)
  local is_first = i == 1 and type(message) == "table" and LEADING[message.role]
  return is_first and "instructions" or ("messages[%d]"):format(i)
end

-- Where a request differs from the prompt before it, or nil: it is an extension.
local function difference(fields, before)
  if not is_equal(fields.tools or {}, before._tools, 1) then return "tools" end
  local messages, earlier, contents = fields.messages, before._messages, before._contents
  for i = 1, before._count do
    local own, old = messages[i], earlier[i]
    local is_same
    if own == old then is_same = (own.content or false) == contents[i] else is_same = is_equal(own, old, 1) end
    if not is_same then return place_of(old, i) end
  end
end

--- Of the fields of a request.
---@param fields table
---@param before vllm.agent.Prompt? the last that was answered
---@return vllm.agent.Prompt
function prompts.new(fields, before)
  local differs_at = before and difference(fields, before)
  local is_extension = before and not differs_at
  local messages, contents = is_extension and before._messages or {}, is_extension and before._contents or {}
  local list = fields.messages
  for i = is_extension and before._count + 1 or 1, #list do
    local message = list[i]
    messages[i], contents[i] = message, type(message) == "table" and message.content or false
  end
  return setmetatable({
    model = fields.model, differs_at = differs_at, _tools = fields.tools or {}, _messages = messages,
    _contents = contents, _count = #list,
  }, Prompt)
end

-- Length -----------------------------------------------------------------------------------------------------------

local MEDIA_BYTES = 3000 -- an image is about a thousand tokens, however many bytes it has
local MEDIA = { image = true, audio = true, video = true, file = true, image_url = true, input_audio = true,
  audio_url = true, video_url = true, input_image = true }
local UNSENT = { usage = true, metadata = true, created_at = true, extra = true }

-- About as many bytes as its JSON has.
local function size_of(value, depth)
  if type(value) == "string" then return #value + 3 end
  if type(value) ~= "table" or depth > MAX_DEPTH then return 5 end
  if MEDIA[value.type] then return MEDIA_BYTES end
  local size = 2
  for key, member in next, value do
    if not UNSENT[key] then size = size + (type(key) == "string" and #key + 3 or 0) + size_of(member, depth + 1) end
  end
  return size
end

--- About how many bytes of JSON some messages have.
---@param messages table[]
---@return integer
function prompts.size_of(messages)
  return size_of(messages, 1)
end

--- Takes its size, which the methods below need. Of an extension only what is new is measured.
---@param before vllm.agent.Prompt? as for prompts.new, measured
function Prompt:measure(before)
  local is_extension = before and not self.differs_at
  local size = is_extension and before._size or size_of(self._tools, 1)
  for i = is_extension and before._count + 1 or 1, self._count do size = size + size_of(self._messages[i], 1) end
  self._size = size
end

local TEMPLATE_TOKENS = 512 -- what a chat template adds of its own

--- How many tokens it can have at the most: a token is a byte or more.
---@param before vllm.agent.Prompt? as for prompts.new, measured, and its `tokens` are known
---@return number
function Prompt:most_tokens(before)
  if not before or self.differs_at then return self._size + TEMPLATE_TOKENS end
  return before.tokens + self._size - before._size
end

local BYTES_PER_TOKEN = 3 -- of English it is 4 and more: an estimate should rather be too high

--- About how many tokens it has: those of an earlier one, and what has come since or is gone.
---@param earlier vllm.agent.Prompt? measured, and its `tokens` are known
---@return number
function Prompt:estimate(earlier)
  if not earlier then return self._size / BYTES_PER_TOKEN end
  local growth = self._size - earlier._size
  return earlier.tokens + (growth > 0 and growth / BYTES_PER_TOKEN or growth * earlier:tokens_per_byte())
end

---@return number
function Prompt:tokens_per_byte()
  return self.tokens / self._size
end

return prompts
