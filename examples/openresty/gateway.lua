--- A gateway: checks who asks, holds requests to the policy, passes vLLM's answer on chunk by chunk, and counts its
-- tokens. The worker never waits: every read and write here suspends only the request that it belongs to.

local policy = require "policy"
local vllm = require "vllm"

local ngx = ngx -- luacheck: ignore 113
local STARTED_AT = ngx.time()
local MAX_NAME_BYTES = 200
local gateway = {}
local client

--- Makes the client, once, before the workers are forked. This opens neither a connection nor a descriptor.
function gateway.init()
  require "policy_check"(policy)
  client = assert(vllm.from_env { timeout = { first_event_s = 300, idle_s = 60 }, chunks = true })
  policy.models[client.config.model] = true
  gateway.client = client
end

-- Errors -----------------------------------------------------------------------------------------------------------

-- What callers are told. The server's own words, addresses and advice go to the error log only.
local ANSWERS = {
  invalid_request = { 400, "the model server does not accept this request" },
  context_length = { 400, "the messages and the requested tokens do not fit into the model's context" },
  role_order = { 400, "the model does not accept messages of these roles in this order" },
  rate_limited = { 429, "too many requests at the moment" },
  overloaded = { 503, "the model server is overloaded at the moment" },
  busy = { 503, "the model server is overloaded at the moment" },
  timeout = { 504, "the model server did not answer in time" },
  other = { 502, "the model server cannot answer at the moment" },
}
local IS_CALLERS_FAULT = { invalid_request = true, context_length = true, role_order = true }

local function error_json(status, kind, message, param)
  return vllm.json.encode { error = { message = message, type = kind, param = param or vllm.null, code = status } }
end

local function refuse(status, kind, message, param)
  if ngx.var.gateway_error == "-" then ngx.var.gateway_error = kind end
  ngx.status = status
  ngx.header.content_type = "application/json"
  ngx.print(error_json(status, kind, message, param))
  return ngx.exit(ngx.HTTP_OK) -- the status is set; this ends the request
end

-- Status, kind, message and field for the caller. A message of our own checks is about the request alone, so the caller
-- may read it.
local function told(err, members)
  local answer = ANSWERS[err.kind] or ANSWERS.other
  local kind = ANSWERS[err.kind] and err.kind or "server"
  local is_readable = IS_CALLERS_FAULT[err.kind] and (policy.tell_refusals or not err.status)
  local param = IS_CALLERS_FAULT[err.kind] and (not err.status or members[err.param] ~= nil) and err.param or nil
  return answer[1], kind, is_readable and err.message or answer[2], param
end

-- The request ------------------------------------------------------------------------------------------------------

local function user_of_request()
  local token = (ngx.var.http_authorization or ""):match "^[Bb]earer +(%S+)$"
  return token and policy.users[token]
end

-- The body's text and its members; or nil and the reason.
local function read_request()
  ngx.req.read_body()
  local text = ngx.req.get_body_data()
  if not text then return nil, "the request has no body" end
  local members, message = vllm.json.decode(text)
  if type(members) ~= "table" then return nil, message or "the body must be a JSON object" end
  return text, members
end

local function without_forbidden(text, members)
  local found = false
  for _, name in ipairs(policy.forbidden) do
    if members[name] ~= nil then members[name], found = nil, true end
  end
  return found and vllm.json.encode(members) or text
end

local function given(value)
  if value ~= nil and value ~= vllm.null then return value end
end

-- What else vLLM reads as true and as false.
local SWITCHES = { ["1"] = true, ["true"] = true, t = true, on = true, yes = true, y = true,
  ["0"] = false, ["false"] = false, f = false, off = false, no = false, n = false }

-- A body's `stream`: true, false, or nil if it is neither.
local function stream_of(members)
  local value = given(members.stream)
  if value == nil or type(value) == "boolean" then return value or false end
  if type(value) == "number" then value = ("%g"):format(value) end
  return SWITCHES[tostring(value):lower()]
end

-- The gateway counts by the usage, so a stream must report it.
local function stream_options(members)
  local wanted = given(members.stream_options)
  local always = type(wanted) == "table" and wanted.continuous_usage_stats == true or nil
  return { include_usage = true, continuous_usage_stats = always }
end

-- What the policy sets in a body; or nil, the reason, the field at fault.
local function demands(user, members)
  local model = given(members.model) or client.config.model
  if type(model) ~= "string" then return nil, "model must be a string", "model" end
  if not (user.models or policy.models)[model] then
    return nil, "you may not use the model " .. vllm.text(model:sub(1, MAX_NAME_BYTES)), "model"
  end
  local set = { model = model, stream = stream_of(members) }
  if set.stream == nil then return nil, "stream must be true or false", "stream" end
  if set.stream then set.stream_options = stream_options(members) end
  local cap = user.max_completion_tokens
  for _, name in ipairs { "max_completion_tokens", "max_tokens" } do
    local wanted = given(members[name])
    if wanted ~= nil and type(wanted) ~= "number" then return nil, name .. " must be a number", name end
    if wanted and wanted > cap then set[name] = cap end
  end
  if not given(members.max_completion_tokens) and not given(members.max_tokens) then set.max_completion_tokens = cap end
  return set
