-- Runs programs in processes of their own, each with a time limit.
--
--   local output, status = child.lua "print(1)"                    the Lua that runs this, its module paths
--   local output, status = child.run("nvim --version", { HOME = "/x" })

local M = {}

local LIMIT_S = 60

---@param text string
---@return string  as one word of the shell
function M.quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

---Starts a command of the shell; standard error goes where standard output goes.
---@param command string
---@param environment? table<string, string|number>
---@param limit_s? integer
---@return fun(): string, integer finish  waits for the end and gives output and status; 124: the time limit
function M.start(command, environment, limit_s)
  local words = { "env" }
  for name, value in pairs(environment or {}) do words[#words + 1] = M.quote(name .. "=" .. value) end
  words[#words + 1] = ("timeout -k 5 %d sh -c %s </dev/null 2>&1; echo \" $?\"")
    :format(limit_s or LIMIT_S, M.quote(command))
  local pipe = assert(io.popen(table.concat(words, " ")))
  return function()
    local output, status = pipe:read "*a":match "^(.*) (%d+)\n$"
    pipe:close()
    return output, tonumber(status)
  end
end

---Runs a command of the shell; as start, and waits for its end.
---@return string output
---@return integer status
function M.run(command, environment, limit_s)
  return M.start(command, environment, limit_s)()
end

---Writes a file that lives until `fn(path)` returns, and gives what that returned.
---@param content string
---@param fn fun(path: string): any, any
---@return any, any
function M.with_file(content, fn)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  assert(file:write(content))
  file:close()
  local first, second = fn(path)
  os.remove(path)
  return first, second
end

---Runs a piece of Lua by any of the Luas that this was built for.
---@param lua string  such as "lua5.3"
---@return string output
---@return integer status
function M.lua_of(lua, code, environment)
  local all = { LUA_PATH = "lua/?.lua;lua/?/init.lua;./?.lua;;", LUA_CPATH = "build/" .. lua .. "/?.so;;" }
  for name, value in pairs(environment or {}) do all[name] = value end
  return M.with_file(code, function(path) return M.run(lua .. " " .. path, all) end)
end

---Runs a piece of Lua by the interpreter that runs this.
---@param code string
---@param environment? table<string, string>
---@param before? string  of the shell, such as "ulimit -n 64;"
---@param limit_s? integer
---@return string output
---@return integer status
function M.lua(code, environment, before, limit_s)
  local lowest = 0
  while arg[lowest - 1] do lowest = lowest - 1 end
  local all = { LUA_PATH = package.path, LUA_CPATH = package.cpath }
  for name, value in pairs(environment or {}) do all[name] = value end
  return M.with_file(code, function(path) return M.run((before or "") .. arg[lowest] .. " " .. path, all, limit_s) end)
end

return M
