-- Every wrong option and environment, with the exact sentence that a user reads. A wrong call: bad_input_spec.lua.
local config = require "vllm.request.config"
local core = require "vllm.core"

local NAN = 0 / 0

-- { options (a model is added unless `false` comes third), message }
local OPTIONS = {
  { 7, "expected a table of options, got 7" },
  { "m", 'expected a table of options, got "m"' },
  { nil, "expected a table of options, got nil" },
  { {}, "`model` is missing: the name that the server knows the model by", false },
  { { model = 7 }, "model: expected a non-empty string, got 7", false },
  { { model = "" }, 'model: expected a non-empty string, got ""', false },
  { { "m" }, "unknown key 1: options have names (a list of messages goes into `messages`)" },
  { { tempurature = 1 }, "unknown key `tempurature` (did you mean `temperature`?); extra_body = { … } sends any name" },
  { { maxTokens = 1 }, "unknown key `maxTokens` (did you mean `max_tokens`?); extra_body = { … } sends any name" },
  { { apikey = "k" }, "unknown key `apikey` (did you mean `api_key`?); extra_body = { … } sends any name" },
  { { timeouts = {} },
    "unknown key `timeouts`: write timeout = { total_s = … } (of connect_s, queue_s, first_event_s, idle_s, "
      .. "finish_s, total_s, in seconds)" },
  { { colour = 1 }, "unknown key `colour`; extra_body = { … } sends any name" },
  { { messages = {} }, "`messages` belongs to a call: client:turn { messages = … }" },
  { { api_key = " sk-1" }, "api_key holds a blank: give the key alone" },
  { { api_key = "sk-1 " }, "api_key holds a blank: give the key alone" },
  { { api_key = "  " }, "api_key holds a blank: give the key alone" },
  { { api_key = "sk-1\n" },
    'api_key holds a line break or another control character: give the key alone (of a file: file:read "*l")' },
  { { api_key = "Bearer sk-1" }, "api_key begins with `Bearer`, which is added anyway: give the key alone" },
  { { api_key = "bearer sk-1" }, "api_key begins with `Bearer`, which is added anyway: give the key alone" },
  { { api_key = '"sk-1"' }, "api_key is in quotation marks: give the key alone" },
  { { headers = { Authorization = "Bearer Bearer sk-1" } }, 'headers["Authorization"] has `Bearer` twice' },
  { { headers = { Authorization = "Bearer sk-1 " } }, 'headers["Authorization"] begins or ends with a blank' },
  { { headers = { authorization = "Bearer  sk-1" } },
    'headers["authorization"] must be `Bearer`, one blank and the key' },
  { { host = "http://localhost:8000" }, "host is what waits; the server's address is base_url" },
  { { guided_json = {} },
    "`guided_json` was removed from vLLM and is ignored there: use structured_outputs.json (extra_body still sends "
      .. "it to an old server)" },

  { { base_url = 7 }, "base_url: expected a string, got a number" },
  { { base_url = "" }, 'base_url has no scheme (http:// or https://): ""' },
  { { base_url = "localhost:8000" }, "base_url has no scheme (http:// or https://): localhost:8000" },
  { { base_url = "u:secret@localhost:8000" }, "base_url has no scheme (http:// or https://): localhost:8000" },
  { { base_url = "ftp://u:secret@h/" }, "base_url has the scheme ftp, which is not supported: ftp://h/" },
  { { base_url = "unix:///run/vllm.sock" },
    "base_url has the scheme unix, which is not supported: unix:///run/vllm.sock" },
  { { base_url = "http://" }, "base_url has no host: http://" },
  { { base_url = "http:///v1" }, "base_url has no host: http:///v1" },
  { { base_url = "http://u:secret@/v1" }, "base_url has no host: http:///v1" },
  { { base_url = "http://:8000" }, "base_url has no host: http://:8000" },
  { { base_url = "http://h:" }, "base_url has an empty port: http://h:" },
  { { base_url = "http://h:0" }, "base_url has a port outside 1..65535: http://h:0" },
  { { base_url = "http://h:65536" }, "base_url has a port outside 1..65535: http://h:65536" },
  { { base_url = "http://h:99999999999" }, "base_url has a port outside 1..65535: http://h:…" },
  { { base_url = "http://h:80a" }, "base_url has a host or port that cannot be read: http://h:…" },
  { { base_url = "http://u:secret/x@h" }, "base_url has a host or port that cannot be read: http://h" },
  { { base_url = "http://h\\@elsewhere/v1" },
    "base_url has a backslash before its path, where programs differ in what the host is: http://elsewhere/v1" },
  { { base_url = "http://h\\v1" },
    "base_url has a backslash before its path, where programs differ in what the host is: http://…" },
  { { base_url = "http://h%41/v1" }, "base_url has a host or port that cannot be read: http://…/v1" },
  { { proxy = "http://p\\@elsewhere" },
    "proxy has a backslash before its path, where programs differ in what the host is: http://elsewhere" },
  { { base_url = "http://[::1" }, "base_url has a host or port that cannot be read: http://[::1" },
  { { base_url = "http://h /v1" }, "base_url holds a space: http://h /v1" },
  { { base_url = "http://h/v1\r\nX: 1" },
    "base_url holds a line break or another control character: http://h/v1??X: 1" },
  { { base_url = "http://h/\0" }, "base_url holds a line break or another control character: http://h/?" },
  { { base_url = "http://h/v1#x" }, "base_url has a fragment (#), which no server sees: http://h/v1#…" },
  { { base_url = "http://h/ v1?key=secret" }, "base_url holds a space: http://h/ v1?…" },

  { { api_key = 12345 }, "api_key: expected a string, got a number" },
  { { headers = "X: 1" }, 'headers: expected a table of name = value, got "X: 1"' },
  { { headers = { "X: secret" } }, "headers[1] is not a header name: a header is written [\"Name\"] = \"value\"" },
  { { headers = { ["X Y"] = "secret" } }, 'headers["X Y"] is not a header name' },
  { { headers = { [""] = "secret" } }, 'headers[""] is not a header name' },
  { { headers = { ["X\r\nY"] = "secret" } }, 'headers["X??Y"] is not a header name' },
  { { headers = { X = 1 } }, 'headers["X"] must be a string, got a number' },
  { { headers = { X = "secret\r\nY: 1" } }, 'headers["X"] holds a line break, a NUL or another control character' },
  { { headers = { X = "secret\0" } }, 'headers["X"] holds a line break, a NUL or another control character' },
  { { headers = { X = "1", x = "2" } }, 'headers["x"] is given twice' },
  { { headers = { ["Content-Length"] = "1" } }, 'headers["Content-Length"] is written by the client itself' },
  { { headers = { ["transfer-encoding"] = "chunked" } },
    'headers["transfer-encoding"] is written by the client itself' },

  { { timeout = 30 },
    "timeout: expected a table such as { total_s = 30 } (of connect_s, queue_s, first_event_s, idle_s, finish_s, "
      .. "total_s), got 30" },
  { { timeout = { read = 30 } }, "unknown key `timeout.read`: write idle_s (seconds between two events)" },
  { { timeout = { total = 30 } }, "unknown key `timeout.total`: write total_s (seconds)" },
  { { timeout = { totals = 30 } }, "unknown key `timeout.totals` (did you mean `total_s`?)" },
  { { timeout = { total_s = 0 } },
    "timeout.total_s: expected seconds (0.001 to 2147483), or false for no limit, got 0" },
  { { timeout = { total_s = NAN } },
    "timeout.total_s: expected seconds (0.001 to 2147483), or false for no limit, got nan" },
  { { timeout = { idle_s = math.huge } },
    "timeout.idle_s: expected seconds (0.001 to 2147483), or false for no limit, got inf" },
  { { timeout = { idle_s = "30" } },
    'timeout.idle_s: expected seconds (0.001 to 2147483), or false for no limit, got "30"' },
  { { limits = 5 }, "limits: expected a table of limits such as max_event_bytes, got 5" },
  { { limits = { max_events = 5 } },
    "unknown key `limits.max_events`; known are max_body_bytes, max_buffer_bytes, max_choices, max_depth, "
      .. "max_error_bytes, max_event_bytes, "
    .. "max_header_bytes, max_message_bytes, max_tool_calls" },
  { { limits = { max_event_byte = 5 } }, "unknown key `limits.max_event_byte` (did you mean `max_event_bytes`?)" },
  { { max_retries = 3 },
    "unknown key `max_retries`: write retry = { max = … } for a client (attempts after the first)" },
  { { retry = 3 },
    "retry: expected false, or a table such as { max = 3 } (of max, base_s, cap_s, statuses, on_retry), got 3" },
  { { retry = true },
    "retry: expected false, or a table such as { max = 3 } (of max, base_s, cap_s, statuses, on_retry), got true" },
  { { retry = { max = -1 } }, "retry.max: expected an integer between 0 and 100, got -1" },
  { { retry = { max = 1.5 } }, "retry.max: expected an integer between 0 and 100, got 1.5" },
  { { retry = { max = 101 } }, "retry.max: expected an integer between 0 and 100, got 101" },
  { { retry = { base_s = 0 } }, "retry.base_s: expected seconds (0.001 to 2147483), got 0" },
  { { retry = { cap_s = 0 / 0 } }, "retry.cap_s: expected seconds (0.001 to 2147483), got nan" },
  { { retry = { cap_s = false } }, "retry.cap_s: expected seconds (0.001 to 2147483), got false" },
  { { retry = { statuses = { 200 } } }, "retry.statuses: expected a list of statuses (400 to 599), got a table" },
  { { retry = { statuses = 503 } }, "retry.statuses: expected a list of statuses (400 to 599), got 503" },
  { { retry = { on_retry = "x" } }, 'retry.on_retry: expected a function, got "x"' },
  { { retry = { maximum = 1 } }, "unknown key `retry.maximum`; known are base_s, cap_s, max, on_retry, statuses" },
  { { host = 7 }, "host: expected a table or the name of a host, got 7" },
  { { host = {} }, "host: `running`: expected a function, got nil" },
  { { max_concurrent = 0 }, "max_concurrent: expected an integer between 1 and 1048576, got 0" },
  { { limits = { max_depth = 129 } }, "limits.max_depth: expected an integer between 1 and 128, got 129" },
  { { limits = { max_choices = 1048577 } },
    "limits.max_choices: expected an integer between 1 and 1048576, got 1048577" },
  { { limits = { max_tool_calls = 1e9 } },
    "limits.max_tool_calls: expected an integer between 1 and 1048576, got 1000000000" },
  { { limits = { max_header_bytes = 2 ^ 30 + 1 } },
    "limits.max_header_bytes: expected an integer between 1 and 1073741824, got 1073741825" },
  { { limits = { max_depth = 0 } }, "limits.max_depth: expected an integer between 1 and 128, got 0" },
  { { limits = { max_depth = 1.5 } }, "limits.max_depth: expected an integer between 1 and 128, got 1.5" },
  { { limits = { max_depth = false } }, "limits.max_depth: expected an integer between 1 and 128, got false" },
  { { tls = true }, "tls: expected a table of ca_file, ca_path, verify, cert, key, key_password, got true" },
  { { tls = { ca_files = "/f" } }, "unknown key `tls.ca_files` (did you mean `ca_file`?)" },
  { { tls = { "x" } }, "unknown key `tls.1`; known are ca_file, ca_path, cert, key, key_password, verify" },
  { { tls = { ca_file = "" } }, 'tls.ca_file: expected a non-empty path without control characters, got ""' },
  { { tls = { ca_file = "/a\0b" } }, 'tls.ca_file: expected a non-empty path without control characters, got "/a?b"' },
  { { tls = { verify = 1 } }, "tls.verify: expected true or false, got 1" },
  { { tls = { key = "/k" } }, "tls.key needs tls.cert" },
  { { tls = { key_password = "pw" } }, "tls.key_password needs tls.cert" },
  { { tls = { cert = "/c", key_password = "" } },
    "tls.key_password: expected a string of 1 to 1023 bytes without NUL, got a string" },
  { { tls = { cert = "/c", key_password = "hidden\0x" } },
    "tls.key_password: expected a string of 1 to 1023 bytes without NUL, got a string" },
  { { tls = { cert = "/c", keypassword = "x" } }, "unknown key `tls.keypassword` (did you mean `key_password`?)" },
  { { proxy = 1 }, "proxy: expected a URL, or false for none, got a number" },
  { { proxy = "p:3128" }, "proxy has no scheme (http:// or https://): p:3128" },
  { { proxy = "ftp://u:secret@p" }, "proxy has the scheme ftp, which is not supported: ftp://p" },
  { { unix_socket = "" }, 'unix_socket: expected a non-empty path without control characters, got ""' },
  { { unix_socket = "/s", proxy = "http://p" }, "proxy and unix_socket cannot be combined" },
  { { transport = "curl" }, 'transport: expected a table with a function `open`, got "curl"' },
  { { transport = {} }, "transport: expected a table with a function `open`, got a table" },
  { { on_event = "x" }, 'on_event: expected a function, got "x"' },
  { { decode = print }, "unknown key `decode`: write json = { decode = … } for a client" },
  { { json = { decode = {} } }, "json.decode: expected a function, got a table" },
  { { json = {} }, "json has neither encode nor decode" },
  { { json = "dkjson" },
    'json: expected "cjson", or a table with encode and decode (such as require "dkjson"), got "dkjson"' },
  { { unwrap_arguments = 1 }, "unwrap_arguments: expected true or false, got 1" },
  { { interrupt = true }, 'interrupt: expected "cancel", got true' },
  { { provider_name = "" }, 'provider_name: expected a non-empty string without control characters, got ""' },

  { { streaming = "yes" }, 'streaming: expected true or false, got "yes"' },
  { { stream = true, streaming = false }, "stream and streaming are the same option and differ" },
  { { include_usage = 1 }, "include_usage: expected true or false, got 1" },
  { { chunks = 1 }, "chunks: expected true or false, got 1" },
  { { strict_alternating_roles = { system = "join" } },
    'strict_alternating_roles: expected true, false, or a table of system = "fold", assistant = "join", first = '
      .. '"filler" (or its text), got a table' },
  { { strict_alternating_roles = { first = "" } },
    'strict_alternating_roles: expected true, false, or a table of system = "fold", assistant = "join", first = '
      .. '"filler" (or its text), got a table' },
  { { strict_alternating_roles = { users = "fold" } },
    'strict_alternating_roles: expected true, false, or a table of system = "fold", assistant = "join", first = '
      .. '"filler" (or its text), got a table' },
  { { strict_alternating_roles = 1 },
    'strict_alternating_roles: expected true, false, or a table of system = "fold", assistant = "join", first = '
      .. '"filler" (or its text), got 1' },
  { { reasoning_replay = true }, 'reasoning_replay: expected "never", "tool_turns" or "always", got true' },
  { { reasoning_field = "a b" },
    'reasoning_field: expected a name of letters, digits and _ that messages do not have yet, got "a b"' },
  { { reasoning_field = "content" },
    'reasoning_field: expected a name of letters, digits and _ that messages do not have yet, got "content"' },
  { { extra_body = "x" }, 'extra_body: expected a table with names as keys, got "x"' },
  { { extra_body = { "x" } }, "extra_body: expected a table with names as keys, got a table" },
  { { extra_body = { stream = true } }, "extra_body.stream: give `stream` itself" },
  { { extra_body = { messages = {} } }, "extra_body.messages: give `messages` itself" },
  { { extra_body = { top_k = 1 }, top_k = 2 }, "extra_body.top_k: `top_k` is also given directly" },

  { { temperature = -0.1 }, "temperature: expected a number of at least 0, got -0.1" },
  { { tools = { { name = "a.b" } } }, 'tools[1].name: expected 1 to 64 of a-z A-Z 0-9 _ -, got "a.b"' },
}

