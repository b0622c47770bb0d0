-- What `require "vllm"` costs, in fresh processes, and that it brings no libcurl with it.
local interpreter = arg[-1]

local function run(code)
  local pipe = assert(io.popen(("%s -e '%s' 2>&1"):format(interpreter, code)))
  local text = pipe:read("*a")
  pipe:close()
  return text
end

local best = math.huge
for _ = 1, 20 do
  best = math.min(best, tonumber(run 'local a = os.clock() require "vllm" print((os.clock() - a) * 1e3)'))
end
print(("  require \"vllm\"                     %8.2f ms"):format(best))

local maps = run 'require("vllm").new { model = "m" } for line in io.lines("/proc/self/maps") do print(line) end'
print(("  libcurl loaded by it               %8s"):format(maps:find("libcurl", 1, true) and "yes" or "no"))
