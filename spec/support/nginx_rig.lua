-- The nginx of spec/hosts/nginx_spec.lua: its addresses, and the names that its programs may use.
local nginxes = require "spec.support.nginx"

local M = {}

local SERVER = [[
    location = /run/trusting { lua_ssl_trusted_certificate {ca}; content_by_lua_block { require("spec.support.nginx_worker").run() } }
    location = /run/resolving { resolver 127.0.0.1:{port}; resolver_timeout 1s; content_by_lua_block { require("spec.support.nginx_worker").run() } }
    location = /relay { content_by_lua_block {
      local turn = client:turn(ngx.var.arg_text or "hello")
      assert(turn:open())
      ngx.header.content_type = turn.headers["content-type"]
      turn:relay(function(bytes) ngx.print(bytes) return (ngx.flush(true)) ~= nil end)
    } }
    location = /paced { content_by_lua_block {
      local turn = client_of("/v1?pace_ms=20"):turn(("word "):rep(40))
      for text in turn:text_deltas() do ngx.print(text) ngx.flush(true) end
    } }
    location = /left { content_by_lua_block {
      local turn = client_of("/fault/stall"):turn "hello"
      for text in turn:text_deltas() do ngx.print(text) break end
    } }
    location = /phases {
      set_by_lua_block $phase_set { return why_not_here() }
      content_by_lua_block { ngx.print(ngx.var.phase_set, "\n") }
      header_filter_by_lua_block { ngx.ctx.header = why_not_here() }
      body_filter_by_lua_block { if ngx.arg[2] then ngx.arg[1] = ngx.ctx.header .. "\n" .. why_not_here() end }
      log_by_lua_block { seen.log = why_not_here() }
    }
    location = /counted {
      proxy_pass {url}/v1/chat/completions;
      proxy_set_header content-type application/json;
      body_filter_by_lua_block {
        local decoder = ngx.ctx.decoder or require("vllm").decoder()
        ngx.ctx.decoder = decoder
        decoder:feed(ngx.arg[1])
        repeat local event = decoder:next() until not event
        if ngx.arg[2] then seen.usage = decoder:result().usage end
      }
    }
    location = /spawning {
      content_by_lua_block { ngx.print "done" }
      log_by_lua_block { vllm.spawn(function() seen.spawned = client:ask "from the log phase" end) }
    }
]]

local HTTP = [[
  init_by_lua_block {
    pcall(require("spec.support.nginx_worker").open_silent_resolver, {port}) -- after a reload it is there already
    vllm = require "vllm"
    seen = {}
    function client_of(target, options)
      local all = { model = "test-model", base_url = "{url}" .. target }
      for name, value in pairs(options or {}) do all[name] = value end
      return vllm.new(all)
    end
    client = client_of "/v1"
    function why_not_here()
      local _, message = client:ask "hello"
      return message
    end
    seen.init = why_not_here()
    _, seen.task_in_init = pcall(vllm.spawn, print)
  }
  init_worker_by_lua_block {
    seen.init_worker = why_not_here()
    vllm.spawn(function() seen.task_of_worker = client:ask "from a task of the worker" end)
  }
]]

---@param server table of spec.support.server, with TLS
---@return table nginx of spec.support.nginx
function M.start(server)
  return nginxes.start { http = HTTP, server = SERVER,
    values = { url = server.url, ca = server.ca_file, port = tostring(server.port) },
    preamble = "local core, worker = require 'vllm.core', require 'spec.support.nginx_worker'\n" }
end

return M
