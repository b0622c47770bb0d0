-- A tool that reads a JSON file, with lua-cjson: the model looks up what it needs. With `json = "cjson"`, inputs of
-- calls and results of tools are lua-cjson's values, like those in the rest of such a program. What goes over the wire
-- is still written by the client.
-- VLLM_MODEL=… [VLLM_BASE_URL=http://host:8000/v1] lua examples/lookup.lua FILE.json [question]
local cjson = require "cjson"
local vllm = require "vllm"

local MAX_ROUNDS = 8

local file = assert(io.open(arg[1] or error("usage: lookup.lua FILE.json [question]", 0), "rb"))
local document = cjson.decode(vllm.text(file:read "*a"))
file:close()

local LOOKUP = {
  name = "lookup", description = "The value at a place in the JSON document",
  parameters = { type = "object", required = { "path" }, properties = {
    path = {
      type = "array", items = { type = "string" },
      description = "Names and numbers (from 1) that lead there; empty: all",
    },
  } },
}

local function lookup(path)
  local value = document
  for _, key in ipairs(path) do
    if type(value) ~= "table" then error(("there is nothing in %s"):format(tostring(value)), 0) end
    local inside = value[key]
    if inside == nil then inside = value[tonumber(key)] end
    if inside == nil then error(("there is no %s"):format(tostring(key)), 0) end
    value = inside
  end
  return { value = value }
end

local function result_of(call)
  if call.invalid then return { role = "tool", call = call, result = call.invalid, is_error = true } end
  local ok, value = pcall(lookup, type(call.input.path) == "table" and call.input.path or {})
  return { role = "tool", call = call, result = value, is_error = not ok }
end

local client = assert(vllm.from_env { json = "cjson", temperature = 0 })
local messages = { { role = "user", content = arg[2] or "What is in this document? Look it up." } }
for _ = 1, MAX_ROUNDS do
  local result = assert(client:turn({ messages = messages, tools = { LOOKUP } }):result())
  messages[#messages + 1] = result.message
  if result.text then print(vllm.printable(result.text)) end
  if #result.tool_calls == 0 then return end
  for _, call in ipairs(result.tool_calls) do
    print(vllm.printable(("[%s %s]"):format(call.name, call.arguments)))
    messages[#messages + 1] = result_of(call)
  end
end
error(("no answer after %d rounds of tools"):format(MAX_ROUNDS), 0)
