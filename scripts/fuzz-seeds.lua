--- Starting points for the fuzzers, from the recorded responses: whole, their bodies, and the JSON text of some events;
--- transcripts, and patterns.
-- usage: lua scripts/fuzz-seeds.lua DIR FILE.http…
-- What each target makes of the first two bytes stands at the top of its source. Runs on Lua 5.1 and later.

local MAX_SEED_BYTES = 16384
local EVENTS_PER_FILE = 6

local dir = arg[1]

local function write(name, text)
  if #text == 0 or #text > MAX_SEED_BYTES then return end
  local out = assert(io.open(dir .. "/" .. name, "wb"))
  out:write(text)
  out:close()
end

local function unchunk(body)
  local parts, at = {}, 1
  while true do
    local _, last, size = body:find("^(%x+)[^\n]*\r\n", at)
    size = last and tonumber(size, 16) or 0
    if size == 0 then return table.concat(parts) end
    parts[#parts + 1] = body:sub(last + 1, last + size)
    at = last + size + 3
  end
end

-- One response, for all targets but that of messages.
local function write_response(name, response)
  local head, body = response:match "^(.-)\r\n\r\n(.*)$"
  if not head then return end
  write(name .. ".response", "\1@" .. response) -- an answer from its beginning
  if head:lower():find("chunked", 1, true) then
    write(name .. ".body", body) -- with the chunk sizes of its transfer: a parser must live with such lines, too
    body = unchunk(body)
  end
  local is_stream = body:sub(1, 1) ~= "{"
  write(name .. ".whole", (is_stream and "\0\2" or "\0\4") .. body)
  write(name .. ".after", (is_stream and "\3\10" or "\3\12") .. body) -- behind a transcript
  write(name .. ".bounded", (is_stream and "\7\1" or "\7\5") .. body)
  local count = 0
  for data in body:gmatch "data: ({[^\r\n]*)" do
    count = count + 1
    if count > EVENTS_PER_FILE then break end
    write(name .. "." .. count .. ".json", data)
  end
end

-- Fragments of calls with few ids, indexes, names and texts, so that they meet; the same as a stream and as a
-- completion.
local function write_calls()
  local texts = { "", "{", "}", "{}", '{\\"a\\":1}', '{\\"a\\"', ":1}", " " }
  local state = 1
  local function one_of(...)
    state = state * 16807 % 2147483647
    return (select(state % select("#", ...) + 1, ...))
  end
  for i = 1, 40 do
    local stream, whole = {}, {}
    for k = 1, 6 do
      whole[k] = ('{"index":%s,"id":%s,"function":{"name":%s,"arguments":"%s"}}'):format(one_of("0", "0", "1", "null"),
        one_of("null", '"a"', '"b"', '"x"'), one_of("null", "null", '"f"', '"g"'),
          texts[one_of(1, 2, 3, 4, 5, 6, 7, 8)])
      stream[k] = 'data: {"choices":[{"delta":{"tool_calls":[' .. whole[k] .. "]}}]}\n\n"
    end
    local finish = one_of("stop", "stop", "length", "abort")
    write("calls-" .. i .. ".stream", string.char(i, 8) .. table.concat(stream)
      .. 'data: {"choices":[{"delta":{},"finish_reason":"' .. finish .. '"}]}\n\ndata: [DONE]\n\n')
    write("calls-" .. i .. ".whole", string.char(i, 12) .. '{"choices":[{"message":{"tool_calls":['
      .. table.concat(whole, ",")
      .. ']},"finish_reason":"' .. finish .. '"}]}')
  end
end

-- Operations of messages_fuzz, in the order of the core's enums.
local KINDS = { system = 0, context = 1, developer = 2, user = 3, notification = 4, assistant = 5, tool = 6 }
local PIECES = { text = 7, file = 8, reasoning = 9, call = 10, image = 11, image_bytes = 12, audio = 13,
  audio_data = 14, audio_bytes = 15,
  video = 16, video_bytes = 17, json = 18 }

local function operation(name, ...)
  local parts = { string.char(KINDS[name] or PIECES[name]) }
  for _, text in ipairs { ... } do parts[#parts + 1] = string.char(#text) .. text end
  return table.concat(parts)
end

local function write_transcripts()
  local op = operation
  local transcript = op "system" .. op("text", "Be \"brief\".\n") .. op "user" .. op("text", "Grüße")
    .. op("image", "http://a/b")
    .. op "user" .. op("text", "More") .. op("image_bytes", "\137PNG", "image/png") .. op("file", "contents", "a.txt")
    .. op "assistant" .. op("reasoning", "Hm.") .. op("text", "ok") .. op("call", "{\"a\":1}", "f", "c1")
    .. op("tool", "c1") .. op("text", "Error: no") .. op "notification" .. op("text", "noon") .. op "assistant"
      .. op("text", "so")
    .. op "assistant" .. op("text", "on") .. op "context" .. op("text", "c") .. op "developer" .. op("text", "d")
      .. op "user"
    .. op("json", "{\"type\":\"x\"}") .. op("audio", "http://a") .. op("audio_data", "aGk=", "wav")
      .. op("audio_bytes", "\1", "mp3")
    .. op("video", "http://v") .. op("video_bytes", "\0", "video/mp4")
  for options = 0, 31 do
    write("transcript-" .. options .. ".messages", string.char(options, 7 * options) .. transcript)
    write("answer-first-" .. options .. ".messages",
      string.char(options, 9) .. op "assistant" .. op("text", "\255") .. transcript)
  end
end

-- For pattern_fuzz: the length of a pattern, it, and a text.
local function write_patterns()
  local patterns = { "^a*$", "^(a+)+$", "(?:ab|c){2,4}?d", "(?<n>\\d+)-\\w", "[^a-z\\s\\P{Lu}]", "\\bx\\B",
    "^[\\w-.]+@\\p{L}{2,}$", "\\u{1F432}\\ud83d\\udc32\\x41\\cC\\0", "(a|b||(c|d)*)+", ".{0,9}[^][]",
    "(?=a)", "\\1", "[z-a]", "a{3,2}", "a{,3}", "(((a{99}){99}){9}" }
  for i, pattern in ipairs(patterns) do
    for k, text in ipairs { "", "aaab", "x-1 ab@\195\137t\195\169", "abcabd\255\240\159\144\178\195" } do
      write("pattern-" .. i .. "-" .. k .. ".pattern", string.char(#pattern) .. pattern .. text)
    end
  end
end

for i = 2, #arg do
  local path = arg[i]
  local file = assert(io.open(path, "rb"))
  write_response(path:match "([^/]+/[^/]+)%.http$":gsub("/", "-"), file:read "*a")
  file:close()
end
write_calls()
write_transcripts()
write_patterns()
