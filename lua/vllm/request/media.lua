--- Media and files for messages: `vllm.image`, `vllm.audio`, `vllm.video`, `vllm.file`. These four alone read files;
-- reading blocks. A constructor gives a plain part table, `{ type, url | bytes, mime, detail, name }`, which could as
-- well be written by hand.
-- Sources of the signatures: the formats' own standards (PNG, JFIF, GIF89a, RIFF, ISO 14496-12, RFC 8794, RFC 3533,
-- RFC 9639).

local core = require "vllm.core"
local errors = require "vllm.base.errors"
local misuse = require "vllm.base.misuse"
local spelling = require "vllm.base.spelling"

local media = {}

local MAX_FILE_BYTES = 256 * 1024 * 1024
local READ_BYTES = 1024 * 1024
local SPEC_KEYS = { path = true, url = true, bytes = true, mime = true, detail = true, name = true, uuid = true }

-- Signature at an offset (from 1) → media type. The first that fits wins.
local SIGNATURES = {
  { 1, "\137PNG\r\n\26\n", "image/png" }, { 1, "\255\216\255", "image/jpeg" }, { 1, "GIF87a", "image/gif" },
  { 1, "GIF89a", "image/gif" }, { 9, "WEBP", "image/webp", "RIFF" }, { 9, "WAVE", "audio/wav", "RIFF" },
  { 9, "AVI ", "video/x-msvideo", "RIFF" }, { 1, "ID3", "audio/mpeg" }, { 1, "fLaC", "audio/flac" },
  { 1, "OggS", "audio/ogg" }, { 5, "ftypM4A", "audio/mp4" }, { 5, "ftypqt", "video/quicktime" },
  { 5, "ftypavif", "image/avif" }, { 5, "ftyphei", "image/heic" }, { 5, "ftyp", "video/mp4" },
  { 1, "\26\69\223\163", "video/webm" }, { 1, "II*\0", "image/tiff" }, { 1, "MM\0*", "image/tiff" },
  { 1, "\255\251", "audio/mpeg" }, { 1, "\255\243", "audio/mpeg" }, { 1, "\255\242", "audio/mpeg" },
  { 1, "\255\241", "audio/aac" }, { 1, "\255\249", "audio/aac" }, { 1, "%PDF-", "application/pdf" },
  { 1, "PK\3\4", "application/zip" }, { 1, "\31\139", "application/gzip" },
}

-- Only where an image is expected: two letters say little.
local BITMAP = "BM"

local OF_EXTENSION = {
  png = "image/png", jpg = "image/jpeg", jpeg = "image/jpeg", gif = "image/gif", webp = "image/webp", bmp = "image/bmp",
  wav = "audio/wav", mp3 = "audio/mpeg", flac = "audio/flac", ogg = "audio/ogg", opus = "audio/ogg", m4a = "audio/mp4",
  aac = "audio/aac", mp4 = "video/mp4", m4v = "video/mp4", mov = "video/quicktime", webm = "video/webm",
  mkv = "video/x-matroska",
  txt = "text/plain", md = "text/markdown", csv = "text/csv", html = "text/html", xml = "application/xml",
  json = "application/json", yaml = "application/yaml", yml = "application/yaml", lua = "text/x-lua", c = "text/x-c",
  h = "text/x-c", py = "text/x-python", js = "text/javascript", css = "text/css", pdf = "application/pdf",
}

--- `image`, `audio` or `video`; nil for any other media type.
---@param mime string
---@return string?
function media.modality(mime)
  local top = mime:match("^(%a+)/")
  top = top and top:lower()
  return (top == "image" or top == "audio" or top == "video") and top or nil
end

---@param mime any
---@return boolean
function media.is_mime(mime)
  return type(mime) == "string" and #mime <= 255 and mime:find("^%w[%w!#$&^_.+-]*/%w[%w!#$&^_.+-]*$") ~= nil
end

