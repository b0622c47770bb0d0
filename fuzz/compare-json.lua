--- Our JSON reader against lua-cjson over a corpus: both take a text and give the same value, or both refuse it, but
-- for the differences that are meant, which are named and counted.
-- usage: lua fuzz/compare-json.lua DIR…     on every Lua that has lua-cjson; fails when a text is read otherwise.

local cjson = require "cjson.safe"
local core = require "vllm.core"

cjson.decode_invalid_numbers(false)
cjson.decode_max_depth(120) -- ours counts up to 128; texts in between are told apart by their message

-- The value in a form that can be compared: type, then contents, members sorted.
local function shape(value, null)
  if value == null then return "null" end
  if type(value) == "number" then return value ~= value and "nan" or ("n%.17g"):format(value) end
  if type(value) ~= "table" then return type(value) .. ":" .. tostring(value) end
  local keys, parts = {}, {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if type(a) ~= type(b) then return type(a) < type(b) end
    return a < b
  end)
  for _, key in ipairs(keys) do
    parts[#parts + 1] = type(key) .. ":" .. tostring(key) .. "=" .. shape(value[key], null)
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

-- Why one of the two may refuse what the other takes. `ours` and `theirs` are messages, or nil where it was taken.
local function meant_difference(text, ours, theirs)
  if theirs and not ours then
    if text:find "\\u[dD][89a-fA-F]" then return "a lone surrogate becomes U+FFFD here" end
    if theirs:find "nesting" or theirs:find "depth" then return "depth" end
  elseif ours and not theirs then
    if text:find "%z" then return "lua-cjson ends at a NUL" end
    if ours:find "nested too deeply" then return "depth" end
    if ours:find "number" or ours:find "no JSON value" or ours:find "too large" then
      return "lua-cjson takes numbers that JSON has not"
    end
    if ours:find "control character" then return "lua-cjson takes control characters in strings" end
  end
end

-- Where the values may differ.
local function meant_value(text)
  if not core.json_encode(text) then return "malformed UTF-8 becomes U+FFFD here" end
  if text:find "\\u[dD][89a-fA-F]" then return "a lone surrogate becomes U+FFFD here" end
end

local counts, wrong = {}, 0

local function count(what)
  counts[what] = (counts[what] or 0) + 1
end

local function complain(path, text, ours, theirs)
  wrong = wrong + 1
  print(("%s: %q\n  here: %s\n  lua-cjson: %s")
    :format(path, text:sub(1, 200), tostring(ours):sub(1, 300), tostring(theirs):sub(1, 300)))
end

local function compare(path, text)
  local mine, why = core.json_decode(text)
  local other, their_why = cjson.decode(text)
  if why or their_why then
    local meant = (why and their_why) and "both refuse" or meant_difference(text, why, their_why)
    if meant then count(meant) else complain(path, text, why or "taken", their_why or "taken") end
    return
  end
  local here, there = shape(mine, core.null), shape(other, cjson.null)
  local meant = here == there and "the same value" or meant_value(text)
  if meant then count(meant) else complain(path, text, here, there) end
end

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "*a"
  if file then file:close() end
  return text
end

for _, dir in ipairs(arg) do
  for path in io.popen("find '" .. dir .. "' -type f"):lines() do
    local text = read(path)
    if text then compare(path, text) end
  end
end

local names = {}
for name in pairs(counts) do names[#names + 1] = name end
table.sort(names)
for _, name in ipairs(names) do print(("%7d  %s"):format(counts[name], name)) end
print(wrong .. " texts are read otherwise")
os.exit(wrong == 0 and 0 or 1)
