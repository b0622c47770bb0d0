--- Loads the C modules. If one is missing, the message says how to build it here, instead of listing where Lua looked.

local native = {}

-- The directory of the checkout that contains this file; nil in an installed rock.
local function checkout()
  local source = debug.getinfo(1, "S").source:match "^@(.*)$" or ""
  local root = source:match "^(.*)[/\\]?lua[/\\]vllm[/\\]base[/\\]native%.lua$"
  if not root then return nil end
  if root == "" then root = "." end
  local makefile = io.open(root .. "/Makefile", "rb")
  if makefile then makefile:close() end
  return makefile and (root:gsub("(.)[/\\]$", "%1"))
end

-- The command that builds them for the program that runs this Lua.
local function command()
  if type(rawget(_G, "vim")) == "table" then return "make nvim" end
  if type(rawget(_G, "ngx")) == "table" then return "make nginx" end
  return ("luarocks --lua-version=%s make"):format(_VERSION:match "%d+%.%d+")
end

-- In a checkout: built, but not where this program looks. (A rock's C module does not tell for which Lua it was built.)
local function where_to_look(name, root)
  local program = type(rawget(_G, "vim")) == "table" and "Neovim" or type(rawget(_G, "ngx")) == "table" and "nginx"
  local file = program and root and io.open(root .. "/lua/" .. name:gsub("%.", "/") .. ".so", "rb")
  if not file then return nil end
  file:close()
  local remedy = program == "Neovim" and "put %s into 'runtimepath'" or 'set lua_package_cpath "%s/lua/?.so;;";'
  return ("vllm: the C module %s is in %s/lua, where %s does not look: %s")
    :format(name, root, program, remedy:format(root))
end

--- A module in C.
---@param name string
---@return table? module
---@return string? message a sentence
function native.load(name)
  local found, module = pcall(require, name)
  if found then return module end
  local root, problem = checkout(), tostring(module)
  local where = "in " .. (root == "." and "this directory" or root or "the directory of its source")
  if problem:find("module '" .. name .. "' not found", 1, true) then
    local message = where_to_look(name, root)
    if message then return nil, message end
    return nil, ("vllm: the C module %s is not built: run `%s` %s"):format(name, command(), where)
  end
  return nil, ("vllm: the C module %s cannot be loaded here; run `%s` %s again (%s)"):format(name, command(), where,
    problem:gsub("%s*\n%s*", " "))
end

return native
