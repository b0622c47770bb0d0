rockspec_format = "3.0"
package = "vllm"
version = "scm-1"
-- `make rock` puts this archive beside the rockspec; `luarocks make` works in the source tree and needs none.
source = { url = "file://vllm-scm.tar.gz", dir = "vllm-scm" }
description = {
  summary = "Client for vLLM and other OpenAI-compatible chat completion servers",
  detailed = [[
    Streams chat completions into Lua: server-sent events, tool calls, reasoning and usage as typed events,
    decoded in C. For agent loops in plain Lua, Neovim and OpenResty.]],
  license = "MIT",
}
supported_platforms = { "unix" }
dependencies = { "lua >= 5.1, < 5.5", "lua-cjson" }
-- No `header`: LuaRocks does not search the multiarch include directory where Debian keeps it; the compiler does.
external_dependencies = { CURL = { library = "curl" } }
-- The one list of sources: the Makefile reads it (scripts/sources.lua), `make sources` compares it with the disk.
build = {
  type = "builtin",
  modules = {
    ["vllm.core"] = {
      sources = {
        "src/bind/core.c",
        "src/bind/decoder.c",
        "src/bind/events.c",
        "src/bind/json_decode.c",
        "src/bind/json_encode.c",
        "src/bind/json_names.c",
        "src/bind/json_order.c",
        "src/bind/json_text.c",
        "src/bind/messages.c",
        "src/bind/sse.c",
        "src/bind/wait.c",
        "src/core/base64.c",
        "src/core/buf.c",
        "src/core/calls.c",
        "src/core/choice.c",
        "src/core/chunk.c",
        "src/core/decimal.c",
        "src/core/delta.c",
        "src/core/json.c",
        "src/core/json_string.c",
        "src/core/json_write.c",
        "src/core/message.c",
        "src/core/messages.c",
        "src/core/number.c",
        "src/core/parts.c",
        "src/core/pieces.c",
        "src/core/sse.c",
        "src/core/turn.c",
        "src/core/utf8.c",
        "src/core/wire.c",
      },
    },
    ["vllm.curl"] = {
      sources = {
        "src/bind/curl.c",
        "src/bind/curl_options.c",
        "src/net/engine.c",
        "src/net/options.c",
        "src/net/poller.c",
        "src/net/request.c",
        "src/net/signals.c",
        "src/net/sockets.c",
      },
      libdirs = { "$(CURL_LIBDIR)" },
      libraries = { "curl", "dl" },
    },
    vllm = "lua/vllm/init.lua",
    ["vllm.callbacks"] = "lua/vllm/callbacks.lua",
    ["vllm.calls"] = "lua/vllm/calls.lua",
    ["vllm.client"] = "lua/vllm/client.lua",
    ["vllm.config"] = "lua/vllm/config.lua",
    ["vllm.decoder"] = "lua/vllm/decoder.lua",
    ["vllm.errors"] = "lua/vllm/errors.lua",
    ["vllm.excerpt"] = "lua/vllm/excerpt.lua",
    ["vllm.exchange"] = "lua/vllm/exchange.lua",
    ["vllm.fields"] = "lua/vllm/fields.lua",
    ["vllm.gate"] = "lua/vllm/gate.lua",
    ["vllm.headers"] = "lua/vllm/headers.lua",
    ["vllm.hints"] = "lua/vllm/hints.lua",
    ["vllm.hosts"] = "lua/vllm/hosts/init.lua",
    ["vllm.hosts.libuv"] = "lua/vllm/hosts/libuv.lua",
    ["vllm.hosts.luv"] = "lua/vllm/hosts/luv.lua",
    ["vllm.hosts.neovim"] = "lua/vllm/hosts/neovim.lua",
    ["vllm.hosts.scheduler"] = "lua/vllm/hosts/scheduler.lua",
    ["vllm.json"] = "lua/vllm/json.lua",
    ["vllm.media"] = "lua/vllm/media.lua",
    ["vllm.messages"] = "lua/vllm/messages.lua",
    ["vllm.parts"] = "lua/vllm/parts.lua",
    ["vllm.repair"] = "lua/vllm/repair.lua",
    ["vllm.request"] = "lua/vllm/request.lua",
    ["vllm.session"] = "lua/vllm/session.lua",
    ["vllm.spelling"] = "lua/vllm/spelling.lua",
    ["vllm.testing"] = "lua/vllm/testing.lua",
    ["vllm.tasks"] = "lua/vllm/tasks.lua",
    ["vllm.tools"] = "lua/vllm/tools.lua",
    ["vllm.transports.curl"] = "lua/vllm/transports/curl.lua",
    ["vllm.transports.curl_errors"] = "lua/vllm/transports/curl_errors.lua",
    ["vllm.transports.reactor"] = "lua/vllm/transports/reactor.lua",
    ["vllm.turn"] = "lua/vllm/turn.lua",
    ["vllm.url"] = "lua/vllm/url.lua",
  },
}
