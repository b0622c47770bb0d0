-- A process that may open no more descriptors: it is told so, and not that its server is dead. One process for all,
-- with few descriptors.
local child = require "spec.support.child"

local CODE = [=[
local vllm = require "vllm"
local client = vllm.new { model = "m", base_url = "http://127.0.0.1:9/v1", retry = false }
local held = {}

local function leave(count)
  while true do
    local file = io.open "/dev/null"
    if not file then break end
    held[#held + 1] = file
  end
  for _ = 1, count do table.remove(held):close() end
end

local function ask(count, options)
  leave(count)
  local _, _, err = client:with(options or {}):ask "x"
  local lacks = err.message:find("this process has no file descriptor left", 1, true) ~= nil
  print(err.kind, lacks, err.retryable)
end

ask(0) -- no module can be loaded
ask(1) -- no engine
ask(2) -- an engine with nothing left for a socket
ask(0)
ask(0, { unix_socket = "/nowhere/at/all" })
ask(0, { base_url = "http://name.invalid" })
ask(4, { base_url = "https://127.0.0.1:9/v1" }) -- a server that is really dead
ask(4, { unix_socket = "/nowhere/at/all" })
]=]

describe("no descriptor left", function()
  it("is told as that, wherever one is needed", function()
    local output = child.lua(CODE, {}, "ulimit -n 64; ")
    local lines = {}
    for line in output:gmatch "[^\n]+" do lines[#lines + 1] = line end
    for i = 1, 6 do assert.equal("connect\ttrue\ttrue", lines[i], "line " .. i .. " of " .. output) end
    for i = 7, 8 do assert.equal("connect\tfalse\ttrue", lines[i], "line " .. i .. " of " .. output) end
    assert.equal(8, #lines)
  end)

  it("is told where the files of TLS cannot be opened", function()
    local curl_errors = require "vllm.transports.curl_errors"
    for _, code in ipairs { 58, 77 } do
      local err = curl_errors.of({ code = code, text = "error setting certificate", reason = "descriptors", verify = 0,
        bytes = 0 }, { url = "https://h/" })
      assert.equal("connect", err.kind)
      assert.is_nil(err.retryable)
      assert.truthy(err.detail:find("cannot connect to h: this process has no file descriptor left", 1, true),
        err.detail)
    end
  end)
end)
