--- Content parts → the flat list that `core.messages` reads: one number that says what follows, then its operands
-- (src/bind/messages.c).
--
-- Forms, wherever a part may stand:
--   "text"                                              { type = "text", text = } (input_text, output_text, refusal)
--   { type = "structured", value = }                    JSON: indented, or compact for assistant and tool messages
--   { type = "image" | "audio" | "video", url = | bytes = | data = (base64), mime =, detail =, uuid = }
--                                                       what vllm.image, audio, video make; a uuid alone: the server
--                                                       has seen it
--   { type = "media", modality = "image" | … , … }      the same
--   { type = "file", text = | bytes =, name =, mime = } what vllm.file makes: text reaches the model under a heading;
--                                                       media go as media
--   { type = "reasoning", text = } (also thinking)      assistant only; never part of `content`
--   { type = "tool_call", id =, name =, arguments = }   assistant only
--   { type = "image_url" | "input_audio" | "audio_url" | "video_url" | "file", … }    as on the wire
--   any other type (image_embeds, prompt_embeds, tool_reference, …)                   goes out as it is
-- Media go into user messages, tool results and messages of unknown roles. In assistant messages, and in results with
-- tool_media = "text", a line such as `[image image/png, 5120 bytes]` replaces them. Unknown members of a part are
-- sent (members.lua); in a part that is made into something else (reasoning, structured, file) they are an error.
-- A fault is raised (fault.lua), with its path inside the part.

local calls = require "vllm.request.transcript_calls"
local core = require "vllm.core"
local fault = require "vllm.request.fault"
local json_library = require "vllm.request.json_library"
local media = require "vllm.request.media"
local members = require "vllm.request.members"
local values = require "vllm.base.values"

local parts = {}

local given, check_keys = values.given, members.check_keys
local raise, expect = fault.raise, fault.expect

local codes = core.message_codes

--- Role → the number of its kind of message.
parts.kinds = {}
for _, role in ipairs { "system", "context", "developer", "user", "notification", "assistant", "tool" } do
  parts.kinds[role] = codes[role]
end
parts.OTHER = codes.other -- the kind of a role that only the server's template knows
local USER, NOTIFICATION, ASSISTANT = codes.user, codes.notification, codes.assistant
local TOOL, OTHER = codes.tool, codes.other
local TEXT, FILE, REASONING, CALL, JSON = codes.text, codes.file, codes.reasoning, codes.call, codes.json
local IMAGE, IMAGE_BYTES, VIDEO, VIDEO_BYTES = codes.image, codes.image_bytes, codes.video, codes.video_bytes
local AUDIO, AUDIO_DATA, AUDIO_BYTES = codes.audio, codes.audio_data, codes.audio_bytes
local FUNCTION_MEMBER, MEMBER = codes.function_member, codes.member

local function push(s, a, b, c, d)
  local list, n = s.list, s.n
  list[n + 1], list[n + 2] = a, b
  n = n + 2
  if c ~= nil then n = n + 1; list[n] = c end
  if d ~= nil then n = n + 1; list[n] = d end
  s.n = n
end

--- A text piece. An assistant's empty text is nothing.
function parts.text(s, kind, text)
  if text ~= "" or kind ~= ASSISTANT then push(s, TEXT, text) end
end

