--- A client: a checked configuration and a transport with its pool of connections. Making one does no I/O and opens no
--- descriptor, so it is safe before a fork.

local built_request = require "vllm.request.built"
local config = require "vllm.request.config"
local core = require "vllm.core"
local errors = require "vllm.base.errors"
local exchange = require "vllm.turn.exchange"
local fields = require "vllm.request.fields"
local gate = require "vllm.turn.gate"
local guard = require "vllm.base.guard"
local json_library = require "vllm.request.json_library"
local misuse = require "vllm.base.misuse"
local request_builder = require "vllm.request"
local request_headers = require "vllm.request.headers"
local server_errors = require "vllm.base.server_errors"
local spelling = require "vllm.base.spelling"
local tokenize = require "vllm.request.tokenize"
local turns = require "vllm.turn"
local values = require "vllm.base.values"

---@class vllm.Client
---@field config table the checked configuration; read only
local Client = {}
Client.__index = Client
Client.__name = "vllm.client"
misuse.tell_members(Client, "client", "client")

-- Connection options that a transport may or may not be able to honour.
local CONNECTION_OPTIONS = { "proxy", "no_proxy", "unix_socket" }
local TLS_OPTIONS = { "ca_file", "ca_path", "verify", "cert", "key", "key_password" }

local function refusal(transport, name)
  local message = ("vllm.new: the transport `%s` cannot honour `%s`"):format(transport.name or "?", name)
  local instead = transport.instead and transport.instead[name]
  return instead and message .. "; " .. instead or message
end

-- The name of an option that the transport cannot honour, or nil.
local function dishonoured(transport, checked)
  local honoured = transport.options or {}
  for _, name in ipairs(CONNECTION_OPTIONS) do
    if checked[name] and not honoured[name] then return name end
  end
  for _, name in ipairs(TLS_OPTIONS) do
    if checked.tls and checked.tls[name] ~= nil and not honoured[name] then return "tls." .. name end
  end
  return checked.interrupt and not transport.interrupt and "interrupt" or nil
end

-- In nginx its own sockets: a wait of libcurl would hold up the worker.
local function new_default_transport()
  local ngx = rawget(_G, "ngx")
  if type(ngx) == "table" and ngx.socket then return require("vllm.transports.nginx").new() end
  return require("vllm.transports.curl").new()
end

-- What cannot be sent. In a gateway it is a stranger's: his ids, keys and roles stand in these sentences.
local function invalid(message, param)
  return errors.new("invalid_request", errors.shown(message), { param = param and errors.shown(param) })
end

local clients = { Client = Client }

--- Makes a client from a checked configuration (vllm.new checks it).
---@param checked table of config.check
---@param transport table? shared with the client it is derived from
---@param own_gate vllm.Gate? shared with the client it is derived from
---@return vllm.Client
function clients.new(checked, transport, own_gate)
  transport = transport or checked.transport or new_default_transport()
  local name = dishonoured(transport, checked)
  if name then misuse.raise(refusal(transport, name)) end
  if checked.max_concurrent and not own_gate then own_gate = gate.new(checked.max_concurrent) end
  return setmetatable({ config = checked, transport = transport, _gate = own_gate }, Client)
end

--- A client with further defaults, on the same connections.
---@param client vllm.Client
---@param options table
---@param name string of the function that a misuse is told of
---@return vllm.Client
function clients.derive(client, options, name)
  return clients.new(config.merge(client.config, options, name), client.transport, client._gate)
end

--- A turn of a client, as client:turn makes it.
---@param client vllm.Client
---@param request table|string
---@param on_result fun(result: table)? called once, when the answer is whole
---@param err vllm.Error? why it cannot begin
---@return vllm.Turn
function clients.turn(client, request, on_result, err)
  local built, message, param
  if not err then built, message, param = request_builder.build(client.config, request) end
  if not built then err = err or invalid(message, param) end
  return turns.new(client.config, client.transport, client._gate, built, err, on_result)
end

local function check_self(name, self)
  misuse.check_colon(type(self) == "table" and self.config, "client", name)
end

-- The request that a call's arguments mean.
local function request_of(name, request, more)
  local kind = type(request)
  if kind ~= "table" and kind ~= "string" then
    misuse.raise(("client:%s: expected a request (a table or a string), got %s"):format(name, values.shown(request)))
  end
  if more == nil then return request end
  if kind == "table" then
    misuse.raise(("client:%s: a request is one table, { messages = …, temperature = … }; got another argument, %s")
      :format(name, values.shown(more)))
  end
  if type(more) ~= "table" then
    misuse.raise(("client:%s: expected a table of options after the text, got %s"):format(name, values.shown(more)))
  end
  if more.text ~= nil then misuse.raise(("client:%s: the text is given twice"):format(name)) end
  local whole = { text = request }
  for key, value in pairs(more) do whole[key] = value end
  return whole
