-- Prints docs/reference.md: every public function, from the annotations above it. `make doc` writes the file, `make
-- lint` compares it.
-- usage: lua5.4 scripts/reference.lua

local unpack = rawget(table, "unpack") or rawget(_G, "unpack")

-- Title, file, what a function is called there, what users call it. Only the names listed, where there are any.
local SECTIONS = {
  { "The module", { "lua/vllm/init.lua", "vllm.", "vllm." },
    { "lua/vllm/request/media.lua", "media.", "vllm.", "image audio video file" },
    { "lua/vllm/text.lua", "text.", "vllm.", "text printable" } },
  { "Clients", { "lua/vllm/client.lua", "Client:", "client:" } },
  { "Turns", { "lua/vllm/turn/init.lua", "Turn:", "turn:" } },
  { "Sessions", { "lua/vllm/session.lua", "Session:", "session:" } },
  { "Agents", { "lua/vllm/agent/init.lua", "agents.", "vllm.", "agent tool" },
    { "lua/vllm/agent/outputs.lua", "outputs.", "vllm.", "retry" },
    { "lua/vllm/agent/init.lua", "Agent:", "agent:" },
    { "lua/vllm/agent/session.lua", "Session:", "session:" },
    { "lua/vllm/agent/run.lua", "Run:", "run:" },
    { "lua/vllm/agent/executor.lua", "Call:", "call:" },
    { "lua/vllm/agent/compact.lua", "compact.", "vllm.compact." },
    { "lua/vllm/agent/observe.lua", "observe.", "vllm.observe." } },
  { "Many turns at once", { "lua/vllm/hosts/tasks.lua", "tasks.", "vllm.", "run spawn sleep map" },
    { "lua/vllm/hosts/tasks.lua", "Task:", "task:" },
    { "lua/vllm/hosts/init.lua", "hosts.", "vllm.host.", "register" } },
  { "JSON", { "lua/vllm/json.lua", "json.", "vllm.json." } },
  { "JSON Schema", { "lua/vllm/schema/init.lua", "schema.", "vllm.schema." } },
  { "The decoder alone", { "lua/vllm/decoder.lua", "Decoder:", "decoder:" } },
  { "Tests without a server (`require \"vllm.testing\"`)", { "lua/vllm/testing.lua", "testing.", "testing." } },
}

local function escaped(text)
  return (text:gsub("[<>|]", { ["<"] = "&lt;", [">"] = "&gt;", ["|"] = "\\|" }))
end

-- A type of LuaCATS may hold blanks inside brackets, and after a comma or a colon.
local function take_type(text)
  local depth, i = 0, 1
  while i <= #text do
    local c = text:sub(i, i)
    if c:find "[%({%[<]" then depth = depth + 1 end
    if c:find "[%)}%]>]" then depth = depth - 1 end
    if c == " " and depth == 0 and not text:sub(1, i - 1):find "[:,|]$" then break end
    i = i + 1
  end
  return text:sub(1, i - 1), text:sub(i + 1)
end

local function comment_of(lines)
  local found = { text = {}, params = {}, returns = {} }
  local last
  for _, line in ipairs(lines) do
    local name, rest = line:match "^@param (%S+) (.+)$"
    local returned = line:match "^@return (.+)$"
    if name then
      local kind, text = take_type(rest)
      last = { name = name:gsub("%?$", ""), kind = name:find "%?$" and kind .. "?" or kind, text = text }
      found.params[#found.params + 1] = last
    elseif returned then
      local kind, text = take_type(returned)
      local called, more = text:match "^([%a_][%w_]*)%s*(.*)$"
      last = { name = called or "", kind = kind, text = more or text }
      if text:sub(1, 3) == "..." then last.name, last.text = "...", text:sub(5) end
      found.returns[#found.returns + 1] = last
    elseif line:find "^@" then
      last = nil
    elseif last then
      last.text = last.text .. " " .. line:match "^%s*(.*)$"
    else
      found.text[#found.text + 1] = line:match "^%s?(.*)$"
    end
  end
  return found
end

-- Calls `fn(name, arguments, comment)` with every function of a file whose comment begins with three dashes.
local function functions_of(path, fn)
  local comment = {}
  for line in io.lines(path) do
    local dashed, name, arguments = line:match "^%-%-%-(.*)$", line:match "^function ([%w_.:]+)%((.-)%)"
    dashed = dashed or #comment > 0 and line:match "^%-%-(.*)$"
    if dashed then
      comment[#comment + 1] = dashed
    else
      if name and #comment > 0 then fn(name, arguments, comment_of(comment)) end
      comment = {}
    end
  end
end

local function print_item(item, verb)
  local name = item.name ~= "" and "`" .. item.name .. "` " or ""
  local text = item.text ~= "" and ": " .. item.text or ""
  print(("- %s%s(`%s`)%s"):format(verb, name, item.kind, escaped(text)))
end

local function print_function(called, arguments, comment)
  local names = {}
  for name in arguments:gmatch "[^,%s]+" do
    names[#names + 1] = name
    for _, param in ipairs(comment.params) do
      local is_optional = param.kind:find "%?$" and not param.kind:find "^fun%("
      if param.name == name and is_optional then names[#names] = name .. "?" end
    end
  end
  print(("### `%s(%s)`\n\n%s\n"):format(called, table.concat(names, ", "), escaped(table.concat(comment.text, " "))))
  for _, param in ipairs(comment.params) do print_item(param, "") end
  for _, value in ipairs(comment.returns) do print_item(value, "returns ") end
  if #comment.params + #comment.returns > 0 then print() end
end

local function print_section(section)
  print("## " .. section[1] .. "\n")
  for i = 2, #section do
    local path, written, called, only = unpack(section[i])
    functions_of(path, function(name, arguments, comment)
      local short = name:sub(1, #written) == written and name:sub(#written + 1)
      local is_listed = not only or (" " .. only .. " "):find(" " .. tostring(short) .. " ", 1, true)
      if short and is_listed and not short:find "^_" then print_function(called .. short, arguments, comment) end
    end)
  end
end

print [[
# Reference

Every public function, from the comments in the code; generated by `make doc`. How they work together:
[turns](turns.md), [requests](requests.md), [events](events.md), [configuration](configuration.md), [errors](errors.md),
[hosts](hosts.md).
]]
for _, section in ipairs(SECTIONS) do print_section(section) end
