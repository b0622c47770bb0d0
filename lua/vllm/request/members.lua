--- Unknown members of messages, parts and calls: servers have more of them than we can list.
-- A misspelling, or another program's word for something that has a name here, is refused, since a server would
-- silently drop it. Everything else is sent as it is. Null and nil are the same; keys that begin with "_" are the
-- caller's own notes.

local core = require "vllm.core"
local fault = require "vllm.request.fault"
local spelling = require "vllm.base.spelling"
local values = require "vllm.base.values"

local members = {}

local given = values.given

-- A transcript may be a stranger's (a gateway's caller). The search for misspellings serves people, who do not write
-- more new names in one.
local MAX_SEARCHED = 64
local searched, found_before = 0, {}

--- A new transcript begins.
function members.begin()
  searched, found_before = 0, {}
end

--- The known name that this one was probably meant to be, while the transcript at hand has not had too many unknown
--- ones.
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
---@param prefix string? of the path
function members.check_keys(object, keys, prefix)
  if not has_unknown(object, keys) then return end
  for _, key in ipairs(values.sorted_keys(object)) do
    if not is_settled(object, key, keys) then
      local why, where = refusal(key, keys)
      fault.raise(why or "unknown key", (prefix or "") .. where)
    end
  end
end

--- What is known of the members of one kind of object.
---@class vllm.Known
---@field keys table<string, any> every key that has a meaning here
---@field refused table<string, string>? other words, and what to say of them
---@field written table<string, true>? names that go out anyway: `extra` may not have them
---@field not_sent table<string, true>? names that stay here, in `extra`, too
---@field convert table<string, fun(value: any, where: string): any>? name → a function that gives what is sent

local function add(list, known, name, value, where)
  if known.convert and known.convert[name] then value = known.convert[name](value, where) end
  local text, why, inner = members.encode(value)
  if not text then fault.raise(why, where .. inner) end
  list[#list + 1] = { name, text }
end

local function add_own(list, object, known, prefix)
  for _, key in ipairs(values.sorted_keys(object)) do
    if not is_settled(object, key, known.keys) then
      local why, where = refusal(key, known.keys, known.refused)
      if why then fault.raise(why, prefix .. where) end
      add(list, known, key, object[key], prefix .. where)
    end
  end
end

-- What a server sent besides the rest, as results have it: it is not searched for misspellings.
local function add_extra(list, object, known, prefix)
  local extra = given(object.extra)
  if extra == nil then return end
  prefix = prefix .. ".extra"
  if type(extra) ~= "table" then fault.raise("expected a table of names and values, got " .. type(extra), prefix) end
  for _, key in ipairs(values.sorted_keys(extra)) do
    if type(key) ~= "string" then fault.raise("unknown key", ("%s[%s]"):format(prefix, tostring(key))) end
    local where, is_sent = prefix .. "." .. key, not (known.not_sent and known.not_sent[key])
    if known.written and known.written[key] then fault.raise(("give `%s` itself"):format(key), where) end
    if is_sent and given(object[key]) ~= nil and not known.keys[key] then
      fault.raise(("`%s` is also given directly"):format(key), where)
    end
    if is_sent and given(extra[key]) ~= nil then add(list, known, key, extra[key], where) end
  end
end

--- The unknown members of an object, as they are sent.
---@param object table
---@param known vllm.Known
---@param prefix string? of the path of a fault
---@return { [1]: string, [2]: string }[]|false list name and JSON text, sorted by bytes; false: there are none
function members.of(object, known, prefix)
  if object.extra == nil and not has_unknown(object, known.keys) then return false end
  local list = {}
  add_own(list, object, known, prefix or "")
  add_extra(list, object, known, prefix or "")
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
