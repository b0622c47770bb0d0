--- Recognises a table in the wrong place: a result instead of a message, a message instead of its content. For the
--- error's sentence.

local excerpt = require "vllm.base.excerpt"
local values = require "vllm.base.values"

local mistaken = {}

local A_MESSAGE = 'missing: a message is { role = "…", content = "…" }'

local CLASSES = {
  ["vllm.turn"] = "a turn: append the `message` of its result",
  ["vllm.session"] = "a session, which has messages of its own: session:ask(…)",
}

-- What it is, in words; nil: unknown.
local function what_is(value)
  local metatable = getmetatable(value)
  local class = type(metatable) == "table" and CLASSES[metatable.__name]
  if class then return class end
  if type(value.choices) == "table" and type(value.message) == "table" then return "a result: append its `message`" end
  if value.role ~= nil then return "a message" end
  if value.messages ~= nil then return "a request" end
  if type(value.type) == "string" and value.content == nil then
    return "a part, which belongs into the content of a message"
  end
  if value.arguments ~= nil and value.name ~= nil then return "a call" end
  if value[1] ~= nil then return "a list" end
end

--- For a table without a role instead of a message.
---@param value table
---@return string why
function mistaken.for_message(value)
  local what = what_is(value)
  return what and A_MESSAGE .. "; this is " .. what or A_MESSAGE
end

--- For a table with keys instead of content.
---@param value table
---@return string why
function mistaken.for_content(value)
  local what = what_is(value)
  if what then return "expected a string or a list of parts; this is " .. what end
  local key = excerpt.of(tostring(values.sorted_keys(value)[1]), 40)
  return ("expected a string or a list of parts, got a table with the key `%s`"):format(key)
end

return mistaken
