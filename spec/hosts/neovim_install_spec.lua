-- How the library comes into Neovim and leaves it again: `make nvim`, packages, missing parts, reloading; in both
-- editors.
require "spec.support.env"
local child = require "spec.support.child"
local neovim = require "spec.support.neovim"
local servers = require "spec.support.server"

local quote = child.quote
local UNSET = "env -u LD_PRELOAD -u LUA_PATH -u LUA_CPATH -u VIMRUNTIME -u NVIM "

-- A copy of this directory as `git clone` leaves it, but for what the compiler has to do.
local function copy_of_source()
  local folder = child.run("mktemp -d"):gsub("%s+$", "")
  local output, status = child.run([[cp -a --parents Makefile vllm-scm-1.rockspec scripts src lua doc examples/nvim build/obj build/luajit "$to" &&
    rm -f "$to"/lua/vllm/*.so "$to"/doc/tags]], { to = folder })
  assert(status == 0, output)
  return folder
end

describe("`make nvim`", function()
  local source

  setup(function() source = copy_of_source() end)
  teardown(function() child.run("rm -rf " .. quote(source)) end)

  local function make(arguments)
    local output, status = child.run(UNSET .. "make -s -C " .. quote(source) .. " nvim " .. arguments, nil, 200)
    return status, output
  end

  -- A compiler that does not find a header.
  local function blind_to(header)
    local name = source .. "/blind-to-" .. header:gsub("%W", "-")
    local file = assert(io.open(name, "w"))
    file:write(([[#!/bin/sh
case "$*" in *" -fsyntax-only "*) text=$(cat); case "$text" in *"<%s>"*) exit 1 ;; esac; printf '%%s\n' "$text" | exec gcc "$@" ;; esac
exec gcc "$@"
]]):format(header))
    file:close()
    child.run("chmod +x " .. quote(name))
    return "CC=" .. quote(name)
  end

  it("names the package of a header that is missing, and compiles nothing", function()
    for _, case in ipairs {
      { "LUA_INCDIR=/nonexistent",
        "missing: the headers of LuaJIT%. Debian, Ubuntu: apt install libluajit%-5%.1%-dev pkg%-config" },
      { blind_to "lua.h", "missing: the headers of LuaJIT%." },
      { blind_to "curl/curl.h",
        "missing: the headers of libcurl%. Debian, Ubuntu: apt install libcurl4%-openssl%-dev" },
      { "CC=no-such-compiler", "missing: a C compiler %(no%-such%-compiler%)%." },
    } do
      local status, output = make(case[1])
      assert.are_not.equal(0, status)
      assert.matches(case[2], output)
      assert.is_nil(output:find("error:", 1, true), output)
    end
  end)

  it("makes the modules and the help tags, which are those of :helptags", function()
    local status, output = make ""
    assert.equal(0, status, output)
    local ours = child.run("cat " .. quote(source .. "/doc/tags"))
    assert.matches("\nvllm%-install\tvllm%.txt\t/%*vllm%-install%*\n", ours)
    for _, editor in ipairs(neovim.editors()) do
      child.run(UNSET .. quote(editor.path) .. " --headless --clean -c 'helptags " .. source .. "/doc' -c 'qa!'")
      assert.equal(ours, (child.run("cat " .. quote(source .. "/doc/tags"))), editor.name)
    end
  end)

  -- The managers themselves are not here: what they do with these words is to call the hook of a plugin that they
  -- cloned.
  it("is what the words of docs/neovim.md for mini.deps and vim.pack run", function()
    local file = assert(io.open("docs/neovim.md", "rb"))
    local text = file:read "*a"
    file:close()
    local editor = neovim.editors()[2]
    for word, call in pairs {
      ["MiniDeps.add"] = 'MiniDeps = { add = function(plugin) plugin.hooks.post_install { path = source, name = '
        .. 'plugin.name } end }',
      ["vim.pack.add"] = 'vim.pack = { add = function(list) vim.api.nvim_exec_autocmds("PackChanged", '
        .. '{ data = { kind = "install", spec = list[1], path = source } }) end }',
    } do
      local block
      for code in text:gmatch "```lua\n(.-)```" do if code:find(word, 1, true) then block = code end end
      child.run("rm -f " .. quote(source) .. "/lua/vllm/*.so " .. quote(source .. "/doc/tags"))
      local output, status = child.with_file(("source = %q\n%s\n%s"):format(source, call, block), function(name)
        return child.run(UNSET .. quote(editor.path) .. " --headless --clean -n -c 'luafile " .. name
          .. "' -c 'qa!' 2>&1")
      end)
      assert.equal(0, status, output)
      local made = child.run("ls " .. quote(source) .. "/lua/vllm/*.so " .. quote(source .. "/doc/tags"))
      assert.matches("core%.so.*curl%.so.*tags", (made:gsub("^(%S*tags)\n(.*)$", "%2%1")), word .. ": " .. output)
    end
  end)

  for _, editor in ipairs(neovim.editors()) do
    for _, kind in ipairs { "start", "opt" } do
      it("leaves a package for pack/*/" .. kind .. ", in " .. editor.name .. " Neovim", function()
        local data = child.run("mktemp -d"):gsub("%s+$", "")
        local package = data .. "/nvim/site/pack/vllm/" .. kind
        child.run("mkdir -p " .. quote(package) .. " && ln -s " .. quote(source) .. " "
          .. quote(package .. "/lua-vllm"))
        local output, status = child.run(UNSET .. "XDG_DATA_HOME=" .. quote(data) .. " " .. quote(editor.path)
          .. " --headless -i NONE -u NORC -n "
          .. (kind == "opt" and "-c 'packadd lua-vllm' " or "")
          .. "-c 'help vllm-install' -c 'lua io.stdout:write(vim.fn.expand(\"%:t\"), \" \", require(\"vllm\").version, "
          .. "\" \", "
          .. "require(\"vllm.curl\").version)' -c 'qa!' 2>&1")
        child.run("rm -rf " .. quote(data))
        assert.equal(0, status, output)
        assert.matches("vllm%.txt %d[%d.]* %d[%d.]*$", output)
      end)
    end
  end
end)

for _, editor in ipairs(neovim.editors()) do
  describe(editor.name .. " Neovim:", function()
    local server

    setup(function() server = servers.start() end)
    teardown(function()
      server:stop()
      neovim.remove_runtime()
    end)

    local function run(code, target)
      local output, status = neovim.run(editor.path, code,
        { BASE_URL = server.url .. (target or "/v1"), EXAMPLE = neovim.runtime() .. "/example" })
      assert.equal(0, status, output)
      return (output:gsub("\n$", ""))
    end

    describe("where its parts in C are missing", function()
      local source

      -- A plugin's directory that nobody ran make in; `broken`: with a module that is none.
      local function plugin(broken)
        source = child.run("mktemp -d"):gsub("%s+$", "")
        child.run("cp -a --parents Makefile lua examples/nvim " .. quote(source) .. " && rm -f " .. quote(source)
          .. "/lua/vllm/*.so")
        if broken then child.run("echo no module >" .. quote(source .. "/lua/vllm/core.so")) end
      end
      after_each(function() child.run("rm -rf " .. quote(source)) end)

      local function message_of(command)
        return (child.run(UNSET .. quote(editor.path) .. " --headless --clean -n --cmd "
          .. quote("set rtp^=" .. source .. "," .. source
          .. "/examples/nvim") .. " " .. command .. " -c 'qa!' 2>&1"))
      end
      local REQUIRE = [[-c 'lua print((select(2, pcall(require, "vllm"))))']]

      it("require says what to run, and where", function()
        plugin()
        assert.equal("vllm: the C module vllm.core is not built: run `make nvim` in " .. source, message_of(REQUIRE))
      end)

      it("require says why one that is there cannot be loaded", function()
        plugin(true)
        local message = message_of(REQUIRE)
        assert.truthy(message:find("vllm: the C module vllm.core cannot be loaded here; run `make nvim` in " .. source
          .. " again (", 1, true), message)
        assert.is_nil(message:find("\n", 1, true), message)
      end)

      it(":Ask and :checkhealth say the same", function()
        plugin()
        assert.matches(":?\nAsk: vllm: the C module vllm.core is not built: run `make nvim` in " .. source .. "$",
          message_of "-c 'runtime plugin/ask.lua' -c 'Ask why'")
        local health = message_of [[-c 'checkhealth vllm' -c 'lua io.stdout:write(table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, true), "\n"))']]
        assert.truthy(health:find("is not built: run `make nvim` in " .. source, 1, true), health)
      end)
    end)

    -- Descriptors and threads; a reload is what plugin authors do while they write.
    local RELOAD = [[
      local function entries(path)
        local count, scan = 0, uv.fs_scandir(path)
        while scan and uv.fs_scandir_next(scan) do count = count + 1 end
        return count
      end
      local function counts() return entries "/proc/self/fd", entries "/proc/self/task" end
      local modules = setmetatable({}, { __mode = "k" })
      local function reload()
        for name, module in pairs(package.loaded) do
          if name:find "^vllm" then
            package.loaded[name] = nil
            if name == "vllm" or name:find "^vllm%.transports" or name:find "^vllm%.hosts" then modules[module] = true end
          end
        end
        return require "vllm"
      end
      -- An engine's thread ends by itself, soon after it was told to.
      local _, threads_before = counts()
      local fds_before
      local function settle()
        reload()
        vim.wait(5000, function() return select(2, counts()) <= threads_before end, 5)
        local fds, threads = counts()
        fds_before = fds_before or fds
        return fds - fds_before, threads - threads_before
      end
      vllm, hosts, client = nil, nil, nil
    ]]

    it("reloading leaves no thread and no descriptor, whoever waits, and nothing to be collected later", function()
      assert.equal("You said: 8\n0 0\ntrue", run(RELOAD .. [[
        local text
        local function use(i)
          local fresh = reload().new(options)
          if i % 2 == 0 then
            text = assert(fresh:ask(tostring(i)))
          else
            local done
            fresh:turn(tostring(i)):start(function() require("vllm").sleep(0.001) end, function(result) done = result end)
            wait_for(function() return done end)
          end
        end
        use(1)
        settle()
        collectgarbage "stop"
        for i = 3, 8 do use(i) end
        print(text)
        print(settle())
        collectgarbage "restart"
        modules[package.loaded.vllm] = nil
        for name in pairs(package.loaded) do if name:find "^vllm" then package.loaded[name] = nil end end
        print((vim.wait(5000, function()
          require("jit").flush() -- compiled code holds what it has met
          collectgarbage()
          return next(modules) == nil
        end, 5)))
        quit()]]))
    end)

    it("a turn that runs while its module is reloaded goes on, and its thread ends with it; an old client can still be "
      .. "used", function()
      assert.equal("word word word\n0 0\nYou said: hi", run(RELOAD .. [[
        local function use(target)
          local old = require("vllm").new { model = "m", base_url = os.getenv "BASE_URL" .. target }
          local done
          old:turn("x"):start(nil, function(result) done = result end)
          reload()
          wait_for(function() return done end)
          return vim.trim(done.text), old
        end
        use "/load?events=1"
        settle()
        print((use "/load?events=3&interval_ms=20"))
        print(settle())
        local old = require("vllm").new { model = "test-model", base_url = os.getenv "BASE_URL" .. "/v1" }
        assert(old:ask "x")
        reload()
        print(old:ask "hi")
        quit()]], ""))
    end)

    it(":Ask without a model is one sentence", function()
      assert.equal("1\nAsk: missing environment variable VLLM_MODEL; or call require(\"ask\").setup { model = \"…\" }", run [[
        vim.env.VLLM_MODEL = nil
        vim.opt.rtp:prepend(os.getenv "EXAMPLE")
        vim.cmd "runtime plugin/ask.lua"
        local told = {}
        vim.notify = function(message) told[#told + 1] = message end
        vim.cmd "Ask why is the sky blue?"
        print(#told)
        print(told[1])
        quit()]])
    end)
  end)
end
