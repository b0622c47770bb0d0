-- Secrets for specs, and the search for them in everything that a program or a person can look at.

local secrets = {
  KEY = "sk-key/0123456789", HEADER = "header-value-0123", CALL_HEADER = "call-header-value-0123",
  PASSWORD = "pass%2Fword-0123", PROXY_PASSWORD = "proxy-password-0123", QUERY = "query-value-0123",
    KEY_PASSWORD = "key-password-0123",
  BASIC = "dXNlcjpwYXNzL3dvcmQtMDEyMw==", -- base64 of user:pass/word-0123
}

local SPELLINGS = {
  secrets.KEY, (secrets.KEY:gsub("/", "\\/")), secrets.HEADER, secrets.CALL_HEADER, secrets.PASSWORD, "pass/word-0123",
    "pass\\/word-0123",
  secrets.QUERY, secrets.BASIC, secrets.KEY_PASSWORD,
}

--- All that a server is told, in one line, as it may echo it.
secrets.all = table.concat(SPELLINGS, " ")
SPELLINGS[#SPELLINGS + 1] = secrets.PROXY_PASSWORD

local function secret_in(text)
  for _, secret in ipairs(SPELLINGS) do
    if text:find(secret, 1, true) then return secret end
  end
end

-- Where a secret stands in what can be reached from `value` by pairs(), metatables and tostring; nil: nowhere.
local function leak(value, path, seen)
  if type(value) == "string" then
    local secret = secret_in(value)
    return secret and path .. " holds " .. secret
  end
  if type(value) ~= "table" and type(value) ~= "userdata" then return nil end
  if seen[value] then return nil end
  seen[value] = true
  local found = leak(tostring(value), "tostring(" .. path .. ")", seen)
    or leak(getmetatable(value), path .. "<metatable>", seen)
  if found or type(value) ~= "table" then return found end
  for key, member in pairs(value) do
    found = leak(key, path .. ".<key>", seen) or leak(member, path .. "." .. tostring(key), seen)
    if found then return found end
  end
end

--- Raises where a secret can be found.
---@param ... any
function secrets.assert_none(...)
  for i = 1, select("#", ...) do
    local found = leak((select(i, ...)), "value " .. i, {})
    if found then error(found, 2) end
  end
end

--- A URL with a user and a password.
function secrets.with_user(url, password)
  local scheme, rest = url:match("^(%a+://)(.*)$")
  return scheme .. "user:" .. password .. "@" .. rest
end

return secrets
