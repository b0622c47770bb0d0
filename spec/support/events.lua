--- Runs the decoder over bytes, and compares what came out with what was expected.

local cjson = require "cjson"
local core = require "vllm.core"

local events = {}

--- Feeds the pieces and collects the events. `options` are the decoder's, and:
--- body = true: the pieces are one completion; cut = true: no finish() after them.
---@param pieces string[]
---@param options? table
---@return table[] # events
---@return table? # failure
---@return table # the decoder
function events.run(pieces, options)
  options = options or {}
  local decoder, list, count = core.decoder(options.decoder or {}), {}, 0
  local failure
  local function drain()
    local event
    repeat
      event, failure = decoder:next()
      if event then
        count = count + 1
        list[count] = event
      end
    until not event
  end
  if options.body then
    local accepted
    accepted, failure = decoder:body(table.concat(pieces))
    if accepted then drain() end
    return list, failure, decoder
  end
  for i = 1, #pieces do
    decoder:feed(pieces[i])
    drain()
    if failure then return list, failure, decoder end
  end
  if not options.cut then
    decoder:finish()
    drain()
  end
  return list, failure, decoder
end

local list_mt = {}

--- A table to be written as an array, even when it is empty.
function events.array(list)
  return setmetatable(list or {}, list_mt)
end

--- JSON of what cjson decoded: every digit of a number, members sorted; a bare {} is an object.
---@param value any
---@return string
function events.write(value)
  local kind = type(value)
  if value == cjson.null then return "null" end
  if kind == "boolean" then return tostring(value) end
  if kind == "number" then return ("%.17g"):format(value) end
  if kind == "string" then return cjson.encode(value) end
  local out = {}
  if value[1] ~= nil or getmetatable(value) == list_mt then
    for i, member in ipairs(value) do out[i] = events.write(member) end
    return "[" .. table.concat(out, ",") .. "]"
  end
  for key in pairs(value) do out[#out + 1] = key end
  table.sort(out)
  for i, key in ipairs(out) do out[i] = cjson.encode(key) .. ":" .. events.write(value[key]) end
  return "{" .. table.concat(out, ",") .. "}"
end

--- One data event for every chunk (a table, or JSON text as it is), `[DONE]` after them unless `open`.
---@param chunks (table|string)[]
---@param open? boolean
---@return string
function events.stream(chunks, open)
  local lines = {}
  for i, chunk in ipairs(chunks) do
    lines[i] = "data: " .. (type(chunk) == "table" and events.write(chunk) or chunk) .. "\n\n"
  end
  if not open then lines[#lines + 1] = "data: [DONE]\n\n" end
  return table.concat(lines)
end

local joined_field = { text_delta = "text", reasoning_delta = "text", refusal_delta = "text", tool_call_delta = "json" }

local function copy(event)
  local out = {}
  for key, value in pairs(event) do out[key] = value end
  return out
end

--- Adjacent deltas of one part become one; nothing else changes.
---@param list table[]
---@return table[]
function events.join(list)
  local out = {}
  for _, event in ipairs(list) do
    local field, last = joined_field[event.type], out[#out]
    if field and last and last.type == event.type and last.part == event.part then
      last[field] = last[field] .. event[field]
    else
      out[#out + 1] = field and copy(event) or event
    end
  end
  return out
end

--- The events of each choice in turn, then those of the turn; deltas joined and `tokens` (which stand between deltas
--- in a stream, behind them in a completion) gathered: what a completion and the same answer in chunks have in common.
---@param list table[]
---@return table<integer|string, table[]>
function events.by_choice(list)
  local groups, tokens = {}, {}
  for _, event in ipairs(list) do
    local group = event.type == "tokens" and tokens or groups
    local key = event.choice or "turn"
    group[key] = group[key] or {}
    table.insert(group[key], event)
  end
  for key, group in pairs(groups) do groups[key] = events.join(group) end
  groups.tokens = {}
  for choice, group in pairs(tokens) do
    local ids, content = {}, {}
    for _, event in ipairs(group) do
      for _, id in ipairs(event.token_ids or {}) do ids[#ids + 1] = id end
      for _, entry in ipairs(event.logprobs and event.logprobs.content or {}) do content[#content + 1] = entry end
    end
    groups.tokens[choice] = { token_ids = ids, content = content }
  end
  return groups
end

local function absent(value)
  return value == nil or value == cjson.null
end

--- The first difference between two values, or nil. Null and absent are the same.
---@param actual any
---@param expected any
---@param path? string
---@return string?
function events.difference(actual, expected, path)
  if actual == expected or absent(actual) and absent(expected) then return nil end
  path = path or "value"
  if type(actual) ~= "table" or type(expected) ~= "table" then
    return ("%s is %s, expected %s"):format(path, tostring(actual), tostring(expected))
  end
  for key, value in pairs(expected) do
    local found = events.difference(actual[key], value, path .. "." .. tostring(key))
    if found then return found end
  end
  for key, value in pairs(actual) do
    if expected[key] == nil and not absent(value) then
      return ("%s.%s is %s, expected nothing"):format(path, tostring(key), tostring(value))
    end
  end
end

--- Are two values equal, without a word about where not? Much cheaper than `difference`; null and absent differ.
---@param a any
---@param b any
---@return boolean
function events.same(a, b)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" then return false end
  for key, value in next, a do
    local other = b[key]
    if value ~= other and not (type(value) == "table" and events.same(value, other)) then return false end
  end
  for key in next, b do
    if a[key] == nil then return false end
  end
  return true
end

--- The reason of an invalid call is a sentence that may change: only its presence is compared.
local function plain_call(call)
  local out = copy(call)
  if out.invalid ~= nil then
    assert(type(out.invalid) == "string" and #out.invalid > 0, "an invalid call has a reason")
    out.invalid = true
  end
  return out
end

--- Events in the form of the expectations: deltas joined, no result in `turn_end`.
---@param list table[]
---@return table[]
function events.plain(list)
  local out = events.join(list)
  for i, event in ipairs(out) do
    if event.type == "tool_call" then out[i] = plain_call(event) end
    if event.type == "turn_end" then out[i] = { type = "turn_end" } end
  end
  return out
end

local compared = { "text", "reasoning", "refusal", "finish_reason", "stop_reason", "logprobs", "token_ids" }

local function plain_choice(choice, number)
  local out = { choice = number, tool_calls = {} }
  for _, key in ipairs(compared) do out[key] = choice[key] end
  for i, call in ipairs(choice.tool_calls) do
    local plain = plain_call(call)
    assert(plain.choice == number and plain.index == i - 1, "a call of a result knows its place")
    plain.choice, plain.index = nil, nil
    out.tool_calls[i] = plain
  end
  return out
end

--- A result in the form of the expectations. Checks by the way that the top level mirrors the lowest choice.
---@param result table
---@return table
function events.plain_result(result)
  local out = { id = result.id, model = result.model, complete = result.complete, usage = result.usage, choices = {} }
  for i, choice in ipairs(result.choices) do out.choices[i] = plain_choice(choice, choice.choice) end
  if out.choices[1] then
    local top = plain_choice(result, out.choices[1].choice)
    local found = events.difference(top, out.choices[1], "top level")
    assert(not found, found)
  end
  return out
end

return events
