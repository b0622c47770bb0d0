--- Are the specs awake? Makes one-line changes to a copy of the tree, one at a time, and runs the specs that should notice.
-- usage: lua5.4 scripts/mutants.lua LIST [PATTERN]     PATTERN: only the changes whose file or text it matches (plain)
-- LIST is a Lua file that returns a list of { file, old, new, tests }. `old` stands once in the file; `tests` are spec files, and C tests
-- by their names (calls_test), with blanks between them. Noticed: a test fails, crashes, or hangs. What does not compile is a mistake in
-- the list, as is an `old` that is not there. Exit status 1 where fewer than 95 of 100 were noticed.

local TREE = "build/mutants"
local LIMIT_S = 120
local WANTED = 0.95
local LUA = "lua5.4"

local function quote(text) return "'" .. text:gsub("'", [['\'']]) .. "'" end

local function sh(command, ...)
  return os.execute(("cd %s && { %s ; } >mutants.log 2>&1"):format(TREE, command:format(...))) == true
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  return file:read "a", file:close()
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
end

local function is_ctest(test) return not test:find "/" end

local function build(tests)
  local targets = { ("build/%s/vllm/core.so build/%s/vllm/curl.so"):format(LUA, LUA) }
  for test in tests:gmatch "%S+" do
    if is_ctest(test) then targets[#targets + 1] = "build/ctest/" .. test end
  end
  return sh("make -j2 WERROR= %s", table.concat(targets, " "))
end

-- The C tests first: they are the quickest to fail.
local function pass(tests)
  local specs = {}
  for test in tests:gmatch "%S+" do
    if not is_ctest(test) then specs[#specs + 1] = test
    elseif not sh("timeout %d build/ctest/%s", LIMIT_S, test) then return false end
  end
  if #specs == 0 then return true end
  return sh("LUA_PATH='lua/?.lua;lua/?/init.lua;./?.lua;;' LUA_CPATH='build/%s/?.so;;' timeout %d %s \"$(command -v busted)\" %s",
    LUA, LIMIT_S, LUA, table.concat(specs, " "))
end

-- The text with the change in it, or what is wrong with the change.
local function mutated(text, change)
  local first, last = text:find(change[2], 1, true)
  if not first then return nil, "its text is not in the file" end
  if text:find(change[2], first + 1, true) then return nil, "its text is in the file more than once" end
  return text:sub(1, first - 1) .. change[3] .. text:sub(last + 1)
end

local function try(change)
  local path = TREE .. "/" .. change[1]
  local text = read(path)
  local new, why = mutated(text, change)
  if not new then return "invalid", why end
  write(path, new)
  local verdict = "noticed"
  if not build(change[4]) then verdict, why = "invalid", "it does not compile"
  elseif pass(change[4]) then verdict = "missed" end
  write(path, text)
  return verdict, why
end

local function selected(changes, pattern)
  local list = {}
  for _, change in ipairs(changes) do
    if (change[1] .. "\n" .. change[2]):find(pattern, 1, true) then list[#list + 1] = change end
  end
  return list
end

-- All tests that the changes name, each once.
local function tests_of(changes)
  local list, seen = {}, {}
  for _, change in ipairs(changes) do
    for test in change[4]:gmatch "%S+" do
      if not seen[test] then list[#list + 1], seen[test] = test, true end
    end
  end
  return table.concat(list, " ")
end

local function copy_tree()
  assert(os.execute(("mkdir -p %s && git ls-files -z | xargs -0 cp --parents -p -t %s"):format(TREE, TREE)))
  assert(os.execute(("make build/test-server build/test-server-sanitized && mkdir -p %s/build && cp -p build/test-server* %s/build"):format(TREE, TREE)))
end

local changes = selected(dofile(arg[1]), arg[2] or "")
copy_tree()
local tests = tests_of(changes)
assert(build(tests), "the unchanged tree does not build: see " .. TREE .. "/mutants.log")
assert(pass(tests), "the tests fail without any change: see " .. TREE .. "/mutants.log")

local counts = { noticed = 0, missed = 0, invalid = 0 }
for i, change in ipairs(changes) do
  local verdict, why = try(change)
  counts[verdict] = counts[verdict] + 1
  if verdict ~= "noticed" then
    print(("%s %d: %s: %s%s"):format(verdict, i, change[1], quote(change[2]), why and (" (" .. why .. ")") or ""))
  end
end
print(("%d changes: %d noticed, %d missed, %d invalid"):format(#changes, counts.noticed, counts.missed, counts.invalid))
os.exit(counts.invalid == 0 and counts.noticed >= WANTED * #changes)