end

--- One model call. Sends nothing yet: that happens at the first of open, next, poll, events, text_deltas, each, result,
--- text, relay. Bad data (an unknown role, a wrong value, …) makes a turn whose every method returns that error, and
--- `turn:error()` has it.
---@param request table|string messages, tools, wire fields (docs/requests.md); a string is one user message
---@param more table? after a string: the rest of the request
---@return vllm.Turn
function Client:turn(request, more)
  check_self("turn", self)
  return clients.turn(self, request_of("turn", request, more))
end

--- Asks and waits for the text.
---@param request table|string as for turn
---@param more table? as for turn
---@return string? text
---@return string? message
---@return vllm.Error? err any kind; `no_output` when the answer has no text
function Client:ask(request, more)
  check_self("ask", self)
  return self:turn(request_of("ask", request, more)):text()
end

--- The exact bytes that a turn with this request would send.
---@param request table|string as for turn
---@param more table? as for turn
---@return string? body JSON
---@return string? message
---@return vllm.Error? err
function Client:body(request, more)
  check_self("body", self)
  local built, message, param = request_builder.build(self.config, request_of("body", request, more))
  if not built then return errors.give(invalid(message, param)) end
  return built.body
end

--- A client with some options changed, on the same pool of connections; both count for the same max_concurrent, unless
--- it is among them.
---@param options table as for vllm.new
---@return vllm.Client
function Client:with(options)
  check_self("with", self)
  if type(options) ~= "table" then misuse.raise("client:with: expected a table of options, got " .. type(options)) end
  local merged = config.merge(self.config, options)
  local shared_gate = options.max_concurrent == nil and self._gate or nil
  return clients.new(merged, options.transport and merged.transport or self.transport, shared_gate)
end

--- A session: a transcript that turns grow.
---@param options table? `id`, `messages`, and defaults for its turns: all that a call takes (`system`, `tools`, …)
---@return vllm.Session
function Client:session(options)
  check_self("session", self)
  return require("vllm.session").new(self, options == nil and {} or options, clients)
end