end

-- The answer -------------------------------------------------------------------------------------------------------

local HAS_BROKEN_OFF = { closed = true, truncated = true, timeout = true, protocol = true, limit = true }
local IS_OUTPUT = { text_delta = true, reasoning_delta = true, refusal_delta = true, tool_call_delta = true }

local function begin(out, turn)
  out.is_stream = not (turn.headers["content-type"] or ""):find("json", 1, true)
  ngx.status = turn.status
  ngx.header.content_type = out.is_stream and "text/event-stream; charset=utf-8" or "application/json"
end

-- A chunk is passed on byte for byte; only the frame around it is ours.
local function put(out, turn, chunk)
  if out.is_stream == nil then begin(out, turn) end
  out.frames[#out.frames + 1] = out.is_stream and "data: " .. chunk:gsub("\n", "\ndata: ") .. "\n\n" or chunk
end

-- False: the client has left.
local function send(out)
  local frames = out.frames
  if #frames == 0 then return true end
  out.frames = {}
  return ngx.print(frames) and ngx.flush(true) and true or false
end

-- Sends all that is there in one write, then waits for the next event.
local function next_event(out, turn)
  local event = turn:poll()
  if event ~= false then return event end
  if not send(out) then turn:cancel() end
  return turn:next()
end

local function on_event(out, turn, event)
  if event.type == "chunk" then return put(out, turn, event.raw) end
  if not IS_OUTPUT[event.type] then return end
  if out.deltas == 0 then ngx.var.gateway_first_s = ("%.3f"):format(ngx.now() - ngx.req.start_time()) end
  out.deltas = out.deltas + 1
end

-- For the access log. Without the server's usage, the deltas are counted: vLLM sends a token, or a few, at a time.
local function count(out, result)
  local usage = result and result.usage
  ngx.var.gateway_prompt = usage and usage.prompt_tokens or "-"
  ngx.var.gateway_completion = usage and usage.completion_tokens or out.deltas > 0 and out.deltas or "-"
end

local function fail(out, err, members)
  local has_left = err.kind == "cancelled"
  ngx.var.gateway_error = has_left and "client_left" or err.kind -- nginx.conf turns client_left into 499
  if has_left then return ngx.exit(499) end
  if err.status or not IS_CALLERS_FAULT[err.kind] then ngx.log(ngx.WARN, err.message) end
  if err.retry_after_s and out.is_stream == nil then ngx.header.retry_after = math.ceil(err.retry_after_s) end
  local status, kind, message, param = told(err, members)
  if out.is_stream == nil then return refuse(status, kind, message, param) end
  -- If the server ended the answer itself, so do we; what broke off must look broken off.
  if HAS_BROKEN_OFF[err.kind] then return ngx.exit(ngx.ERROR) end
  out.frames[#out.frames + 1] = "data: " .. error_json(status, kind, message, param) .. "\n\ndata: [DONE]\n\n"
  send(out)
end

-- turn:relay would be shorter and a quarter cheaper, but pass on every byte, even those of an error's message.
local function pass_on(turn, members)
  local out = { frames = {}, deltas = 0 }
  ngx.on_abort(function() turn:cancel() end)
  local event = next_event(out, turn)
  while event do
    on_event(out, turn, event)
    event = next_event(out, turn)
  end
  local result, _, err = turn:result()
  count(out, result or err.partial)
  if err then return fail(out, err, members) end
  if out.is_stream then out.frames[#out.frames + 1] = "data: [DONE]\n\n" end
  send(out)
end

-- Requests ---------------------------------------------------------------------------------------------------------

-- The user; or nil, after answering the request.
local function admit(method)
  ngx.header.x_request_id = ngx.var.request_id
  if ngx.req.get_method() ~= method then return refuse(405, "invalid_request", "expected " .. method) end
  local user = user_of_request()
  if user then
    ngx.var.gateway_user = user.name
    return user
  end
  ngx.header.www_authenticate = "Bearer"
  return refuse(401, "auth", "expected a bearer token that is known here")
end

--- POST /v1/chat/completions
function gateway.chat()
  local user = admit "POST"
  if not user then return end
  local text, members = read_request()
  if not text then return refuse(400, "invalid_request", members, "body") end
  local set, why, param = demands(user, members)
  if not set then return refuse(400, "invalid_request", why, param) end
  ngx.var.gateway_model = set.model
  pass_on(client:turn { body = without_forbidden(text, members), set = set,
    headers = { ["X-Request-Id"] = ngx.var.request_id } }, members)
end

--- GET /v1/models: those that the caller may use.
function gateway.models()
  local user = admit "GET"
  if not user then return end
  local list = vllm.array {}
  for name, is_allowed in pairs(user.models or policy.models) do
    if is_allowed then list[#list + 1] = { id = name, object = "model", created = STARTED_AT, owned_by = "gateway" } end
  end
  table.sort(list, function(a, b) return a.id < b.id end)
  ngx.header.content_type = "application/json"
  ngx.print(vllm.json.encode { object = "list", data = list })
end

-- For the other programs behind the same door.
gateway.admit, gateway.refuse, gateway.read_request = admit, refuse, read_request
gateway.demands, gateway.told, gateway.count = demands, told, count

return gateway
