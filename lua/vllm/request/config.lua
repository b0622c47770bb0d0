--- Configuration: what vllm.new, client:with and vllm.from_env take, checked once. Misuse throws and names the key.
-- A checked configuration is a fresh table. What may hold a secret (key, headers, proxy, the address with its query)
-- can be read like any field but is not stored in the table, so a dump of a client does not show it.

local fields = require "vllm.request.fields"
local headers = require "vllm.request.headers"
local hosts = require "vllm.hosts"
local json_library = require "vllm.request.json_library"
local misuse = require "vllm.base.misuse"
local redact = require "vllm.base.redact"
local spelling = require "vllm.base.spelling"
local tools = require "vllm.request.tools"
local url = require "vllm.request.url"
local values = require "vllm.base.values"

--- What vllm.new takes; every wire field besides (fields.lua lists them), as a default for each request.
---@class vllm.Options
---@field model string required
---@field system string|table|false|nil text of a system message for calls whose messages begin with none
---@field base_url string? default http://localhost:8000/v1/chat/completions; an empty path or one ending in /v1 is
---  completed
---@field api_key string? empty: none
---@field streaming boolean? default true; `stream` is the same
---@field include_usage boolean? default true: ask a stream for its usage
---@field strict_alternating_roles boolean|{ system: "fold"?, assistant: "join"?, first: string? }? default false
---@field reasoning_replay "never"|"tool_turns"|"always"|nil
---@field reasoning_field string?
---@field tool_media "parts"|"text"|nil how media in tool results go out
---@field chunks boolean? default false: `chunk` events with the raw text
---@field extra_body table? members of the body, sent as they are
---@field headers table<string, string|false>? false (or null) takes a header of ours away
---@field timeout table<"connect_s"|"queue_s"|"first_event_s"|"idle_s"|"finish_s"|"total_s", number|false>? seconds;
---  false: no limit
---@field tls { ca_file: string?, ca_path: string?, verify: boolean?, cert: string?, key: string?,
---  key_password: string? }?
---@field proxy string|false|nil URL; false: none, not even the environment's
---@field no_proxy string? hosts that are reached directly, separated by commas
---@field unix_socket string? path
---@field retry vllm.Retry|false|nil false: none
---@field limits table<string, integer>? limits by the names of DEFAULT_LIMITS below, at most 1 GiB, 1048576 things,
---  128 levels
---@field transport table? see docs/architecture.md
---@field on_event (fun(event: table))?
---@field json "cjson"|{ encode: (fun(value: any): string)?, decode: (fun(text: string): any)? }|nil for values that
---  enter or leave the program: inputs of calls, results of tools, answers of client:request; never for the wire
---@field unwrap_arguments boolean? default false: arguments that are a JSON object inside a JSON string are taken out
---  of it
---@field interrupt "cancel"|nil Ctrl-C cancels the turn that is being waited for
---@field host string|vllm.Host|nil who waits: a name such as "luv", "block" for none, or a host; default: the one in
---  charge at each wait
---@field max_concurrent integer? turns of this client that are open at once, 1 to 1048576; further ones wait in a queue
---@field provider_name string?

local config = {}

local DEFAULT_BASE_URL = "http://localhost:8000/v1/chat/completions"
-- In milliseconds it still fits a 32-bit long.
local MAX_SECONDS = 2147483

local MIB = 1024 * 1024
local MAX_PASSWORD_BYTES = 1023 -- of OpenSSL
local DEFAULT_TIMEOUT = {
  connect_s = 10, queue_s = 600, first_event_s = 600, idle_s = 300, finish_s = 2, total_s = false,
}
local DEFAULT_RETRY = { max = 2, base_s = 0.5, cap_s = 60 }
local MAX_RETRIES = 100
local DEFAULT_LIMITS = {
  max_event_bytes = 16 * MIB, max_message_bytes = 64 * MIB, max_tool_calls = 128, max_choices = 128, max_depth = 128,
  max_error_bytes = 64 * 1024, max_body_bytes = 256 * MIB, max_buffer_bytes = MIB, max_header_bytes = 64 * 1024,
}

local function is_clean(value)
  return type(value) == "string" and value ~= "" and not value:find("[%z\1-\31\127]")
end

-- What the C parts accept: bytes, items, nesting.
local MOST_BYTES, MOST_COUNT, MOST_DEPTH = 1024 * MIB, MIB, 128

local function limit_to(most)
  return { ("an integer between 1 and %d"):format(most), function(value)
    return type(value) == "number" and value >= 1 and value <= most and value == math.floor(value)
  end }
end

