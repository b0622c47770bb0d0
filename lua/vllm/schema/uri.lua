--- References between schemas: URIs, and JSON pointers in their fragments.
-- Source: RFC 3986 section 5.2, RFC 6901.

local uri = {}

--- A URI and its fragment.
---@param text string
---@return string absolute
---@return string fragment without the `#`; "" if there is none
function uri.split(text)
  local before, fragment = text:match "^([^#]*)#?(.*)$"
  return before, fragment
end

local function parts_of(text)
  local scheme, rest = text:match "^(%a[%w+.-]*:)(.*)$"
  rest = rest or text
  local authority, after = rest:match "^(//[^/?]*)(.*)$"
  local path, query = (after or rest):match "^([^?]*)(.*)$"
  return { scheme = scheme or "", authority = authority or "", path = path, query = query }
end

local function without_dots(path)
  local out = {}
  local is_rooted = path:sub(1, 1) == "/"
  for segment, slash in path:gmatch "([^/]*)(/?)" do
    local is_last = slash == ""
    if segment == ".." then
      if #out > (is_rooted and 1 or 0) then out[#out] = nil end
    elseif segment ~= "." and not (segment == "" and is_last) then
      out[#out + 1] = segment .. slash
    end
    if is_last then break end
  end
  return table.concat(out)
end

local function merged(base, path)
  if base.authority ~= "" and base.path == "" then return "/" .. path end
  return (base.path:match "^(.*/)" or "") .. path
end

--- The URI that a reference means, seen from a base. Neither has a fragment.
---@param base string
---@param reference string
---@return string
function uri.resolve(base, reference)
  if reference == "" then return base end
  local from, to = parts_of(base), parts_of(reference)
  if to.scheme ~= "" then return reference end
  if to.authority ~= "" then return from.scheme .. to.authority .. without_dots(to.path) .. to.query end
  local path, query = to.path, to.query
  if path == "" then
    path, query = from.path, query ~= "" and query or from.query
  else
    path = without_dots(path:sub(1, 1) == "/" and path or merged(from, path))
  end
  return from.scheme .. from.authority .. path .. query
end

local function decoded(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

--- The steps of a JSON pointer in a fragment; nil if the fragment is a name.
---@param fragment string
---@return string[]?
function uri.steps(fragment)
  if fragment ~= "" and fragment:sub(1, 1) ~= "/" then return nil end
  local steps = {}
  for step in decoded(fragment):gmatch "/([^/]*)" do
    steps[#steps + 1] = step:gsub("~1", "/"):gsub("~0", "~")
  end
  return steps
end

return uri
