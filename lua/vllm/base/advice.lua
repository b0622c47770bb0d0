--- What to do about a server's refusal: a sentence, chosen by the error's kind and the server's words; none if nothing
-- we know would help.
-- Sources: the chat templates of Mistral, Llama, Gemma and Qwen (role order); vLLM's, llama.cpp's, OpenAI's and
-- LiteLLM's wordings.

local errors = require "vllm.base.errors"

local advice = {}

local HAVE_ALL = "strict_alternating_roles already does all it can: look for a message of another role in between"

-- Does the option already merge as much as it can?
local function is_strictest(strict)
  return type(strict) == "table" and strict.assistant and strict.first
end

local function about_alternation(strict)
  if not strict then return "strict_alternating_roles = true merges adjacent user messages" end
  if is_strictest(strict) then return HAVE_ALL end
  return 'strict_alternating_roles is on but not enough: { assistant = "join", first = "filler" } does more'
end

local function about_late_system(strict)
  if type(strict) == "table" and strict.system then return nil end
  return 'strict_alternating_roles = { system = "fold" } moves all system text into one message at the front'
end

-- Words of the template, in lower case, and what helps: a sentence, or a function of the option
-- strict_alternating_roles.
local ROLE_ORDER = {
  { "system role not supported", "this template has no system role: put that text into the first user message" },
  { "only user and assistant roles",
    "this template takes neither system nor tool messages: put their text into user messages" },
  { "unexpected role 'developer", "this template does not know this role: send the message as system" },
  { "unexpected role '", "this template does not know this role" },
  { "expected last role", "the last message must be a user's or a tool's; `continue` continues an answer" },
  { "system message must be", about_late_system },
  { "must alternate", about_alternation },
}

local function about_roles(text, strict)
  for _, entry in ipairs(ROLE_ORDER) do
    if text:find(entry[1], 1, true) then
      local told = entry[2]
      return type(told) == "function" and told(strict) or type(told) == "string" and told or nil
    end
  end
end

local AS_TEXT = 'tool_media = "text" replaces media in tool results with a line of text'

-- Words of a refused request, in lower case, and what helps.
local REFUSED = {
  { "stream_options", "include_usage = false leaves stream_options out" },
  { "allowed for messages with role 'user'", AS_TEXT },
  { "not a multimodal model", "this model takes only text; " .. AS_TEXT },
  { "at most 0 ", "this model takes none; " .. AS_TEXT },
  { "enable-auto-tool-choice", "start the server with these flags" },
}

-- FastAPI's servers, Mistral, Groq.
local UNKNOWN_MEMBER = {
  "extra inputs are not permitted", "' is unsupported", "unrecognized request argument", "unrecognized key",
}

local function about_unknown_member(text)
  if not text:find("messages", 1, true) then return nil end
  for _, words in ipairs(UNKNOWN_MEMBER) do
    if text:find(words, 1, true) then
      return "message.extra = nil leaves out members that a server sent with an answer but does not accept"
    end
  end
end

local function about_request(text, param)
  for _, entry in ipairs(REFUSED) do
    if text:find(entry[1], 1, true) then return entry[2] end
  end
  if text:find("at most", 1, true) and (param == "stop" or text:find("'stop'", 1, true)) then
    return "vLLM takes at most VLLM_MAX_STOP_STRINGS stop strings (4 by default)"
  end
  return about_unknown_member(text)
end

local NO_KEY = "the server requires a key: set api_key or VLLM_API_KEY"

-- A model server does not answer with a page, a bare word or nothing; vLLM never sends 403.
local function about_key(status, parts, context)
  if status == 403 and not parts.is_json then
    return "a firewall or a proxy in front of the server refused this request"
      .. (context.has_key and "; the key may be right" or ", or requires a key (api_key)")
  end
  if not context.has_key then return NO_KEY end
  if status == 403 then return "the server refused this request, but not necessarily the key" end
  return "the server rejected the key"
end

local function about_address(status, context)
  local hint = context.address_hint or "; base_url usually ends in /v1"
  if context.is_of_caller then
    hint = context.url:find("/v1/", 1, true) and "" or "; a path starts at the server's root, as in /v1/models"
  end
  if status == 405 then return ("the server does not take this method at %s%s"):format(context.url, hint) end
  return "the server has no such address: " .. context.url .. hint
end

local function about_redirect(context)
  local target = (context.location or ""):match("^%a+://([^/?#]+)")
  target = target and target:gsub("^.*@", "")
  return "redirects are not followed, because they would give the key away; the server points to "
    .. (target and errors.shown(target) or "another path") .. ": set base_url to where the server is"
end

local function about_model(context)
  local served = context.served
  return served and #served > 0 and ("the server serves: " .. errors.shown(table.concat(served, ", "))) or nil
end

local function of_status(status, context)
  if status == 407 then return 'a proxy requires a user and a password: proxy = "http://user:password@host:port"' end
  if status >= 300 and status < 400 then return about_redirect(context) end
end

--- The sentence for a refusal.
---@param kind string
---@param status integer? nil: an error inside an answer
---@param parts table of error_body.parse, and `context` (counts), `is_json`
---@param context vllm.ErrorContext
---@return string?
function advice.of(kind, status, parts, context)
  local told, text = status and of_status(status, context), (parts.message or ""):lower()
  if told then return told end
  if kind == "auth" then return about_key(status, parts, context) end
  if kind == "not_found" then
    local is_model = parts.param == "model" or text:find("model", 1, true)
    if is_model then return about_model(context) end
    return about_address(status, context)
  end
  if kind == "context_length" then
    return parts.context and parts.context.prompt_is_lower_bound
      and "the prompt's count is only a lower bound: leave out max_completion_tokens, or shorten the messages" or nil
  end
  if kind == "role_order" then return about_roles(text, context.strict) end
  return about_request(text, parts.param)
end

return advice