-- { environment, overrides, message }
local ENVIRONMENTS = {
  { {}, nil, "missing environment variable VLLM_MODEL" },
  { { VLLM_MODEL = "" }, nil, "missing environment variable VLLM_MODEL" },
  { { VLLM_BASE_URL = "http://h" }, { temperature = 0 }, "missing environment variable VLLM_MODEL" },
  { { VLLM_MODEL = "m", VLLM_BASE_URL = "h:8000" }, nil,
    "environment variable VLLM_BASE_URL: base_url has no scheme (http:// or https://): h:8000" },
  { { VLLM_MODEL = "m", VLLM_BASE_URL = "http://u:secret@h:x" }, nil,
    "environment variable VLLM_BASE_URL: base_url has a host or port that cannot be read: http://h:…" },
  { { VLLM_MODEL = "m", VLLM_API_KEY = "secret\n" }, nil,
    "environment variable VLLM_API_KEY: api_key holds a line break or another control character: give the key alone "
      .. "(of a file: file:read \"*l\")" },
}

local function label(value)
  if type(value) ~= "table" then return tostring(value) end
  return (core.json_encode(value) or "a value that is no JSON"):gsub("%c", "?"):sub(1, 80)
end

local function no_secret(message)
  assert.is_nil(message:find("secret", 1, true), message)
