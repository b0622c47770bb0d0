--- A server that refuses: an answer whose status is not 2xx. Its body is read as far as an error may hold it; a 404 for
--- a
--- model also asks which models there are. What is known at any time makes an error.

local body = require "vllm.turn.body"
local explain = require "vllm.turn.explain"
local guard = require "vllm.base.guard"
local served = require "vllm.turn.served"

---@class vllm.Refusal
---@field body vllm.Body
local Refusal = {}
Refusal.__index = Refusal

local refusal = {}

--- The head is in.
---@param built vllm.Built
---@param answer { status: integer, headers: table }
---@return vllm.Refusal
function refusal.new(built, answer)
  return setmetatable({ body = body.new(), _built = built, _answer = answer }, Refusal)
end

--- Has as much of the body come as an error may hold?
---@return boolean
function Refusal:is_full()
  return self.body.bytes > self._built.limits.max_error_bytes
end

--- No more of the body will come.
---@param is_cut boolean is that not the whole body?
function Refusal:stop(is_cut)
  self._text, self._is_cut = explain.excerpt(self._built, self.body:text()), is_cut
end

--- Asks for the list of models where that helps; does not wait.
---@param transport table
---@return boolean is_asked `step` until it gives an error
function Refusal:ask_models(transport)
  if self._answer.status ~= 404 or not self._text:find("model", 1, true) then return false end
  self._models = guard.try({}, "asking for the list", served.ask, transport, self._built.models_request)
  return self._models ~= nil
end

--- Waits for the list.
---@param deadline number? absolute; the caller's
---@return boolean? happened false: the deadline passed; true: it was closed meanwhile
---@return vllm.Error? err
function Refusal:step(deadline)
  if not self._models then return true end -- closed: the one that did it knows why
  local names = served.step(self._models, deadline)
  if names == false then return false end
  self._models, self._served = nil, names
  return nil, self:error()
end

--- The error, as far as it is known.
---@return vllm.Error
function Refusal:error()
  if not self._text then self:stop(true) end
  return explain.status(self._built, self._answer, self._text, self._is_cut, self._served)
end

--- Nothing more is waited for.
function Refusal:close()
  if self._models then self._models.exchange:close() end
  self._models = nil
end

return refusal
