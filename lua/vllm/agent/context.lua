--- Keeps a run's requests within the model's context, and watches the server's prefix cache.
-- Where a request may be too long for all that is known, the server counts it (client:tokens); else there is no need.

local prompts = require "vllm.agent.prompt"

---@class vllm.agent.Context
---@field _prompt vllm.agent.Prompt|nil of the step's latest request
local Context = {}
Context.__index = Context

local contexts = {}

local UNKNOWN_LENGTH = 4096 -- until the server has told its own: hardly any model has less
local FEW_TOKENS, FEW = 2000, 0.05 -- a smaller part of a prompt may be missing in a cache that was not lost

local known_lengths = setmetatable({}, { __mode = "k" }) -- client → model → max_model_len

---@param course table of the loop
---@return vllm.agent.Context
function contexts.new(course)
  return setmetatable({ _course = course, _cannot_count = false }, Context)
end

--- A step begins.
function Context:begin_step()
  self._prompt = nil
end

-- Length -----------------------------------------------------------------------------------------------------------

local function model_of(client, fields)
  return fields.model or client.config.model
end

-- What prompt and answer may have together, as far as it is known.
function Context:_length(fields)
  local agent = self._course.agent
  local lengths = known_lengths[agent.client]
  local told, own = lengths and lengths[model_of(agent.client, fields)], agent.context.max_tokens
  return told and own and math.min(told, own) or told or own
end

-- How many tokens the answer may have, if that is limited, and the field that says so.
local function wanted(fields, config)
  for _, name in ipairs { "max_completion_tokens", "max_tokens" } do
    local value = fields[name]
    if value == nil then value = config.fields[name] end
    if type(value) == "number" and value % 1 == 0 then return value, name end
  end
end

function Context:_learn_length(model, length)
  local client = self._course.agent.client
  local lengths = known_lengths[client] or {}
  lengths[model], known_lengths[client] = length, lengths
end

-- May wait. The estimate stays where the server cannot count.
function Context:_count(fields)
  local course = self._course
  local client = course.agent.client
  local ok, answer = course:call(function() return { client:tokens(fields) } end)
  if course.drive.cancelled then return end
  local counted = ok and answer[1]
  if not counted then
    self._cannot_count = true
    local why = ok and answer[2] or answer
    return course.drive:warn("the tokens of the context cannot be counted: " .. why)
  end
  self._prompt.tokens = counted.count
  self:_learn_length(model_of(client, fields), counted.max_model_len)
end

-- Is a prompt of so many tokens so long that it has to be shortened?
function Context:_is_too_long(tokens, length)
  local options = self._course.agent.context
  return tokens > options.trigger * length or tokens + options.reserve > length
end

-- Compactors that have not run in this step, one by one, until as much is gone as has to be.
function Context:_shorten(length)
  local options, prompt = self._course.agent.context, self._prompt
  local most = math.min(options.target * length, length - options.reserve)
  return self._course.shortener:shorten_by((prompt.tokens - most) / prompt:tokens_per_byte())
end

-- What is left for the answer is less than it may have.
function Context:_lower(fields, name, want, length)
  local left = math.floor(length - self._prompt.tokens)
  local most = math.min(want, math.max(left, self._course.agent.context.reserve))
  if most == want then return end
  fields[name] = most
  self._course.drive:add_hint(("%s was lowered from %.0f to %d: the context is nearly full"):format(name, want, most))
end

--- Makes a request fit. May wait.
---@param fields table of the request; the limit of its answer may be lowered
---@return boolean is_ready false: the transcript was shortened, so the request has to be prepared again
function Context:fit(fields)
  local course = self._course
  local before = course.transcript.prompt
  local earlier, prompt = self._prompt or before, prompts.new(fields, before)
  self._prompt = prompt
  if not course.agent.context then return true end
  prompt:measure(before)
  prompt.tokens = prompt:estimate(earlier)
  local want, name = wanted(fields, course.agent.client.config)
  local most, length = prompt:most_tokens(before), self:_length(fields) or UNKNOWN_LENGTH
  if most + (want or 0) <= length and not self:_is_too_long(most, length) then return true end
  if not self._cannot_count then self:_count(fields) end
  length = self:_length(fields)
  if course.drive.cancelled or not length then return true end
  if self:_is_too_long(prompt.tokens, length) and self:_shorten(length) then return false end
  if want then self:_lower(fields, name, want, length) end
  return true
end

--- The server has refused a request. If it is too long, it may say how long it may be.
---@param err vllm.Error
---@param fields table
function Context:refused(err, fields)
  local said = err.context
  if said and (said.limit or 0) > 0 then self:_learn_length(model_of(self._course.agent.client, fields), said.limit) end
end

-- Prefix cache -----------------------------------------------------------------------------------------------------

local function why_changed(at, transcript)
  if at == "tools" then return "tools" end
  return transcript.is_compacted and "compaction" or "edited"
end

--- Before a request is sent: tells where it is not an extension of the last that was answered.
function Context:watch()
  local transcript = self._course.transcript
  local before = transcript.prompt
  local at = before and before.model == self._prompt.model and self._prompt.differs_at
  if at then self._course.drive:emit("prefix_changed", { at = at, why = why_changed(at, transcript) }) end
end

-- Has the server found what it had already read?
local function check_cache(drive, before, prompt, usage)
  local cached = usage.cached_tokens
  local is_known = before and before.model == prompt.model and before.counted and prompt.counted
  if not is_known or type(cached) ~= "number" then return end
  local expected = math.min(before.counted, prompt.counted)
  local missing = expected - cached
  if missing > FEW_TOKENS and missing > FEW * expected then
    drive:emit("cache_miss", { expected = expected, cached = cached })
  end
end

--- The request was answered.
---@param usage table?
function Context:answered(usage)
  local transcript, prompt = self._course.transcript, self._prompt
  usage = usage or {}
  prompt.counted = type(usage.prompt_tokens) == "number" and usage.prompt_tokens or nil
  prompt.tokens = prompt.counted or prompt.tokens
  check_cache(self._course.drive, transcript.prompt, prompt, usage)
  transcript.prompt, transcript.is_compacted = prompt, nil
end

return contexts
