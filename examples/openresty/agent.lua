--- An agent on the server's side: its text goes to the browser as server-sent events, and what needs an approval waits
-- for the next request. Between requests a conversation is a text in shared memory, so any worker can go on with it.

local gateway = require "gateway"
local tools = require "agent_tools"
local vllm = require "vllm"

local ngx = ngx -- luacheck: ignore 113
local KEPT_S = 3600
local agent = {}
local clerk

--- Makes the agent, once, before the workers are forked; after gateway.init.
function agent.init()
  clerk = vllm.agent {
    client = gateway.client, chunks = false, instructions = "You are the clerk of a shop. Use the tools. Be brief.",
    tools = tools, max_steps = 10, budget = { total_s = 300 },
  }
end

-- Conversations ----------------------------------------------------------------------------------------------------

local function key_of(user, id) return user.name .. "/" .. id end

-- Takes it out, so that of two requests with one id only the first goes on: no approval counts twice.
local function take(user, id)
  local text = ngx.shared.conversations:lpop(key_of(user, id))
  return text and assert(vllm.json.decode(text))
end

local function keep(user, session)
  local conversations, key = ngx.shared.conversations, key_of(user, session.id)
  local count, why = conversations:lpush(key, (assert(vllm.json.encode(session:state()))))
  if not count then ngx.log(ngx.ERR, "a conversation is lost: ", why) end
  return count and conversations:expire(key, KEPT_S)
end

-- The answer -------------------------------------------------------------------------------------------------------

-- False: the client has left.
local function send(name, data)
  return ngx.print("event: ", name, "\ndata: ", vllm.json.encode(data), "\n\n") and ngx.flush(true) and true or false
end

local function show(event)
  if event.type == "text_delta" then return send("text", { text = event.text }) end
  if event.type == "tool_start" then return send("tool", { name = event.name, input = event.input }) end
end

local function calls_of(pending)
  local list = vllm.array {}
  for i, call in ipairs(pending) do list[i] = { name = call.name, input = call.input } end
  return list
end

local function fail(kind, message)
  ngx.var.gateway_error = kind
  send("error", { kind = kind, message = message })
end

local function finish(session, result, err)
  gateway.count({ deltas = 0 }, result or err.partial)
  if err then
    ngx.log(ngx.WARN, err.message)
    return fail(select(2, gateway.told(err, {})))
  end
  if result.stop == "cancelled" then
    ngx.var.gateway_error = "client_left"
    return ngx.exit(499)
  end
  if result.stop ~= "awaiting_approval" then return send("done", { stop = result.stop }) end
  send("approval", { id = session.id, calls = calls_of(result.pending) })
end

-- The conversation is kept before its last event is sent: the client may answer that at once, to another worker.
local function run(user, session, input)
  ngx.on_abort(function() session:cancel() end)
  ngx.header.content_type = "text/event-stream; charset=utf-8"
  send("start", { id = session.id })
  local result, _, err = session:run(input):each(show)
  if not keep(user, session) then return fail("overloaded", "there is no room for this conversation") end
  finish(session, result, err)
end

-- The request ------------------------------------------------------------------------------------------------------

-- Why its members cannot be what somebody wants, and which.
local function fault(members)
  local id, task, approve = members.id, members.task, members.approve
  if id ~= nil and not (type(id) == "string" and id:find "^%x+$") then return "id is not one of ours", "id" end
  if approve == nil and type(task) ~= "string" then return "expected a task, or an approval", "task" end
  if approve == nil then return nil end
  if type(approve) ~= "boolean" then return "approve must be true or false", "approve" end
  if task ~= nil then return "the approval comes first, the task after it", "task" end
  if id == nil then return "approve needs the id of the conversation", "id" end
end

-- The session of this request, with its approval; or nil, after answering the request.
local function session_of(user, members, own)
  if not members.id then return own:session { id = ngx.var.request_id } end
  local state = take(user, members.id)
  if not state then return gateway.refuse(404, "not_found", "no conversation waits under this id", "id") end
  local session = own:session { state = state }
  local waits_for = #session:pending() > 0 and "approve" or "task"
  if members[waits_for] == nil then
    keep(user, session)
    return gateway.refuse(409, "invalid_request", "the conversation waits for `" .. waits_for .. "`", waits_for)
  end
  if members.approve then session:approve_all() end
  if members.approve == false then session:deny_all(type(members.why) == "string" and members.why or nil) end
  return session
end

--- POST /agent with { task }, { id, task } or { id, approve = true | false, why }
function agent.serve()
  local user = gateway.admit "POST"
  if not user then return end
  local text, members = gateway.read_request()
  if not text then return gateway.refuse(400, "invalid_request", members, "body") end
  local why, param = fault(members)
  if why then return gateway.refuse(400, "invalid_request", why, param) end
  local set, refusal, field = gateway.demands(user, {})
  if not set then return gateway.refuse(400, "invalid_request", refusal, field) end
  ngx.var.gateway_model = set.model
  local session = session_of(user, members, clerk:with { max_completion_tokens = set.max_completion_tokens })
  if session then run(user, session, members.task) end
end

return agent
