--- The options of an agent.

local compactors = require "vllm.agent.compact"
local checked_tools = require "vllm.agent.checked_tool"
local config = require "vllm.request.config"
local misuse = require "vllm.base.misuse"
local observe = require "vllm.agent.observe"
local outputs = require "vllm.agent.outputs"
local spelling = require "vllm.base.spelling"
local toolbox = require "vllm.agent.toolbox"
local values = require "vllm.base.values"

local options = {}

local MAX_STEPS, PARALLEL, RETRIES = 20, 8, 1

local function is(kind)
  return function(value) return type(value) ~= kind and "expected a " .. kind or nil end
end

local function whole(min)
  return function(value)
    local is_whole = type(value) == "number" and value >= min and value % 1 == 0
    return not is_whole and ("expected a whole number, %d or more"):format(min) or nil
  end
end

local function positive(value)
  return not (type(value) == "number" and value > 0) and "expected a number above 0" or nil
end

local function text_or_function(value)
  return type(value) ~= "string" and type(value) ~= "function" and "expected a text or a function" or nil
end

-- A function, or a list of them.
local function functions(value)
  if type(value) == "function" then return nil end
  if not values.list_length(value) then return "expected a function or a list of functions" end
  for _, fn in ipairs(value) do
    if type(fn) ~= "function" then return "expected functions in the list" end
  end
end

local function a_client(value)
  local is_client = type(value) == "table" and rawget(value, "config") and value.turn
  return not is_client and "expected a client (vllm.new { … })" or nil
end

local BUDGET = { total_tokens = positive, total_s = positive }

local function members(known, where)
  return function(value)
    if type(value) ~= "table" then return "expected a table" end
    for _, key in ipairs(values.sorted_keys(value)) do
      if not known[key] then
        return ("unknown key `%s`; known are %s"):format(tostring(key), table.concat(values.sorted_keys(known), ", "))
      end
      local fault = known[key](value[key])
      if fault then return ("%s.%s: %s, got %s"):format(where, key, fault, values.shown(value[key])) end
    end
  end
end

local COMPACT = { messages = whole(1), prompt_tokens = whole(1), when = is "function" }

-- The name of a function of a module that was given as it is, in place of what it makes; or nil.
local function uncalled(value, module)
  for name, fn in pairs(module) do
    if type(fn) == "function" and fn == value then return name end
  end
end

local function observers(value)
  local fault = functions(value)
  if fault then return fault end
  for _, fn in ipairs(type(value) == "table" and value or { value }) do
    local name = uncalled(fn, observe)
    if name then return ("write vllm.observe.%s(…): what it returns is the observer"):format(name) end
  end
end

local function compactor_fault(member)
  if type(member) ~= "function" then return "expected compactors (functions) in the list" end
  local name = uncalled(member, compactors)
  return name and ("write vllm.compact.%s(…): what it returns is the compactor"):format(name)
end

local function compact(value)
  if value == false then return nil end
  if type(value) == "function" then return compactor_fault(value) end
  if type(value) ~= "table" then return "expected compactors: vllm.compact.keep_recent(20), …" end
  local triggers, fault = {}, nil
  for key, member in pairs(value) do
    if type(key) ~= "number" then triggers[key] = member else fault = fault or compactor_fault(member) end
  end
  fault = fault or members(COMPACT, "compact")(triggers)
  if not fault and value[1] == nil then fault = "expected compactors beside what triggers them" end
  return fault
end

local function fraction(value)
  return not (type(value) == "number" and value > 0 and value <= 1) and "expected a number above 0, up to 1" or nil
end

local CONTEXT = { max_tokens = whole(1), reserve = whole(1), trigger = fraction, target = fraction }
local CONTEXT_DEFAULTS = { reserve = 256, trigger = 0.85, target = 0.5 }

-- The option, complete; false: there is none.
local function context_of(given)
  local out = {}
  for key, default in pairs(CONTEXT_DEFAULTS) do out[key] = default end
  for key, value in pairs(type(given) == "table" and given or {}) do out[key] = value end
  return given and out or false
end

