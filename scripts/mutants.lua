--- Are the specs awake? Makes one-line changes to a copy of the tree, one at a time, and runs the tests that should
--- notice.
-- usage: lua5.4 scripts/mutants.lua LIST [PATTERN]     PATTERN: only the changes whose file or texts hold it (plain)
-- LIST is a Lua file that returns a list of { file, old, new, tests }. `old` stands once in the file. `tests`: spec
-- files, and C tests by their names (calls_test), with blanks between them; lua5.1:spec/x_spec.lua where another Lua
-- than 5.4 has to run it. Noticed: a test fails, crashes, or hangs. What does not compile is a mistake in the list, as
-- is an `old` that is not there. Exit status 1 where fewer than 95 of 100 were noticed. `make mutants` builds first
-- what is copied here.

local TREE = "build/mutants"
local WANTED = 0.95
local LUAS = { "lua5.1", "lua5.3", "lua5.4", "luajit" }
local LUA = "lua5.4"
local BUILT = "obj ctest preload locale rocks test-server test-server-sanitized " .. table.concat(LUAS, " ")
local MIN_LIMIT_S, SLOWNESS = 20, 5 -- a test hangs when it takes so many times what it took before

local function sh(command, ...)
  return os.execute(("unset MAKEFLAGS MFLAGS; cd %s && { %s ; } >mutants.log 2>&1")
    :format(TREE, command:format(...))) == true
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
end

-- Tests ---------------------------------------------------------------------------------------------------------------

local PATHS = "LUA_PATH='lua/?.lua;lua/?/init.lua;./?.lua;;' LUA_CPATH='build/%s/?.so;;'"
local BUSTED = '"$(command -v busted)" --no-keep-going'

-- The Lua and the file of a spec, or nil.
local function spec_of(test)
  local lua, file = test:match "^(lua[^:]*):(.*)$"
  file = file or test
  if file:find "%.lua$" then return lua or LUA, file end
end

-- What a test needs. Hosts are programs with Luas of their own.
local function targets_of(test)
  local lua, file = spec_of(test)
  if not lua then return "build/ctest/" .. test end
  local list = {}
  for _, one in ipairs(file:find "^spec/hosts/" and LUAS or { lua }) do
    list[#list + 1] = ("build/%s/vllm/core.so build/%s/vllm/curl.so"):format(one, one)
  end
  return table.concat(list, " ")
end

local function build(tests)
  local targets = {}
  for test in tests:gmatch "%S+" do targets[#targets + 1] = targets_of(test) end
  return sh("make -j2 WERROR= %s", table.concat(targets, " "))
end

local function run(test, limit_s)
  local lua, file = spec_of(test)
  if not lua then return sh("timeout %d build/ctest/%s", limit_s, test) end
  return sh(PATHS .. " timeout %d %s " .. BUSTED .. " %s", lua, limit_s, lua, file)
end

local limits = {} -- test → seconds

-- The first test that fails, or nil.
local function failing(tests)
  for test in tests:gmatch "%S+" do
    if not run(test, limits[test]) then return test end
  end
end

-- Each test that the changes name must pass without any.
local function measure(changes)
  for _, change in ipairs(changes) do
    for test in change[4]:gmatch "%S+" do
      if not limits[test] then
        local began = os.time()
        assert(build(test) and run(test, 600), test .. " fails without any change: see " .. TREE .. "/mutants.log")
        limits[test] = MIN_LIMIT_S + SLOWNESS * (os.time() - began)
      end
    end
  end
end

-- Changes -------------------------------------------------------------------------------------------------------------

-- The text with the change in it, or what is wrong with the change.
local function mutated(text, change)
  local first, last = text:find(change[2], 1, true)
  if not first then return nil, "its text is not in the file" end
  if text:find(change[2], first + 1, true) then return nil, "its text is in the file more than once" end
  return text:sub(1, first - 1) .. change[3] .. text:sub(last + 1)
end

-- noticed, by which test · missed · invalid, why
local function try(change)
  local path = TREE .. "/" .. change[1]
  local text = read(path)
  local new, why = mutated(text, change)
  if not new then return "invalid", why end
  write(path, new)
  local compiles = build(change[4])
  local by = compiles and failing(change[4])
  write(path, text)
  if not compiles then return "invalid", "it does not compile" end
  return by and "noticed" or "missed", by
end

local function selected(changes, pattern)
  local list = {}
  for _, change in ipairs(changes) do
    if table.concat(change, "\n", 1, 3):find(pattern, 1, true) then list[#list + 1] = change end
  end
  return list
end

local function copy_tree()
  assert(os.execute(([[
    rm -rf %s && mkdir -p %s/build &&
    git ls-files -z --cached --others --exclude-standard --deduplicate | xargs -0 cp -p --parents -t %s &&
    cd build && cp -a %s mutants/build]]):format(TREE, TREE, TREE, BUILT)))
end

local function main(path, pattern)
  local changes = selected(dofile(path), pattern)
  copy_tree()
  measure(changes)
  local counts = { noticed = 0, missed = 0, invalid = 0 }
  for i, change in ipairs(changes) do
    local verdict, by = try(change)
    counts[verdict] = counts[verdict] + 1
    print(("%3d %s: %s: %s%s"):format(i, verdict, change[1], (change[2]:gsub("%s*\n%s*", " ")),
      by and (" (" .. by .. ")") or ""))
    io.stdout:flush()
  end
  print(("%d changes: %d noticed, %d missed, %d invalid")
    :format(#changes, counts.noticed, counts.missed, counts.invalid))
  return counts.invalid == 0 and counts.noticed >= WANTED * #changes
end

os.exit(main(arg[1], arg[2] or ""))
