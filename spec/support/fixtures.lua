--- The recorded responses of spec/fixtures: heads, bodies, the reads they came in, and what is expected of them.
--- Expectations are read with lua-cjson, so that nothing under test takes part in them.

local cjson = require "cjson"
local lfs = require "lfs" -- busted needs it, too

local fixtures = {}

local here = debug.getinfo(1, "S").source:match "^@(.*)support/fixtures%.lua$" or "./"
fixtures.directory = here .. "fixtures/"

local function read_file(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read "*a"
  file:close()
  return bytes
end

--- cjson.null members go; what is absent and what is null mean the same in an expectation.
local function without_nulls(value)
  if type(value) ~= "table" then return value end
  for key, member in pairs(value) do
    if member == cjson.null then value[key] = nil else without_nulls(member) end
  end
  return value
end

---@param text string
---@return any
function fixtures.decode(text)
  return without_nulls(cjson.decode(text))
end

--- The pieces of a chunked body: { at = offset of the data in the response, text }, offsets from 0.
local function chunked_pieces(raw, at)
  local pieces = {}
  while true do
    local size, data = raw:match("^(%x+)\r\n()", at)
    size = tonumber(size or "0", 16)
    if size == 0 then return pieces end
    pieces[#pieces + 1] = { at = data - 1, text = raw:sub(data, data + size - 1) }
    at = data + size + 2
  end
end

--- The body bytes that each recorded read of the response brought, reads without any left out.
local function body_reads(pieces, sizes)
  local reads, piece, taken, limit = {}, 1, 0, 0
  for _, size in ipairs(sizes) do
    limit = limit + size
    local got = {}
    while pieces[piece] and pieces[piece].at + taken < limit do
      local text = pieces[piece].text
      local count = math.min(#text - taken, limit - pieces[piece].at - taken)
      got[#got + 1] = text:sub(taken + 1, taken + count)
      taken = taken + count
      if taken == #text then piece, taken = piece + 1, 0 end
    end
    if #got > 0 then reads[#reads + 1] = table.concat(got) end
  end
  return reads
end

local function parse_head(raw)
  local head, after = raw:match "^(.-)\r\n\r\n()"
  local headers = {}
  for name, value in head:gmatch "\r\n([^:\r\n]+):[ \t]*([^\r\n]*)" do headers[name:lower()] = value end
  return tonumber(head:match "^HTTP/1%.1 (%d+)"), headers, after
end

---@class fixtures.Response
---@field name string "vllm/text"
---@field status integer
---@field headers table<string, string> lower-case names
---@field stream boolean an event stream
---@field raw string the response as it came off the socket
---@field body string without the chunked framing
---@field reads string[] the body, cut where the network cut it
---@field about table the request and the server's flags
---@field expect? table see spec/fixtures/README.md

---@param name string "<set>/<name>"
---@return fixtures.Response
function fixtures.load(name)
  local path = fixtures.directory .. name
  local raw, about = read_file(path .. ".http"), fixtures.decode(read_file(path .. ".json"))
  local status, headers, after = parse_head(raw)
  local pieces = headers["transfer-encoding"] == "chunked" and chunked_pieces(raw, after)
    or { { at = after - 1, text = raw:sub(after) } }
  local texts = {}
  for i, piece in ipairs(pieces) do texts[i] = piece.text end
  local expected = lfs.attributes(path .. ".expect.json", "size") and read_file(path .. ".expect.json")
  return {
    name = name, status = status, headers = headers, raw = raw, about = about, body = table.concat(texts),
    stream = (headers["content-type"] or ""):find("text/event-stream", 1, true) == 1,
    reads = body_reads(pieces, about.reads or { #raw }),
    expect = expected and fixtures.decode(expected) or nil,
  }
end

---@param set string "vllm" or "llama-server"
---@return string[] # names of all its recordings, sorted
function fixtures.names(set)
  local names = {}
  for file in lfs.dir(fixtures.directory .. set) do
    local name = file:match "^(.*)%.http$"
    if name then names[#names + 1] = set .. "/" .. name end
  end
  table.sort(names)
  return names
end

--- Every recorded chat response with status 200, both sets.
---@return fixtures.Response[]
function fixtures.chat()
  local responses = {}
  for _, set in ipairs { "vllm", "llama-server" } do
    for _, name in ipairs(fixtures.names(set)) do
      local response = fixtures.load(name)
      if response.expect and response.status == 200 then responses[#responses + 1] = response end
    end
  end
  return responses
end

return fixtures
