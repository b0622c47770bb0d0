--- Input that comes while a run goes on: steered, for its next step; or queued, for after its task.

local misuse = require "vllm.base.misuse"
local values = require "vllm.base.values"

--- What became of an input.
---@class vllm.agent.Input
---@field id string?
---@field message table
---@field outcome string "waiting", "delivered", or how the run stopped without it
---@field step integer? the step that it joined

---@class vllm.agent.Inbox
---@field steered vllm.agent.Input[]
---@field queued vllm.agent.Input[]
local Inbox = {}
Inbox.__index = Inbox

local inboxes = {}

---@return vllm.agent.Inbox
function inboxes.new()
  return setmetatable({ steered = {}, queued = {}, _known = {} }, Inbox)
end

--- A message of a program's input; misuse throws.
---@param input any a string or a message
---@param name string of the public function
---@return table message
function inboxes.message(input, name)
  if type(input) == "string" then return { role = "user", content = input } end
  if type(input) == "table" and (input.role ~= nil or input.kind ~= nil) then return input end
  misuse.raise(("session:%s: expected a text or a message { role = …, content = … }, got %s")
    :format(name, values.shown(input)))
end

--- The messages of an input: nil, one of them, or a list.
---@param input any
---@param name string of the public function
---@return table[]
function inboxes.messages(input, name)
  if input == nil then return {} end
  local count = type(input) == "table" and input.role == nil and input.kind == nil and values.list_length(input)
  if not count then return { inboxes.message(input, name) } end
  local list = {}
  for i = 1, count do list[i] = inboxes.message(input[i], name) end
  return list
end

--- Why these messages cannot be sent.
---@param client vllm.Client
---@param messages table[]
---@return vllm.Error? err nil: they can
function inboxes.fault(client, messages)
  if not messages[1] then return nil end
  local body, _, err = client:body { messages = messages }
  return not body and err.param and err.param:find "^messages" and err or nil
end

--- Puts an input into a line. The same id twice is one input.
---@param line "steered"|"queued"
---@param message table
---@param id string?
---@return vllm.agent.Input
function Inbox:put(line, message, id)
  if id ~= nil and self._known[id] then return self._known[id] end
  local input = { id = id, message = message, outcome = "waiting" }
  if id ~= nil then self._known[id] = input end
  self[line][#self[line] + 1] = input
  return input
end

--- Takes the first of a line.
---@param line "steered"|"queued"
---@param step integer that it joins
---@return table? message
function Inbox:take(line, step)
  local input = table.remove(self[line], 1)
  if not input then return nil end
  input.outcome, input.step = "delivered", step
  return input.message
end

--- Is there input that waits?
---@return boolean
function Inbox:is_waiting()
  return #self.steered > 0 or #self.queued > 0
end

--- The run has stopped: none of what waits is delivered.
---@param outcome string
function Inbox:drop(outcome)
  for _, line in ipairs { "steered", "queued" } do
    for _, input in ipairs(self[line]) do input.outcome = outcome end
    self[line] = {}
  end
end

return inboxes
