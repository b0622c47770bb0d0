--- Every source file has tests by its name: NAME_spec.lua anywhere in spec, or NAME_test.c. Where another file has
-- them, the list below says which.
-- usage: lua scripts/tested.lua FILE...     the sources; fails where a file has no tests, or the list is out of date

--- No file for files that hold no logic. `init.lua` has its folder's name.
local TESTED_BY = {
  -- These are seen through what stands on them: they have no inside that a test could reach without it.
  ["lua/vllm/init.lua"] = "spec/loading_spec.lua",
  ["lua/vllm/base/native.lua"] = "spec/loading_spec.lua",
  ["lua/vllm/base/raise.lua"] = "spec/misuse_spec.lua",
  ["lua/vllm/health.lua"] = "spec/hosts/neovim_install_spec.lua",
  ["lua/vllm/testing.lua"] = "spec/turn_spec.lua", -- and every spec that uses it
  ["lua/vllm/hosts/libuv.lua"] = "spec/hosts/luv_spec.lua", -- shared by luv and Neovim
  ["lua/vllm/agent/options.lua"] = "spec/agent/agent_spec.lua",
  ["lua/vllm/agent/drive.lua"] = "spec/agent/run_spec.lua",
  ["lua/vllm/agent/course.lua"] = "spec/agent/loop_spec.lua",
  ["lua/vllm/agent/prompt.lua"] = "spec/agent/context_spec.lua",
  ["lua/vllm/agent/bounds.lua"] = "spec/agent/loop_spec.lua",
  ["lua/vllm/agent/outcome.lua"] = "spec/agent/loop_spec.lua",
  ["lua/vllm/agent/shortener.lua"] = "spec/agent/loop_spec.lua",
  ["lua/vllm/agent/prepare.lua"] = "spec/agent/loop_spec.lua",
  ["lua/vllm/agent/inbox.lua"] = "spec/agent/loop_spec.lua",
  ["lua/vllm/agent/toolbox.lua"] = "spec/agent/executor_spec.lua",
  ["lua/vllm/agent/checked_tool.lua"] = "spec/agent/mistakes_spec.lua",
  ["lua/vllm/agent/outputs.lua"] = "spec/agent/executor_spec.lua",
  ["lua/vllm/agent/repeats.lua"] = "spec/agent/executor_spec.lua",
  ["lua/vllm/agent/transcript.lua"] = "spec/agent/compact_spec.lua",
  ["lua/vllm/request/content.lua"] = "spec/messages_spec.lua",
  ["lua/vllm/turn/attempt.lua"] = "spec/retry_spec.lua",
  ["lua/vllm/turn/exchange.lua"] = "spec/client_spec.lua",
  ["lua/vllm/turn/effort.lua"] = "spec/turn_spec.lua",
  ["lua/vllm/turn/reading.lua"] = "spec/turn_spec.lua",
  ["lua/vllm/turn/pause.lua"] = "spec/gate_spec.lua",
  ["lua/vllm/turn/refusal.lua"] = "spec/served_spec.lua",
  ["lua/vllm/turn/explain.lua"] = "spec/faults_spec.lua",
  ["lua/vllm/transports/curl_errors.lua"] = "spec/curl_spec.lua",
  -- Parts of building a request: their words and bytes are checked where a request is.
  ["lua/vllm/request/built.lua"] = "spec/request_spec.lua",
  ["lua/vllm/request/formats.lua"] = "spec/bad_input_spec.lua",
  ["lua/vllm/request/parts.lua"] = "spec/messages_spec.lua",
  ["lua/vllm/request/transcript_calls.lua"] = "spec/bad_messages_spec.lua",
  ["lua/vllm/request/json_library.lua"] = "spec/inputs_spec.lua",
  -- Parts of one checker: what each does is seen in what a schema does.
  ["lua/vllm/schema/applicators.lua"] = "spec/schema_spec.lua",
  ["lua/vllm/schema/arrays.lua"] = "spec/schema_spec.lua",
  ["lua/vllm/schema/compile.lua"] = "spec/schema_spec.lua",
  ["lua/vllm/schema/document.lua"] = "spec/schema_spec.lua",
  ["lua/vllm/schema/evaluated.lua"] = "spec/schema_spec.lua",
  ["lua/vllm/schema/report.lua"] = "spec/schema_spec.lua",
  ["lua/vllm/schema/instance.lua"] = "spec/schema_spec.lua",
  ["lua/vllm/schema/metaschema.lua"] = "spec/schema_spec.lua",
  ["lua/vllm/schema/multiple.lua"] = "spec/schema_spec.lua",
  ["lua/vllm/schema/objects.lua"] = "spec/schema_spec.lua",
  ["lua/vllm/schema/references.lua"] = "spec/schema_spec.lua",
  ["lua/vllm/schema/scalars.lua"] = "spec/schema_spec.lua",
  ["lua/vllm/schema/search.lua"] = "spec/schema_spec.lua",
  ["lua/vllm/schema/units.lua"] = "spec/schema_spec.lua",
  ["lua/vllm/schema/uri.lua"] = "spec/schema_spec.lua",

  -- Halves of one thing, with the tests of the whole.
  ["src/core/answer.c"] = "spec/c/decoder_test.c",
  ["src/core/store.c"] = "spec/c/decoder_test.c",
  ["src/core/delta_events.c"] = "spec/c/decoder_test.c",
  ["src/core/part_events.c"] = "spec/c/decoder_test.c",
  ["src/core/halves.c"] = "spec/c/decoder_test.c",
  ["src/core/chunk_choice.c"] = "spec/c/chunk_test.c",
  ["src/core/delta.c"] = "spec/c/chunk_test.c",
  ["src/core/decimal.c"] = "spec/c/number_test.c",
  ["src/core/http1_words.c"] = "spec/c/http1_test.c",
  ["src/core/json_string.c"] = "spec/c/json_test.c",
  ["src/core/json_write.c"] = "spec/c/json_test.c",
  ["src/core/pattern_categories.c"] = "spec/c/pattern_test.c",
  ["src/core/pattern_class.c"] = "spec/c/pattern_test.c",
  ["src/core/pattern_find.c"] = "spec/c/pattern_test.c",
  ["src/core/pattern_program.c"] = "spec/c/pattern_test.c",
  ["src/core/wire.c"] = "spec/c/messages_test.c",
  ["src/bind/json_decode.c"] = "spec/json_spec.lua",
  ["src/bind/json_encode.c"] = "spec/json_spec.lua",
  ["src/bind/json_names.c"] = "spec/json_spec.lua",
  ["src/bind/json_order.c"] = "spec/json_spec.lua",
  ["src/bind/json_text.c"] = "spec/json_spec.lua",
  ["src/bind/json_values.c"] = "spec/json_spec.lua",
  ["src/bind/events.c"] = "spec/decoder_spec.lua",
  ["src/bind/curl_options.c"] = "spec/curl_spec.lua",
  ["src/bind/wait.c"] = "spec/core_spec.lua",

  -- The engine has one contract, engine.h, and is tested by it.
  ["src/net/driver.c"] = "spec/c/engine_test.c",
  ["src/net/options.c"] = "spec/c/engine_test.c",
  ["src/net/request.c"] = "spec/c/engine_test.c",
  ["src/net/transfer.c"] = "spec/c/engine_test.c",
  ["src/net/poller.c"] = "spec/c/engine_test.c",
  ["src/net/watch_epoll.c"] = "spec/c/engine_test.c",
  ["src/net/watch_poll.c"] = "spec/c/engine_test.c", -- built with VLLM_NET_PORTABLE
  ["src/net/life.c"] = "spec/c/engine_memory_test.c",
  ["src/net/thread.c"] = "spec/c/engine_thread_test.c",
  ["src/net/notifier.c"] = "spec/c/engine_thread_test.c",
  ["src/net/fork.c"] = "spec/c/engine_host_test.c",
  ["src/net/signals.c"] = "spec/c/engine_host_test.c",
  ["src/net/sockets.c"] = "spec/c/engine_host_test.c",
}

