--- Tools as an agent holds them: checked once, found by name, and as a request offers them.

local checked_tools = require "vllm.agent.checked_tool"
local misuse = require "vllm.base.misuse"
local spelling = require "vllm.base.spelling"
local values = require "vllm.base.values"

local toolbox = {}

--- A list of tools and toolsets, as vllm.agent has it; misuse throws.
---@param list any
---@param where string of the list, for messages
function toolbox.check_list(list, where)
  local length = values.list_length(list)
  if not length then misuse.raise(("%s: expected a list of tools, got %s"):format(where, values.shown(list))) end
  local names = {}
  for i = 1, length do
    local item = list[i]
    if not (type(item) == "table" and type(item.tools) == "function") then
      local checked, why = checked_tools.check(item)
      if not checked then misuse.raise(("%s[%d]: %s"):format(where, i, why)) end
      if names[checked.name] then
        misuse.raise(("%s[%d].name: there is a second tool %s"):format(where, i, values.shown(checked.name)))
      end
      names[checked.name] = true
    end
  end
end

--- What is wrong with a list of names, or nil.
---@param value any
---@return string?
function toolbox.names_fault(value)
  if not values.list_length(value) then return "expected a list of names" end
  for _, name in ipairs(value) do
    if type(name) ~= "string" then return "expected names in the list" end
  end
end

--- A tool of the list itself, not of a toolset.
---@param list table[]
---@param name string
---@return vllm.agent.CheckedTool?
function toolbox.find(list, name)
  for _, item in ipairs(list) do
    local checked = type(item.tools) ~= "function" and checked_tools.check(item)
    if checked and checked.name == name then return checked end
  end
end

---@class vllm.agent.Toolbox
---@field by_name table<string, vllm.agent.CheckedTool>
---@field offered table[] as client:turn takes them, in a fixed order
---@field warnings string[]

local OFFERED = { "name", "parameters", "strict", "defer_loading" }

local function offer_of(tool)
  local out, description = {}, tool.description
  if type(description) == "function" then description = description() end
  out.description = description
  for _, key in ipairs(OFFERED) do out[key] = tool[key] end
  return out
end

-- The first tool of a name wins.
local function add(box, tool, active)
  local checked, why = checked_tools.check(tool)
  if not checked then
    box.warnings[#box.warnings + 1] = "a tool of a toolset is left out: " .. why
  elseif box.by_name[checked.name] then
    box.warnings[#box.warnings + 1] = ("a second tool `%s` is left out"):format(checked.name)
  else
    box.by_name[checked.name] = checked
    local is_offered = not checked.hidden
    if active then is_offered = active[checked.name] end
    if is_offered then box.offered[#box.offered + 1] = offer_of(checked) end
  end
end

local function set_of(names)
  local set = {}
  for _, name in ipairs(names) do set[name] = true end
  return set
end

--- What to say of a name that no tool has.
---@param box vllm.agent.Toolbox
---@param name string
---@return string
local function no_such(box, name)
  local nearest = spelling.nearest(name, box.by_name)
  return ("there is no tool `%s`%s"):format(name, nearest and (" (did you mean `%s`?)"):format(nearest) or "")
end

local function listed_by(toolset, i)
  local list = toolset:tools()
  if values.list_length(list) then return list end
  error(("tools[%d].tools: expected a list of tools, got %s"):format(i, values.shown(list)), 0)
end

--- The tools of one step. Asks toolsets and descriptions, so it may wait and may raise.
---@param list table[] checked by check_list
---@param active string[]? names of those that are offered
---@return vllm.agent.Toolbox
function toolbox.collect(list, active)
  local box = { by_name = {}, offered = {}, warnings = {} }
  local wanted = active and set_of(active)
  for i, item in ipairs(list) do
    if type(item.tools) == "function" then
      for _, tool in ipairs(listed_by(item, i)) do add(box, tool, wanted) end
    else
      add(box, item, wanted)
    end
  end
  for _, name in ipairs(active or {}) do
    if not box.by_name[name] then box.warnings[#box.warnings + 1] = "to be offered: " .. no_such(box, name) end
  end
  return box
end

--- What is wrong with a name that is to be offered, where only the list's own tools can be meant; or nil.
---@param list table[] checked by check_list
---@param active string[]
---@return string?
function toolbox.unknown_active(list, active)
  local box = { by_name = {} }
  for _, item in ipairs(list) do
    if type(item.tools) == "function" then return nil end
    local checked = checked_tools.check(item)
    box.by_name[checked.name] = checked
  end
  for _, name in ipairs(active) do
    if not box.by_name[name] then return no_such(box, name) end
  end
end

--- What the model reads that called a tool which is not there.
---@param box vllm.agent.Toolbox
---@param name string
---@return string
function toolbox.unknown(box, name)
  local names = {}
  for _, tool in ipairs(box.offered) do names[#names + 1] = tool.name end
  if #names == 0 then return ("there is no tool `%s`: there are no tools now"):format(name) end
  return ("%s; the tools are %s"):format(no_such(box, name), table.concat(names, ", "))
end

--- The offered names, as one text.
---@param box vllm.agent.Toolbox
---@return string
function toolbox.names(box)
  local names = {}
  for i, tool in ipairs(box.offered) do names[i] = tool.name end
  return table.concat(names, ",")
end

local MAX_FAULTS = 5

--- What is wrong with a call's arguments, as sentences for the model; nil: nothing.
---@param tool vllm.agent.CheckedTool
---@param input table
---@return string?
function toolbox.faults(tool, input)
  if not tool.check then return nil end
  local ok, faults = tool.check(input, MAX_FAULTS)
  if ok then return nil end
  local lines = { ("the arguments do not fit the schema of `%s`:"):format(tool.name) }
  for _, fault in ipairs(faults) do lines[#lines + 1] = "- " .. fault.message end
  return table.concat(lines, "\n")
end

return toolbox
