-- Neovim's vim.json is a lua-cjson with marks of arrays: either library writes what the other read.
local neovim = require "spec.support.neovim"

local CODE = [==[
local json, theirs = vllm.json, vim.json
local failed = false
local function check(what, expected, got)
  if expected ~= got then failed = true print(what, "expected", expected, "got", got) end
end
local TEXTS = { "[]", "[1,2]", '{"a":[]}', "[[],[[]]]", '{"a":{"b":[{"c":[]}]}}', '[null,{"n":null}]', '{"deep":[[[[]]]]}' }
for _, text in ipairs(TEXTS) do
  check("theirs of ours", text, theirs.encode(json.decode(text)))
  check("ours of ours", text, json.encode(json.decode(text)))
end
check("null", vim.NIL, json.decode "null")
if theirs.array_mt then
  check("the mark", theirs.array_mt, getmetatable(json.decode "[]"))
  check("what it marks itself", "[[],[[]]]", json.encode(setmetatable({ theirs.empty_array, { setmetatable({}, theirs.empty_array_mt) } }, theirs.array_mt)))
  theirs.decode_array_with_array_mt(true)
  for _, text in ipairs(TEXTS) do check("ours of theirs", text, json.encode(theirs.decode(text))) end
end
print(failed and "not the same" or "the same")
quit()
]==]

for _, editor in ipairs(neovim.editors()) do
  it("in " .. editor.name .. " Neovim vim.json and ours agree on lists and null", function()
    assert(editor.path, editor.why)
    local output, status = neovim.run(editor.path, CODE)
    assert.equal("the same\n", output)
    assert.equal(0, status)
  end)
end

teardown(neovim.remove_runtime)
