-- An agent whose tools are agents: one that reads, one that writes, and one that tells them what to do.
-- VLLM_MODEL=… [VLLM_BASE_URL=http://host:8000/v1] lua examples/team.lua [task]
local vllm = require "vllm"

local task = arg[1] or "Find out what the archive says about the comet, and have a headline written about it."
local archive = { comet = "A comet was seen over Oslo on 3 May.", tram = "The tram to the harbour opens in June." }

local client = assert(vllm.from_env { temperature = 0 })
local watch = function(event, session)
  if event.type == "tool_start" then
    print(vllm.printable(("[%s → %s %s]"):format(session.id or "reader", event.name, vllm.json.encode(event.input))))
  end
end

local reader = vllm.agent {
  client = client, instructions = "Look things up in the archive, then report what you found.", on_event = watch,
  tools = { {
    name = "look_up", description = "What the archive has about a word",
    parameters = { type = "object", properties = { word = { type = "string" } }, required = { "word" } },
    run = function(input)
      return archive[input.word:lower()] or vllm.retry("nothing about that; there is: comet, tram")
    end,
  } },
}
local writer = vllm.agent { client = client, instructions = "Write one headline of at most eight words." }

local editor = vllm.agent {
  client = client, instructions = "You lead a reader and a writer. Delegate, then answer.", on_event = watch,
  max_steps = 8,
  tools = {
    reader:tool { name = "reader", description = "Looks things up in the archive" },
    writer:tool { name = "writer", description = "Writes headlines from facts" },
  },
}

print("> " .. task)
local result = assert(editor:session({ id = "editor" }):run(task):result())
print(vllm.printable(result.text or "(stopped: " .. result.stop .. ")"))
