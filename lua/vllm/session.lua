--- A session: a transcript that grows by turns. The transcript is a list of plain message tables, which survive JSON.

local errors = require "vllm.errors"
local Turn = require "vllm.turn"

---@class vllm.Session
---@field id string? sent as `user` with every request
local Session = {}
Session.__index = Session
Session.__name = "vllm.session"

local function copy(list)
  local out = {}
  for i, message in ipairs(list) do out[i] = message end
  return out
end

function Session._new(client, options)
  if options.id ~= nil and type(options.id) ~= "string" then error("client:session: id must be a string, got " .. type(options.id), 3) end
  if options.messages ~= nil and type(options.messages) ~= "table" then
    error("client:session: messages must be a list, got " .. type(options.messages), 3)
  end
  for key in pairs(options) do
    if key ~= "id" and key ~= "messages" then error("client:session: unknown key `" .. tostring(key) .. "`", 3) end
  end
  return setmetatable({ id = options.id, _client = client, _messages = copy(options.messages or {}) }, Session)
end

--- Appends messages: strings (user messages) or tables.
---@param ... table|string
---@return vllm.Session self
function Session:append(...)
  for i = 1, select("#", ...) do
    local message = select(i, ...)
    if type(message) == "string" then message = { role = "user", content = message } end
    if type(message) ~= "table" then error("session:append: a message must be a table or a string, got " .. type(message), 2) end
    self._messages[#self._messages + 1] = message
  end
  return self
end

--- The transcript: a fresh list of the session's own message tables.
---@return table[]
function Session:messages()
  return copy(self._messages)
end

--- One model call over the transcript. The input joins the transcript at once and stays there if the turn fails, so that `session:turn()`
-- tries again; the assistant's message joins it when the turn is complete. One turn at a time.
---@param input string|table|nil a string, a message, or a list of messages
---@param request table? further request fields (tools, temperature, …)
---@return vllm.Turn
function Session:turn(input, request)
  if self._running and not self._running:error() then
    return Turn._new(self._client, nil, errors.new("busy", "this session's last turn has not ended: finish or cancel it"))
  end
  if input ~= nil then
    if type(input) == "table" and input[1] ~= nil then
      for _, message in ipairs(input) do self:append(message) end
    else
      self:append(input)
    end
  end
  local fields = {}
  for key, value in pairs(request or {}) do fields[key] = value end
  fields.messages = self._messages
  if fields.user == nil then fields.user = self.id end
  local turn = self._client:turn(fields)
  self._running = turn
  turn._on_result = function(result)
    self._running = nil
    self._messages[#self._messages + 1] = result.message
  end
  return turn
end

function Session:__tostring()
  return ("vllm.session (%s, %d messages)"):format(self.id or "no id", #self._messages)
end

return Session
