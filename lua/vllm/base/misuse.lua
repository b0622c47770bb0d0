--- Misuse throws, at the line of the program that made the mistake. It also tells what Lua alone would call "attempt to
-- call a nil value": methods of other clients, a dot where a colon belongs, a colon where a dot belongs.

local misuse = {}

--- Throws `message` at the innermost line outside this module; without a position where the coroutine has no such line.
---@param message string
function misuse.raise(message)
  require "vllm.base.raise"(message)
end

-- Our own members that may be absent begin with "_": the words are not loaded for them.
local function advice_of(group, name)
  return type(name) == "string" and name:byte() ~= 95 and require("vllm.base.foreign").advice(group, name)
end

--- Makes a class, or the module, tell what to write in place of a member that other clients have. Any other absent
--- member is nil, as ever.
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
    if advice then misuse.raise(("%s.%s is not here: %s"):format(shown, name, advice)) end
  end })
end

--- Throws for `client.ask(…)`.
---@param is_object any truthy: what the method was given as self is such an object
---@param class string how it is written: "client"
---@param name string of the method
function misuse.check_colon(is_object, class, name)
  if is_object then return end
  misuse.raise(("%s:%s: call it with a colon: %s:%s(…)"):format(class, name, class, name))
end

--- Throws for `vllm:map(…)`.
---@param name string of a function of the module
---@param first any its first argument
function misuse.check_dot(name, first)
  if first == nil or first ~= package.loaded["vllm"] then return end
  misuse.raise(("vllm.%s: call it with a dot: vllm.%s(…)"):format(name, name))
end

return misuse
