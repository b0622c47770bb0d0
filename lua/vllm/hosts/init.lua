--- Hosts: who waits. A host is an event loop that the program lives in; this chooses the one in charge at a wait.
-- The contract of a host is in docs/architecture.md; each file of this folder is one. Choosing loads only the host that is there.

---@class vllm.Host
---@field name string?
---@field running fun(): boolean is this host in charge here? Cheap, and loads nothing
---@field current fun(): any token of the running coroutine, the same as long as it lives; nil: it cannot be suspended here
---@field park fun(token: any, seconds: number?, is_look: boolean?): boolean suspends the running coroutine; true: woken, perhaps for no
---  reason; false: the time is over. `is_look`: nothing is due then, the caller looks whether it waits in vain
---@field wake fun(token: any) lets a parked coroutine go on soon, never within this call; nothing if it is not parked
---@field spawn fun(fn: fun(), failed: (fun(value: any, traceback: string))?) runs fn in a coroutine of its own, now or soon; what it
---  raises goes to `failed`, else to `report`
---@field report fun(message: string) shows an error that nobody can catch
---@field watch (fun(source: vllm.HostSource): vllm.HostWatcher)? where there are descriptors
---@field active (fun(): any)? the token in whose name code runs, perhaps in a coroutine of its own that current() does not know
---@field block (fun(is_ready: (fun(): boolean), seconds: number?): boolean, string?)? waits where `current` gives nil, or raises with
---  what to do instead; the string: "interrupted", by Ctrl-C
---@field is_stuck (fun(): boolean)? is everything but the running coroutine parked, with no time but looks to end it?
---@field preload (fun(name: string))? begins to load a C module without holding up the loop

---@class vllm.HostSource
---@field fd integer
---@field on_readable fun() called on the Lua thread whenever fd can be read
---@field wait fun(seconds: number?) waits for fd and does what on_readable does; for a host that has nothing else to wait for

---@class vllm.HostWatcher
---@field close fun(self)
---@field hold fun(self, yes: boolean) does it keep the host's loop alive? At first it does

local core = require "vllm.core"

local hosts = {}

local function global(name, member)
  local value = rawget(_G, name)
  return type(value) == "table" and value[member] ~= nil
end

-- In the order of choice. Is the host's program or library there at all?
local BUILT_IN = {
  { "scheduler", function() return package.loaded["vllm.hosts.scheduler"] end },
  { "nginx", function() return global("ngx", "get_phase") end },
  { "neovim", function() return global("vim", "loop") or global("vim", "uv") end },
  { "cqueues", function() return package.loaded.cqueues end },
  { "copas", function() return package.loaded.copas end },
  { "luv", function() return package.loaded.luv end },
}
local IS_BUILT_IN = { block = true }
local is_there = {} -- name → as above
for _, entry in ipairs(BUILT_IN) do IS_BUILT_IN[entry[1]], is_there[entry[1]] = true, entry[2] end

local MEMBERS = { "running", "current", "park", "wake", "spawn", "report", "watch" }
local registered = {} -- in the order of registration, and by name

local loaded = {}

local function load_built_in(name)
  local host = loaded[name]
  if not host then
    host = require("vllm.hosts." .. name)
    loaded[name] = host
  end
  return host
end

