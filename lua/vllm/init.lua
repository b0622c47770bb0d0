--- `require "vllm"`: connects Lua programs to a vLLM server, or to anything else that speaks OpenAI-compatible chat
-- completions. Loading it does no I/O and reads no environment. libcurl is loaded at the first request.

local core, why_not = require("vllm.base.native").load "vllm.core"
if not core then error(why_not, 0) end

-- If the module is loaded again (by a plugin that reloads itself), earlier engines, with their threads and descriptors,
-- end with their last turn.
for reactor in pairs(debug.getregistry()["vllm.reactors"] or {}) do reactor:retire() end

local json = require "vllm.json"
local misuse = require "vllm.base.misuse"

local vllm = { version = core.version, json = json, null = core.null, array = json.array, raw = json.raw }

-- Loaded when first used, so that `require "vllm"` stays cheap for programs that may never ask anything.
local MODULE_OF = {
  image = "vllm.request.media", audio = "vllm.request.media", video = "vllm.request.media", file = "vllm.request.media",
  run = "vllm.hosts.tasks", spawn = "vllm.hosts.tasks", sleep = "vllm.hosts.tasks", map = "vllm.hosts.tasks",
  host = "vllm.hosts",
  text = "vllm.text", printable = "vllm.text",
  agent = "vllm.agent", tool = "vllm.agent", retry = "vllm.agent",
}
local WHOLE = { schema = "vllm.schema", compact = "vllm.agent.compact", observe = "vllm.agent.observe" }

misuse.tell_members(vllm, "vllm", "module", function(name)
  local module, whole = MODULE_OF[name], WHOLE[name]
  if not module and not whole then return nil end
  vllm[name] = whole and require(whole) or require(module)[name]
  return vllm[name]
end)

--- Makes a client. Throws on the first unknown key or wrong type, naming the key.
---@param options table see docs/configuration.md; `model` is required
---@return vllm.Client
function vllm.new(options)
  misuse.check_dot("new", options)
  return require("vllm.client").new(require("vllm.request.config").check(options))
end

--- Makes a client from VLLM_MODEL, VLLM_BASE_URL and VLLM_API_KEY.
---@param overrides table? options that override the environment
---@return vllm.Client?
---@return string? message `missing environment variable VLLM_MODEL`, or which variable cannot be used and why
---@return vllm.Error? err kind `config`
function vllm.from_env(overrides)
  misuse.check_dot("from_env", overrides)
  local checked, message = require("vllm.request.config").from_env(overrides)
  if not checked then return nil, message, require("vllm.base.errors").new("config", message) end
  return require("vllm.client").new(checked)
end

--- The shortest way: asks the server that the environment names, and waits for the text.
---@param request table|string as for client:turn
---@param more table? as for client:turn
---@return string? text
---@return string? message
---@return vllm.Error? err
function vllm.ask(request, more)
  misuse.check_dot("ask", request)
  local client, message, err = vllm.from_env()
  if not client then return nil, message, err end
  return client:ask(request, more)
end

--- The decoder alone: bytes of a response body in, events out. No I/O; works in every nginx phase.
---@param options table? limits: max_event_bytes, max_message_bytes, max_tool_calls, max_choices, max_depth;
---  chunks = true: give raw chunks, too
---@return vllm.Decoder
function vllm.decoder(options)
  return require("vllm.decoder").new(options)
end

--- The server-sent events stage alone: feed(bytes), finish(), and next(), which returns data, type, id · false (feed
--- more) · nil (end) · nil, why.
---@param options { max_event_bytes: integer?, lenient_end: boolean? }?
---@return userdata
function vllm.sse(options)
  return require("vllm.decoder").sse(options)
end

--- Answers open tool calls and drops orphan results, so that a transcript that was cut short can be sent again.
---@param messages table[]
---@return table[] repaired a new list
function vllm.repair(messages)
  misuse.check_dot("repair", messages)
  return require("vllm.request.repair").repair(messages)
end

--- Is this an error value of this module?
---@param value any
---@return boolean
function vllm.is_error(value)
  return require("vllm.base.errors").is(value)
end

return vllm
