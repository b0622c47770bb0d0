-- What of the environment and the home directory reaches a request: the proxies that curl knows, and nothing that makes
-- it less safe.
require "spec.support.env"
local child = require "spec.support.child"
local server = require "spec.support.server"

local ASK = [[
local proxy
if os.getenv "NO_PROXIES" then proxy = false end
local client = require("vllm").new { model = "test-model", base_url = os.getenv "BASE", retry = false, timeout = { total_s = 10 },
  proxy = proxy, tls = os.getenv "INSECURE" and { verify = false } or nil }
if os.getenv "GET" then
  local answer, message = client:request("GET", "/")
  return print(answer and answer.status or message)
end
print(client:ask "x")]]

describe("the environment", function()
  local running

  setup(function() running = server.start {} end)
  teardown(function() running:stop() end)
  before_each(function() running:clear_log() end)

  -- Names in capitals are this machine's own.
  local function ask(base, environment)
    local all = { BASE = base, http_proxy = "", HTTP_PROXY = "", all_proxy = "", ALL_PROXY = "", no_proxy = "",
      NO_PROXY = "" }
    for name, value in pairs(environment) do all[name] = value end
    return (child.lua(ASK, all):gsub("\n$", ""))
  end

  for _, name in ipairs { "http_proxy", "all_proxy" } do
    it(name .. " is used, also for a name that only the proxy knows", function()
      assert.equal("You said: x", ask("http://model.invalid/v1", { [name] = running.url }))
      assert.equal("model.invalid", running:log("request")[1].headers.host)
    end)
  end

  it("no_proxy names what is asked directly", function()
    assert.equal("You said: x", ask(running.url .. "/v1",
      { http_proxy = "http://127.0.0.1:1", no_proxy = "127.0.0.1" }))
    assert.equal("/v1/chat/completions", running:log("request")[1].path)
    assert.matches("^nil\tconnect: ", ask(running.url .. "/v1", { http_proxy = "http://127.0.0.1:1" }))
  end)

  it("proxy = false uses none of them", function()
    assert.equal("You said: x", ask(running.url .. "/v1", { http_proxy = "http://127.0.0.1:1", NO_PROXIES = 1 }))
  end)

  it("a proxy that cannot be reached is named, and not taken for the server", function()
    local answer = ask("http://model.invalid/v1", { http_proxy = "http://user:secret@127.0.0.1:1" })
    assert.matches("^nil\tconnect: cannot connect to the proxy 127.0.0.1:1, on the way to model.invalid %(", answer)
    assert.is_nil(answer:find "secret")
    assert.matches("to the proxy 127.0.0.1:1, on", ask(running.url .. "/v1", { http_proxy = "http://127.0.0.1:1" }))
    assert.matches("connect: cannot connect to 127.0.0.1:1: nothing listens there", ask("http://127.0.0.1:1/v1", {}))
    -- libcurl writes the server's own address in its own way
    assert.matches("connect: cannot connect to 127.1:1: nothing", ask("http://127.1:1/v1", {}))
    assert.matches("connect: cannot connect to 127.1:1: nothing",
      ask("http://127.1:1/v1", { http_proxy = running.url, no_proxy = "*" }))
  end)

  it("a .netrc, cookies and a .curlrc of the user's are not read", function()
    local home = child.run("mktemp -d"):match "[^\n]+"
    local function write(name, text)
      local file = assert(io.open(home .. "/" .. name, "w"))
      file:write(text)
      file:close()
    end
    write(".netrc",
      "machine 127.0.0.1 login netrc-user password netrc-password\ndefault login netrc-user password netrc-password\n")
    write(".curlrc", 'header = "X-Curlrc: yes"\ncookie = "a=b"\n')
    write(".curl-hsts", '127.0.0.1 "20991231 00:00:00"\n')
    assert.equal("You said: x", ask(running.url .. "/v1", { HOME = home, CURL_HOME = home, NETRC = home .. "/.netrc" }))
    local headers = running:log("request")[1].headers
    assert.same({}, { headers.authorization, headers.cookie, headers["x-curlrc"] })
    child.run("rm -r " .. child.quote(home))
  end)

  -- As OpenSSL's configuration may allow it to both sides, and curl to itself.
  it("no configuration of OpenSSL's lowers TLS below 1.2", function()
    local directory = child.run("mktemp -d"):match "[^\n]+"
    local function at(name) return directory .. "/" .. name end
    local conf = assert(io.open(at "conf", "w"))
    conf:write("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMinProtocol = TLSv1\nCipherString = "
      .. "ALL:@SECLEVEL=0\n")
    conf:close()
    child.run(("openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout %s -out %s")
      :format(at "key", at "cert"))
    local function answer_over(version)
      local old = io.popen(("OPENSSL_CONF=%s exec timeout 20 openssl s_server -%s -www -naccept 1 -accept 0 -cert %s "
        .. "-key %s 2>&1 </dev/null")
        :format(at "conf", version, at "cert", at "key"))
      local port, line
      repeat
        line = assert(old:read "*l", "openssl s_server does not start")
        port = line:match "^ACCEPT.*:(%d+)$"
      until port
      local answer = ask(("https://127.0.0.1:%s/v1"):format(port), { OPENSSL_CONF = at "conf", INSECURE = 1, GET = 1 })
      old:close()
      return answer
    end
    assert.matches("^tls: 127.0.0.1:%d+ does not offer TLS 1.2 or later", answer_over "tls1_1")
    assert.equal("200", answer_over "tls1_2")
    child.run("rm -r " .. child.quote(directory))
  end)
end)
