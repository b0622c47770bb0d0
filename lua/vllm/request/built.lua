--- A built request: what request.build gives a turn. What holds secrets (address, headers, the transport's request) is
-- read like any field and yet is not in the table, so that a dump of a turn does not show it.

local headers = require "vllm.request.headers"
local tokenize = require "vllm.request.tokenize"
local url = require "vllm.request.url"

---@class vllm.Built
---@field body string? the bytes; whoever sends it may drop them once they are not needed again
---@field stream boolean was a stream asked for?
---@field url string
---@field headers { [1]: string, [2]: string }[]
---@field redactor vllm.Redactor of the client's secrets and the call's own
---@field chunks boolean are `chunk` events wanted?
---@field timeout table<"connect_s"|"queue_s"|"first_event_s"|"idle_s"|"finish_s"|"total_s", number?> seconds; absent:
---  no limit
---@field continued table? the answer that is continued
---@field strict boolean|table|nil strict_alternating_roles
---@field asked { tools: boolean, stop: boolean?, call_demanded: boolean, choices: integer,
---  max_completion_tokens: integer?, taken_ids: string? } what the answer is measured against; taken_ids: those of the
---  calls in the transcript, a NUL between two
---@field transport_request table what a transport's `open` takes; a fresh one each time, as those below
---@field models_request table the same for the list of models
---@field tokenize_request table the same to have its tokens counted
---@field decoder_options table of core.decoder
---@field limits table of the configuration
---@field context { url: string, has_key: boolean, strict: boolean|table|nil, now_unix: integer } for server_errors

local built = {}

--- What a transport's `open` takes.
---@param config table a checked configuration
---@param method string
---@param address string
---@param list { [1]: string, [2]: string }[] headers
---@param body string?
---@param timeout table? of the call, if it has its own
---@return table
function built.transport_request(config, method, address, list, body, timeout)
  return {
    method = method, url = address, headers = list, body = body, connect_s = (timeout or config.timeout).connect_s,
    unix_socket = config.unix_socket, proxy = config.proxy == false and "" or config.proxy, no_proxy = config.no_proxy,
    tls = config.tls,
    max_buffer_bytes = config.limits.max_buffer_bytes, max_header_bytes = config.limits.max_header_bytes,
    host = config.host, interrupt = config.interrupt ~= nil,
  }
end

--- What server_errors needs to know to explain an answer.
---@param config table a checked configuration
---@param address string
---@param strict boolean|table|nil strict_alternating_roles, of a request for a chat completion
---@return table
function built.error_context(config, address, strict)
  return { url = url.shown(address), has_key = config.authorization ~= nil, now_unix = os.time(), strict = strict }
end

local DERIVED = {}

function DERIVED.transport_request(self, config)
  return built.transport_request(config, "POST", self.url, self.headers, self.body, self.timeout)
end

function DERIVED.models_request(_, config)
  return built.transport_request(config, "GET", config.models_url, headers.of_request(config, false))
end

function DERIVED.tokenize_request(self, config)
  local list, body = headers.of_request(config, false, self.own_headers), tokenize.body(self.body)
  return built.transport_request(config, "POST", config.root_url "/tokenize", list, body, self.timeout)
end

function DERIVED.decoder_options(self, config)
  local limits, asked = config.limits, self.asked
  return {
    max_event_bytes = limits.max_event_bytes, max_message_bytes = limits.max_message_bytes,
    max_tool_calls = limits.max_tool_calls,
    max_choices = limits.max_choices, max_depth = limits.max_depth, chunks = self.chunks,
    max_completion_tokens = asked.max_completion_tokens, taken_ids = asked.taken_ids,
  }
end

function DERIVED.limits(_, config)
  return config.limits
end

function DERIVED.context(self, config)
  return built.error_context(config, self.url, self.strict)
end

--- Makes one.
---@param config table a checked configuration
---@param fields table what may be shown
---@param hidden { url: string, headers: table, own_headers: table, redactor: vllm.Redactor }
---@return vllm.Built
function built.new(config, fields, hidden)
  return setmetatable(fields, { __index = function(self, name)
    local derive = DERIVED[name]
    if derive then return derive(self, config) end
    return hidden[name]
  end })
end

return built
