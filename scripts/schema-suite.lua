--- The official tests of JSON Schema, draft 2020-12, against vllm.schema. Fails if less than 98 % of the required ones
--- pass.
-- usage: lua scripts/schema-suite.lua FOLDER     a checkout of json-schema-org/JSON-Schema-Test-Suite
-- Runs on Lua 5.1 and later, from the root, with the module in its path.

local folder = ... or error("usage: lua scripts/schema-suite.lua FOLDER", 0)
local json = require "vllm.json"
local schema = require "vllm.schema"

local LEAST = 0.98

-- `format` is an annotation in this draft, and these tests want it to be an assertion.
local NOT_OURS = { "^optional/format/", "^optional/format%-assertion" }

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return assert(json.decode(text), path)
end

local function files_in(path)
  local list = {}
  local pipe = assert(io.popen(("find '%s' -name '*.json' | LC_ALL=C sort"):format(path)))
  for line in pipe:lines() do list[#list + 1] = line end
  pipe:close()
  if #list == 0 then error("no tests in " .. path, 0) end
  return list
end

local documents = {}
for _, path in ipairs(files_in(folder .. "/remotes")) do
  documents["http://localhost:1234" .. path:sub(#folder + #"/remotes" + 1)] = read(path)
end

local groups = { required = { passed = 0, failed = 0 }, optional = { passed = 0, failed = 0 } }
local left_out = 0
local failures = {}

local function note(group, ok, name, why)
  group[ok and "passed" or "failed"] = group[ok and "passed" or "failed"] + 1
  if not ok then failures[#failures + 1] = name .. (why and " (" .. why .. ")" or "") end
end

local function try(check, case)
  local ran, valid, faults = pcall(check, case.data)
  if not ran then return false, valid end
  if valid == case.valid and (valid or faults[1] and faults[1].message) then return true end
  return false, valid and "wrongly valid" or "wrongly invalid: " .. faults[1].message
end

local function run(name, group, one)
  local check, why = schema.compile(one.schema, { documents = documents })
  for _, case in ipairs(one.tests) do
    local ok, reason = false, why
    if check then ok, reason = try(check, case) end
    note(group, ok, ("%s: %s: %s"):format(name, one.description, case.description), reason)
  end
end

local function is_ours(name)
  for _, pattern in ipairs(NOT_OURS) do
    if name:find(pattern) then return false end
  end
  return true
end

local tests = folder .. "/tests/draft2020-12"
for _, path in ipairs(files_in(tests)) do
  local name = path:sub(#tests + 2, -6)
  local group = groups[name:find "^optional/" and "optional" or "required"]
  for _, one in ipairs(read(path)) do
    if is_ours(name) then run(name, group, one) else left_out = left_out + #one.tests end
  end
end

for _, text in ipairs(failures) do print("  failed: " .. text) end
local required, optional = groups.required, groups.optional
print(("%s: required: %d passed, %d failed; optional: %d passed, %d failed; %d of format as an assertion not tried")
  :format(rawget(_G, "jit") and "LuaJIT" or _VERSION, required.passed, required.failed, optional.passed,
    optional.failed, left_out))
os.exit(required.passed / (required.passed + required.failed) >= LEAST and 0 or 1)
