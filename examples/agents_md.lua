-- Instructions from AGENTS.md files: that of this folder, and of every folder above it, the nearest last.
-- VLLM_MODEL=… [VLLM_BASE_URL=http://host:8000/v1] lua examples/agents_md.lua [question]
local vllm = require "vllm"

local question = arg[1] or "What do I have to know before I change something here?"
local MAX_BYTES = 65536 -- of one file: it goes into every request

local function current_folder()
  local pipe = assert(io.popen "pwd")
  local path = pipe:read "*l"
  pipe:close()
  return path
end

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read(MAX_BYTES) or ""
  file:close()
  return vllm.text(text)
end

-- "/a/b" → "/a/b", "/a", "/".
local function folders_up(path)
  local list = {}
  while path ~= "" do
    list[#list + 1] = path
    path = path:match "^(.+)/[^/]*$" or ""
  end
  list[#list + 1] = ""
  return list
end

local function instructions()
  local texts = {}
  for _, folder in ipairs(folders_up(current_folder())) do
    local path = folder .. "/AGENTS.md"
    local text = read(path)
    if text then table.insert(texts, 1, ("[Loaded AGENTS]\nPath: %s\n\n%s"):format(path, text)) end
  end
  return table.concat(texts, "\n\n")
end

local agent = vllm.agent { instructions = instructions }
for event in agent:run(question):events() do
  if event.type == "text_delta" then
    io.write(vllm.printable(event.text))
    io.flush()
  end
end
print()