local function tests_on_disk()
  local pipe = assert(io.popen("find spec -name '*_spec.lua' -o -name '*_test.c'"))
  local paths, names = {}, { lua = {}, c = {} }
  for path in pipe:lines() do
    paths[path] = true
    local name, kind = path:match("([^/]+)_%l+%.(%l+)$")
    names[kind][name] = true
  end
  pipe:close()
  return paths, names
end

local paths, names = tests_on_disk()

-- C for Lua is tested in Lua as well.
local function has_own(source)
  local name = source:match("([^/]+)/init%.lua$") or source:match("([^/]+)%.%l+$")
  local is_pure = source:find("^src/core/") or source:find("^src/net/")
  return not is_pure and names.lua[name] or source:find("^src/") and names.c[name] or false
end

local function fault_of(source)
  local by = TESTED_BY[source]
  if not by then return not has_own(source) and "has no tests by its name" or nil end
  if not paths[by] then return "is tested by " .. by .. ", which is not there" end
  if source ~= "lua/vllm/init.lua" and has_own(source) then
    return "has tests by its name, and is listed all the same"
  end
end

local complaints, sources = {}, {}
for _, source in ipairs { ... } do
  sources[source] = true
  local why = fault_of(source)
  if why then complaints[#complaints + 1] = source .. " " .. why end
end
for source in pairs(TESTED_BY) do
  if not sources[source] then complaints[#complaints + 1] = source .. " is listed, and not a source" end
end
table.sort(complaints)
for _, text in ipairs(complaints) do io.stderr:write("scripts/tested.lua: ", text, "\n") end
os.exit(#complaints == 0 and 0 or 1)
