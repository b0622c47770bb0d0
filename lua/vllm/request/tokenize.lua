--- What /tokenize is sent to count the tokens of a request, and what it answers.
-- It takes the body of a chat completion and ignores what it does not need. But of the fields that a chat completion
-- hands on to the template, it knows only some. Source: vLLM's TokenizeChatRequest.

local core = require "vllm.core"

local tokenize = {}

-- Fields of their own in a chat completion, which the template gets beside chat_template_kwargs, and over them.
local FOR_TEMPLATE = { "documents", "reasoning_effort" }

local function may_have_any(body)
  for _, name in ipairs(FOR_TEMPLATE) do
    if body:find('"' .. name .. '"', 1, true) then return true end
  end
  return false
end

--- The body for /tokenize.
---@param body string of a chat completion
---@return string
function tokenize.body(body)
  local members = may_have_any(body) and core.json_decode(body, { drop_nulls = true })
  if not members then return body end
  local for_template, given = {}, members.chat_template_kwargs
  for key, value in pairs(type(given) == "table" and given or {}) do for_template[key] = value end
  local is_any = false
  for _, name in ipairs(FOR_TEMPLATE) do
    if members[name] ~= nil then for_template[name], is_any = members[name], true end
  end
  local changed = is_any and core.json_encode { chat_template_kwargs = for_template }
  return changed and core.splice(body, changed) or body
end

local function is_count(value)
  return type(value) == "number" and value >= 0 and value % 1 == 0
end

--- What it has answered.
---@param text string
---@return { count: integer, max_model_len: integer? }? counted nil: it is not an answer of this kind
function tokenize.read(text)
  local members = core.json_decode(text, { drop_nulls = true })
  if type(members) ~= "table" or not is_count(members.count) then return nil end
  local length = members.max_model_len
  return { count = members.count, max_model_len = is_count(length) and length > 0 and length or nil }
end

return tokenize
