-- A cell in a content handler of nginx. Others begin in light threads. Gives the lines, which are the answer.
local cell = require "spec.hosts.cell"

local ngx = rawget(_G, "ngx")

return function(settings)
  local lines = {}
  cell.run({
    go = ngx.thread.spawn, reap = ngx.thread.wait, write = function(line) lines[#lines + 1] = line end,
      children_inherit = true,
  }, settings)
  return table.concat(lines)
end
