--- Large results of tools: the model is shown the beginning, and reads on with a tool of ours. They are kept in the
--- session, in its state too, up to a bound in bytes; then the oldest are forgotten.

local values = require "vllm.base.values"

local MAX_BYTES = 8388608 -- of all results of a session

--- In a list, the oldest first, so that it survives JSON.
---@class vllm.agent.Stored
---@field list { id: string, text: string }[]
local Stored = {}
Stored.__index = Stored

local stored = { TOOL = "read_output" }

---@param list { id: string, text: string }[]?
---@return vllm.agent.Stored
function stored.new(list)
  return setmetatable({ list = list or {} }, Stored)
end

--- Why a list that was read from a state cannot be one, or nil.
---@param list any
---@return string?
function stored.fault(list)
  if not values.list_length(list) then return "expected a list, got " .. values.shown(list) end
  for i, entry in ipairs(list) do
    if type(entry) ~= "table" or type(entry.id) ~= "string" or type(entry.text) ~= "string" then
      return ("entry %d: expected { id, text }"):format(i)
    end
  end
end

--- Keeps a result.
---@param id string of the call
---@param text string
function Stored:put(id, text)
  local list, bytes = self.list, #text
  for _, entry in ipairs(list) do bytes = bytes + #entry.text end
  while list[1] and bytes > MAX_BYTES do bytes = bytes - #table.remove(list, 1).text end
  list[#list + 1] = { id = id, text = text }
end

--- At most `limit` bytes from the byte `from` (from 0) on, as whole code points.
---@param text string UTF-8
---@param from integer
---@param limit integer
---@return string slice
---@return integer first from 0
---@return integer last the byte after it
function stored.slice(text, from, limit)
  local function begins(at) return at >= #text or (text:byte(at + 1) < 128 or text:byte(at + 1) >= 192) end
  local first = math.min(from, #text)
  while not begins(first) do first = first + 1 end
  local last = math.min(first + limit, #text)
  while last > first and not begins(last) do last = last - 1 end
  return text:sub(first + 1, last), first, last
end

local function find(list, id)
  for i = #list, 1, -1 do
    if list[i].id == id then return list[i].text end
  end
end

--- The tool that reads on.
---@param limit integer bytes at a time
---@return vllm.Tool
function Stored:tool(limit)
  return {
    name = stored.TOOL, description = "Reads on in a tool's result that was cut: the text from a byte on",
    parameters = {
      type = "object", required = { "id", "offset" },
      properties = {
        id = { type = "string", description = "as the cut result says" },
        offset = { type = "integer", minimum = 0, description = "the byte to begin at" },
      },
    },
    output_limit = limit + 100, -- and what is said of the place
    run = function(input)
      local text = find(self.list, input.id)
      if not text then return nil, ("no result `%s` is kept"):format(input.id) end
      local slice, first, last = stored.slice(text, input.offset, limit)
      return ("%s\n[bytes %d to %d of %d]"):format(slice, first, last, #text)
    end,
  }
end

return stored