local function is_seconds(value)
  return value == false or (type(value) == "number" and value >= 0.001 and value <= MAX_SECONDS)
end

local function is_table(value)
  return type(value) == "table"
end

local BOOLEAN = { "true or false", function(value) return type(value) == "boolean" end }
local ANY = { "anything", function() return true end } -- FURTHER says the rest
local FUNCTION = { "a function", function(value) return type(value) == "function" end }
local PATH = { "a non-empty path without control characters", is_clean }
local SECONDS = { ("seconds (0.001 to %d), or false for no limit"):format(MAX_SECONDS), is_seconds }
local STRING = { "a string", function(value) return type(value) == "string" end }
local COUNT = limit_to(MOST_COUNT)
local RETRIES = { ("an integer between 0 and %d"):format(MAX_RETRIES), function(value)
  return value == 0 or limit_to(MAX_RETRIES)[2](value)
end }
local WAIT = {
  ("seconds (0.001 to %d)"):format(MAX_SECONDS), function(value) return value ~= false and is_seconds(value) end,
}
local STATUSES = { "a list of statuses (400 to 599)", function(value)
  local length = values.list_length(value)
  for i = 1, length or 0 do
    local status = value[i]
    if type(status) ~= "number" or status < 400 or status > 599 or status % 1 ~= 0 then return false end
  end
  return length ~= nil
end }
local PROXY = { "a URL, or false for none", function(value) return value == false or type(value) == "string" end }
local HOST = { "a table or the name of a host", function(value) return type(value) == "string" or is_table(value) end }
local PASSWORD = { ("a string of 1 to %d bytes without NUL"):format(MAX_PASSWORD_BYTES), function(value)
  return type(value) == "string" and value ~= "" and #value <= MAX_PASSWORD_BYTES and not value:find("%z")
end }
local LABEL = { "a non-empty string without control characters", is_clean }

-- Tables with known keys of their own: name → key → check.
local GROUPS = {
  timeout = {
    connect_s = SECONDS, queue_s = SECONDS, first_event_s = SECONDS, idle_s = SECONDS, finish_s = SECONDS,
    total_s = SECONDS,
  },
  tls = { ca_file = PATH, ca_path = PATH, cert = PATH, key = PATH, key_password = PASSWORD, verify = BOOLEAN },
  retry = { max = RETRIES, base_s = WAIT, cap_s = WAIT, statuses = STATUSES, on_retry = FUNCTION },
  limits = {},
}
for name in pairs(DEFAULT_LIMITS) do GROUPS.limits[name] = limit_to(MOST_BYTES) end
GROUPS.limits.max_tool_calls, GROUPS.limits.max_choices = COUNT, COUNT
GROUPS.limits.max_depth = limit_to(MOST_DEPTH)

--- Options of a client that a single call cannot change.
config.client_only = {
  base_url = STRING, api_key = STRING, proxy = PROXY, no_proxy = LABEL, unix_socket = PATH,
  tls = { "a table of ca_file, ca_path, verify, cert, key, key_password", is_table },
  retry = { "false, or a table such as { max = 3 } (of max, base_s, cap_s, statuses, on_retry)", function(value)
    return value == false or is_table(value)
  end },
  limits = { "a table of limits such as max_event_bytes", is_table },
  transport = {
    "a table with a function `open`", function(value) return is_table(value) and type(value.open) == "function" end,
  },
  on_event = FUNCTION, json = ANY, unwrap_arguments = BOOLEAN, provider_name = LABEL,
  host = HOST, max_concurrent = COUNT,
  interrupt = { '"cancel"', function(value) return value == "cancel" end },
}

--- What only a call has.
config.call_only = { messages = true, text = true, body = true, set = true, continue = true }

--- Is this the name of an option of a client or a call?
---@param name any
---@return boolean
function config.is_option(name)
  return (config.client_only[name] or fields.wire[name] or fields.own[name] or config.call_only[name]) ~= nil
end

-- One option at a time -----------------------------------------------------------------------------------------------

local SECRET = { api_key = true, proxy = true, base_url = true, ["tls.key_password"] = true }

-- The value of a secret is not shown.
local function misfit(check, name, value)
  if SECRET[name] then return ("%s: expected %s, got a %s"):format(name, check[1], type(value)) end
  return fields.fault(check, name, value)
end

local function check_group(group, options)
  local known = GROUPS[group]
  local unknown_key = spelling.unknown_key(options, known, group .. ".", group)
  if unknown_key then return unknown_key end
  for _, key in ipairs(values.sorted_keys(options)) do
    local name = group .. "." .. key
    if not known[key][2](options[key]) then return misfit(known[key], name, options[key]) end
  end
