-- The table of wire fields beside what the encoder in C knows of them.
local core = require "vllm.core"
local fields = require "vllm.request.fields"

describe("the wire fields", function()
  it("are [] on the wire where they are a list without elements, and {} where they are a table without members",
    function()
    local lists = 0
    for name, check in pairs(fields.wire) do
      local is_list = check[1]:find "^a list" or check[1]:find "string or a list"
      lists = lists + (is_list and 1 or 0)
      if is_list or check[1]:find "^a table" then
        assert.are.equal(('{"%s":%s}'):format(name, is_list and "[]" or "{}"),
          core.json_encode({ [name] = {} }, { request = true }))
      end
    end
    assert.is_true(lists >= 7)
  end)
end)
