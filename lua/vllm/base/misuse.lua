--- Misuse that can be told where Lua alone would say "attempt to call a nil value": methods of other clients, and a colon for a dot.

local misuse = {}

-- Our own members that may be absent begin with "_": the words are not loaded for them.
local function advice_of(group, name)
  return type(name) == "string" and name:byte() ~= 95 and require("vllm.base.foreign").advice(group, name)
end

--- Makes a class, or the module, tell what to write in place of a member that other clients have. Any other absent member is nil, as ever.
---@param class table
---@param shown string how it is written: "client"
---@param group string of foreign.words
---@param otherwise (fun(name: any): any)? what gives a member that is not there yet
---@return table class
function misuse.tell_members(class, shown, group, otherwise)
  return setmetatable(class, { __index = function(_, name)
    local value = otherwise and otherwise(name)
    if value ~= nil then return value end
    local advice = advice_of(group, name)
    if advice then error(("%s.%s is not here: %s"):format(shown, name, advice), 2) end
  end })
end

--- Throws for `vllm:map(…)`. For where an argument was found wrong already.
---@param name string of a function of the module
---@param first any its first argument
---@param level integer? of the error, seen from the caller; default: the caller's caller
function misuse.check_dot(name, first, level)
  if first == nil or first ~= package.loaded["vllm"] then return end
  error(("vllm.%s: written with a colon; write vllm.%s(…)"):format(name, name), (level or 2) + 1)
end

return misuse
