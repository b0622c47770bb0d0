--- The rockspec holds the one list of sources; this hands it to the Makefile, and compares it with the disk.
-- usage: lua scripts/sources.lua MODULE      the C sources of vllm.core or vllm.curl, one per line
--        lua scripts/sources.lua --lua       the Lua modules, one file per line
--        lua scripts/sources.lua --check     fails where list and disk differ, naming each file
-- Runs on Lua 5.1 and later, in the directory of the rockspec. Prints nothing else, writes nothing.

local ROCKSPEC = "vllm-scm-1.rockspec"

--- The rockspec is a Lua chunk of assignments: run it in a table of its own, with nothing in reach.
local function load_rockspec()
  local spec = {}
  local chunk = assert(loadfile(ROCKSPEC, "t", spec)) -- Lua 5.1 reads the first argument only
  local setfenv = rawget(_G, "setfenv")
  if setfenv then setfenv(chunk, spec) end
  chunk()
  return spec
end

local modules = load_rockspec().build.modules

local function c_sources(name)
  local module = modules[name]
  if type(module) ~= "table" then error(ROCKSPEC .. " has no C module " .. tostring(name), 0) end
  return module.sources
end

local function lua_files()
  local files = {}
  for _, module in pairs(modules) do
    if type(module) == "string" then files[#files + 1] = module end
  end
  table.sort(files)
  return files
end

--- `lua/vllm/init.lua` is `vllm`, `lua/vllm/transports/curl.lua` is `vllm.transports.curl`.
local function module_name(path)
  return (path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", "."))
end

local function files_on_disk()
  local pipe = assert(io.popen("find src lua -name '*.c' -o -name '*.lua'"))
  local found = {}
  for path in pipe:lines() do found[path] = true end
  pipe:close()
  return found
end

--- Which folders a C module may take its sources from: libcurl stays out of vllm.core, the core out of vllm.curl.
local ROOMS = { ["vllm.core"] = { core = true, bind = true }, ["vllm.curl"] = { net = true, bind = true } }

local function check()
  local complaints, listed, on_disk = {}, {}, files_on_disk()
  local function complain(...) complaints[#complaints + 1] = string.format(...) end
  for name, module in pairs(modules) do
    if type(module) == "string" then
      listed[module] = true
      if module_name(module) ~= name then complain("%s is listed as %s", module, name) end
    else
      for _, path in ipairs(module.sources) do
        if listed[path] then complain("%s is listed twice", path) end
        listed[path] = true
        if not ROOMS[name][path:match("^src/(%w+)/")] then complain("%s does not belong in %s", path, name) end
      end
    end
  end
  for path in pairs(listed) do
    if not on_disk[path] then complain("%s is listed and not there", path) end
  end
  for path in pairs(on_disk) do
    if not listed[path] then complain("%s is not listed", path) end
  end
  table.sort(complaints)
  for _, text in ipairs(complaints) do io.stderr:write(ROCKSPEC, ": ", text, "\n") end
  return #complaints == 0
end

local what = ...
if what == "--check" then
  os.exit(check() and 0 or 1)
elseif what == "--lua" then
  print(table.concat(lua_files(), "\n"))
else
  print(table.concat(c_sources(what), "\n"))
end
