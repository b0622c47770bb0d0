-- The matrix host × Lua × engine: one file of checks (cell.lua) in every host, each cell in processes of its own. What
-- it prints at its end is the matrix. A cell that does not exist says why; one that should exist and cannot run fails.
require "spec.support.env"
local cell = require "spec.hosts.cell"
local child = require "spec.support.child"
local neovims = require "spec.support.neovim"
local nginxes = require "spec.support.nginx"
local servers = require "spec.support.server"

local LUAS = { "lua5.1", "lua5.3", "lua5.4", "luajit" }
local MODES = { "inline", "thread" }
local LIMIT_S = 90
local SLOW_NAMES = "build/preload/slow_names.so"
local AHEAD = 6 -- so many cells run while one is waited for; they wait more than they work

local cells = {} -- in the order of the printed matrix

local function first_line(command)
  local output, status = child.run(command, nil, 300)
  return status == 0 and output:match "[^\n]*" or nil, (output:gsub("\n", " "))
end

-- Plain processes -----------------------------------------------------------------------------------------------------

local function environment(server, lua, mode)
  return { CELL_THOUSAND = (lua == "lua5.4" or lua == "neovim") and "yes" or "no", CELL_URL = server.url,
    CELL_TLS_URL = server.tls_url, CELL_CA = server.ca_file, CELL_DEAF_PORT = server.deaf_port,
    CELL_FULL_PORT = server.full_port, CELL_MODE = mode, LD_PRELOAD = SLOW_NAMES, no_proxy = "*" }
end

local function in_process(host, lua, mode, more_path)
  return function(server)
    local all = environment(server, lua, mode)
    all.LUA_PATH = "lua/?.lua;lua/?/init.lua;./?.lua;" .. (more_path or "") .. ";;"
    all.LUA_CPATH = "build/" .. lua .. "/?.so;;"
    return child.start(("%s spec/hosts/drivers/%s.lua"):format(lua, host), all, LIMIT_S)
  end
end

