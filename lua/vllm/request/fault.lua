--- A fault deep inside what a user gave: raised as a value and caught once, at the top. Whatever else is raised goes on
-- as it is: an error of the user's (in a metamethod), lack of memory, a mistake of ours.

local fault = {}

local Fault = {}

--- Raises one.
---@param why string
---@param where string its path inside what is at hand: ".content", "[2].name", or empty
---@param index integer? of the message, if it is not the one at hand
function fault.raise(why, where, index)
  error(setmetatable({ why = why, where = where, index = index }, Fault), 0)
end

--- Raises one if the value is not of this type.
---@param kind type
---@param value any
---@param where string
function fault.expect(kind, value, where)
  if type(value) ~= kind then fault.raise(("expected a %s, got %s"):format(kind, type(value)), where) end
end

--- Calls a function that raises faults. It must not yield, since Lua 5.1 cannot yield through a pcall.
---@param fn function
---@param ... any
---@return any value of the function; nil: it raised a fault
---@return { why: string, where: string, index: integer? }? fault
function fault.catch(fn, ...)
  local ok, value = pcall(fn, ...)
  if ok then return value end
  if getmetatable(value) ~= Fault then error(value, 0) end
  return nil, value
end

return fault
