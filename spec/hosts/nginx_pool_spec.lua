-- Which connections of nginx's pools are used again, and what is sent twice. In a real nginx, against the real server.
require "spec.support.env"
local child = require "spec.support.child"
local nginxes = require "spec.support.nginx"
local servers = require "spec.support.server"

-- A TLS server on a unix socket, where one address may stand for several names. Its certificate is one for localhost.
local HTTP = [[
  init_by_lua_block {
    vllm = require "vllm"
    function client_of(target, options)
      local all = { model = "test-model", base_url = "{url}" .. target, retry = false }
      for name, value in pairs(options or {}) do all[name] = value end
      return vllm.new(all)
    end
  }
  server {
    listen unix:{prefix}/tls.sock ssl;
    ssl_certificate own.pem;
    ssl_certificate_key own.key;
    location / { proxy_pass {url}; }
  }
]]
local SERVER = [[
  location = /run/trusting { lua_ssl_trusted_certificate own.pem; content_by_lua_block { require("spec.support.nginx_worker").run() } }
]]

-- Two PEM texts: certificate, key.
local function own_certificate()
  local output, status = child.run [[
    set -e
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
      -addext subjectAltName=DNS:localhost -keyout "$folder/key" -out "$folder/cert" 2>"$folder/log" || { cat "$folder/log"; exit 1; }
    cat "$folder/cert" "$folder/key"]]
  assert(status == 0, output)
  return output:match "%-+BEGIN CERTIFICATE.-END CERTIFICATE%-+\n",
    output:match "%-+BEGIN PRIVATE KEY.-END PRIVATE KEY%-+\n"
end

describe("nginx's pools:", function()
  local server, nginx

  setup(function()
    server = servers.start()
    local certificate, key = own_certificate()
    nginx = nginxes.start { http = HTTP, server = SERVER, values = { url = server.url },
      files = { ["own.pem"] = certificate, ["own.key"] = key } }
  end)
  teardown(function()
    nginx:stop()
    server:stop()
  end)
  before_each(function() server:clear_log() end)

  local COMPLETION = [[{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"whole"},"finish_reason":"stop"}]}]]

  -- What the two turns of one client, one after the other, gave: text or message; and whether both were on one
  -- connection.
  local function two_turns(steps)
    return nginx:run(([[
      local own = client_of(%q)
      local lines = {}
      for i = 1, 2 do
        local text, message = own:ask "x"
        lines[i] = text or message
      end
      return table.concat(lines, ", ")]]):format(server:script(steps)))
  end

  local function is_one_connection()
    local log = server:log "request"
    assert.equal(2, #log)
    return log[1].connection == log[2].connection
  end

  local function whole(head)
    return ("%s\r\ncontent-type: application/json\r\n\r\n%s"):format(head:gsub("LENGTH", #COMPLETION), COMPLETION)
  end

  it("a connection that HTTP keeps is used again", function()
    assert.equal("whole, whole", two_turns { { "send", whole "HTTP/1.1 200 OK\r\ncontent-length: LENGTH" } })
    assert.is_true(is_one_connection())
  end)

  -- The server leaves it open all the same: only the answer's head says that it is over.
  for name, head in pairs {
    ["an answer that says `Connection: close`"] = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: LENGTH",
    ["an answer of HTTP/1.0"] = "HTTP/1.0 200 OK\r\ncontent-length: LENGTH",
  } do
    it("a connection is not used again behind " .. name, function()
      assert.equal("whole, whole", two_turns { { "send", whole(head) } })
      assert.is_false(is_one_connection())
    end)
  end

  -- The first answer leaves a connection in the pool; the second request goes out on it.
  for name, bytes in pairs { ["a part of the head"] = "HTTP/1.1 20",
    ["an interim answer"] = "HTTP/1.1 103 Early Hints\r\n\r\n" } do
    it("a request of which the server has sent " .. name .. " is not sent again when its connection breaks", function()
      local text = two_turns { { "send", whole "HTTP/1.1 200 OK\r\ncontent-length: LENGTH" }, "next", { "send", bytes },
        "drop", "next",
        { "send", whole "HTTP/1.1 200 OK\r\ncontent-length: LENGTH" } }
      assert.matches("^whole, closed: ", text)
      assert.is_true(is_one_connection())
    end)
  end

  it("a connection that turns out to be dead is replaced by a new one, not by another of the pool", function()
    local kept = whole "HTTP/1.1 200 OK\r\ncontent-length: LENGTH"
    local path = server:script { { "wait", 50 }, { "send", kept }, "next", { "wait", 50 }, { "send", kept }, "next",
      "drop", "next", { "send", kept } }
    assert.equal("whole", nginx:run(([[
      local own, threads = client_of(%q), {}
      for i = 1, 2 do threads[i] = ngx.thread.spawn(function() assert(own:ask "x") end) end
      for i = 1, 2 do assert(ngx.thread.wait(threads[i])) end
      return assert(own:ask "x")]]):format(path)))
    local log = server:log "request"
    assert.equal(4, #log)
    for i = 1, 3 do assert.is_true(log[4].connection > log[i].connection) end
  end)

  it("a connection that was trusted for one name is not used for another", function()
    local function ask(name)
      return nginx:run(([[
        local turn = client_of("", { base_url = "https://%s/v1", unix_socket = "%s/tls.sock" }):turn "x"
        local text, message = turn:text()
        return text or message, text and turn:result().timing.reused]]):format(name, nginx.prefix), "trusting")
    end
    assert.equal("You said: x\nfalse", ask "localhost")
    assert.equal("You said: x\ntrue", ask "localhost")
    assert.matches("^tls: ", ask "other.example")
    assert.matches("certificate does not match host", nginx:log(), 1, true)
    assert.equal("You said: x\ntrue", ask "localhost")
  end)
end)