-- The error of a whole answer that is not a success. `hint`: what to say of an address that is not there; nil: the path
-- is the caller's.
function Client:_error_of_answer(address, answer, redactor, hint)
  local context = built_request.error_context(self.config, address)
  local text, max_bytes = redactor:text(answer.body, true), self.config.limits.max_error_bytes
  local body, headers = text:sub(1, max_bytes), redactor:headers(answer.headers)
  context.is_of_caller, context.address_hint = hint == nil, hint
  local plain = { status = answer.status, body = body }
  local err = guard.explained(nil, plain, server_errors.from_status, answer.status, headers, body, context)
  err.body_cut = (answer.cut or #text > max_bytes) or nil
  return redactor:error(err)
end

-- Sends one request of a transport and collects its whole answer. hint: as above.
function Client:_fetch(request, timeout, redactor, hint)
  local checked = self.config
  local clock = timeout.total_s and "total_s" or "first_event_s"
  local limit_s = timeout[clock]
  local answer, failure =
    exchange.run(self.transport, request, checked.limits.max_event_bytes, limit_s and core.now() + limit_s)
  if not answer then
    if limit_s and type(failure) == "table" and failure.kind == "timeout" and not failure.clock then
      failure = { kind = "timeout", detail = ("timeout.%s: %g s passed; %s"):format(clock, limit_s, failure.detail),
        clock = clock, limit_s = limit_s }
    end
    return errors.give(redactor:error(guard.transport(failure)))
  end
  if answer.status < 200 or answer.status > 299 then
    return errors.give(self:_error_of_answer(request.url, answer, redactor, hint))
  end
  if answer.cut then
    return errors.give(errors.new("limit", ("the answer exceeds limits.max_event_bytes (%d)")
      :format(checked.limits.max_event_bytes), { status = answer.status }))
  end
  return answer
end

local NO_TOKENIZE = "; it cannot count tokens, or a gateway does not pass /tokenize on"

--- Counts the tokens of the prompt that a turn with this request would send: messages, tools and what the chat template
--- adds. The server counts (vLLM's /tokenize); nothing is generated. Sent once: there is no retry.
---@param request table|string as for turn
---@param more table? as for turn
---@return { count: integer, max_model_len: integer? }? counted max_model_len: what prompt and answer may have together
---@return string? message
---@return vllm.Error? err kind `not_found` if the server has no /tokenize
function Client:tokens(request, more)
  check_self("tokens", self)
  local built, message, param = request_builder.build(self.config, request_of("tokens", request, more))
  if not built then return errors.give(invalid(message, param)) end
  local answer, why, err = self:_fetch(built.tokenize_request, built.timeout, built.redactor, NO_TOKENIZE)
  if not answer then return nil, why, err end
  local counted = tokenize.read(answer.body)
  if counted then return counted end
  local body = built.redactor:text(answer.body, true):sub(1, self.config.limits.max_error_bytes)
  err = errors.new("protocol", "the answer of /tokenize has no `count`", { status = answer.status, body = body })
  return errors.give(err)
end

local REQUEST_OPTIONS = { timeout = true }

-- The clocks of one request.
local function request_timeout(checked, options)
  if options == nil then return checked.timeout end
  if type(options) ~= "table" then
    misuse.raise("client:request: expected options as a table, got " .. values.shown(options))
  end
  local why = spelling.unknown_key(options, REQUEST_OPTIONS)
  if not why and options.timeout ~= nil then
    why = fields.fault(fields.own.timeout, "timeout", options.timeout) or config.timeout_fault(options.timeout)
  end
  if why then misuse.raise("client:request: " .. why) end
  return config.timeout_of(checked, options.timeout)
end

local BODILESS = { GET = true, HEAD = true }

-- What is wrong with the body of a request, or nil. Options in its place would be sent to the server, which ignores
-- them.
local function body_fault(method, body, options)
  if body == nil then return nil end
  local is_table = type(body) == "table"
  if not is_table and type(body) ~= "string" then return "body must be a table, a string or nil, got " .. type(body) end
  local is_options = is_table and options == nil and next(body) ~= nil
    and not spelling.unknown_key(body, REQUEST_OPTIONS)
  if BODILESS[method] then
    local what = is_options and 'options are the fourth argument: client:request("%s", path, nil, { timeout = … })'
      or "put what it asks for into the path: /path?name=value"
    return ("%s carries no body; " .. what):format(method, method)
  end
  if not is_options then return nil end
  return ('the third argument is the body; options are the fourth: client:request("%s", path, body, { timeout = … })')
    :format(method)
end

--- Any other endpoint of the same server. Sent once: there is no retry.
---@param method string "GET", "POST", …
---@param path string from the server's root, such as "/v1/models", "/health", "/tokenize"
---@param body table|string|nil a table is sent as JSON, a string as it is
---@param options { timeout: table? }? clocks over the client's: connect_s, and total_s (else first_event_s)
---@return { status: integer, headers: table, body: string, json: any, invalid: string? }? answer `json` where the
---  answer is JSON; `invalid`: why it cannot be read as such, though it says so
---@return string? message
---@return vllm.Error? err
function Client:request(method, path, body, options)
  check_self("request", self)
  if type(method) ~= "string" or not method:find("^%u+$") then
    misuse.raise("client:request: method must be a word in capitals, got " .. values.shown(method))
  end
  if type(path) ~= "string" or not path:find("^/") then
    misuse.raise("client:request: path must begin with /, got " .. values.shown(path))
  end
  local fault = body_fault(method, body, options)
  if fault then misuse.raise("client:request: " .. fault) end
  if type(body) == "table" then
    local text, message, where = core.json_encode(body, { request = true })
    if not text then
      where = where == "" and "body" or "body." .. where
      return errors.give(invalid(where .. ": " .. message, where))
    end
    body = text
  end
  local checked = self.config
  local timeout = request_timeout(checked, options)
  local address, why = checked.root_url(path)
  if not address then return errors.give(errors.new("invalid_request", why, { param = "path" })) end
  local headers = request_headers.of_request(checked, false)
  local plain = built_request.transport_request(checked, method, address, headers, body, timeout)
  local answer, message, err = self:_fetch(plain, timeout, checked.redactor)
  if not answer then return nil, message, err end
  local is_json = (answer.headers["content-type"] or ""):find("json", 1, true)
  answer.headers = checked.redactor:headers(answer.headers)
  if is_json then
    answer.json, answer.invalid = json_library.decode(checked.json, answer.body)
  end
  return answer
end

-- `client.temperature = 0` would change nothing. Other names are the program's own business.
function Client:__newindex(name, value)
  if type(rawget(Client, name)) == "function" then
    misuse.raise(("client.%s is a function of the client"):format(name))
  end
  if config.call_only[name] then
    misuse.raise(("client.%s: a client does not change; messages go into a call or a session: "
      .. "client:session { messages = … }"):format(name))
  end
  if config.is_option(name) then
    misuse.raise(("client.%s: a client does not change; client:with { %s = … } derives another one"):format(name, name))
  end
  rawset(self, name, value)
end

function Client:__tostring()
  return "vllm.client (" .. config.describe(self.config) .. ")"
end

return clients
