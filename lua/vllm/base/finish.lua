--- What finish reasons mean, under every name that servers give them. Case does not matter, as in src/core/answer.c.

local finish = {}

local function set(names, into)
  into = into or {}
  for name in names:gmatch "%S+" do into[name] = true end
  return into
end

local LENGTH = "length max_tokens model_length" -- the last two: Anthropic's gateways, Mistral

local BY_LENGTH = set(LENGTH)
local WHOLE = set("stop tool_calls function_call tool_call tool_use end_turn stop_sequence eos_token eos complete "
  .. "normal")
local BROKEN_OFF = set("abort aborted error network_error cancelled insufficient_system_resource", set(LENGTH))

local function means(reasons)
  return function(reason) return type(reason) == "string" and reasons[reason:lower()] ~= nil end
end

--- Did the answer reach a limit of tokens?
---@type fun(reason: any): boolean
finish.is_length = means(BY_LENGTH)

--- Did the model end its answer by itself?
---@type fun(reason: any): boolean
finish.is_whole = means(WHOLE)

--- May the server have more to say?
---@type fun(reason: any): boolean
finish.is_broken_off = means(BROKEN_OFF)

return finish
