-- An agent that asks before it does what cannot be undone.
-- VLLM_MODEL=… [VLLM_BASE_URL=http://host:8000/v1] lua examples/approve.lua [task]
local vllm = require "vllm"

local task = arg[1] or "Delete the note about groceries, then tell me which notes are left."
local notes = { groceries = "milk, bread", ideas = "write a book", trip = "pack the tent" }

local function names()
  local list = vllm.array {}
  for name in pairs(notes) do list[#list + 1] = name end
  table.sort(list)
  return list
end

local NAME = { type = "object", properties = { name = { type = "string" } }, required = { "name" } }

local agent = vllm.agent {
  instructions = "You keep the user's notes. Use the tools. Be brief.",
  tools = {
    { name = "list_notes", description = "Names of all notes", run = names },
    {
      name = "delete_note", description = "Deletes a note for good", parameters = NAME, approval = "ask",
      run = function(input)
        if not notes[input.name] then return nil, "there is no such note" end
        notes[input.name] = nil
        return "deleted"
      end,
    },
  },
}

local function show(event)
  if event.type == "text_delta" then
    io.write(vllm.printable(event.text))
    io.flush()
  elseif event.type == "tool_result" then
    print(vllm.printable(("[%s → %s]"):format(event.name, event.message.content)))
  end
end

-- "y" is yes; anything else is no, and the model reads it as the reason.
local function decide(session, call)
  io.write(vllm.printable(("%s %s: allow it? [y/N] "):format(call.name, call.arguments)))
  io.flush()
  local answer = io.read "*l" or ""
  if answer == "y" then return assert(session:approve(call.id)) end
  assert(session:deny(call.id, answer ~= "" and answer or "the user said no"))
end

print("> " .. task)
local session = agent:session()
local result = assert(session:run(task):each(show))
while result.stop == "awaiting_approval" do
  for _, call in ipairs(result.pending) do decide(session, call) end
  result = assert(session:run():each(show))
end
print()
for _, hint in ipairs(result.hints) do io.stderr:write("note: ", hint, "\n") end
