-- A header of sixty thousand blanks took half a minute, since each was tried as the end of the value.
local server = require "spec.support.server"
local vllm = require "vllm"

describe("response headers", function()
  it("are trimmed, whatever blanks they hold", function()
    local running, blanks = server.start {}, (" "):rep(60000)
    local path = running:script { { "send",
      "HTTP/1.1 400 X\r\nx-a:  a" .. blanks .. "b \t\r\nx-b:\r\nx-c: \t \r\ncontent-length: 0\r\n\r\n" } }
    local turn = vllm.new({ model = "m", base_url = running.url .. path }):turn "x"
    assert.equal("invalid_request", select(3, turn:result()).kind)
    assert.equal("a" .. blanks .. "b", turn.headers["x-a"])
    assert.equal("", turn.headers["x-b"])
    assert.equal("", turn.headers["x-c"])
    running:stop()
  end)
end)
