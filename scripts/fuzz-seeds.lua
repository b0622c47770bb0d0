--- Starting points for the fuzzers, from the recorded responses: whole, their bodies, and the JSON text of some events.
-- usage: lua scripts/fuzz-seeds.lua DIR FILE.http…
-- A body keeps the chunk sizes of its transfer: a parser must live with such lines, too. Runs on Lua 5.1 and later.

local MAX_SEED_BYTES = 16384
local EVENTS_PER_FILE = 6

local dir = arg[1]

local function write(name, text)
  if #text == 0 or #text > MAX_SEED_BYTES then return end
  local out = assert(io.open(dir .. "/" .. name, "wb"))
  out:write(text)
  out:close()
end

for i = 2, #arg do
  local path = arg[i]
  local file = assert(io.open(path, "rb"))
  local response = file:read "*a"
  file:close()
  local name = path:match "([^/]+/[^/]+)%.http$":gsub("/", "-")
  local body = response:match "\r\n\r\n(.*)$" or ""
  write(name .. ".body", body)
  write(name .. ".response", "\1@" .. response) -- two bytes for http1_fuzz: reads, and an answer from its beginning
  local count = 0
  for data in body:gmatch "data: ({[^\r\n]*)" do
    count = count + 1
    if count > EVENTS_PER_FILE then break end
    write(name .. "." .. count .. ".json", data)
  end
end