-- `start(server)` starts a cell and gives a function that waits for its output and status; where it is nil, there is
-- none, and `why`.
local function add(host, lua, mode, start, why)
  cells[#cells + 1] = { host = host, lua = lua, mode = mode, start = start, why = why }
end

local function add_luas(host, more_path)
  for _, lua in ipairs(LUAS) do
    for _, mode in ipairs(MODES) do add(host, lua, mode, in_process(host, lua, mode, more_path)) end
  end
end

for _, host in ipairs { "scheduler", "block", "cqueues", "luv" } do add_luas(host) end

-- Debian's Copas is too old; a newer one may be had, or not.
local copas, why_no_copas = first_line "scripts/copas-new"
if copas then
  add_luas("copas", copas .. "/?.lua;spec/support/copas/?.lua")
else
  add("copas", "any Lua", "any", nil, why_no_copas)
end

-- Neovim and nginx ----------------------------------------------------------------------------------------------------

local function in_neovim(editor, mode)
  return function(server)
    local all = environment(server, "neovim", mode)
    all.LD_PRELOAD, all.PRELOAD = nil, SLOW_NAMES
    return function()
      return neovims.run(editor.path,
        "package.path = './?.lua;' .. package.path\ndofile 'spec/hosts/drivers/neovim.lua'", all)
    end
  end
end

for _, editor in ipairs(neovims.editors()) do
  for _, mode in ipairs(MODES) do
    add("neovim", editor.name, mode, editor.path and in_neovim(editor, mode) or function() error(editor.why) end)
  end
end

-- Its resolver is a port that never answers.
local NGINX = [[
  lua_ssl_trusted_certificate {ca};
  resolver 127.0.0.1:{port}; resolver_timeout 30s;
  init_by_lua_block { require("spec.support.nginx_worker").open_silent_resolver({port}) }
]]

local function in_nginx(server)
  local nginx = nginxes.start { http = NGINX, values = { ca = server.ca_file, port = tostring(server.port) } }
  local program = ([[return require "spec.hosts.drivers.nginx" {
    url = "%s", tls_url = "%s", deaf_port = %d, full_port = %d, slow_names = true, thousand = true }]])
    :format(server.url, server.tls_url, server.deaf_port, server.full_port)
  return function()
    local ok, output = pcall(nginx.run, nginx, program)
    -- nginx's own word on faults
    local problems = nginx:log():gsub("[^\n]*recv%(%) failed %(104: Connection reset by peer%)[^\n]*\n?", "")
    nginx:stop()
    return tostring(output) .. (ok and "\nok loop_ends the request is over\n" or "\n") .. problems,
      problems == "" and 0 or 1
  end
end

add("nginx", "luajit", "cosockets", in_nginx)

-- Running -------------------------------------------------------------------------------------------------------------

-- What a cell said: each check "ok", "skipped" or "FAILED", and the process has ended well.
local function judge(output, status)
  local outcomes, counts, skipped, problems = {}, { faults = 0, others = 0 }, {}, {}
  for outcome, name, rest in output:gmatch "(%a+) ([%w_]+)([^\n]*)" do
    outcomes[name] = outcomes[name] or { outcome, rest }
  end
  for _, name in ipairs(cell.names) do
    local outcome = outcomes[name] or { "FAILED", " it did not come" }
    local group = cell.is_fault[name] and "faults" or "others"
    if outcome[1] == "ok" then counts[group] = counts[group] + 1
    elseif outcome[1] == "skipped" then skipped[#skipped + 1] = { name, outcome[2] }
    else problems[#problems + 1] = name .. ":" .. outcome[2] end
  end
  if status ~= 0 then problems[#problems + 1] = "exit status " .. tostring(status) end
  return counts, skipped, problems, outcomes.cancel_worst
end

-- " not here: NAME NAME (REASON)", a part for each reason.
local function text_of(skipped)
  local parts, of_reason = {}, {}
  for _, one in ipairs(skipped) do
    local reason = one[2]
    local part = of_reason[reason] or { reason = reason }
    if not of_reason[reason] then parts[#parts + 1], of_reason[reason] = part, part end
    part[#part + 1] = one[1]
  end
  for i, part in ipairs(parts) do parts[i] = ("%s (%s)"):format(table.concat(part, " "), part.reason:sub(2)) end
  return #parts > 0 and "; not here: " .. table.concat(parts, ", ") or ""
end

local function text_of_worst(outcome)
  if not outcome or outcome[1] ~= "ok" then return "" end
  return "; cancelled, the latest:" .. outcome[2]
end

local function start(i)
  local one = cells[i]
  if not one or one.finish or not one.start then return end
  local server = servers.start { tls = true, deaf = true }
  local finish = one.start(server)
  one.finish = function()
    local output, status = finish()
    server:stop()
    return output, status
  end
end

describe("the matrix", function()
  local lines = {}

  setup(function()
    local output, status = child.run("make -s " .. SLOW_NAMES)
    assert(status == 0, output)
  end)

  teardown(function()
    neovims.remove_runtime()
    print("  host × Lua, engine:\n    " .. table.concat(lines, "\n    "))
  end)

  for i, one in ipairs(cells) do
    local name = ("%s × %s, %s"):format(one.host, one.lua, one.mode)
    local function say(text) lines[#lines + 1] = ("%-34s %s"):format(name, text) end

    if one.start then
      it(name, function()
        for k = i, i + AHEAD do start(k) end
        local output, status = one.finish()
        local counts, skipped, problems, worst = judge(output, status)
        say(#problems > 0 and "FAILED " .. table.concat(problems, "; ")
          or ("passed %d, faults %d%s%s"):format(counts.others, counts.faults, text_of_worst(worst), text_of(skipped)))
        assert(#problems == 0, table.concat(problems, "\n") .. "\n" .. output)
        assert(counts.others > 0 and counts.faults > 0)
      end)
    else
      say("does not exist: " .. one.why)
    end
  end
end)
