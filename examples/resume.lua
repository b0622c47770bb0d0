-- A conversation in a file: kill it at any time, start it again, and it goes on. No tool runs twice.
-- VLLM_MODEL=… [VLLM_BASE_URL=http://host:8000/v1] lua examples/resume.lua FILE [task]
local vllm = require "vllm"

io.stdout:setvbuf "no" -- what was printed is seen, even if we are killed then
local path, task = arg[1], arg[2]
if not path then error("usage: lua examples/resume.lua FILE [task]", 0) end

local function load_state()
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return assert(vllm.json.decode(text))
end

-- Written beside it and renamed, so the file is always whole.
local function save(session)
  local text = assert(vllm.json.encode(session:state()))
  local file = assert(io.open(path .. ".new", "wb"))
  assert(file:write(text))
  assert(file:close())
  assert(os.rename(path .. ".new", path))
end

local SAVED_AT = { tool_start = true, tool_result = true, message = true, run_end = true }

local agent = vllm.agent {
  instructions = "Use the tool. Be brief.",
  on_event = function(event, session)
    if SAVED_AT[event.type] then save(session) end
  end,
  tools = { {
    name = "get_weather", description = "Current weather of a city",
    parameters = { type = "object", properties = { city = { type = "string" } }, required = { "city" } },
    run = function(input)
      print("[looking at the sky over " .. vllm.printable(input.city) .. "]")
      vllm.sleep(tonumber(os.getenv "SLOW" or 0))
      return { city = input.city, celsius = 18 }
    end,
  } },
}

local state = load_state()
local session = agent:session { state = state }
if state then print(("(%d messages so far)"):format(#session:messages())) end
local result = assert(session:run(task or (not state and "What is the weather in Paris?") or nil):result())
print(vllm.printable(result.text or "(stopped: " .. result.stop .. ")"))