end

-- An url.parse predicate as a sentence about a URL, without what is secret in it.
local function about_url(name, text, why)
  return ("%s %s: %s"):format(name, why, text == "" and '""' or url.shown(text))
end

local PROXY_SCHEMES = { http = true, https = true, socks4 = true, socks4a = true, socks5 = true, socks5h = true }

-- Name → function(value, made) → what is wrong with it. What has to be made of the value to know that is kept in
-- `made` for `build`.
local FURTHER = {}

function FURTHER.base_url(value, made)
  local why
  made.endpoint, why = url.endpoint(value)
  return why and about_url("base_url", value, why)
end

function FURTHER.proxy(value)
  if value == false then return nil end
  local _, why = url.parse(value, PROXY_SCHEMES)
  return why and about_url("proxy", value, why)
end

function FURTHER.api_key(value)
  if value:find("[%z\1-\8\10-\31\127]") then
    return 'api_key holds a line break or another control character: give the key alone (of a file: file:read "*l")'
  end
  if value:lower():find("^bearer%s") then
    return "api_key begins with `Bearer`, which is added anyway: give the key alone"
  end
  if value:find("%s") then return "api_key holds a blank: give the key alone" end
  if value:find("^[\"'].*[\"']$") then return "api_key is in quotation marks: give the key alone" end
end

function FURTHER.headers(value, made)
  local why
  made.headers, why = headers.check(value)
  return why
end

function FURTHER.host(value)
  if type(value) == "string" and value:find("://", 1, true) then
    return "host is what waits; the server's address is base_url"
  end
  if type(value) == "table" then
    local why = hosts.fault(value)
    return why and "host: " .. why
  end
  if hosts.is_known(value) then return nil end
  return ("unknown host %s; known hosts: %s"):format(values.shown(value), hosts.names())
end

function FURTHER.json(value, made)
  local why
  made.json, why = json_library.functions(value)
  return why
end

function FURTHER.tools(value)
  local _, names_or_why, param = tools.to_wire(value)
  return param and names_or_why
end

function FURTHER.extra_body(value)
  for _, key in ipairs(values.sorted_keys(value)) do
    if key == "stream" or key == "messages" then return ("extra_body.%s: give `%s` itself"):format(key, key) end
  end
end

for group in pairs(GROUPS) do
  FURTHER[group] = function(value) return value and check_group(group, value) end
end

-- Checks a value of a known key.
local function fault(name, value, made)
  local check = config.client_only[name] or fields.wire[name] or fields.own[name]
  if not check[2](value) then return misfit(check, name, value) end
  return FURTHER[name] and FURTHER[name](value, made)
end

local ONLY_IN = { client = config.client_only, call = config.call_only, session = {}, agent = config.client_only }
local CALL_OF = {
  client = "client:turn { %s = … }", session = "session:turn(input, { … })",
  agent = "agent:run(input), agent:session { … }",
}

--- What is wrong with a name among the options of a client, a session or a call, and what to write instead; nil:
--- nothing. A server ignores a field that it does not know.
---@param owner "client"|"session"|"call"|"agent"
---@param key any
---@return string?
function config.name_fault(owner, key)
  if fields.wire[key] or fields.own[key] or ONLY_IN[owner][key] then return nil end
  if type(key) ~= "string" then
    return ("unknown key %s: options have names (a list of messages goes into `messages`)"):format(values.shown(key))
  end
  if config.call_only[key] then return ("`%s` belongs to a call: %s"):format(key, CALL_OF[owner]:format(key)) end
  if config.client_only[key] then return ("`%s` belongs to the client: vllm.new{…} or client:with{…}"):format(key) end
  local removed = fields.why_removed(key)
  if removed then return removed end
  local sentence, help =
    spelling.unknown(key, key, "request", config.client_only, fields.wire, fields.own, config.call_only)
  return help == "advice" and sentence or sentence .. "; extra_body = { … } sends any name"
end

-- All options together -----------------------------------------------------------------------------------------------

local function conflict(options)
  if options.stream ~= nil and options.streaming ~= nil and options.stream ~= options.streaming then
    return "stream and streaming are the same option and differ"
  end
  if options.proxy and options.unix_socket then return "proxy and unix_socket cannot be combined" end
  for _, name in ipairs { "key", "key_password" } do
    if options.tls and options.tls[name] and not options.tls.cert then return ("tls.%s needs tls.cert"):format(name) end
  end
  for _, key in ipairs(values.sorted_keys(options.extra_body or {})) do
    if options[key] ~= nil then
      return ("extra_body.%s: `%s` is also given directly"):format(tostring(key), tostring(key))
    end
  end
