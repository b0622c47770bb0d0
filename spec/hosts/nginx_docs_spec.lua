-- The configurations of docs/nginx.md as they stand there, but for addresses, with what `make nginx` makes.
require "spec.support.env"
local child = require "spec.support.child"
local nginxes = require "spec.support.nginx"
local servers = require "spec.support.server"

local TEXT = nginxes.read_file "docs/nginx.md"
local LOG_FORMAT = TEXT:match "`(log_format tokens [^`]*;)`"
local BLOCKS = {}
for block in TEXT:gmatch "```nginx\n(.-)```" do BLOCKS[#BLOCKS + 1] = block end

-- A copy of this directory with what a build would compile first, as `git clone` and `make` leave it.
local COPY = [[
  set -e
  cp -a --parents Makefile vllm-scm-1.rockspec scripts src lua build/obj build/luajit "$copy"
  rm -f "$copy"/lua/vllm/*.so
  env -u LD_PRELOAD -u LUA_PATH -u LUA_CPATH make -s -C "$copy" nginx]]

describe("docs/nginx.md:", function()
  local server, nginx, copy

  local function conf(prefix)
    local function put(text, from, to)
      local at, last = text:find(from, 1, true)
      assert(at, from .. " is not in the document")
      return text:sub(1, at - 1) .. to .. text:sub(last + 1)
    end
    -- with it nginx does what the writes must do
    local service = put(BLOCKS[1], "lua_check_client_abort on;", "lua_check_client_abort off;")
    service = put(service, "listen 8080;", "listen unix:" .. prefix .. "/ask.sock;")
    service = put(service, "http://127.0.0.1:8000/v1", server.url .. "/v1?pace_ms=3"):gsub("/opt/lua%-vllm", copy)
    return ([[
      %s
      daemon off; worker_processes 1; pid nginx.pid; error_log error.log notice; %s
      events { worker_connections 64; }
      http {
        access_log off;
        %s
        client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
        %s
        server {
          listen unix:%s/nginx.sock;
          location = /ping { return 200; }
          %s
        }
      }]]):format(nginxes.modules, nginxes.as_root, LOG_FORMAT, service, prefix,
      put(put(BLOCKS[2], "http://127.0.0.1:8000", server.url), "/var/log/nginx/tokens.log", "tokens.log"))
  end

  setup(function()
    local output
    copy = child.run("mktemp -d"):gsub("%s+$", "")
    output = child.run(COPY, { copy = copy }, 100)
    assert(nginxes.read_file(copy .. "/lua/vllm/core.so"), output)
    server = servers.start()
    nginx = nginxes.start { conf = conf }
  end)
  teardown(function()
    nginx:stop()
    server:stop()
    child.run("rm -rf " .. child.quote(copy))
  end)

  local function ask(path)
    return servers.parse((servers.send(nginx.prefix .. "/ask.sock", nginxes.head(path), { limit_ms = 60000 })))
  end

  it("there are these two", function() assert.equal(2, #BLOCKS) end)

  it("the service unescapes its question and streams the answer", function()
    local status, headers, body = ask "/ask?q=Why+is+%22caf%C3%A9%22+100%25%3F"
    assert.equal('200 You said: Why is "café" 100%?', status .. " " .. body)
    assert.equal("text/plain", headers["content-type"])
    assert.equal("", nginx:log())
  end)

  it("it refuses a question that is missing, empty, doubled, or no UTF-8", function()
    server:clear_log()
    for _, query in ipairs { "", "?q", "?q=", "?q=a&q=b" } do
      local status, _, body = ask("/ask" .. query)
      assert.equal(400, status, query)
      assert.matches("^write /ask%?q=", body)
    end
    assert.equal(400, (ask "/ask?q=%FF"))
    assert.matches("invalid_request", nginx:log())
    assert.equal(0, #server:log "request")
    nginx:clear_log()
  end)

  it("a client that leaves ends its turn at the next write, even where nginx does not look", function()
    server:clear_log()
    servers.send(nginx.prefix .. "/ask.sock", nginxes.head("/ask?q=" .. ("word+"):rep(400)), { read = 300 })
    assert.is_truthy(nginxes.wait_for(function()
      for _, record in ipairs(server:log "close") do if record.midway then return true end end
    end))
    assert.is_truthy(nginxes.wait_for(function() return nginx:log():find("cancelled: ", 1, true) end))
    nginx:clear_log()
  end)

  it("it runs on what `make nginx` made, and that has no libcurl", function()
    assert.is_nil(nginxes.read_file(copy .. "/lua/vllm/curl.so"))
  end)

  local posted = 0
  local function post(body)
    posted = posted + 1
    return nginx:request("/v1/chat/completions", { headers = { ["content-type"] = "application/json" }, body = body })
  end

  -- The line that the document's format writes for the last post, when it has come: nginx writes it after the answer.
  local function logged()
    return nginxes.wait_for(function()
      local lines = {}
      for line in (nginxes.read_file(nginx.prefix .. "/tokens.log") or ""):gmatch "([^\n]*)\n" do
        lines[#lines + 1] = line
      end
      return #lines == posted and lines[posted]
    end)
  end

  local ASK = [["model":"test-model","messages":[{"role":"user","content":"one two"}]}]]

  it("the decoder alone counts streams and whole answers in the access log", function()
    for _, case in ipairs { '"stream":true,"stream_options":{"include_usage":true},', "" } do
      local status, _, body = post("{" .. case .. ASK)
      assert.equal(200, status)
      assert.matches("two", body)
      assert.matches('"POST /v1/chat/completions HTTP/1.1" 200 %d+$', logged())
    end
  end)

  it("the decoder alone says nothing where nothing was counted, of an error for one", function()
    assert.equal(200, (post('{"stream":true,' .. ASK)))
    assert.matches('" 200 %-$', logged())
    assert.equal(400, (post "{}"))
    assert.matches('" 400 %-$', logged())
    assert.equal("", nginx:log())
  end)
end)
