-- A tool whose work goes on after it has answered: the model is told at once that it has begun, and of the end by a
-- message that joins the conversation when it comes.
-- VLLM_MODEL=… [VLLM_BASE_URL=http://host:8000/v1] lua examples/background.lua [task]
local vllm = require "vllm"

local task = arg[1] or "Start the build, and tell me a joke while it runs. Then say how it went."

vllm.run(function()
  local session, report -- the message that tells of the end, once there is one
  local build = {
    name = "start_build", description = "Starts a build, which takes a while. Its end is reported by itself.",
    run = function(_, call)
      vllm.spawn(function()
        vllm.sleep(tonumber(os.getenv "BUILD_S" or 3))
        report = session:queue({ role = "notification", content = "The build has ended: 3 files, no errors." }, call.id)
      end)
      return "the build has begun"
    end,
  }

  local agent = vllm.agent { instructions = "Be brief.", tools = { build } }
  session = agent:session()

  local function show(event)
    if event.type == "text_delta" then
      io.write(vllm.printable(event.text))
      io.flush()
    elseif event.type == "step_end" then
      print()
    end
  end

  print("> " .. task)
  assert(session:run(task):each(show))
  -- If the task was done before the build, the report waits for the next run.
  while not report do vllm.sleep(0.05) end
  if report.outcome == "waiting" then assert(session:run():each(show)) end
end)
