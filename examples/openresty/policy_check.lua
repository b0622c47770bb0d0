--- Checks policy.lua when nginx starts: a mistake there would be a limit that does not hold, or a model that no user
-- may ask for. No message contains a token.

local POLICY = { users = "table", models = "table", forbidden = "table", tell_refusals = "boolean" }
local USER = { name = "string", max_completion_tokens = "number", models = "table" }

-- `place`: nil for the whole table.
local function fault(place, what)
  error("policy.lua: " .. (place and place .. ": " or "") .. what, 0)
end

local function check_members(place, value, types)
  if type(value) ~= "table" then fault(place, "expected a table, got " .. type(value)) end
  for name, member in pairs(value) do
    if not types[name] then fault(place, ("`%s` is not known here"):format(tostring(name))) end
    local wanted, got = types[name], type(member)
    if got ~= wanted then
      fault((place and place .. "." or "") .. name, ("expected a %s, got %s"):format(wanted, got))
    end
  end
end

local function check_models(place, models)
  for name, allowed in pairs(models) do
    if type(name) ~= "string" or allowed ~= true then fault(place, 'write { ["the name of a model"] = true }') end
  end
end

local function check_user(token, user)
  local place = "users: " .. (type(user) == "table" and type(user.name) == "string" and user.name or "one of them")
  if type(token) ~= "string" or not token:find "^%S+$" then fault(place, "a token is a string without blanks") end
  check_members(place, user, USER)
  if not user.name then fault(place, "has no name") end
  local most = user.max_completion_tokens
  if most and (most < 1 or most % 1 ~= 0) then
    fault(place .. ".max_completion_tokens", "expected a whole number, 1 or more, got " .. most)
  end
  if user.models then check_models(place .. ".models", user.models) end
end

local function check_forbidden(list)
  local count = 0
  for _, name in pairs(list) do
    if type(name) ~= "string" then fault("forbidden", 'write a list of names: { "n", "priority" }') end
    count = count + 1
  end
  if count ~= #list then fault("forbidden", 'write a list of names: { "n", "priority" }') end
end

--- Raises a sentence that names what is wrong.
---@param policy table
return function(policy)
  check_members(nil, policy, POLICY)
  for _, name in ipairs { "users", "models", "forbidden" } do
    if not policy[name] then fault(nil, ("`%s` is missing"):format(name)) end
  end
  for token, user in pairs(policy.users) do check_user(token, user) end
  check_models("models", policy.models)
  check_forbidden(policy.forbidden)
end