end

describe("vllm.new throws for", function()
  for i, case in ipairs(OPTIONS) do
    local options, expected = case[1], case[2]
    if type(options) == "table" and options.model == nil and case[3] ~= false then options.model = "m" end
    it(("%d: %s"):format(i, label(options)), function()
      local ok, message = pcall(config.check, options)
      assert.is_false(ok)
      assert.equal("vllm.new: " .. expected, message:match "bad_options_spec%.lua:%d+: (.*)$")
      no_secret(message)
    end)
  end
end)

describe("vllm.from_env", function()
  local real = os.getenv
  after_each(function() os.getenv = real end) -- luacheck: ignore

  for i, case in ipairs(ENVIRONMENTS) do
    it(("returns the fault of the environment, %d: %s"):format(i, case[3]), function()
      os.getenv = function(name) return case[1][name] end -- luacheck: ignore
      local built, message = config.from_env(case[2])
      assert.is_nil(built)
      assert.equal(case[3], message)
      no_secret(message)
    end)
  end

  it("throws for overrides that are wrong, whatever the environment", function()
    os.getenv = function() end -- luacheck: ignore
    assert.has_error(function() config.from_env(7) end, "vllm.from_env: expected a table of overrides, got 7")
    assert.has_error(function() config.from_env { tempurature = 1 } end,
      "vllm.from_env: unknown key `tempurature` (did you mean `temperature`?); extra_body = { … } sends any name")
    assert.has_error(function() config.from_env { base_url = "h" } end,
      "vllm.from_env: base_url has no scheme (http:// or https://): …")
  end)
end)
