--- Near misses of known names: `tempurature`, `maxTokens`, `top-p`. A server silently ignores such a key.

local excerpt = require "vllm.base.excerpt"

local spelling = {}

--- A longer name is not a misspelling.
spelling.MAX_NAME = 64

--- A name without what names do not differ by: case and separators.
---@param name string
---@return string
function spelling.squash(name)
  return (name:gsub("[_%-. ]", ""):gsub("[A-Z]", function(letter) return string.char(letter:byte() + 32) end))
end
local squash = spelling.squash

-- Known names are mostly our own and few, so their squashed forms are kept. Those of a schema may be anyone's.
local MAX_KEPT = 2000
local squashed, kept = {}, 0

local function squashed_of(name)
  if not squashed[name] then
    if kept == MAX_KEPT then squashed, kept = {}, 0 end
    squashed[name], kept = squash(name), kept + 1
  end
  return squashed[name]
end

-- Optimal string alignment: insertions, deletions, replacements and swaps of neighbours; at most `limit`, or limit + 1
-- for more. Only cells near the diagonal can be within the limit, and most names are dropped after a few letters.
local function distance(a, b, limit)
  local far = limit + 1
  local two_back, last = {}, {}
  for j = 0, math.min(#b, limit) do last[j] = j end
  for i = 1, #a do
    local row, nearest = { [0] = i }, i
    for j = math.max(1, i - limit), math.min(#b, i + limit) do
      local same = a:byte(i) == b:byte(j)
      local best = math.min((last[j] or far) + 1, (row[j - 1] or far) + 1, (last[j - 1] or far) + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, (two_back[j - 2] or far) + 1)
      end
      row[j], nearest = best, math.min(nearest, best)
    end
    if nearest > limit then return far end
    two_back, last = last, row
  end
  return math.min(last[#b] or far, far)
end

-- How far apart two names may be and still be meant for each other.
local function tolerance(length)
  if length <= 3 then return 0 end
  return length <= 5 and 1 or 2
end

--- The known name that `name` was probably meant to be, or nil. Equal names are not asked about.
---@param name string
---@param ... table sets or maps whose keys are known names
---@return string?
function spelling.nearest(name, ...)
  if #name > spelling.MAX_NAME then return nil end
  local wanted, best, best_distance = squash(name), nil, nil
  for i = 1, select("#", ...) do
    for known in pairs((select(i, ...))) do
      local other = squashed_of(known)
      local allowed = tolerance(math.min(#wanted, #other))
      local apart = math.abs(#wanted - #other) <= allowed and distance(wanted, other, allowed) or allowed + 1
      if apart <= allowed and (not best or apart < best_distance or (apart == best_distance and known < best)) then
        best, best_distance = known, apart
      end
    end
  end
  return best
end

local function listed(known)
  local names = {}
  for name in pairs(known) do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, ", ")
end

--- What to say of a name that is not known here.
---@param name string as it is shown
---@param key any
---@param group string? of foreign.words: what other clients call such options
---@param ... table sets or maps whose keys are known names
---@return string sentence what to write for a word of other clients, or else which name was probably meant
---@return "advice"|"meant"|nil help which of them it has
function spelling.unknown(name, key, group, ...)
  local sentence = ("unknown key `%s`"):format(excerpt.of(name, spelling.MAX_NAME))
  local advice = group and require("vllm.base.foreign").advice(group, key)
  if advice then return sentence .. ": " .. advice, "advice" end
  local meant = type(key) == "string" and spelling.nearest(key, ...)
  if not meant then return sentence end
  return ("%s (did you mean `%s`?)"):format(sentence, meant), "meant"
end

--- The first key of a table of options that is not a known one, as a sentence that helps; nil: there is none.
---@param options table
---@param known table a set or map whose keys are the known names: few enough to list
---@param prefix string? of the keys, such as "timeout."
---@param group string? of foreign.words: what other clients call these options
---@return string?
function spelling.unknown_key(options, known, prefix, group)
  local first
  for key in pairs(options) do
    if not known[key] and (first == nil or tostring(key) < tostring(first)) then first = key end
  end
  if first == nil then return nil end
  local sentence, help = spelling.unknown((prefix or "") .. tostring(first), first, group, known)
  return help and sentence or sentence .. "; known are " .. listed(known)
end

return spelling
