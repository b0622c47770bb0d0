--- The folders of lua/vllm: a file may require its own folder and those below it, never one above; and no file touches
-- the private members (`_name`) of another's objects.
-- usage: lua scripts/layers.lua FILE...     all files of lua/vllm; names each line at fault, and fails
-- Runs on Lua 5.1 and later.

-- From the roof to the cellar. "" is lua/vllm itself.
local FLOORS = { "agent", "", "turn", "transports", "request", "hosts", "schema", "base" }

-- On the roof, where programs look for it; but it stands on the core alone.
local FLOOR_OF = { ["vllm.json"] = "base" }

-- Private names that another file may use, each with its reason.
local ALLOWED = {}

local floor_of = {}
for number, folder in ipairs(FLOORS) do floor_of[folder] = number end

local complaints, used = {}, {}
local function complain(...) complaints[#complaints + 1] = string.format(...) end

local function lines_of(path)
  local list, file = {}, assert(io.open(path, "rb"))
  for line in file:lines() do list[#list + 1] = line end
  file:close()
  return list
end

local function folder_of(path)
  return path:match "^lua/vllm/([%w_]+)/" or ""
end

-- vllm.turn.gate → turn; vllm.turn → turn, where that is a folder; vllm.client → "".
local function folder_of_module(name)
  if FLOOR_OF[name] then return FLOOR_OF[name] end
  local first = name:match "^vllm%.([%w_]+)" or ""
  return floor_of[first] and first or ""
end

local IN_C = { ["vllm.core"] = true, ["vllm.curl"] = true }

local function check_requires(path, number, code)
  local folder = folder_of(path)
  if not floor_of[folder] then return complain("%s: the folder has no floor in scripts/layers.lua", path) end
  for name in code:gmatch "require *%(?\"(vllm[%w_.]*)\"" do
    if not IN_C[name] and floor_of[folder_of_module(name)] < floor_of[folder] then
      complain("%s:%d: requires %s, which is above", path, number, name)
    end
  end
end

-- A name that only one file touches is its own. Of one that several touch, each must give it to objects of its own: as
-- a method, in a constructor, or to `self`.
local OWNING = { "function [%w_]+[.:](_%a[%w_]*)", "[{,%s](_%a[%w_]*) = ", "self%.(_%a[%w_]*)[%w_., ]* = " }

local touched = {} -- name → path → the first line, or false where the path has objects of its own with it

local function note_privates(path, number, code)
  for name in code:gmatch "[%w_%])][.:](_%a[%w_]*)" do
    touched[name] = touched[name] or {}
    if touched[name][path] == nil then touched[name][path] = number end
  end
  for _, pattern in ipairs(OWNING) do
    for name in code:gmatch(pattern) do
      touched[name] = touched[name] or {}
      touched[name][path] = false
    end
  end
end

local function check_private(name, paths)
  local count = 0
  for _ in pairs(paths) do count = count + 1 end
  for path, number in pairs(count > 1 and paths or {}) do
    local allowed = ALLOWED[path] and ALLOWED[path][name]
    if allowed then used[path .. name] = true end
    if number and not allowed then complain("%s:%d: touches %s, which is another file's", path, number, name) end
  end
end

for _, path in ipairs { ... } do
  for number, line in ipairs(lines_of(path)) do
    local code = line:gsub("%-%-.*$", "")
    check_requires(path, number, code)
    note_privates(path, number, (code:gsub('"[^"]*"', '""')))
  end
end
for name, paths in pairs(touched) do check_private(name, paths) end
for path, names in pairs(ALLOWED) do
  for name in pairs(names) do
    if not used[path .. name] then
      complain("%s does not touch %s any more: take it off scripts/layers.lua", path, name)
    end
  end
end

table.sort(complaints)
for _, text in ipairs(complaints) do io.stderr:write("layers: ", text, "\n") end
os.exit(#complaints == 0 and 0 or 1)
