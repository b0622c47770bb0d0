--- Why a value does not follow its schema, in words that a model can act on.
--
-- A value is first checked without a word: `run.faults` is nil, and the first failure ends the check. Only a value that
-- failed is checked once more, and its faults are noted. A fault is noted without a path: each array and object around
-- it adds its step on the way out, so a check that succeeds does nothing for paths.

local core = require "vllm.core"
local excerpt = require "vllm.base.excerpt"
local instance = require "vllm.schema.instance"
local spelling = require "vllm.base.spelling"
local values = require "vllm.base.values"

local report = {}

local MAX_TEXT_BYTES = 60 -- of a value, or a part of a schema
local MAX_PATH_BYTES = 200
local MAX_LISTED = 20

---@class vllm.schema.Fault
---@field path string the JSON pointer of the value at fault; "" is the whole
---@field expected string
---@field got string
---@field keyword string the keyword of the schema that failed
---@field message string all of it, in one sentence

--- A value as a message shows it.
---@param value any
---@return string
function report.shown(value)
  local kind = instance.kind_of(value)
  if kind == "array" then return #instance.list(value) == 0 and "an empty array" or "an array" end
  if kind == "object" then return next(value) == nil and "an empty object" or "an object" end
  if kind == "number" then return core.json_encode(value) or tostring(value) end
  return values.shown(value)
end

--- A value as JSON, cut.
---@param value any
---@return string
function report.written(value)
  return excerpt.of(core.json_encode(value) or report.shown(value), MAX_TEXT_BYTES)
end

--- `1 item`, `2 items`. A limit may be any number.
---@param count number
---@param one string
---@param many string
---@return string
function report.counted(count, one, many)
  return report.shown(count) .. " " .. (count == 1 and one or many)
end

local function quoted(name)
  return values.shown(type(name) == "string" and name or tostring(name))
end
report.quoted = quoted

--- Names, sorted and quoted, as many as are read with ease.
---@param names table<string, any>
---@return string
function report.listed(names)
  local list = {}
  for _, name in ipairs(values.sorted_keys(names)) do
    if #list == MAX_LISTED then
      list[#list + 1] = "…"
      break
    end
    list[#list + 1] = quoted(name)
  end
  return table.concat(list, ", ")
end

--- `(did you mean "city"?)`, or nothing.
---@param name any
---@param known table<string, any>
---@return string
function report.hint(name, known)
  local meant = type(name) == "string" and spelling.nearest(name, known)
  return meant and (" (did you mean %s?)"):format(quoted(meant)) or ""
end

-- What fails after a bound was exceeded may well be right.
local function note(run, fault)
  if run.stopped then return false end
  local list = run.faults
  fault.steps = {}
  list[#list + 1] = fault
  run.count, run.enough = #list, #list >= run.limit
  return false
end

--- A check has failed.
---@param run table
---@param keyword string
---@param expected string|fun(value: any): string made only where a fault is noted
---@param value any
---@return false
function report.fail(run, keyword, expected, value)
  if not run.faults then return false end
  if type(expected) == "function" then expected = expected(value) end
  return note(run, { keyword = keyword, expected = expected, got = report.shown(value) })
end

--- The same, in a sentence of its own. To be called only where `run.faults` is there.
---@param run table
---@param keyword string
---@param expected string
---@param got string
---@param text string
---@return false
function report.say(run, keyword, expected, got, text)
  return note(run, { keyword = keyword, expected = expected, got = got, text = text })
end

--- Puts a step of the path before the faults that a child has noted.
---@param run table
---@param first integer how many faults there were before
---@param step string|integer a name, or an index from 0
---@return integer count how many there are now
function report.locate(run, first, step)
  for i = first + 1, run.count do
    local steps = run.faults[i].steps
    steps[#steps + 1] = step
  end
  return run.count
end

local function apart(run, list, enough, check, value)
  local was, was_enough, was_count = run.faults, run.enough, run.count
  run.faults, run.enough, run.count = list, enough, 0
  local ok = check(value, run)
  run.faults, run.enough, run.count = was, was_enough, was_count
  return ok
end

--- Does a value follow a schema? Its faults are of no interest.
---@param run table
---@param check function
---@param value any
---@return boolean
function report.probe(run, check, value)
  if not run.faults then return check(value, run) end
  return apart(run, nil, true, check, value)
end

-- Of the alternatives, the one that was meant has the right type and the right constants.
local IS_TELLING = { type = true, const = true, enum = true, ["false"] = true }

local function distance(list)
  local count = 0
  for _, fault in ipairs(list) do
    if IS_TELLING[fault.keyword] then count = count + (#fault.steps == 0 and 100 or #fault.steps == 1 and 10 or 0) end
  end
  return count + #list
end

local function nearest(run, checks, value)
  local best, least, firsts = nil, nil, {}
  for i, check in ipairs(checks) do
    local list = {}
    apart(run, list, false, check, value)
    local far = distance(list)
    if list[1] and (not least or far < least) then best, least = list, far end
    if list[1] then firsts[i] = list[1] end
  end
  return best, least, firsts
end

local function joined(firsts, count)
  local list, seen = {}, {}
  for i = 1, count do
    local expected = firsts[i] and #firsts[i].steps == 0 and firsts[i].expected
    if expected and not seen[expected] and #list < MAX_LISTED then
      seen[expected] = true
      list[#list + 1] = expected
    end
  end
  return table.concat(list, " or ")
end

--- None of several alternatives fits: tells the faults of the nearest one, or what they expect between them.
---@param run table
---@param keyword string
---@param checks function[]
---@param value any
---@return false
function report.none_fits(run, keyword, checks, value)
  if not run.faults then return false end
  local best, least, firsts = nearest(run, checks, value)
  if not best then return false end
  if least >= 100 then return report.fail(run, keyword, joined(firsts, #checks), value) end
  for _, fault in ipairs(best) do
    if run.enough then break end
    local steps = fault.steps
    note(run, fault)
    fault.steps = steps
  end
  return false
end

--- A bound was exceeded, and the whole check ends.
---@param run table
---@param expected string
---@return false
function report.stop(run, expected)
  run.stopped = run.stopped
    or { path = "", keyword = "$ref", expected = expected, got = "more", message = "expected " .. expected }
  run.enough = true
  return false
end

local ESCAPES = { ["~"] = "~0", ["/"] = "~1" }

local function pointer(steps)
  local list = {}
  for i = #steps, 1, -1 do list[#list + 1] = "/" .. tostring(steps[i]):gsub("[~/]", ESCAPES) end
  return table.concat(list)
end

--- The faults of a run, as users get them.
---@param run table
---@return vllm.schema.Fault[]
function report.finished(run)
  if run.stopped and #run.faults == 0 then return { run.stopped } end
  for _, fault in ipairs(run.faults) do
    fault.path = pointer(fault.steps)
    local text = fault.text or ("expected %s, got %s"):format(fault.expected, fault.got)
    fault.message = (fault.path == "" and "" or excerpt.of(fault.path, MAX_PATH_BYTES):gsub("\n", "?") .. ": ") .. text
    fault.steps, fault.text = nil, nil
  end
  return run.faults
end

return report