end

-- The first fault of a table of options, or nil.
local function first_fault(options, made)
  local keys = values.sorted_keys(options)
  for _, key in ipairs(keys) do
    local why = config.name_fault("client", key)
    if why then return why end
  end
  for _, key in ipairs(keys) do
    local why = fault(key, options[key], made)
    if why then return why end
  end
  return conflict(options)
end

local function without_nulls(map)
  local out = {}
  for key, value in pairs(map) do
    if not values.is_null(value) then out[key] = value end
  end
  return out
end

-- A table with a metatable is an object (a transport, a raw text) and is kept as it is.
local function copy(value, seen)
  if type(value) ~= "table" or getmetatable(value) then return value end
  if seen[value] then return seen[value] end
  local out = {}
  seen[value] = out
  for key, member in pairs(value) do out[key] = copy(member, seen) end
  return out
end

-- A copy of the options without nulls: later changes to the caller's tables change nothing here.
local function fresh(options)
  local out = without_nulls(options)
  for key, value in pairs(out) do
    if key ~= "transport" and key ~= "host" then out[key] = copy(value, {}) end
    if GROUPS[key] and type(value) == "table" then out[key] = without_nulls(value) end
  end
  return out
end

local function filled(given, defaults)
  local out = {}
  for name, default in pairs(defaults) do out[name] = default or nil end
  for name, value in pairs(given or {}) do out[name] = value or nil end
  return out
end

local function pick(options, from)
  local out = {}
  for name in pairs(from) do out[name] = options[name] end
  return out
end

local function streams(options)
  if options.streaming ~= nil then return options.streaming end
  return options.stream ~= false
end

local function authorization(options, endpoint)
  if options.api_key and options.api_key ~= "" then return "Bearer " .. options.api_key end
  return endpoint.userinfo and url.basic_authorization(endpoint.userinfo) or nil
end

-- As libcurl reads them.
local PROXY_VARIABLES = { "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY" }