local function in_charge()
  for i = 1, #BUILT_IN - 1 do
    local entry = BUILT_IN[i]
    if entry[2]() then
      local host = load_built_in(entry[1])
      if host.running() then return host end
    end
  end
  for _, host in ipairs(registered) do
    if host.running() then return host end
  end
  local luv = BUILT_IN[#BUILT_IN] -- last: loaded by many who do not run its loop
  if luv[2]() then
    local host = load_built_in(luv[1])
    if host.running() then return host end
  end
end

--- The host that would wait here, and the token of the running coroutine in it.
---@param wanted string|vllm.Host|nil the configured host; nil: the one in charge
---@return vllm.Host? host nil: none, so a wait blocks the thread
---@return any token nil: the host cannot suspend what runs here
function hosts.here(wanted)
  local own = wanted == nil and loaded.scheduler
  if own then
    local task = own.current()
    if task then return own, task end
  end
  if wanted == "block" then return nil end
  local host
  if type(wanted) == "string" then
    host = registered[wanted] or is_there[wanted]() and load_built_in(wanted)
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
  if type(name) ~= "string" or name == "" then error("vllm.host.register: a name is needed", 2) end
  if IS_BUILT_IN[name] then error("vllm.host.register: `" .. name .. "` is a host already", 2) end
  local why = hosts.fault(host)
  if why then error("vllm.host.register: " .. why, 2) end
  for i, other in ipairs(registered) do
    if other == registered[name] then table.remove(registered, i) break end
  end
  registered[#registered + 1], registered[name] = host, host
end

--- Why a value is no host, or nil.
---@param host any
---@return string?
function hosts.fault(host)
  if type(host) ~= "table" then return "a host is a table of functions, got " .. type(host) end
  for _, name in ipairs(MEMBERS) do
    if type(host[name]) ~= "function" then return "the host has no function `" .. name .. "`" end
  end
end

--- Is this the name of a host?
---@param name any
---@return boolean
function hosts.is_known(name)
  return IS_BUILT_IN[name] or registered[name] ~= nil
end

local blocked = 0 -- waits of threads' own stacks that are under way, one inside the other

--- host.block, which yields nothing, so that this may catch what it raises.
---@param host vllm.Host
---@param is_ready fun(): boolean
---@param seconds number?
---@return boolean ready
---@return string? why "interrupted"
function hosts.block(host, is_ready, seconds)
  blocked = blocked + 1
  local ok, ready, why = pcall(host.block, is_ready, seconds)
  blocked = blocked - 1
  if not ok then error(ready, 0) end
  return ready, why
end

--- Does a wait of the main thread go on, so that what runs now runs inside of it?
---@return boolean
function hosts.is_blocked()
  return blocked > 0
end

--- Between two looks for Ctrl-C, of who asked for it: event loops do not end a wait for a signal's sake.
hosts.INTERRUPT_LOOK_S = 0.25

local MAX_SLEEP_S = 1 -- between two looks: a signal that comes just before a sleep is late by this much at the most

--- One wait, by time, in the host in charge; may end early. Afterwards look again.
---@param place { _wait_host: vllm.Host?, _wait_token: any, _interrupt: any } who waits: hosts.wake(place) ends it; `_interrupt`: and looks
---  for Ctrl-C afterwards
---@param wanted string|vllm.Host|nil the configured host
---@param seconds number?
---@param is_over fun(): boolean for a host that runs its loop meanwhile
---@param is_look boolean? nothing is due then: a host that knows may end the wait when nobody else could
---@return string? why "interrupted"
function hosts.wait(place, wanted, seconds, is_over, is_look)
  local host, token = hosts.here(wanted)
  if place._interrupt then seconds = math.min(seconds or hosts.INTERRUPT_LOOK_S, hosts.INTERRUPT_LOOK_S) end
  if token ~= nil then
    place._wait_host, place._wait_token = host, token
    host.park(token, seconds, is_look)
    place._wait_token = nil
  elseif host and host.block then
    local _, why = hosts.block(host, is_over, seconds)
    return why
  else
    core.sleep(math.min(seconds or MAX_SLEEP_S, MAX_SLEEP_S))
  end
end

--- Ends the wait of `place`, if it is in one.
---@param place { _wait_host: vllm.Host?, _wait_token: any }
function hosts.wake(place)
  if place._wait_token ~= nil then place._wait_host.wake(place._wait_token) end
end

--- Is `place` in a wait that `wake` ends?
---@param place { _wait_token: any }
---@return boolean
function hosts.is_waiting(place)
  return place._wait_token ~= nil
end

--- Set by a host in which nobody may go on for long, however fast the events come: called before each event, may suspend for a moment.
---@type fun(wanted: string|vllm.Host|nil)?
hosts.give_way = nil

--- How many tasks were cancelled and have not ended; while there is none, nobody need ask.
hosts.cancellations = 0

--- Was the task cancelled in which this runs? Asked before each wait. tasks.lua, once loaded, knows.
---@return boolean
function hosts.cancelled()
  return false
end

--- The name of a host, for messages; one of a program's own may have none.
---@param host vllm.Host
---@return string
function hosts.name_of(host)
  return host.name and tostring(host.name) or "this event loop"
end

--- Names of all hosts, for messages.
---@return string
function hosts.names()
  local names = { "block" }
  for _, entry in ipairs(BUILT_IN) do names[#names + 1] = entry[1] end
  for _, host in ipairs(registered) do
    for name, other in pairs(registered) do
      if other == host and type(name) == "string" then names[#names + 1] = name end
    end
  end
  return table.concat(names, ", ")
end

--- What users see of this: `vllm.host`.
hosts.host = { register = hosts.register }

return hosts
