--- A gateway: checks who asks, holds requests to the policy, passes vLLM's answer on byte for byte, and counts its tokens.
-- The worker never waits: every read and write here suspends only the request that it belongs to.

local policy = require "policy"
local vllm = require "vllm"

local ngx = ngx -- luacheck: ignore 113
local gateway = {}
local client

--- Makes the client, once, before the workers are forked. Neither a connection nor a descriptor comes about here.
function gateway.init()
  client = assert(vllm.from_env { timeout = { first_event_s = 300, idle_s = 60 } })
  policy.models[client.config.model] = true
end

-- Answers ----------------------------------------------------------------------------------------------------------

local function refuse(status, kind, message, param)
  ngx.var.gateway_error = kind
  ngx.status = status
  ngx.header.content_type = "application/json"
  ngx.print(vllm.json.encode { error = { message = message, type = kind, param = param or vllm.null, code = status } })
  return ngx.exit(ngx.HTTP_OK) -- the status is set; this ends the request
end

local STATUS_OF_KIND = { invalid_request = 400, timeout = 504, overloaded = 503, limit = 502, busy = 503 }

-- An error of the client's as an answer: what the server said, where it said something.
local function refuse_with(err)
  if err.retry_after_s then ngx.header.retry_after = math.ceil(err.retry_after_s) end
  if err.status and err.status >= 400 and err.body then
    ngx.var.gateway_error = err.kind
    ngx.status = err.status
    ngx.header.content_type = "application/json"
    ngx.print(err.body)
    return ngx.exit(ngx.HTTP_OK)
  end
  return refuse(STATUS_OF_KIND[err.kind] or 502, err.kind, err.message, err.param)
end

-- The request ------------------------------------------------------------------------------------------------------

local function user_of_request()
  local token = (ngx.var.http_authorization or ""):match "^[Bb]earer +(%S+)$"
  return token and policy.users[token]
end

-- The body's text and its members; or nil and why it is none.
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

-- What the policy writes into a body; or nil, why, the field at fault.
local function demands(user, members)
  local model = given(members.model) or client.config.model
  if not (user.models or policy.models)[model] then return nil, "you may not use the model " .. tostring(model), "model" end
  local set = { model = model }
  local cap = user.max_completion_tokens
  for _, name in ipairs { "max_completion_tokens", "max_tokens" } do
    local wanted = given(members[name])
    if wanted ~= nil and type(wanted) ~= "number" then return nil, name .. " must be a number", name end
    if wanted and wanted > cap then set[name] = cap end
  end
  if not given(members.max_completion_tokens) and not given(members.max_tokens) then set.max_completion_tokens = cap end
  if members.stream == true then set.stream_options = { include_usage = true } end -- what is counted must be told
  return set
end

-- The answer -------------------------------------------------------------------------------------------------------

local function write(bytes)
  return ngx.print(bytes) and ngx.flush(true) and true or false -- false: the client is gone
end

local function count(result)
  local usage = result.usage or {}
  ngx.var.gateway_prompt = usage.prompt_tokens or "-"
  ngx.var.gateway_completion = usage.completion_tokens or "-"
  ngx.var.gateway_first_s = result.timing.first_delta_s and ("%.3f"):format(result.timing.first_delta_s) or "-"
end

local function pass_on(turn)
  local opened, _, err = turn:open()
  if not opened then return refuse_with(err) end
  ngx.status = turn.status
  ngx.header.content_type = turn.headers["content-type"]
  ngx.header.x_request_id = turn.headers["x-request-id"]
  local result
  result, _, err = turn:relay(write)
  if result then return count(result) end
  ngx.var.gateway_error = err.kind
  if err.partial then ngx.var.gateway_completion = "cut" end
  -- What the server itself said is on its way to the client; any other break must look like one.
  if not err.code then return ngx.exit(ngx.ERROR) end
end

--- POST /v1/chat/completions
function gateway.chat()
  if ngx.req.get_method() ~= "POST" then return refuse(405, "invalid_request", "POST is meant") end
  local user = user_of_request()
  if not user then
    ngx.header.www_authenticate = "Bearer"
    return refuse(401, "auth", "a bearer token is needed, and this one is not known")
  end
  ngx.var.gateway_user = user.name
  local text, members = read_request()
  if not text then return refuse(400, "invalid_request", members, "body") end
  local set, why, param = demands(user, members)
  if not set then return refuse(400, "invalid_request", why, param) end
  ngx.var.gateway_model = set.model
  local turn = client:turn { body = without_forbidden(text, members), set = set }
  if turn:error() then return refuse_with(turn:error()) end
  return pass_on(turn)
end

return gateway
