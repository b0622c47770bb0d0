--- The guard against a model that makes the same call over and over: it is told so, then no longer answered.

local guard = require "vllm.base.guard"
local json = require "vllm.json"

local TOLD_AT, STUCK_AT = 3, 5

---@class vllm.agent.Repeats
---@field has_refused boolean a call was not run for it
local Repeats = {}
Repeats.__index = Repeats

local repeats = {
  STUCK = "the call was not run: it was made with the same arguments again and again. Answer with what you have.",
}
local TOLD = "\n[This call was made %d times with the same arguments; its result will not change.]"

---@param is_on boolean
---@return vllm.agent.Repeats
function repeats.new(is_on)
  return setmetatable({ has_refused = false, _is_on = is_on, _counts = {} }, Repeats)
end

-- What says that two calls are the same; nil: this one never is.
local function key_of(record, tool)
  local own = record.input
  if tool.loop_key then
    local co = coroutine.create(tool.loop_key) -- it must not wait, and what it yields must not reach the loop
    local ok, key = coroutine.resume(co, record.input)
    if not ok or key == nil or coroutine.status(co) ~= "dead" then return nil end
    own = key
  end
  local text = type(own) == "table" and json.encode(own) or guard.words(own)
  return record.name .. " " .. text
end

--- Counts a call that is about to run. Is it one too many?
---@param record vllm.agent.Record
---@param tool vllm.agent.CheckedTool
---@return boolean
function Repeats:is_stuck(record, tool)
  local key = self._is_on and key_of(record, tool)
  if not key then return false end
  local count = (self._counts[key] or 0) + 1
  self._counts[key], record.repeats = count, count
  if count < STUCK_AT then return false end
  self.has_refused = true
  return true
end

--- Tells the model in a result that it repeats itself.
---@param record vllm.agent.Record
---@param message table
---@return table message
function Repeats:note(record, message)
  if self._is_on and (record.repeats or 0) >= TOLD_AT and type(message.content) == "string" then
    message.content = message.content .. TOLD:format(record.repeats)
  end
  return message
end

return repeats
