--- What a program decides about calls that wait: which call is meant, and what may be said of it. Whatever is given
--- wrong is told, since a decision that is lost would let a call run that was not to.

local errors = require "vllm.base.errors"
local json = require "vllm.json"
local misuse = require "vllm.base.misuse"
local toolbox = require "vllm.agent.toolbox"
local values = require "vllm.base.values"

local decisions = {}

local function listed(records)
  local ids = {}
  for i, record in ipairs(records) do ids[i] = ("`%s` (%s)"):format(record.id, record.name) end
  return #ids > 0 and "waiting are " .. table.concat(ids, ", ") or "none is waiting"
end

local WAITS = {
  asking = "it waits for approval: session:approve(id) or session:deny(id, why)",
  external = "it waits for its result: session:answer(id, value)",
}

-- Why a call that is there does not wait for this, or nil.
local function otherwise(record)
  if record.decision then return "it was " .. record.decision .. " already" end
  return WAITS[record.status]
end

--- The call that waits for this. Misuse throws.
---@param transcript vllm.agent.Transcript
---@param name string of the session's method
---@param id any
---@param status "asking"|"external"
---@param what string it waits for
---@return vllm.agent.Record?
---@return string? message
---@return vllm.Error? err
function decisions.waiting(transcript, name, id, status, what)
  if type(id) ~= "string" then
    misuse.raise(("session:%s: expected the id of a call (result.pending[i].id), got %s")
      :format(name, values.shown(id)))
  end
  local record = transcript:find(id)
  if record and record.status == status then return record end
  local why = record and otherwise(record) or listed(transcript:waiting(status))
  why = ("no call %s waits for %s: %s"):format(values.shown(id), what, why)
  return errors.give(errors.new("invalid_request", why, { param = "id" }))
end

--- Other arguments for a call, or nil. Misuse throws.
---@param changes any
---@return table?
function decisions.changed_input(changes)
  if changes == nil then return nil end
  if type(changes) ~= "table" then
    misuse.raise("session:approve: expected a table { input = … }, got " .. values.shown(changes))
  end
  for key in pairs(changes) do
    if key ~= "input" then
      misuse.raise(("session:approve: unknown key `%s`; other arguments go in as { input = { … } }")
        :format(tostring(key)))
    end
  end
  local input = changes.input
  if input ~= nil and type(input) ~= "table" then
    misuse.raise("session:approve: expected a table as input, got " .. values.shown(input))
  end
  return input
end

--- Misuse throws.
---@param name string of the session's method
---@param why any
function decisions.check_reason(name, why)
  if why == nil or type(why) == "string" then return end
  misuse.raise(("session:%s: expected a text that says why, got %s"):format(name, values.shown(why)))
end

--- Why a program's input cannot take the place of a call's arguments. The tools of toolsets check theirs when they run.
---@param tools table[] of the agent
---@param name string of the tool
---@param input table
---@return string?
function decisions.fault_of_input(tools, name, input)
  local text, why = json.encode(input)
  if not text then return why end
  local tool = toolbox.find(tools, name)
  return tool and toolbox.faults(tool, input)
end

return decisions