--- Reasoning waits in `s.thoughts` until it is known whether it is replayed.
function parts.reasoning(s, text)
  if text == "" then return end
  local thoughts = s.thoughts or {}
  thoughts[#thoughts + 1] = text
  s.thoughts = thoughts
end

--- Replays the reasoning that was kept, or drops it.
function parts.flush_reasoning(s, replay)
  local thoughts = s.thoughts
  s.thoughts = nil
  if not thoughts or not replay then return end
  for _, text in ipairs(thoughts) do push(s, REASONING, text) end
end

local function push_members(s, what, list)
  for _, member in ipairs(list or {}) do push(s, what, member[2], member[1]) end
end

--- Members of the message that was just begun (members.of), before anything else of it.
function parts.members(s, list)
  push_members(s, MEMBER, list)
end

--- A call, in whichever shape. Its place in the list is kept in `s.calls`.
function parts.call(s, _, call)
  local id, name, arguments, own, inner = calls.read(call)
  s.calls = s.calls or {}
  s.calls[#s.calls + 1] = s.n + 1
  push(s, CALL, arguments, name, id)
  push_members(s, FUNCTION_MEMBER, inner)
  push_members(s, MEMBER, own)
end

-- A part that goes out as it is.
local function push_wire(s, kind, part)
  if kind == NOTIFICATION then
    raise(("a part of type %s that is not only text, in a notification, which is"):format(part.type), "")
  end
  local text, why, where = members.encode(part)
  if not text then raise(why, where) end
  push(s, JSON, text)
end

-- What replaces media where only text is possible.
local function marker(kind, url, bytes, mime)
  local what = mime and kind .. " " .. mime or kind
  if not bytes and not url then return ("[%s]"):format(kind) end
  if bytes then return ("[%s, %d bytes]"):format(what, #bytes) end
  if url:find("^data:") then return ("[%s, as data of %d bytes]"):format(kind, #url) end
  return ("[%s %s]"):format(what, url)
end

local PUSH_MEDIA = {}

function PUSH_MEDIA.image(s, url, bytes, mime, detail)
  if bytes then return push(s, IMAGE_BYTES, bytes, mime, detail or false) end
  return push(s, IMAGE, url, detail or false)
end

function PUSH_MEDIA.audio(s, url, bytes, mime)
  if bytes then return push(s, AUDIO_BYTES, bytes, media.audio_format(mime)) end
  local data_mime, data = media.of_data_url(url)
  if data_mime and data_mime ~= "" then return push(s, AUDIO_DATA, data, media.audio_format(data_mime)) end
  return push(s, AUDIO, url)
end

function PUSH_MEDIA.video(s, url, bytes, mime)
  if bytes then return push(s, VIDEO_BYTES, bytes, mime) end
  return push(s, VIDEO, url)
end

-- Why this kind of message cannot have media; nil: it can. `true`: as text.
local function obstacle(s, kind, modality)
  if kind == USER or kind == OTHER then return nil end
  if kind == ASSISTANT or (kind == TOOL and s.media_as_text) then return true end
  if kind == TOOL then return nil end
  return ("%s in a message that can hold only text: put it in a user message"):format(modality)
end

local function add_media(s, kind, modality, url, bytes, mime, detail)
  local why = obstacle(s, kind, modality)
  if not why then return PUSH_MEDIA[modality](s, url, bytes, mime, detail) end
  if why == true then return push(s, TEXT, marker(modality, url, bytes, mime)) end
  raise(why, "")
end

-- The same with an id for the server's cache, or with unknown members (`inner`: those next to the URL). Without a URL
-- the server already knows the id.
local function add_named_media(s, kind, modality, media_of, uuid, own, inner)
  local url, bytes, mime, detail = media_of.url, media_of.bytes, media_of.mime, media_of.detail
  local why, field = obstacle(s, kind, modality), modality .. "_url"
  if why == true then return push(s, TEXT, marker(modality, url, bytes, mime)) end
  if why then raise(why, "") end
  if bytes then url = ("data:%s;base64,%s"):format(mime, core.base64_encode(bytes)) end
  local at = url and members.put(inner, { url = url, detail = detail }) or core.null
  push_wire(s, kind, members.put(own, { type = field, [field] = at, uuid = uuid }))
end

local function uuid_of(part)
  local uuid = given(part.uuid)
  if uuid ~= nil and (type(uuid) ~= "string" or uuid == "") then
    raise("expected a string that is not empty", ".uuid")
  end
  return uuid
end

local function check_url(url, modality, where)
  if type(url) ~= "string" or not url:find("^%a[%w+.-]*:.") then
    raise(("expected a URL (http, https, data); for a local file use vllm.%s{ path = … }"):format(modality), where)
  end
end

local MEDIA = {
  keys = {
    type = true, modality = true, url = true, bytes = true, data = true, mime = true, mimeType = true, detail = true,
    name = true,
    uuid = true, id = true, metadata = true, annotations = true,
  },
  refused = { base64 = "unknown key (did you mean `data`?)", media_type = "unknown key (did you mean `mime`?)" },
}

-- The unknown members of the part.
local function check_media(part, modality, uuid)
  if part.path then raise(("only vllm.%s{ path = … } reads files"):format(modality), ".path") end
  local own = members.of(part, MEDIA)
  local count = 0
  for _, key in ipairs { "url", "bytes", "data" } do
    local value = given(part[key])
    if value ~= nil then
      if type(value) ~= "string" or value == "" then raise("expected a string that is not empty", "." .. key) end
      count = count + 1
    end
  end
  if count > 1 or (count == 0 and not uuid) then
    raise(("expected exactly one of url, bytes and data in the %s"):format(modality), "")
  end
  local detail = given(part.detail)
  if detail ~= nil and type(detail) ~= "string" then raise("expected a string", ".detail") end
  return own
end

-- The part's own media type, or what its first bytes say.
local function mime_of(part, modality)
  local mime, where = given(part.mime), ".mime"
  if mime == nil then mime, where = given(part.mimeType), ".mimeType" end
  if mime == nil and part.bytes then mime = media.sniff(part.bytes, modality) end
  if mime == nil then
    if given(part.data) == nil and given(part.bytes) == nil then return nil end
    raise(("cannot tell what kind of %s this is: give mime"):format(modality), ".mime")
  end
  if not media.is_mime(mime) then raise("expected a media type such as image/png", where) end
  return mime
end

local function add_modality(s, kind, part, modality)
  local uuid = uuid_of(part)
  local own = check_media(part, modality, uuid)
  local mime, url = mime_of(part, modality), given(part.url)
  if given(part.data) ~= nil then url = "data:" .. mime .. ";base64," .. part.data end
  if url ~= nil then check_url(url, modality, ".url") end
  local bytes, detail = given(part.bytes), given(part.detail)
  if not uuid and not own then return add_media(s, kind, modality, url, bytes, mime, detail) end
  add_named_media(s, kind, modality, { url = url, bytes = bytes, mime = mime, detail = detail }, uuid, own)
end

local HANDLERS = {}

local function image(s, kind, part) return add_modality(s, kind, part, "image") end
local function audio(s, kind, part) return add_modality(s, kind, part, "audio") end
local function video(s, kind, part) return add_modality(s, kind, part, "video") end
HANDLERS.image, HANDLERS.audio, HANDLERS.video = image, audio, video

function HANDLERS.media(s, kind, part)
  local modality = part.modality
  if not PUSH_MEDIA[modality] then raise("expected image, audio or video", ".modality") end
  add_modality(s, kind, part, modality)
end

-- Parts that are text on the wire: the key of their text is `text`, or the type's own name.
local TEXT_WORDS = { content = "unknown key (did you mean `text`?)", value = "unknown key (did you mean `text`?)" }
local TEXT_PART = {
  keys = { type = true, text = true, id = true, metadata = true, annotations = true }, refused = TEXT_WORDS,
}
local REFUSAL_PART = { keys = { type = true, refusal = true, text = true }, refused = TEXT_WORDS }

local function text_part(s, kind, part, field, known)
  local own, text = members.of(part, known), part[field]
  expect("string", text, "." .. field)
  if not own then return parts.text(s, kind, text) end
  push_wire(s, kind, members.put(own, { type = "text", text = text }))
end

function HANDLERS.text(s, kind, part) return text_part(s, kind, part, "text", TEXT_PART) end
HANDLERS.input_text, HANDLERS.output_text = HANDLERS.text, HANDLERS.text

function HANDLERS.refusal(s, kind, part)
  return text_part(s, kind, part, given(part.refusal) ~= nil and "refusal" or "text", REFUSAL_PART)
end

local REASONING_KEYS = {
  type = true, text = true, reasoning = true, thinking = true, summary = true, signature = true, id = true,
  metadata = true,
}

-- Mistral's thinking and OpenAI's summaries are lists of text parts.
local function text_of_list(list)
  local texts = {}
  for i, item in ipairs(list) do
    texts[i] = type(item) == "table" and item.text or item
    if type(texts[i]) ~= "string" then return list end
  end
  return table.concat(texts)
end

function HANDLERS.reasoning(s, kind, part)
  check_keys(part, REASONING_KEYS)
  if kind ~= ASSISTANT then raise("reasoning belongs in an assistant message", "") end
  for _, field in ipairs { "text", "reasoning", "thinking", "summary" } do
    local text = given(part[field])
    if type(text) == "table" then text = text_of_list(text) end
    if type(text) == "string" then return parts.reasoning(s, text) end
    if text ~= nil then raise("expected a string or a list of texts, got " .. type(text), "." .. field) end
  end
end
HANDLERS.thinking = HANDLERS.reasoning

local STRUCTURED_KEYS = { type = true, value = true, schema = true, id = true, metadata = true }
local PRETTY = { indent = 2 }

function HANDLERS.structured(s, kind, part)
  check_keys(part, STRUCTURED_KEYS)
  if part.value == nil then raise("missing", ".value") end
  local text, reason, inner = json_library.encode(s.json, part.value, (kind < ASSISTANT) and PRETTY or nil)
  if not text then raise(reason, ".value" .. inner) end
  push(s, TEXT, text)
end

function HANDLERS.tool_call(s, kind, part)
  if kind ~= ASSISTANT then raise("a tool call belongs in an assistant message", "") end
  parts.call(s, kind, part)
end

function HANDLERS.tool_result()
  raise("a tool result belongs in a message of role tool", "")
end

function HANDLERS.custom()
  raise("custom parts cannot be sent: make text, structured or media of it", "")
end

-- Wire parts with a URL: the value is the URL itself or a table that holds it.
local LOCATION = { keys = { url = true, detail = true } }

-- The URL with its detail, and the unknown members next to it.
local function location_of(value, modality, path)
  local inner, at = false, { url = value }
  if type(value) == "table" then
    inner = members.of(value, LOCATION, path)
    at = { url = value.url, detail = given(value.detail) }
  end
  check_url(at.url, modality, type(value) == "table" and path .. ".url" or path)
  if at.detail ~= nil and type(at.detail) ~= "string" then raise("expected a string", path .. ".detail") end
  return at, inner
end

local function url_part(modality, field)
  local known = { keys = { type = true, [field] = true, uuid = true, id = true, metadata = true } }
  return function(s, kind, part)
    local uuid = uuid_of(part)
    local own = members.of(part, known)
    if given(part[field]) == nil and uuid then return add_named_media(s, kind, modality, {}, uuid, own) end
    local at, inner = location_of(part[field], modality, "." .. field)
    if uuid or own or inner or field == "audio_url" then
      return add_named_media(s, kind, modality, at, uuid, own, inner)
    end
    add_media(s, kind, modality, at.url, nil, nil, at.detail)
  end
end

HANDLERS.image_url = url_part("image", "image_url")
HANDLERS.audio_url = url_part("audio", "audio_url")
HANDLERS.video_url = url_part("video", "video_url")

local AUDIO_PART = { keys = { type = true, input_audio = true, uuid = true, id = true, metadata = true } }
local AUDIO_DATA_KEYS = { keys = { data = true, format = true } }

local function check_audio(value)
  expect("table", value, ".input_audio")
  if type(value.data) ~= "string" or value.data == "" then raise("expected base64 text", ".input_audio.data") end
  if type(value.format) ~= "string" then raise("expected a string such as wav", ".input_audio.format") end
  return members.of(value, AUDIO_DATA_KEYS, ".input_audio")
end

function HANDLERS.input_audio(s, kind, part)
  local value, uuid = part.input_audio, uuid_of(part)
  local own = members.of(part, AUDIO_PART)
  if given(value) == nil and uuid then return add_named_media(s, kind, "audio", {}, uuid, own) end
  local inner = check_audio(value)
  if obstacle(s, kind, "audio") then return add_media(s, kind, "audio", "data:" .. value.data) end
  if not (uuid or own or inner) then return push(s, AUDIO_DATA, value.data, value.format) end
  local data = members.put(inner, { data = value.data, format = value.format })
  push_wire(s, kind, members.put(own, { type = "input_audio", input_audio = data, uuid = uuid }))
end

local NO_KEYS = { keys = { type = true } }

-- A type that only the server knows. vLLM has prompt_embeds, image_embeds, audio_embeds, video_embeds, tool_reference,
-- and refuses what it does not know by name.
local function add_unknown(s, kind, part)
  push_wire(s, kind, members.put(members.of(part, NO_KEYS), { type = part.type }))
end

local FILE_KEYS = {
  type = true, text = true, bytes = true, url = true, data = true, name = true, mime = true, mimeType = true,
  detail = true,
  file = true, id = true, metadata = true,
}
local WIRE_FILE_KEYS = { filename = true, file_data = true, file_id = true }

-- The wire's { type = "file", file = { filename, file_data = "data:…" } }, which vLLM refuses, as a file of ours.
local function wire_file(part)
  local file = part.file
  expect("table", file, ".file")
  check_keys(file, WIRE_FILE_KEYS, ".file")
  if given(file.file_id) ~= nil then raise("vLLM keeps no files: send the contents", ".file.file_id") end
  local mime, data, bytes
  if type(file.file_data) == "string" then mime, data = media.of_data_url(file.file_data) end
  bytes = data and core.base64_decode(data)
  if not bytes then raise("expected a data URL with base64", ".file.file_data") end
  return { type = "file", name = given(file.filename), mime = mime ~= "" and mime or nil, bytes = bytes }
end

local function heading(name, mime)
  local title = name and "Attached file: " .. name or "Attached file"
  return mime and ("%s (%s)"):format(title, mime) or title
end

local function add_file_text(s, kind, text, title)
  if kind == ASSISTANT then raise("a file belongs in a user message", "") end
  if kind ~= TOOL then return push(s, FILE, text, title) end
  push(s, TEXT, title)
  push(s, TEXT, text)
end

function HANDLERS.file(s, kind, part)
  check_keys(part, FILE_KEYS)
  if given(part.file) ~= nil then part = wire_file(part) end
  local text, mime, name = given(part.text), given(part.mime) or given(part.mimeType), given(part.name)
  if text ~= nil then expect("string", text, ".text") end
  if mime ~= nil and not media.is_mime(mime) then raise("expected a media type such as text/plain", ".mime") end
  if name ~= nil then expect("string", name, ".name") end
  local bytes = given(part.bytes)
  mime = mime or (type(bytes) == "string" and media.sniff(bytes)) or nil
  local modality = not text and mime and media.modality(mime)
  if modality then
    local only = { type = modality, url = part.url, bytes = bytes, data = part.data, mime = mime, detail = part.detail }
    return add_modality(s, kind, only, modality)
  end
  text = text or bytes
  if type(text) ~= "string" then
    raise("expected the contents in text or bytes (only images, audio and video go by URL)", "")
  end
  if media.is_binary(text) then raise(parts.binary_file(mime), "") end
  add_file_text(s, kind, text, heading(name, mime))
end

--- What to say of a file that is neither text nor media.
function parts.binary_file(mime)
  return ("a binary file (%s) cannot be sent: vLLM takes text, images, audio and video; extract its text first")
    :format(mime or "of unknown type")
end

-- Types of vLLM that go out as they are: known only for near misses.
local OPEN_TYPES = {
  image_embeds = true, audio_embeds = true, video_embeds = true, prompt_embeds = true, tool_reference = true,
}
local KNOWN_TYPES = {}
for _, types in ipairs { HANDLERS, OPEN_TYPES } do
  for name in pairs(types) do KNOWN_TYPES[name] = true end
end

--- Adds one part.
---@param s table the state of messages.encode
---@param kind integer of the message
---@param part any
function parts.add(s, kind, part)
  if type(part) == "string" then return parts.text(s, kind, part) end
  if type(part) ~= "table" then raise("expected a string or a part (a table), got " .. type(part), "") end
  local handler = HANDLERS[part.type]
  if handler then return handler(s, kind, part) end
  if part.type == nil then raise("a part needs a type (text, image, audio, video, file, structured, …)", ".type") end
  expect("string", part.type, ".type")
  local nearest = not OPEN_TYPES[part.type] and members.nearest(part.type, KNOWN_TYPES)
  if nearest then raise(("unknown type of part `%s` (did you mean `%s`?)"):format(part.type, nearest), ".type") end
  add_unknown(s, kind, part)
end

return parts
