-- The documents and the code agree: every name in one is in the other, and all Lua in the documents runs.
local config = require "vllm.request.config"
local errors = require "vllm.base.errors"
local server_errors = require "vllm.base.server_errors"
local fields = require "vllm.request.fields"
local server = require "spec.support.server"
local testing = require "vllm.testing"
local vllm = require "vllm"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local DOCS = { "README.md", "docs/architecture.md", "docs/configuration.md", "docs/errors.md", "docs/events.md", "docs/requests.md", "docs/turns.md",
  "docs/hosts.md", "docs/neovim.md", "docs/nginx.md", "docs/recipes.md", "docs/agents.md", "docs/schema.md", "SECURITY.md" }

-- The rows of the tables of a document (below a heading), as lists of cells.
local function rows(text, heading)
  if heading then text = text:match("\n#+ " .. heading .. "\n(.-)\n#") or text:match("\n#+ " .. heading .. "\n(.*)$") end
  local list = {}
  for line in text:gmatch "[^\n]+" do
    if line:find "^| `" then
      local cells = {}
      for cell in (line .. " "):gmatch "|%s*(.-)%s*%f[|%z]" do cells[#cells + 1] = cell end
      list[#list + 1] = cells
    end
  end
  assert(#list > 0, "no table " .. (heading or ""))
  return list
end

-- The set of the `names` in a text.
local function names(text, set)
  set = set or {}
  for name in text:gmatch "`([%w_]+)`" do set[name] = true end
  return set
end

local function first_cells(text, heading)
  local set = {}
  for _, cells in ipairs(rows(text, heading)) do names(cells[1], set) end
  return set
end

local function keys(...)
  local set = {}
  for i = 1, select("#", ...) do
    for key in pairs((select(i, ...))) do set[key] = true end
  end
  return set
end

local function blocks(path)
  local list = {}
  for code in read(path):gmatch "```lua\n(.-)```" do list[#list + 1] = code end
  return list
end

-- Runs Lua with the given names; any other global is an error, a bare `messages = {…}` is allowed.
local function run(code, environment)
  setmetatable(environment, { __index = function(_, name)
    local value = rawget(_G, name)
    assert(value ~= nil, "the example uses the unknown name " .. name)
    return value
  end })
  local chunk
  if rawget(_G, "setfenv") then
    chunk = assert(loadstring(code)) -- luacheck: ignore
    setfenv(chunk, environment) -- luacheck: ignore
  else
    chunk = assert(load(code, "example", "t", environment)) -- luacheck: ignore
  end
  return chunk()
end

-- One meaning a word: the glossary names the file where each lives, and the code defines none of its types twice.
describe("docs/configuration.md", function()
  local text = read "docs/configuration.md"

  it("has every option and no other", function()
    local documented = first_cells(text, "Options")
    local own = keys(config.client_only, fields.own)
    own.model = true
    own.reasoning_field = nil -- is in the row of reasoning_replay
    assert.truthy(text:find("`reasoning_field`", 1, true))
    assert.same(own, documented)
  end)

  it("has every limit with its default, every clock and every member of tls", function()
    local checked = config.check { model = "m" }
    local UNITS = { [1024] = "KiB", [1048576] = "MiB" }
    for name, value in pairs(checked.limits) do
      local shown = tostring(value)
      for size, unit in pairs(UNITS) do
        if value % size == 0 and value / size < 1024 and value >= size then shown = ("%d %s"):format(value / size, unit) end
      end
      assert.truthy(text:find(("| `%s` | %s |"):format(name, shown), 1, true), name .. " " .. shown)
    end
    for name, value in pairs(checked.timeout) do assert.truthy(text:find(("| `%s` | %d |"):format(name, value), 1, true), name) end
    for name, value in pairs(checked.retry) do
      if type(value) == "number" then assert.truthy(text:find(("| `%s` | %g |"):format(name, value), 1, true), name) end
    end
    assert.truthy(text:find("`total_s`", 1, true))
    for _, name in ipairs { "ca_file", "ca_path", "cert", "key", "key_password", "verify" } do
      assert.truthy(text:find("`" .. name .. "`", 1, true), name)
      assert.has_no.errors(function()
        vllm.new { model = "m", tls = { cert = "c", [name] = name ~= "verify" and "x" or false } }
      end)
    end
  end)

  it("names only wire fields that are known", function()
    for name in pairs(names(text:match "Every wire field of vLLM(.-), …")) do assert.truthy(fields.wire[name], name) end
  end)

  it("says which option a call can have", function()
    local allowed = names(read("docs/requests.md"):match "may differ from call to call: ([^\n]+)")
    local own = keys(fields.own)
    own.stream = nil -- the same as streaming
    assert.same(own, allowed)
  end)
end)

describe("docs/errors.md", function()
  local text = read "docs/errors.md"

  it("has every kind and no other", function()
    local set = {}
    for _, cells in ipairs(rows(text, "Kinds")) do set[cells[1]:match "`([%w_]+)`"] = true end
    assert.same(keys(errors.kinds), set)
  end)

  it("has every field of an error and no other", function()
    local annotated = {}
    for name in read("lua/vllm/base/errors.lua"):match("@class vllm.Error\n(.-)\n\n"):gmatch "@field ([%w_]+)" do annotated[name] = true end
    assert.same(annotated, first_cells(text, "The error table"))
  end)

  it("says whether each is worth another try", function()
    for _, cells in ipairs(rows(text, "Kinds")) do
      local kind = cells[1]:match "`([%w_]+)`"
      assert.equal(errors.kinds[kind], cells[3]:find "^yes" ~= nil, kind)
    end
  end)

  it("has the statuses where they belong", function()
    for _, cells in ipairs(rows(text, "Kinds")) do
      for status in cells[2]:gmatch "%f[%d](%d%d%d)%f[%D]" do
        local err = server_errors.from_status(tonumber(status), {}, "", { url = "", has_key = true, now_unix = 0 })
        assert.equal(cells[1]:match "`([%w_]+)`", err.kind, status)
      end
    end
  end)
end)

-- How to come by each kind, over real sockets where the kind is about them.
describe("every kind of error of docs/errors.md can be had:", function()
  local running
  setup(function() running = server.start {} end)
  teardown(function() running:stop() end)

  local function ask(base_url, options)
    local all = { model = "m", base_url = base_url, retry = false }
    for key, value in pairs(options or {}) do all[key] = value end
    return select(3, vllm.new(all):ask "Hi")
  end

  local function scripted(...)
    return ask(running.url .. running:script { ... })
  end

  local function answer(status, body)
    return scripted { "send", ("HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"):format(status, #body, body) }
  end

  local function played(reply)
    return select(3, testing.client({ reply }):ask "Hi")
  end

  local HEAD = "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n"
  local recipes = {
    config = function() return ask "http://[:::]/v1" end, -- libcurl refuses the address
    connect = function() return ask "http://127.0.0.1:1" end,
    tls = function() return ask((running.url:gsub("^http", "https"))) end,
    timeout = function() return ask(running.url .. running:script { { "send", HEAD }, "stall" }, { timeout = { total_s = 0.05 } }) end,
    closed = function() return scripted "drop" end,
    auth = function() return answer(401, "") end,
    not_found = function() return answer(404, "") end,
    invalid_request = function() return played { status = 400 } end,
    context_length = function() return answer(400, '{"error":{"message":"This model\'s maximum context length is 9 tokens."}}') end,
    role_order = function() return answer(400, '{"error":{"message":"Conversation roles must alternate user/assistant/..."}}') end,
    rate_limited = function() return answer(429, "") end,
    overloaded = function() return answer(503, "") end,
    server = function() return answer(500, "") end,
    stream = function() return scripted({ "send", HEAD .. 'data: {"error":"boom"}\n\n' }, "close") end,
    protocol = function() return answer(302, "") end,
    truncated = function() return scripted({ "send", HEAD .. 'data: {"choices":[{"delta":{"content":"a"}}]}\n\n' }, "close") end,
    limit = function() return ask(running.url .. "/v1", { model = "test-model", limits = { max_event_bytes = 1 } }) end,
    cancelled = function()
      local turn = testing.client({ "x" }):turn "Hi"
      turn:cancel()
      return turn:error()
    end,
    no_output = function() return played { text = "" } end,
    busy = function()
      local session = testing.client({ "x" }):session()
      session:turn "Hi"
      return session:turn("again"):error()
    end,
  }

  for kind in pairs(errors.kinds) do
    it(kind, function()
      local err = recipes[kind]()
      assert.equal(kind, err.kind)
      assert.equal(kind .. ": ", err.message:sub(1, #kind + 2))
      assert.is_true(vllm.is_error(err))
    end)
  end
end)

describe("docs/events.md", function()
  local text = read "docs/events.md"
  local table_text = text:match "^(.-)\n## Tool calls"
  local WEATHER = { name = "now", parameters = { type = "object", properties = {} } }

  -- Every type of event that the decoder can give, with all its fields.
  local function every_event()
    local replies = {
      { reasoning = "hm hm", text = "one two", refusal = "no", tool_calls = { { name = "now", arguments = { a = 1 } }, { name = "now", arguments = "{" } } },
      { bytes = 'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"a"},"logprobs":{"content":[{"token":"a","logprob":-1}]},'
        .. '"token_ids":[5],"finish_reason":"stop","stop_reason":"b"}]}\n\ndata: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,'
        .. '"total_tokens":3,"prompt_tokens_details":{"cached_tokens":1},"completion_tokens_details":{"reasoning_tokens":1}}}\n\ndata: [DONE]\n\n' },
      { bytes = 'data: {"choices":[{"delta":{"tool_calls":[{"id":"c","x":1,"function":{"name":"now"}}]},"finish_reason":"tool_calls"}]}\n\ndata: [DONE]\n\n' },
    }
    table.insert(replies, 1, { fail = "connect" })
    local client, seen = testing.client(replies, { chunks = true, retry = { base_s = 0.001 } }), {}
    for _ = 1, 3 do
      for event in client:turn({ messages = "x", tools = { WEATHER } }):events() do
        seen[event.type] = seen[event.type] or {}
        for key in pairs(event) do if key ~= "type" then seen[event.type][key] = true end end
      end
    end
    return seen
  end

  it("has every type of event with its fields, and no other", function()
    local documented = {}
    for _, cells in ipairs(rows(table_text)) do
      for name in pairs(names(cells[1])) do documented[name] = names(cells[2]) end
    end
    assert.same(every_event(), documented)
  end)

  it("has every field of a result, and no other", function()
    local result = assert(testing.client({ { reasoning = "r", text = "t", refusal = "no", tool_calls = { { name = "now" } } } }):turn("x"):result())
    local documented = first_cells(text, "The result")
    for name in pairs(result) do assert.truthy(documented[name], name) end
    local sometimes = { stop_reason = true, extra = true, logprobs = true, token_ids = true }
    for name in pairs(documented) do assert.truthy(result[name] ~= nil or sometimes[name], name) end
  end)
end)

describe("docs/events.md, on timing", function()
  it("has every field, and no other", function()
    local running = server.start { tls = true }
    local client = vllm.new { model = "test-model", base_url = running.tls_url .. "/v1", tls = { ca_file = running.ca_file } }
    local result = assert(client:turn("Hi"):result())
    running:stop()
    local given = {}
    for name in pairs(result.timing) do given[name] = true end
    assert.same(given, first_cells(read "docs/events.md", "Timing"))
  end)
end)

describe("docs/turns.md", function()
  local text = read "docs/turns.md"

  local function public(class)
    local set = {}
    for name, value in pairs(class) do
      if type(value) == "function" and not name:find "^_" then set[name] = true end
    end
    return set
  end

  local function methods(heading, prefix)
    local set = {}
    for _, cells in ipairs(rows(text, heading)) do
      for name in cells[1]:gmatch("`" .. prefix .. "[:.]([%w_.]+)") do set[name] = true end
    end
    return set
  end

  it("has every method of a client, a turn and a session, and no other", function()
    assert.same(public(require("vllm.client").Client), methods("Client", "client"))
    assert.same(public(require("vllm.turn").Turn), methods("Turn", "turn"))
    assert.same(public(require("vllm.session").Session), methods("Session", "session"))
  end)

  it("has everything that the module has, and no more", function()
    local documented = methods("The module", "vllm")
    for name in pairs(vllm) do
      assert.truthy(documented[name] or name == "json" or name == "schema", name)
    end
    for name in pairs(documented) do
      local value = vllm
      for step in name:gmatch "[^.]+" do value = value[step] end
      assert(value ~= nil, name)
    end
  end)

  it("has every method of the decoder", function()
    for name in pairs(public(getmetatable(vllm.decoder()).__index)) do
      assert.truthy(text:match("`vllm%.decoder[^\n]*"):find("`" .. name .. "(", 1, true), name)
    end
  end)

  it("runs", function()
    for _, code in ipairs(blocks "docs/turns.md") do run(code, {}) end
  end)
end)

describe("the Lua in", function()
  it("docs/hosts.md runs, but for the one that needs plenary", function()
    local list, written, asked = blocks "docs/hosts.md", {}, {}
    assert.equal(3, #list)
    local environment = { questions = { "1?", "2?" }, text = "a story", print = function(...) written = { ... } end }
    function environment.require(name)
      assert.equal("vllm", name)
      return setmetatable({ new = function(options)
        options.transport = testing.transport { "One.", "Two.", "A summary.", "A title." }
        asked = options.transport.requests
        return vllm.new(options)
      end }, { __index = vllm })
    end
    run(list[1], environment)
    assert.equal(4, #asked)
    assert.same({ "A title.", "A summary." }, written)
    written = {}
    environment.client = testing.client { "Rayleigh scattering." }
    environment.append = function(text) written[#written + 1] = text end
    vllm.run(function() run(list[2], environment) end)
    assert.equal("Rayleigh scattering.", table.concat(written))
  end)

  it("docs/schema.md runs, and prints what it says", function()
    local list, printed = blocks "docs/schema.md", {}
    assert.equal(1, #list)
    run(list[1], { vllm = vllm, print = function(text) printed[#printed + 1] = "-- " .. text .. "\n" end })
    assert.equal(4, #printed)
    assert.truthy(list[1]:find(table.concat(printed), 1, true))
  end)

  it("docs/requests.md is a list of messages that can be sent", function()
    local answer = assert(testing.client({ { tool_calls = { { name = "a" }, { name = "b" } } } }):turn("x"):result())
    local environment = { result = answer, vllm = setmetatable({ image = function(spec)
      assert.equal("cat.png", spec.path)
      return vllm.image { bytes = "\137PNG\r\n\26\n" }
    end }, { __index = vllm }) }
    local list = blocks "docs/requests.md"
    assert.equal(1, #list)
    run(list[1], environment)
    local client, transport = testing.client { "ok" }
    assert.equal("ok", client:ask { messages = environment.messages })
    local sent = transport.requests[1].body.messages
    assert.equal('{"celsius":18}', sent[#sent - 1].content)
    assert.equal("Error: no such city", sent[#sent].content)
  end)
end)

describe("docs/recipes.md", function()
  local WEATHER_CALL, ROME_CALL = { name = "get_weather", arguments = { city = "Paris" } }, { name = "get_weather", arguments = { city = "Rom" } }
  local function file_of(path)
    assert.is_truthy(path == "cat.png" or path == "no-such-file.png", path)
    local folder = os.tmpname()
    os.remove(folder)
    return folder .. path
  end

  -- In the order of the document: the server's answers, what is printed, and what was sent, of the last request.
  local RECIPES = {
    { "system prompt", { "Rayleigh.", "Arr." }, "Rayleigh.\nArr.\n", function(sent)
      assert.same({ role = "system", content = "You are a pirate." }, sent.messages[1])
    end },
    { "shape", { '{"name": "Tokyo", "population": 37000000}' }, "Tokyo\t37000000\n", function(sent)
      assert.same({ "name", "population" }, sent.response_format.json_schema.schema.required)
    end },
    { "choice", { "no" }, "no\n", function(sent) assert.same({ "yes", "no" }, sent.structured_outputs.choice) end },
    { "picture", { "A cat." }, "A cat.\ninvalid_request: vllm.image: FILE: No such file or directory\n", function(sent)
      assert.equal("low", sent.messages[1].content[2].image_url.detail)
    end },
    { "tools", { { tool_calls = { ROME_CALL } }, { tool_calls = { WEATHER_CALL } }, "18 degrees." }, "18 degrees.\n", function(sent)
      assert.equal("Error: no such city: Rom", sent.messages[3].content)
      assert.equal('{"celsius":18}', sent.messages[5].content)
    end },
    { "reasoning", { { reasoning = "s-t-r", text = "Three." } }, "(s-t-r)Three." },
    { "clock", { { fail = "timeout" } }, "timeout: as the script says\n" },
    { "cancel", { "one two three four" }, "one two three" },
    { "map", { "1", { status = 400 }, "3" }, "One?\t1\nTwo?\tfailed: invalid_request: no explanation (status 400)\nThree?\t3\n" },
    { "one budget", { "1", { status = 400 }, "3" },
      "One?\t1\nTwo?\tfailed: invalid_request: no explanation (status 400)\nThree?\t3\n2\t4\t0\t0\n" },
    { "progress", { "1", "2", "3", "Roses are red." }, "\r1 of 3\r2 of 3\r3 of 3\n1\n\r[#       ]\r[##      ]\r[###     ]", function(sent)
      assert.equal(8, sent.max_completion_tokens)
    end },
    { "stop", {}, "cancelled\n", stalls = 'data: {"choices":[{"index":0,"delta":{"content":"one"}}]}\n\n' },
    { "continue", { { text = "Once", finish_reason = "length" }, { text = " upon", cut = true }, { status = 503 }, " a time." }, "Once upon a time.\n" },
    { "continue in a session", { { text = "Once", cut = true }, { text = " upon", cut = true }, " a time." }, "Once upon a time.Once upon a time.\n", function(sent)
      assert.same({ { role = "user", content = "Write a story." }, { role = "assistant", content = "Once upon" } }, sent.messages)
    end },
    { "session", { "Hello, Ada.", "Ada." }, "Ada.\n", function(sent)
      assert.equal("Hello, Ada.", sent.messages[2].content)
    end },
    { "log", { { fail = "connect", detail = "no" }, "Hi" }, "retry after connect: no\nstop: 1 + 1 tokens\n" },
    { "trace", { { fail = "connect" }, "So." }, ('POST\thttp://localhost:8000/v1/chat/completions\t{"messages":[{"content":"Why?","role":"user"}],"model":"test-model","stream":true,'
      .. '"stream_options":{"include_usage":true}}\n'):rep(2) .. "So.\n" },
    { "debug", { "So.", { status = 422, body = { detail = "no" }, headers = { ["x-request-id"] = "r1" } } },
      '{"messages":[{"content":"Why?","role":"user"}],"model":"test-model","stream":true,"temperature":0}\n' .. ("true\n"):rep(4)
      .. 'invalid_request: no (status 422)\tinvalid_request\t422\tr1\t{"detail":"no"}\n' },
    { "models", {}, "one\t4096\ntwo\tnil\n", models = '{"data":[{"id":"one","max_model_len":4096},{"id":"two"}]}' },
    { "hosted", {}, "vllm.client (some-model at https://api.example.com/v1/chat/completions)\n" },
    { "other endpoint", { { status = 200, body = { data = { {}, {} } } } }, "2\n", function(sent) assert.same({ "a", "b" }, sent.input) end },
    { "bad UTF-8", { "A caf\195\169." }, "invalid_request: messages[1].content: not valid UTF-8 at byte 14 (vllm.text(bytes) repairs it)\nA caf\195\169.\n",
      function(sent) assert.equal("The menu: caf\239\191\189", sent.messages[1].content) end },
    { "printable", { "\27[31mIn red.\27[0m" }, "In red." },
  }

  local list = blocks "docs/recipes.md"

  it("has as many recipes as are tried here", function() assert.equal(#RECIPES, #list) end)

  for i, recipe in ipairs(RECIPES) do
    it("its recipe runs: " .. recipe[1], function()
      local written, hidden = {}, nil
      local client, transport = testing.client(recipe[2], { retry = { base_s = 0.001 } })
      if recipe.models then
        function transport.open()
          local bodies = { recipe.models }
          return { head = function() return 200, { ["content-type"] = "application/json" } end, read = function() return table.remove(bodies) end,
            info = function() return {} end, close = function() end }
        end
      end
      local running = recipe.stalls and server.start {}
      if running then
        local path = running:script { { "send", "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" .. recipe.stalls }, "stall" }
        client = vllm.new { model = "m", base_url = running.url .. path, retry = false }
      end
      local environment = { client = client, vllm = setmetatable({}, { __index = vllm }) }
      environment.io = { write = function(...) for _, text in ipairs { ... } do written[#written + 1] = text end end }
      function environment.print(...)
        local words = { ... }
        for j = 1, select("#", ...) do words[j] = tostring(words[j]) end
        written[#written + 1] = table.concat(words, "\t") .. "\n"
      end
      function environment.vllm.image(spec)
        hidden = file_of(spec.path)
        if spec.path == "no-such-file.png" then return vllm.image { path = hidden } end
        return vllm.image { bytes = "\137PNG\r\n\26\n", detail = spec.detail }
      end
      run(list[i], environment)
      if running then running:stop() end
      local text = table.concat(written)
      if hidden then text = text:gsub(hidden:gsub("%p", "%%%0"), "FILE") end
      assert.equal(recipe[3], text)
      if recipe[4] then recipe[4](transport.requests[#transport.requests].body) end
    end)
  end
end)

describe("every document", function()
  for _, path in ipairs(DOCS) do
    it(path .. " has links that lead somewhere", function()
      local folder = path:match "^(.*/)" or ""
      for target in read(path):gmatch "%]%(([^)#]+)[^)]*%)" do
        if not target:find "^https?:" then assert(io.open(folder .. target, "rb")):close() end
      end
    end)

    it(path .. " names only functions that there are", function()
      local text = read(path)
      for name in text:gmatch "`vllm%.([%w_.]+)[({` ]" do
        local value = vllm
        for step in name:gmatch "[^.]+" do value = type(value) == "table" and value[step] or nil end
        assert(value ~= nil or pcall(require, "vllm." .. name), "vllm." .. name)
      end
      local classes = {
        client = { require("vllm.client").Client }, turn = { require("vllm.turn").Turn },
        session = { require("vllm.session").Session, require("vllm.agent.session").Session },
        agent = { require("vllm.agent").Agent }, run = { require("vllm.agent.run").Run },
      }
      for class, name in text:gmatch "%f[%w](%l+):([%w_]+)[({]" do
        local is_there = classes[class] == nil
        for _, one in ipairs(classes[class] or {}) do is_there = is_there or one[name] ~= nil end
        assert(is_there, class .. ":" .. name)
      end
    end)
  end

  it("is named in README.md", function()
    local text = read "README.md"
    for _, path in ipairs(DOCS) do assert(path == "README.md" or text:find("(" .. path .. ")", 1, true), path) end
  end)
end)

describe("the annotations", function()
  local SOURCES = {
    "init", "client", "session", "decoder", "testing", "json", "hosts/init", "transports/curl", "base/errors", "base/excerpt",
    "base/foreign", "base/retry_after", "base/server_errors", "base/verdict",
    "base/spelling", "base/values", "schema/init", "request/config", "request/continuation", "request/fields", "request/headers", "request/init",
    "request/media", "request/messages", "request/repair", "request/tools", "request/transcript_calls", "request/url",
    "turn/attempt", "turn/callbacks", "turn/clocks", "turn/exchange", "turn/gate", "turn/hints", "turn/init", "turn/inputs", "turn/retry",
    "turn/served",
  }
  local INTERNAL = { Stream = true, FURTHER = true } -- tables that never leave their files
  for _, name in ipairs(SOURCES) do
    it("stand above every public function of " .. name .. ".lua, parameter by parameter", function()
      local comment, documented = {}, 0
      for line in (read("lua/vllm/" .. name .. ".lua") .. "\n"):gmatch "(.-)\n" do
        local owner, method, parameters = line:match "^function ([%w_]+)[.:]([%w_.]+)%(([^)]*)%)"
        if owner and not INTERNAL[owner] and not method:find "^_" then
          local text = table.concat(comment, "\n")
          assert(text:find("---", 1, true), owner .. "." .. method .. " has no annotation")
          for parameter in parameters:gmatch "[%w_.]+" do
            assert(text:find("@param " .. parameter:gsub("%.", "%%.") .. "[ ?]"), ("%s.%s: no @param %s"):format(owner, method, parameter))
          end
          documented = documented + 1
        end
        if line:find "^%-%-" then comment[#comment + 1] = line else comment = {} end
      end
      assert.is_true(documented > 0)
    end)
  end
end)

describe("CONTRIBUTING.md", function()
  it("names only files that are there", function()
    local count = 0
    for path in read("CONTRIBUTING.md"):gmatch "`([%w_]+/[%w_/]+%.[%w]+)`" do
      if not path:find "NAME" then
        assert(io.open(path) or io.open("lua/vllm/" .. path), path):close()
        count = count + 1
      end
    end
    assert.is_true(count > 15)
  end)
end)
