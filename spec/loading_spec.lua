-- What loading the module brings into a process, seen from fresh processes of the interpreter that runs this.

local function run(code)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  file:write(code)
  file:close()
  local pipe = assert(io.popen(("%s %s 2>&1"):format(arg[-1], name)))
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
    local count = 'local function fds() local n = 0 for fd = 0, 255 do local f, _, code = io.open("/proc/self/fd/" .. fd) '
      .. 'if f then f:close() end if f or code ~= 2 then n = n + 1 end end return n end '
    local text = run(count .. 'local before = fds() require("vllm").new { model = "m" } print(fds() - before)')
    assert.equal("0", text:match "%-?%d+")
  end)

  it("without its part in C says what makes it, for the program that asks", function()
    local version = _VERSION:match "%d+%.%d+"
    for program, command in pairs { [""] = "luarocks --lua-version=" .. version .. " make", ["vim = {}"] = "make nvim", ["ngx = {}"] = "make nginx" } do
      assert.equal("vllm: its part in C, vllm.core, is not built: run `" .. command .. "` in this directory\n",
        run(program .. ' package.cpath = "" print((select(2, pcall(require, "vllm"))))'))
    end
    assert.equal("config: vllm: its part in C, vllm.curl, is not built: run `luarocks --lua-version=" .. version .. " make` in this directory\n",
      run 'local vllm = require "vllm" package.cpath = "" print((select(2, vllm.new { model = "m" }:ask "x")))')
  end)

  it("loads the words of other clients for a slip alone", function()
    local code = 'require "vllm" local client = require("vllm.testing").client { "a", "b" } assert(client:ask "x") assert(client:session():ask "y") '
      .. 'print(package.loaded["vllm.foreign"])'
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
