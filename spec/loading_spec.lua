-- What loading the module brings into a process, seen from fresh processes of the interpreter that runs this.

local function run(code, directory)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  file:write(code)
  file:close()
  local pipe = assert(io.popen(("cd %s && %s %s 2>&1"):format(directory or ".", arg[-1], name)))
  local text = pipe:read "*a"
  pipe:close()
  os.remove(name)
  return text
end

local MAPS = 'for line in io.lines "/proc/self/maps" do print(line) end'

describe('require "vllm"', function()
  it("loads no libcurl, and neither does a client", function()
    local maps = run('require("vllm").new { model = "m" } ' .. MAPS)
    assert.truthy(maps:find("vllm/core.so", 1, true), maps)
    assert.is_nil(maps:find("libcurl", 1, true))
    assert.is_nil(maps:find("libssl", 1, true))
  end)

  it("that sends a request does load libcurl", function()
    local maps = run('require("vllm").new { model = "m", base_url = "http://127.0.0.1:1/v1" }:ask "x" ' .. MAPS)
    assert.truthy(maps:find("libcurl", 1, true))
  end)

  it("opens no descriptor", function()
    -- A descriptor that is not open is no entry (2); a socket or an epoll set is one that cannot be opened again.
    local count = 'local function fds() local n = 0 for fd = 0, 255 do local f, _, code = io.open("/proc/self/fd/" .. '
      .. 'fd) '
      .. 'if f then f:close() end if f or code ~= 2 then n = n + 1 end end return n end '
    local text = run(count .. 'local before = fds() require("vllm").new { model = "m" } print(fds() - before)')
    assert.equal("0", text:match "%-?%d+")
  end)

  describe("without its part in C", function()
    local VERSION = _VERSION:match "%d+%.%d+"
    local copy -- of a checkout that nobody built

    setup(function()
      copy = os.tmpname()
      os.remove(copy)
      -- Without the sanitizers' libraries: cp is no business of theirs.
      local made = os.execute(("exec env -u LD_PRELOAD sh -c 'mkdir %s && cp -r Makefile lua %s && rm -f "
        .. "%s/lua/vllm/*.so'"):format(copy, copy, copy))
      assert(made == true or made == 0)
    end)
    teardown(function() os.execute("rm -r " .. copy) end)

    it("says what makes it, for the program that asks", function()
      for program, command in pairs { [""] = "luarocks --lua-version=" .. VERSION .. " make",
        ["vim = {}"] = "make nvim", ["ngx = {}"] = "make nginx" } do
        assert.equal("vllm: the C module vllm.core is not built: run `" .. command .. "` in this directory\n",
          run(program .. ' package.cpath = "" print((select(2, pcall(require, "vllm"))))', copy))
      end
      assert.equal("config: vllm: the C module vllm.curl is not built: run `luarocks --lua-version=" .. VERSION
        .. " make` in this directory\n",
        run 'local vllm = require "vllm" package.cpath = "" print((select(2, vllm.new { model = "m" }:ask "x")))')
    end)

    it("says where it is, if it is built and not found", function()
      local file = assert(io.open(copy .. "/lua/vllm/core.so", "w"))
      file:close()
      local place = "vllm: the C module vllm.core is in " .. copy .. "/lua, where "
      for program, said in pairs {
        ["vim = {}"] = place .. "Neovim does not look: put " .. copy .. " into 'runtimepath'",
        ["ngx = {}"] = place .. 'nginx does not look: set lua_package_cpath "' .. copy .. '/lua/?.so;;";',
        -- Which Lua it was built for, nobody can tell.
        [""] = "vllm: the C module vllm.core is not built: run `luarocks --lua-version=" .. VERSION .. " make` in "
          .. copy,
      } do
        assert.equal(said .. "\n",
          run(('%s package.cpath = "" print((select(2, dofile("%s/lua/vllm/base/native.lua").load "vllm.core")))')
          :format(
          program, copy)))
      end
    end)
  end)

  it("loads the words of other clients for a slip alone", function()
    local code = 'require "vllm" local client = require("vllm.testing").client { "a", "b" } assert(client:ask "x") '
      .. 'assert(client:session():ask "y") '
      .. 'print(package.loaded["vllm.base.foreign"])'
    assert.equal("nil\n", run(code))
  end)

  it("defines no global", function()
    local code = 'local seen = {} for k in pairs(_G) do seen[k] = true end require "vllm" require "vllm.testing" '
      .. 'for k in pairs(_G) do if not seen[k] then print("global", k) end end'
    assert.equal("", run(code))
  end)

  it("prints nothing and leaves the environment alone", function()
    assert.equal("", run 'os.getenv = function() error "the environment was read" end require "vllm"')
  end)
end)
