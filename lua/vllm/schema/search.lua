--- The patterns of a schema: regular expressions of ECMA-262, searched by the core in bounded time.

local core = require "vllm.core"
local report = require "vllm.schema.report"

local search = {}

local STEPS_PER_BYTE = 0.01 -- of a text that is searched

--- A search for one pattern.
---@param node vllm.schema.Node
---@param keyword string where the pattern is
---@param source string
---@return fun(text: any, run: table): boolean found what is not a string has no pattern
function search.compile(node, keyword, source)
  local pattern, why = core.pattern(source)
  if not pattern then node:refuse(keyword, ("%s: %s"):format(report.quoted(source), why)) end
  return function(text, run)
    if type(text) ~= "string" then return false end
    run.steps = run.steps - #text * STEPS_PER_BYTE
    local found, too_costly = pattern:find(text)
    if found == nil then return report.stop(run, "a text that can be searched for a pattern: " .. too_costly) end
    return found
  end
end

return search
