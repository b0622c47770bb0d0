--- A user's own `decode`, an option of the client, in place of ours for the input of tool calls.

local inputs = {}

--- Decodes one call; what `decode` refuses makes the call invalid.
---@param decode fun(arguments: string): any
---@param call table
function inputs.decode(decode, call)
  if call.invalid then return end
  local ok, value = pcall(decode, call.arguments)
  if ok and value ~= nil then
    call.input = value
  else
    call.input, call.invalid = nil, "refused by the configured decode: " .. tostring(value)
  end
end

--- Decodes all calls of a result.
---@param decode fun(arguments: string): any
---@param result table
function inputs.decode_all(decode, result)
  for _, choice in ipairs(result.choices) do
    for _, call in ipairs(choice.tool_calls or {}) do inputs.decode(decode, call) end
  end
end

return inputs
