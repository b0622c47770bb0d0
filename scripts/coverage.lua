-- How much of src/ the tests ran, by gcov's counts: a table of folders and files, every line that never ran, and a
-- verdict.
-- usage: lua scripts/coverage.lua BUILD…     BUILD: trees of objects made with --coverage, after the tests ran
-- A source that was compiled several times (for each Lua, for each engine) is one file here: a line counts as run if it
-- ran in any of them. Exits with 1 when a folder is below its least share of lines. Runs on Lua 5.1 and later.

local LEAST_PERCENT = { ["src/core"] = 95, ["src/net"] = 85, ["src/bind"] = 85 }
local FOLDERS = { "src/core", "src/net", "src/bind" }

local function lines_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return text:gmatch "[^\n]+"
end

local files = {} -- path → { [line] = { text, count } }

-- One line of gcov's report: "count:line:text", where "-" is no code, and "#####" and "=====" never ran.
local function take_line(file, count, number, text)
  if count == "-" then return end
  local line = file[number] or { text = text, count = 0 }
  line.count = line.count + (tonumber(count:match "^%d+") or 0)
  file[number] = line
end

local function read_report(objects)
  local file
  for report in lines_of("gcov --stdout --relative-only " .. objects .. " 2>/dev/null") do
    local count, number, text = report:match "^ *([^: ]+): *(%d+):(.*)$"
    number = tonumber(number)
    local source = number == 0 and text:match "^Source:(.*)$"
    if source then
      file = source:match "^src/" and (files[source] or {}) or nil
      if file then files[source] = file end
    elseif file and number and number > 0 then
      take_line(file, count, number, text)
    end
  end
end

local function tally(file)
  local run, all, missed = 0, 0, {}
  for number, line in pairs(file) do
    all = all + 1
    if line.count > 0 then run = run + 1 else missed[#missed + 1] = number end
  end
  table.sort(missed)
  return run, all, missed
end

local function sorted_files(folder)
  local paths = {}
  for path in pairs(files) do
    if path:sub(1, #folder + 1) == folder .. "/" then paths[#paths + 1] = path end
  end
  table.sort(paths)
  return paths
end

local function row(name, run, all)
  return ("%-32s %5d of %5d lines  %6.2f %%"):format(name, run, all, all > 0 and 100 * run / all or 0)
end

local function show_folder(folder, unrun)
  local rows, run, all = {}, 0, 0
  for _, path in ipairs(sorted_files(folder)) do
    local file_run, file_all, missed = tally(files[path])
    run, all = run + file_run, all + file_all
    rows[#rows + 1] = row("  " .. path, file_run, file_all)
    for _, number in ipairs(missed) do
      unrun[#unrun + 1] = ("%s:%d:%s"):format(path, number, files[path][number].text)
    end
  end
  print(row(folder, run, all))
  if #rows > 0 then print(table.concat(rows, "\n")) end
  return all > 0 and 100 * run / all >= LEAST_PERCENT[folder]
end

if #arg == 0 then
  io.stderr:write "usage: lua scripts/coverage.lua BUILD…\n"
  os.exit(2)
end
for _, build in ipairs(arg) do
  for object in lines_of("find " .. build .. " -path '*/src/*.gcda'") do read_report(object) end
end

local unrun, failed = {}, {}
for _, folder in ipairs(FOLDERS) do
  if not show_folder(folder, unrun) then
    failed[#failed + 1] = ("%s (least: %d %%)"):format(folder, LEAST_PERCENT[folder])
  end
end
print(("\n%d lines never ran:"):format(#unrun))
print(table.concat(unrun, "\n"))
print(#failed == 0 and "coverage: ok" or "coverage: FAILED: " .. table.concat(failed, ", "))
os.exit(#failed == 0 and 0 or 1)
