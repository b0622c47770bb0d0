-- Text as a compressed body, by the system's gzip.
local child = require "spec.support.child"

local M = {}

---@param text string
---@return string bytes  one gzip member
function M.of(text)
  return child.with_file(text, function(path)
    local pipe = assert(io.popen("gzip -9 -n -c " .. child.quote(path)))
    local bytes = pipe:read "*a"
    pipe:close()
    assert(#bytes > 0, "gzip is needed")
    return bytes
  end)
end

return M
