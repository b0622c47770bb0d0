--- Unknown members of messages, parts and calls: servers have more of them than we can list.
-- A misspelling, or another program's word for something that has a name here, is refused, since a server would silently drop it.
-- Everything else is sent as it is. Null and nil are the same; keys that begin with "_" are the caller's own notes.

local core = require "vllm.core"
local spelling = require "vllm.base.spelling"
local values = require "vllm.base.values"

local members = {}

local given = values.given

-- A transcript may be a stranger's (a gateway's caller). The search for misspellings serves people, who do not write more new names in one.
local MAX_SEARCHED = 64
local searched, found_before = 0, {}

--- A new transcript begins.
function members.begin()
  searched, found_before = 0, {}
end

--- The known name that this one was probably meant to be, while the transcript at hand has not had too many unknown ones.
---@param name string
---@param known table<string, any>
---@return string?
function members.nearest(name, known)
  if #name > spelling.MAX_NAME then return nil end -- and not worth keeping
  local found = found_before[known] or {}
  found_before[known] = found
  if found[name] == nil then
    if searched == MAX_SEARCHED then return nil end
    searched = searched + 1
    found[name] = spelling.nearest(name, known) or false
  end
  return found[name] or nil
end

--- A value as JSON; the path of a fault begins with "." or "[" (or is empty): it continues the path of the value.
---@param value any
---@param options table? of core.json_encode
---@return string? text
---@return string? why
---@return string? where
function members.encode(value, options)
  local text, why, path = core.json_encode(value, options)
  if text then return text end
  path = path or ""
  return nil, why, (path == "" or path:find("^%[")) and path or "." .. path
end

local UNDERSCORE = 95

-- Has this key a meaning here, no value, or is it a note of the caller's own?
local function is_settled(object, key, keys)
  return keys[key] or given(object[key]) == nil or type(key) == "string" and key:byte() == UNDERSCORE
end

-- Why a key that has no meaning here cannot go out, or nil; and its path.
local function refusal(key, keys, refused)
  if type(key) ~= "string" then return "unknown key", "[" .. tostring(key) .. "]" end
  local nearest = not (refused and refused[key]) and members.nearest(key, keys)
  return refused and refused[key] or nearest and ("unknown key (did you mean `%s`?)"):format(nearest), "." .. key
end

local function has_unknown(object, known)
  for key in pairs(object) do
    if not known[key] then return true end
  end
  return false
end

--- Looks for a key that would be lost, in a table that does not go out as it is.
---@param object table
---@param keys table<string, any> the known ones
---@return boolean? ok
---@return string? why
---@return string? where the key as a path
function members.check_keys(object, keys)
  if not has_unknown(object, keys) then return true end
  for _, key in ipairs(values.sorted_keys(object)) do
    if not is_settled(object, key, keys) then
      local why, where = refusal(key, keys)
      return nil, why or "unknown key", where
    end
  end
  return true
end

--- What is known of the members of one kind of object.
---@class vllm.Known
---@field keys table<string, any> every key that has a meaning here
---@field refused table<string, string>? other words, and what to say of them
---@field written table<string, true>? names that go out anyway: `extra` may not have them
---@field not_sent table<string, true>? names that stay here, in `extra`, too
---@field convert table<string, fun(value: any): any>? name → a function that gives what is sent, or nil, why, where

local function add(list, known, name, value, where)
  local why, inner
  if known.convert and known.convert[name] then
    value, why, inner = known.convert[name](value)
    if why then return nil, why, where .. (inner or "") end
  end
  local text
  text, why, inner = members.encode(value)
  if not text then return nil, why, where .. inner end
  list[#list + 1] = { name, text }
  return true
end

local function add_own(list, object, known)
  for _, key in ipairs(values.sorted_keys(object)) do
    if not is_settled(object, key, known.keys) then
      local ok
      local why, where = refusal(key, known.keys, known.refused)
      if why then return nil, why, where end
      ok, why, where = add(list, known, key, object[key], where)
      if not ok then return nil, why, where end
    end
  end
  return true
end

-- What a server sent besides the rest, as results have it: it is not searched for misspellings.
local function add_extra(list, object, known)
  local extra = given(object.extra)
  if extra == nil then return true end
  if type(extra) ~= "table" then return nil, "expected a table of names and values, got " .. type(extra), ".extra" end
  for _, key in ipairs(values.sorted_keys(extra)) do
    if type(key) ~= "string" then return nil, "unknown key", (".extra[%s]"):format(tostring(key)) end
    local where, is_sent = ".extra." .. key, not (known.not_sent and known.not_sent[key])
    if known.written and known.written[key] then return nil, ("give `%s` itself"):format(key), where end
    if is_sent and given(object[key]) ~= nil and not known.keys[key] then return nil, ("`%s` is also given directly"):format(key), where end
    if is_sent and given(extra[key]) ~= nil then
      local ok, why, inner = add(list, known, key, extra[key], where)
      if not ok then return nil, why, inner end
    end
  end
  return true
end

--- The unknown members of an object, as they are sent.
---@param object table
---@param known vllm.Known
---@return { [1]: string, [2]: string }[]|false|nil list name and JSON text, sorted by bytes; false: there are none; nil: a fault
---@return string? why
---@return string? where the key as a path
function members.of(object, known)
  if object.extra == nil and not has_unknown(object, known.keys) then return false end
  local list = {}
  local ok, why, where = add_own(list, object, known)
  if ok then ok, why, where = add_extra(list, object, known) end
  if not ok then return nil, why, where end
  if #list == 0 then return false end
  table.sort(list, function(a, b) return values.is_before(a[1], b[1]) end)
  return list
end

--- Puts such members into a table that will be written as JSON.
---@param list { [1]: string, [2]: string }[]|false
---@param into table
---@return table into
function members.put(list, into)
  for _, member in ipairs(list or {}) do into[member[1]] = core.raw(member[2]) end
  return into
end

return members
