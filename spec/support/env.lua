-- Where the modules under test are, for a spec that is run by hand from the root of the repository, without `make`.
-- Loading it twice does no harm; what is already on the paths stays in front.

local lua = rawget(_G, "jit") and "luajit" or "lua" .. _VERSION:match("%d%.%d")
local env = { lua = lua, build = "build" }

local function add(paths, more)
  if (";" .. paths .. ";"):find(";" .. more .. ";", 1, true) then return paths end
  return paths .. ";" .. more
end

package.path = add(add(package.path, "lua/?.lua"), "lua/?/init.lua")
package.cpath = add(package.cpath, env.build .. "/" .. lua .. "/?.so")

return env
