-- What README.md gives a user of Neovim to paste, in both editors.
require "spec.support.env"
local child = require "spec.support.child"
local neovim = require "spec.support.neovim"
local servers = require "spec.support.server"

local file = assert(io.open("README.md", "rb"))
local CODE = file:read "*a":match "\n### Neovim\n.-```lua\n(.-)```"
file:close()

for _, editor in ipairs(neovim.editors()) do
  describe(editor.name .. " Neovim:", function()
    local server
    setup(function() server = servers.start() end)
    teardown(function()
      server:stop()
      neovim.remove_runtime()
    end)

    it("README.md's command writes where the cursor is", function()
      assert(editor.path, editor.why)
      -- What goes to localhost:8000 there comes to the test server as to a proxy.
      local output, status = child.with_file(CODE, function(path)
        return neovim.run(editor.path, ([[
          vim.cmd "luafile %s"
          vim.cmd "Write two words"
          local function lines() return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, true), "\n") end
          wait_for(function() return lines() == "You said: two words" end)
          quit()]]):format(path), { http_proxy = server.url })
      end)
      assert.equal(0, status, output)
    end)
  end)
end
