--- Hosts: who waits. A host is an event loop that the program lives in; this chooses the one in charge at a wait, and
-- loads only that. Their contract stands below, and for people in docs/hosts.md.

---@class vllm.Host
---@field name string?
---@field running fun(): boolean is this host in charge here? Cheap, and loads nothing
---@field current fun(): any a token of the running coroutine, the same as long as it lives; nil: it cannot be suspended
---  here
---@field park fun(token: any, seconds: number?, is_look: boolean?): boolean suspends the running coroutine; true:
---  woken, perhaps for no reason; false: the time is over. `is_look`: nothing is due then, the caller looks whether it
---  waits in vain
---@field wake fun(token: any) lets a parked coroutine go on soon, never within this call; nothing if it is not parked
---@field spawn fun(fn: fun(), failed: (fun(value: any, traceback: string))?) runs fn in a coroutine of its own, now or
---  soon; what it raises goes to `failed`, else to `report`
---@field report fun(message: string) shows an error that nothing can catch
---@field watch (fun(source: vllm.HostSource): vllm.HostWatcher)? without it libcurl cannot wait here
---@field block (fun(is_ready: (fun(): boolean), seconds: number?): boolean, string?)? waits where `current` gives nil,
---  by running the loop until is_ready(): true; or until the time is over: false; or until Ctrl-C: false,
---  "interrupted". Or raises, with what to do instead
---@field active (fun(): any)? the token in whose name code runs, perhaps in a coroutine of its own that current() does
---  not know
---@field is_stuck (fun(): boolean)? is everything but the running coroutine parked, with no time but looks to end it?
---@field give_way (fun())? called before each event: suspends a coroutine that has run for too long, however fast the
---  events come
---@field preload (fun(name: string))? begins to load a C module without holding up the loop

---@class vllm.HostSource
---@field fd integer
---@field on_readable fun() called on the Lua thread whenever fd can be read
---@field wait fun(seconds: number?) waits for fd and does what on_readable does; for a host that has nothing else to
---  wait for

---@class vllm.HostWatcher
---@field close fun(self)
---@field hold fun(self, yes: boolean) does it keep the host's loop alive? At first it does

local REQUIRED = { "running", "current", "park", "wake", "spawn", "report" }
local OPTIONAL = { "watch", "block", "active", "is_stuck", "give_way", "preload" }

local misuse = require "vllm.base.misuse"

local hosts = {}

local function global(name, member)
  local value = rawget(_G, name)
  return type(value) == "table" and value[member] ~= nil
end

-- In the order of choice; `is_there`: is the host's program or library there at all? Hosts that programs register go
-- before the last one, since luv is loaded by many who do not run its loop.
local order = {
  { name = "scheduler", is_there = function() return package.loaded["vllm.hosts.scheduler"] end },
  { name = "nginx", is_there = function() return global("ngx", "get_phase") end },
  { name = "neovim", is_there = function() return global("vim", "loop") or global("vim", "uv") end },
  { name = "cqueues", is_there = function() return package.loaded.cqueues end },
  { name = "copas", is_there = function() return package.loaded.copas end },
  { name = "luv", is_there = function() return package.loaded.luv end },
}
local by_name = {}
for _, entry in ipairs(order) do by_name[entry.name] = entry end

--- Lets others go first where a host wants that. It is called before each event, so it is nil while there is no such
--- host.
---@type fun(wanted: string|vllm.Host|nil)?
hosts.give_way = nil

local polite = {} -- the entries whose hosts want it

local function give_way(wanted)
  for _, entry in ipairs(polite) do
    if wanted == nil or wanted == entry.name or wanted == entry.host then entry.host.give_way() end
  end
end

local scheduler -- once it is loaded

local function on_known(entry, host)
  entry.host = host
  if entry.name == "scheduler" then scheduler = host end
  polite = {}
  for _, other in ipairs(order) do
    if other.host and other.host.give_way then polite[#polite + 1] = other end
  end
  hosts.give_way = #polite > 0 and give_way or nil
  return host
end

local function host_of(entry)
  if entry.is_there and not entry.is_there() then return nil end
  return entry.host or on_known(entry, require("vllm.hosts." .. entry.name))
end

local function in_charge()
  for i = 1, #order do
    local host = host_of(order[i])
    if host and host.running() then return host end
  end
end

--- The host that would wait here, and the token of the running coroutine in it.
---@param wanted string|vllm.Host|nil the configured host; nil: the one in charge
---@return vllm.Host? host nil: none, so a wait blocks the thread
---@return any token nil: the host cannot suspend what runs here
function hosts.here(wanted)
  local own = wanted == nil and scheduler
  if own then
    local task = own.current()
    if task then return own, task end
  end
  if wanted == "block" then return nil end
  local host
  if type(wanted) == "string" then
    host = host_of(by_name[wanted])
  else
    host = wanted or in_charge()
  end
  if not host or not host.running() then return nil end
  return host, host.current()
end

--- Makes a host known; it is asked after the built-in ones (but before luv) and can be named in `host = …`.
---@param name string
---@param host vllm.Host
function hosts.register(name, host)
  if type(name) ~= "string" or name == "" then
    misuse.raise "vllm.host.register: expected a name as the first argument"
  end
  local entry = by_name[name]
  if name == "block" or entry and entry.is_there then
    misuse.raise(("vllm.host.register: `%s` is a host already"):format(name))
  end
  local fault = hosts.fault(host)
  if fault then misuse.raise("vllm.host.register: " .. fault) end
  if not entry then
    entry = { name = name }
    table.insert(order, #order, entry)
    by_name[name] = entry
  end
  on_known(entry, host)
end

--- Why a value is not a host, or nil.
---@param host any
---@return string?
function hosts.fault(host)
  if type(host) ~= "table" then return "expected a host (a table of functions), got " .. type(host) end
  local function fault_of(name) return ("`%s`: expected a function, got %s"):format(name, type(host[name])) end
  for _, name in ipairs(REQUIRED) do
    if type(host[name]) ~= "function" then return fault_of(name) end
  end
  for _, name in ipairs(OPTIONAL) do
    if host[name] ~= nil and type(host[name]) ~= "function" then return fault_of(name) end
  end
end

--- Is this the name of a host?
---@param name any
---@return boolean
function hosts.is_known(name)
  return name == "block" or by_name[name] ~= nil
end

--- The name of a host, for messages; a program's own host may have none.
---@param host vllm.Host
---@return string
function hosts.name_of(host)
  return host.name and tostring(host.name) or "this event loop"
end

--- Names of all hosts, for messages.
---@return string
function hosts.names()
  local names = { "block" }
  for _, entry in ipairs(order) do names[#names + 1] = entry.name end
  return table.concat(names, ", ")
end

--- What users see of this: `vllm.host`.
hosts.host = { register = hosts.register }

return hosts
