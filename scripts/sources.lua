--- The rockspec holds the one list of sources; this compares it with the disk, and with what the Makefile reads from
--- it.
-- usage: lua scripts/sources.lua FILE...     the Makefile's list; fails where they differ, naming each file
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

local function set(list)
  local found = {}
  for _, value in ipairs(list) do found[value] = true end
  return found
end

local function check(of_makefile)
  local complaints, listed, on_disk = {}, {}, files_on_disk()
  local function complain(...) complaints[#complaints + 1] = string.format(...) end
  for name, module in pairs(modules) do
    if type(module) == "string" then
      listed[module] = true
      if module_name(module) ~= name then complain("%s is listed as %s", module, name) end
    else
      for _, path in ipairs(module.sources) do
        if listed[path] == name then complain("%s is listed twice", path) end
        listed[path] = name
        if not ROOMS[name][path:match("^src/(%w+)/")] then complain("%s does not belong in %s", path, name) end
      end
    end
  end
  for path in pairs(listed) do
    if not on_disk[path] then complain("%s is listed and not there", path) end
    if not of_makefile[path] then complain("%s is not seen by the Makefile", path) end
  end
  for path in pairs(on_disk) do
    if not listed[path] then complain("%s is not listed", path) end
  end
  table.sort(complaints)
  for _, text in ipairs(complaints) do io.stderr:write(ROCKSPEC, ": ", text, "\n") end
  return #complaints == 0
end

os.exit(check(set { ... }) and 0 or 1)
