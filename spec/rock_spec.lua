-- The rock, as a user gets it: packed into a directory (make rock), installed from there by LuaRocks, and loaded.
-- LuaRocks builds for Lua 5.4 whatever runs this file, so one run says it all; the other Luas have nothing to add here.
if _VERSION ~= "Lua 5.4" then return end

local function run(command)
  local pipe = assert(io.popen("env -u LD_PRELOAD -u LUA_PATH -u LUA_CPATH " .. command .. " 2>&1"))
  local output = pipe:read "*a"
  local ok = pipe:close()
  return ok, output
end

local function quote(text) return "'" .. text:gsub("'", [['\'']]) .. "'" end

local function slurp(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

describe("the rock, installed with LuaRocks on Lua 5.4", function()
  local home, install_ok, install_output

  -- Runs a program with what `luarocks path` would set up for that home, Debian's modules (lua-cjson) behind it.
  local function run_installed(program)
    local tree = home .. "/.luarocks"
    local path = tree .. "/share/lua/5.4/?.lua;" .. tree .. "/share/lua/5.4/?/init.lua;;"
    local cpath = tree .. "/lib/lua/5.4/?.so;;"
    return run(("-C / LUA_PATH=%s LUA_CPATH=%s lua5.4 -e %s"):format(quote(path), quote(cpath), quote(program)))
  end

  setup(function()
    local _, name = run "mktemp -d"
    home = name:match "^[^\n]+"
    local config = assert(io.open(home .. "/config.lua", "w"))
    -- Debian's lua-cjson is invisible to LuaRocks; this is how its user says that it is there.
    config:write 'rocks_provided = { ["lua-cjson"] = "2.1.0.10-1" }\n'
    config:write 'variables = { CFLAGS = "-O0 -fPIC" }\n' -- compiles twice as fast
    config:close()
    install_ok,
      install_output = run(("HOME=%s LUAROCKS_CONFIG=%s timeout 120 luarocks --lua-version=5.4 --server=%s install "
        .. "--local vllm")
      :format(quote(home), quote(home .. "/config.lua"), quote(io.popen("pwd"):read "*l" .. "/build/rocks")))
  end)

  teardown(function() run("rm -rf " .. quote(home)) end)

  it("installs from a directory, building both modules", function()
    assert.is_truthy(install_ok, install_output)
    assert.is_truthy(io.open(home .. "/.luarocks/lib/lua/5.4/vllm/core.so"))
    assert.is_truthy(io.open(home .. "/.luarocks/lib/lua/5.4/vllm/curl.so"))
  end)

  it("loads, from the installed tree, without libcurl", function()
    local ok, output = run_installed [[
      assert(require "vllm")
      print(package.searchpath("vllm", package.path))
      for line in io.lines "/proc/self/maps" do assert(not line:find("libcurl", 1, true), line) end]]
    assert.is_truthy(ok, output)
    assert.are.equal(home .. "/.luarocks/share/lua/5.4/vllm/init.lua\n", output)
  end)

  it("carries the version of the source tree", function()
    local version = slurp "src/bind/version.h":match 'VLLM_VERSION "([^"]+)"'
    local _, output = run_installed [[io.write(require "vllm.core".version)]]
    assert.are.equal(version, output)
  end)

  it("loads the engine's module, which finds libcurl", function()
    local ok, output = run_installed [[io.write(require "vllm.curl".version)]]
    assert.is_truthy(ok, output)
    assert.is_truthy(output:find "^%d+%.%d+%.%d+" or output:find "^libcurl/%d+", output)
  end)
end)