local function context(value)
  if type(value) == "boolean" then return nil end
  if type(value) ~= "table" then return "expected true or a table" end
  local fault = members(CONTEXT, "context")(value)
  if fault then return fault end
  local all = context_of(value)
  if all.target > all.trigger then return "target is above trigger" end
  return all.max_tokens and all.reserve >= all.max_tokens and "reserve is not below max_tokens" or nil
end

local function excess(value)
  return not checked_tools.EXCESS[value] and 'expected "cut", "fail" or "store"' or nil
end

options.CHECKS = {
  instructions = text_or_function, max_steps = whole(1), budget = members(BUDGET, "budget"), parallel = whole(1),
  policy = functions, before_request = is "function", prepare_step = is "function", stop_when = functions,
  active_tools = toolbox.names_fault, final_check = is "function", compact = compact, last_answer = is "boolean",
  on_event = observers, retries = whole(0), output_limit = whole(1), output_excess = excess, tool_timeout_s = positive,
  loop_guard = is "boolean", client = a_client, context = context,
}
options.OWN = { tools = true, tool_choice = true }

-- What is wrong with an option that is not the agent's own: it should be one of its client or its calls.
local function fault_of_other(key)
  local fault = config.name_fault("agent", key)
  if not fault then return nil end
  local sentence, help = spelling.unknown(tostring(key), key, "agent", options.CHECKS, options.OWN)
  return help and sentence or fault
end

local function list_of(value)
  if value == nil then return {} end
  return type(value) == "function" and { value } or value
end

-- The client that is given, or made of the other options, or of the environment.
local function client_of(given, rest)
  if given then return next(rest) and given:with(rest) or given end
  local vllm = require "vllm"
  if rest.model or rest.transport then return vllm.new(rest) end
  local client, message = vllm.from_env(rest)
  if not client then misuse.raise(("vllm.agent: %s; or give `client`, or `model` and `base_url`"):format(message)) end
  return client
end

--- Checks the options of vllm.agent; misuse throws.
---@param given table
---@return table checked
function options.check(given)
  local rest = {}
  for _, key in ipairs(values.sorted_keys(given)) do
    local check, value = options.CHECKS[key], given[key]
    if not check and not options.OWN[key] then
      rest[key] = value
      local fault = fault_of_other(key)
      if fault then misuse.raise("vllm.agent: " .. fault) end
    end
    local fault = check and check(value)
    if fault then
      local got = fault:find "^expected" and ", got " .. values.shown(value) or ""
      misuse.raise(("vllm.agent: %s: %s%s"):format(key, fault, got))
    end
  end
  if given.system ~= nil and given.instructions ~= nil then
    misuse.raise "vllm.agent: `system` and `instructions` are both given, and are the same thing: write instructions"
  end
  toolbox.check_list(given.tools or {}, "vllm.agent: tools")
  local unknown = toolbox.unknown_active(given.tools or {}, given.active_tools or {})
  if unknown then misuse.raise("vllm.agent: active_tools: " .. unknown) end
  if given.tool_choice ~= nil and next(given.tools or {}) == nil then
    misuse.raise "vllm.agent: tool_choice: there are no tools"
  end
  local shorten = given.compact
  if type(shorten) == "function" then shorten = { shorten } end
  return {
    client = client_of(given.client, rest), instructions = given.instructions, tools = given.tools or {},
    tool_choice = given.tool_choice, active_tools = given.active_tools, max_steps = given.max_steps or MAX_STEPS,
    is_default_max_steps = given.max_steps == nil, budget = given.budget or {}, parallel = given.parallel or PARALLEL,
    policies = list_of(given.policy), before_request = given.before_request, prepare_step = given.prepare_step,
    stop_when = list_of(given.stop_when), final_check = given.final_check, compact = shorten,
    last_answer = given.last_answer or false, observers = list_of(given.on_event),
    retries = given.retries or RETRIES, output_limit = given.output_limit or outputs.LIMIT,
    output_excess = given.output_excess or "cut",
    tool_timeout_s = given.tool_timeout_s, context = context_of(given.context), loop_guard = given.loop_guard ~= false,
  }
end

return options