--- The media type that the first bytes say, or nil. Containers that hold sound or pictures follow `expected`.
---@param bytes string
---@param expected string? image, audio or video
---@return string?
function media.sniff(bytes, expected)
  for _, signature in ipairs(SIGNATURES) do
    local at, text, mime, riff = signature[1], signature[2], signature[3], signature[4]
    if bytes:sub(at, at + #text - 1) == text and (not riff or bytes:sub(1, 4) == riff) then
      local audio_or_video = expected == "audio" or expected == "video"
      if audio_or_video and (mime == "video/mp4" or mime == "video/webm" or mime == "audio/ogg") then
        return expected .. mime:sub(6)
      end
      return mime
    end
  end
  if expected == "image" and bytes:sub(1, 2) == BITMAP then return "image/bmp" end
  return nil
end

--- The `format` of the wire's input_audio.
---@param mime string
---@return string
function media.audio_format(mime)
  local subtype = mime:lower():gsub("^[^/]*/", ""):gsub("^x%-", "")
  if subtype == "wave" or subtype == "vnd.wave" then return "wav" end
  if subtype == "mpeg" or subtype == "mpga" then return "mp3" end
  return subtype
end

--- Contents that are not text, whatever their name says: a NUL, or a PDF (whose head is ASCII).
---@param bytes string
---@return boolean
function media.is_binary(bytes)
  return bytes:sub(1, 5) == "%PDF-" or bytes:find("\0", 1, true) ~= nil
end

--- The media type and the base64 text of a `data:` URL (RFC 2397); nil if it is not such a URL, or not base64.
---@param address string
---@return string? mime may be empty
---@return string? data
function media.of_data_url(address)
  local head, data = address:match("^data:([^,]*),(.*)$")
  if not head or not head:find(";base64$") then return nil end
  return head:match("^[^;]*"), data
end

--- A part without raw bytes of media, which no JSON text can hold: they stand in `data`, as base64. Any other part as
--- it is.
---@param part any
---@return any
function media.portable(part)
  if type(part) ~= "table" or type(part.bytes) ~= "string" then return part end
  local mime = part.mime or part.mimeType or media.sniff(part.bytes, part.modality or part.type)
  if not media.is_mime(mime) or not media.modality(mime) then return part end
  local out = {}
  for key, value in pairs(part) do out[key] = value end
  out.bytes, out.data, out.mime = nil, core.base64_encode(part.bytes), mime
  return out
end

-- Content that survives JSON: itself, unless it has media as raw bytes.
local function portable_content(content)
  if type(content) ~= "table" then return content end
  if content.type ~= nil then return media.portable(content) end
  local parts, is_changed = {}, false
  for key, part in pairs(content) do
    parts[key] = media.portable(part)
    is_changed = is_changed or parts[key] ~= part
  end
  return is_changed and parts or content
end

--- The same for all parts of a message. One without raw bytes stays the same table.
---@param message table
---@return table
function media.portable_message(message)
  local content, result = portable_content(message.content), portable_content(message.result)
  if content == message.content and result == message.result then return message end
  local out = {}
  for key, value in pairs(message) do out[key] = value end
  out.content, out.result = content, result
  return out
end

local function read_file(path)
  local file, why = io.open(path, "rb")
  if not file then return nil, path:find "^%a+://" and why .. " (write url = … for what is not a file)" or why end
  local chunks, size = {}, 0
  while true do
    local chunk, reason = file:read(READ_BYTES)
    if not chunk then
      file:close()
      if reason then return nil, path .. ": " .. reason end
      return table.concat(chunks)
    end
    size = size + #chunk
    if size > MAX_FILE_BYTES then
      file:close()
      return nil, ("%s: larger than %d MiB"):format(path, MAX_FILE_BYTES / 1048576)
    end
    chunks[#chunks + 1] = chunk
  end
end

-- Misuse throws at the constructor's caller.
local function check_spec(spec, kind)
  misuse.check_dot(kind, spec)
  if type(spec) ~= "table" then
    misuse.raise(("vllm.%s: expected a table such as { path = … }, got %s"):format(kind, type(spec)))
  end
  if spec[1] ~= nil then misuse.raise(("vllm.%s: expected a named field: vllm.%s { path = … }"):format(kind, kind)) end
  local unknown_key = spelling.unknown_key(spec, SPEC_KEYS, nil, "media")
  if unknown_key then misuse.raise(("vllm.%s: %s"):format(kind, unknown_key)) end
  for key, value in pairs(spec) do
    if type(value) ~= "string" then
      misuse.raise(("vllm.%s: %s: expected a string, got %s"):format(kind, key, type(value)))
    end
  end
  local sources = (spec.path and 1 or 0) + (spec.url and 1 or 0) + (spec.bytes and 1 or 0)
  if spec.uuid and kind == "file" then misuse.raise("vllm.file: only images, audio and video have a uuid") end
  if sources > 1 or (sources == 0 and not spec.uuid) then
    misuse.raise(("vllm.%s: expected exactly one of path, url and bytes"):format(kind))
  end
  if spec.url and kind == "file" then
    misuse.raise("vllm.file: files go by path or bytes; only images, audio and video go by URL")
  end
  if spec.mime and not media.is_mime(spec.mime) then
    misuse.raise(("vllm.%s: mime: expected a media type such as image/png"):format(kind))
  end
end

local function fail(kind, why)
  local err = errors.new("invalid_request", ("vllm.%s: %s"):format(kind, why))
  return nil, err.message, err
end

-- C reads a string up to its first NUL: another file would be read than the one named.
local function with_nul(spec)
  for _, key in ipairs { "path", "url", "name", "detail" } do
    if spec[key] and spec[key]:find("%z") then return key .. " holds a NUL" end
  end
end

local function construct(spec, kind)
  check_spec(spec, kind)
  local why = with_nul(spec)
  if why then return fail(kind, why) end
  local part = { type = kind }
  for _, key in ipairs { "url", "bytes", "mime", "detail", "name", "uuid" } do part[key] = spec[key] end
  if spec.url or not (spec.path or spec.bytes) then return part end
  if spec.path then
    local bytes, reason = read_file(spec.path)
    if not bytes then return fail(kind, reason) end
    part.bytes = bytes
    part.name = spec.name or spec.path:match("[^/]+$")
  end
  if part.bytes == "" and kind ~= "file" then return fail(kind, (spec.path or "bytes") .. ": empty") end
  local extension = spec.path and spec.path:match("%.(%w+)$")
  part.mime = spec.mime or media.sniff(part.bytes, kind) or (extension and OF_EXTENSION[extension:lower()]) or nil
  if kind == "file" then return part end
  if not part.mime then return fail(kind, ("%s: cannot tell what it is: give mime"):format(spec.path or "bytes")) end
  if media.modality(part.mime) ~= kind then
    return fail(kind, ("%s: this is %s"):format(spec.path or "bytes", part.mime))
  end
  return part
end

--- An image for a user message or a tool's result. With a `uuid` the server can find it again in its cache: later
-- messages may have the uuid alone, as long as the server keeps it (vLLM).
---@param spec { path: string?, url: string?, bytes: string?, mime: string?, detail: string?, uuid: string? } one of
---  path, url and bytes
---@return table? part nil if the file cannot be read or is not an image
---@return string? message begins with `invalid_request`
---@return vllm.Error? err
function media.image(spec)
  return construct(spec, "image")
end

--- Sound for a user message; see `image`.
---@param spec { path: string?, url: string?, bytes: string?, mime: string?, uuid: string? }
---@return table? part
---@return string? message
---@return vllm.Error? err
function media.audio(spec)
  return construct(spec, "audio")
end

--- A video for a user message; see `image`.
---@param spec { path: string?, url: string?, bytes: string?, mime: string?, uuid: string? }
---@return table? part
---@return string? message
---@return vllm.Error? err
function media.video(spec)
  return construct(spec, "video")
end

--- A file for a user message: text reaches the model under a heading with its name, media go as media, other binaries
-- are refused when the request is built.
---@param spec { path: string?, bytes: string?, mime: string?, name: string? }
---@return table? part
---@return string? message
---@return vllm.Error? err
function media.file(spec)
  return construct(spec, "file")
end

return media
