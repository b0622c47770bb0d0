-- Lua for a program of a spec whose `client` asks a server that stalls: `ask_both()` sends Ctrl-C to its own process
-- while a turn waits in its stream, and while another one waits between two attempts, and prints how each ended.
return [[
  client = client:with { interrupt = "cancel", retry = { max = 1 } }
  local failing = client:with { base_url = os.getenv "URL" .. "/fault/status/503?retry_after=60" }
  local function ask_both()
    for _, one in ipairs { client, failing } do
      local turn = one:turn "x"
      assert(turn:next())
      os.execute "(sleep 0.1; kill -INT $PPID) &"
      print(select(3, turn:result()).kind)
    end
  end
]]
