-- docs/architecture.md and the tree agree: each file is in its row, each word has one meaning.
local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

describe("docs/architecture.md", function()
  local terms = {}
  local glossary = read("docs/architecture.md"):match "\n## The words\n(.-)\n## "
  for word, place in glossary:gmatch "\n| ([%w_]+) | [^|]+ | `([^`]+)` |" do
    if word ~= "word" then terms[#terms + 1] = { word = word, place = place } end
  end

  local function lines_of(command)
    local pipe, list = assert(io.popen(command)), {}
    for line in pipe:lines() do list[#list + 1] = line end
    pipe:close()
    return list
  end

  it("has a glossary of words that live in files that exist, and occur there", function()
    assert.is_true(#terms >= 25)
    local seen = {}
    for _, term in ipairs(terms) do
      assert.is_nil(seen[term.word], term.word)
      seen[term.word] = true
      assert.truthy(read(term.place):lower():find(term.word, 1, true), term.word .. " is not in " .. term.place)
    end
  end)

  it("has every file in the row of its folder", function()
    for _, path in ipairs(lines_of "find lua/vllm src/core -name '*.c' -o -name '*.lua' | LC_ALL=C sort") do
      local folder, name = path:match "^(.*)/([%w_]+)%.%w+$"
      local row = read("docs/architecture.md"):match("\n| `" .. folder .. "` |([^\n]*)\n")
      assert.truthy(row:find("`" .. name .. "`", 1, true), path)
    end
  end)

  it("has every type of C and of Lua once", function()
    local seen, words = {}, {}
    for _, term in ipairs(terms) do words[term.word] = true end
    for _, line in ipairs(lines_of "grep -rhoE '^(struct|enum) [a-z0-9_]+ \\{|^---@class [A-Za-z_.]+' src lua") do
      assert.is_nil(seen[line] or words[line:match "^%a+ (%w+) {"], line)
      seen[line] = true
    end
    assert.truthy(seen["struct vllm_answer {"] and seen["---@class vllm.Turn"])
  end)

  -- Another file of the same name is another side of the same thing, and listed here.
  it("has no second file of a word", function()
    local places, others = {}, {}
    for _, term in ipairs(terms) do places[term.word] = term.place:gsub("%.%w+$", "") end
    for _, path in ipairs(lines_of "find src lua -name '*.[ch]' -o -name '*.lua' | LC_ALL=C sort") do
      local name = path:match "([%w_]+)%.%w+$"
      local place = places[name] or places[name:gsub("s$", "")]
      if place and path:gsub("%.%w+$", "") ~= place then others[#others + 1] = path end
    end
    assert.same({
      "lua/vllm/agent/session.lua", -- a conversation with tools
      "lua/vllm/decoder.lua", -- vllm.decoder, of the core's
      "lua/vllm/request/messages.lua", -- the Lua side of messages.c
      "src/bind/decoder.c", "src/bind/events.c", "src/bind/events.h", "src/bind/messages.c", "src/bind/pattern.c",
        -- bindings
      "src/net/request.c", -- the engine's side of a request
    }, others)
  end)
end)