-- What redact.lua removes from what a server or a proxy sends back.
local function secret_texts(options, own_headers)
  local list = { options.api_key }
  list[#list + 1] = options.tls and options.tls.key_password
  local function add(more)
    for _, text in ipairs(more) do list[#list + 1] = text end
  end
  add(url.secrets(options.base_url or ""))
  add(url.secrets(options.proxy or ""))
  for _, name in ipairs(options.proxy == nil and PROXY_VARIABLES or {}) do add(url.secrets(os.getenv(name) or "")) end
  add(headers.secrets(own_headers))
  return list
end

-- The address of a path, with the query of base_url, which may be a key or a version. A function, so that a dump shows
-- neither.
local function root_url_of(endpoint)
  local root, query = endpoint.root, endpoint.query
  return function(path)
    if path:find("[%z\1-\32\127]") then return nil, "path holds a space or a control character" end
    return root .. path .. (path:find("?", 1, true) and query:gsub("^%?", "&", 1) or query)
  end
end

local function build(options, made)
  local endpoint = made.endpoint or url.endpoint(DEFAULT_BASE_URL)
  local built = pick(options, {
    transport = 1, on_event = 1, unwrap_arguments = 1, provider_name = 1, interrupt = 1, no_proxy = 1, host = 1,
    max_concurrent = 1, unix_socket = 1, reasoning_replay = 1, reasoning_field = 1, tool_media = 1, extra_body = 1,
    chunks = 1,
  })
  built.system = options.system or nil
  built.model, built.root_url = options.model, root_url_of(endpoint)
  built.streaming, built.include_usage = streams(options), options.include_usage ~= false
  built.strict_alternating_roles = options.strict_alternating_roles or false
  built.timeout, built.limits = filled(options.timeout, DEFAULT_TIMEOUT), filled(options.limits, DEFAULT_LIMITS)
  built.retry = options.retry == false and { max = 0 } or filled(options.retry, DEFAULT_RETRY)
  built.fields = pick(options, fields.wire)
  built.json = made.json
  local own_headers = made.headers or {}
  local secrets = {
    options = options, api_key = options.api_key ~= "" and options.api_key or nil, proxy = options.proxy,
    tls = options.tls,
    url = endpoint.url, models_url = endpoint.models,
    authorization = authorization(options, endpoint), headers = own_headers,
    secret_texts = secret_texts(options, own_headers),
  }
  secrets.redactor = redact.new(secrets.secret_texts)
  return setmetatable(built, { __index = function(_, name) return secrets[name] end })
end

-- A configuration, or nil and the first fault.
local function checked(options)
  if type(options) ~= "table" then return nil, "expected a table of options, got " .. values.shown(options) end
  local own, made = fresh(options), {}
  local why = first_fault(own, made)
  if why then return nil, why end
  if own.model == nil then return nil, "`model` is missing: the name that the server knows the model by" end
  return build(own, made)
end

--- Checks the options of vllm.new. Throws on misuse.
---@param options vllm.Options
---@return table checked see `build` above; treat as read only
function config.check(options)
  local built, why = checked(options)
  if not built then misuse.raise("vllm.new: " .. why) end
  return built
end

-- Tables whose members are options of their own: a later one adds to an earlier one.
local MERGED = { timeout = true, tls = true, retry = true, limits = true, headers = true, extra_body = true }

local function merged_map(old, new, fold)
  local out = {}
  for key, value in pairs(old) do out[key] = value end
  for key, value in pairs(new) do
    for known in pairs(old) do
      if fold and type(key) == "string" and known ~= key and known:lower() == key:lower() then out[known] = nil end
    end
    out[key] = value
  end
  return out
end

--- The configuration of client:with: options over those of another configuration. Null unsets. Throws on misuse.
---@param base table a checked configuration
---@param options table as for vllm.new; timeout, tls, limits, headers, extra_body are joined by their keys
---@param name string? of the function, for the error; default client:with
---@return table checked
function config.merge(base, options, name)
  local merged = merged_map(base.options, {})
  if options.stream ~= nil or options.streaming ~= nil then merged.stream, merged.streaming = nil, nil end
  for key, value in pairs(options) do
    local join = MERGED[key] and type(value) == "table" and merged[key]
    merged[key] = join and merged_map(merged[key], value, key == "headers") or value
  end
  local built, why = checked(merged)
  if not built then misuse.raise((name or "client:with") .. ": " .. why) end
  return built
end

--- What is wrong with the clocks of one call, or nil.
---@param timeout table
---@return string? message
function config.timeout_fault(timeout)
  return check_group("timeout", without_nulls(timeout))
end

--- The clocks of one call: its own over the client's.
---@param built table a checked configuration
---@param timeout table? without a fault
---@return table<"connect_s"|"queue_s"|"first_event_s"|"idle_s"|"finish_s"|"total_s", number?> seconds; absent: no limit
function config.timeout_of(built, timeout)
  return timeout and filled(without_nulls(timeout), built.timeout) or built.timeout
end

local ENVIRONMENT = { { "model", "VLLM_MODEL" }, { "base_url", "VLLM_BASE_URL" }, { "api_key", "VLLM_API_KEY" } }

local function no_model()
  local message = "missing environment variable VLLM_MODEL"
  if type(rawget(_G, "ngx")) ~= "table" then return message end
  return message .. "; nginx hides what no `env VLLM_MODEL;` at the top of nginx.conf lets through"
end

--- The configuration of vllm.from_env: VLLM_MODEL, VLLM_BASE_URL, VLLM_API_KEY under the overrides. An empty variable
--- is an unset one.
---@param overrides table? as for vllm.new; they win. Misuse throws
---@return table? checked
---@return string? message `missing environment variable VLLM_MODEL`, or which variable cannot be used and why
function config.from_env(overrides)
  if overrides == nil then overrides = {} end
  if type(overrides) ~= "table" then
    misuse.raise("vllm.from_env: expected a table of overrides, got " .. values.shown(overrides))
  end
  local options, made = fresh(overrides), {}
  local why = first_fault(options, made)
  if why then misuse.raise("vllm.from_env: " .. why) end
  for _, entry in ipairs(ENVIRONMENT) do
    local name, variable = entry[1], entry[2]
    local value = os.getenv(variable)
    if options[name] == nil and value and value ~= "" then
      why = fault(name, value, made)
      if why then return nil, ("environment variable %s: %s"):format(variable, why) end
      options[name] = value
    end
  end
  if options.model == nil then return nil, no_model() end
  why = conflict(options)
  if why then return nil, why end
  return build(options, made)
end

--- A configuration in a few words. Never shows a key, a header's value, a password or a query.
---@param built table a checked configuration
---@return string
function config.describe(built)
  local words = { built.model, "at", url.shown(built.url) }
  if built.unix_socket then words[#words + 1] = "through " .. built.unix_socket end
  if built.proxy then words[#words + 1] = "by proxy " .. url.shown(built.proxy) end
  if built.api_key then words[#words + 1] = "with a key" end
  return table.concat(words, " ")
end

return config
