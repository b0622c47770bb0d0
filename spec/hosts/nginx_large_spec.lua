-- A request in nginx that is larger than the buffers of its socket, so that sending and reading go on at once.
require "spec.support.env"
local nginxes = require "spec.support.nginx"
local rig = require "spec.support.nginx_rig"
local servers = require "spec.support.server"

describe("a large request in nginx", function()
  local server, nginx

  setup(function()
    server = servers.start { tls = true, unix = true }
    nginx = rig.start(server)
  end)
  teardown(function()
    nginx:stop()
    server:stop()
  end)

  -- A server of its own, which takes in nothing of the body: what is left of that keeps it from seeing a client go.
  local function to_deaf(options, ...)
    local deaf = servers.start {}
    local base_url = deaf.url .. deaf:script { ... } .. "?early=1"
    local told = nginx:run(([[
      local _, message = client_of("", { base_url = %q, retry = false, timeout = { %s } }):ask(("x"):rep(8000000))
      return message]]):format(base_url, options))
    deaf:stop()
    return told
  end

  for _, ending in ipairs { "close", "reset", "stall" } do
    it("is answered before the whole of it is sent, by a server that will " .. ending, function()
      local refusal = 'HTTP/1.1 413 X\r\ncontent-type: application/json\r\ncontent-length: 38\r\n\r\n'
        .. '{"error":{"message":"Test error 413"}}'
      local told = to_deaf("total_s = 5", { "send", refusal }, { "wait", 50 }, ending)
      assert.equal("invalid_request: Test error 413 (status 413)", told)
    end)
  end

  it("ends at the turn's clock, where the server neither takes it in nor answers", function()
    local descriptors = nginx:descriptors()
    assert.matches("^timeout: timeout.first_event_s: 0.2 s passed", to_deaf("first_event_s = 0.2", "stall"))
    assert.is_true(nginxes.wait_for(function() return nginx:descriptors() <= descriptors end))
  end)

  it("is answered as a small one is, on a new connection and on an old one, plain and over TLS", function()
    for _, url in ipairs { server.url, server.tls_url } do
      assert.equal("You said: xx\nYou said: xx\ntrue", nginx:run(([[
        local over = client_of("", { base_url = %q })
        local function result() return over:turn(("x"):rep(8000000), { streaming = false }):result() end
        local first, second = result(), result()
        return first.text:sub(1, 12), second.text:sub(1, 12), second.timing.reused]]):format(url .. "/v1"), "trusting"))
    end
  end)
end)
