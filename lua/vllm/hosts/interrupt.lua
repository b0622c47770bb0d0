--- Ctrl-C, for turns that asked for it (interrupt = "cancel"). The signal is a flag in the C module. Event loops do not
-- end a wait because of a signal, so whoever waits in one looks at the flag from time to time.

local hosts = require "vllm.hosts"

local interrupt = {
  LOOK_S = 0.25, -- between two looks
}

local signals -- the C module, from the first trap on: without a trap there is nothing to look at

-- What is told: traps, and waiters that may be interrupted. All of this Lua state, also those of a module that was
-- loaded before.
local registry = debug.getregistry()
local listeners = registry["vllm.listeners"] or setmetatable({}, { __mode = "k" })
registry["vllm.listeners"] = listeners

--- Calls `listener:on_interrupt()` at Ctrl-C in a host, as long as the listener lives. It must not wait.
---@param listener table
function interrupt.tell(listener)
  listeners[listener] = true
end

--- Did a Ctrl-C come that has not been taken yet?
---@return boolean
function interrupt.is_pending()
  return signals ~= nil and signals.sigint_pending()
end

--- The failure of a wait that it ended.
---@return { kind: string, detail: string }
function interrupt.failure()
  return { kind = "cancelled", detail = "interrupted by Ctrl-C" }
end

--- In a host, Ctrl-C ends whatever is under way and asked for that, at its current or next wait. It is taken here,
--- since the engine does not wait before it is.
function interrupt.look()
  if not interrupt.is_pending() then return end
  local taker = signals.sigint_trap()
  taker:caught()
  taker:release()
  for listener in pairs(listeners) do listener:on_interrupt() end
end

---@class vllm.Trap
local Trap = {}
Trap.__index = Trap

function Trap:on_interrupt()
  self._is_caught = true
end

--- Did Ctrl-C come since the last time? Where no host is in charge, only the one who asks is told.
---@return boolean
function Trap:caught()
  if hosts.here() then interrupt.look() end
  local caught = self._is_caught or self._trap:caught()
  self._is_caught = false
  return caught
end

--- Gives Ctrl-C back to the program, unless another trap is left. May be called again.
function Trap:release()
  listeners[self] = nil
  self._trap:release()
end

--- A trap for Ctrl-C, until it is released or collected.
---@param curl table vllm.curl
---@return vllm.Trap?
---@return string? message
function interrupt.trap(curl)
  local made, why = curl.sigint_trap()
  if not made then return nil, why end
  signals = curl
  local trap = setmetatable({ _trap = made, _is_caught = false }, Trap)
  interrupt.tell(trap)
  return trap
end

return interrupt
