--- Is what a tool gave content (parts), or data, which is sent as JSON?

-- What makes a table a part, beside its type.
local PART_FIELDS = {
  text = {
    "text" }, structured = { "value" }, image = { "url", "bytes", "data", "uuid" }, audio = { "url", "bytes", "data",
    "uuid",
  },
  video = { "url", "bytes", "data", "uuid" }, media = { "url", "bytes", "data", "uuid" }, file = { "text", "bytes" },
  image_url = { "image_url", "uuid" }, audio_url = { "audio_url", "uuid" }, video_url = { "video_url", "uuid" },
  input_audio = { "input_audio" }, image_embeds = { "image_embeds" }, audio_embeds = { "audio_embeds" },
  video_embeds = { "video_embeds" }, prompt_embeds = { "data" }, tool_reference = { "name" },
}

local function is_part(value)
  for _, field in ipairs(PART_FIELDS[value.type] or {}) do
    if value[field] ~= nil then return true end
  end
  return false
end

--- Is it a part, or is every element a part or a string, and one a part?
---@param value table
---@return boolean
local function is_content(value)
  if value.type ~= nil then return is_part(value) end
  local found = false
  for _, item in ipairs(value) do
    if type(item) == "table" then
      if not is_part(item) then return false end
      found = true
    elseif type(item) ~= "string" then
      return false
    end
  end
  return found
end

return { is_content = is_content }
