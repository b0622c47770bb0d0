-- Streams of a model, for Server:script: what it says and which tools it calls.
--
--   local path = answers.script(server, answers.calls { { "get_weather", '{"city":"Oslo"}' } }, answers.text "Cold.")

local M = {}

M.STREAM = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"

---One event of a stream.
---@param delta string JSON
---@param finish? string JSON
---@return string
function M.chunk(delta, finish)
  return ('data: {"id":"1","model":"m","choices":[{"index":0,"delta":%s,"finish_reason":%s}]}\n\n')
    :format(delta, finish or "null")
end

---A whole answer: these deltas, and how it finished.
---@param finish string
---@param ... string JSON
---@return string
function M.deltas(finish, ...)
  local events = { M.STREAM }
  for i = 1, select("#", ...) do events[i + 1] = M.chunk((select(i, ...))) end
  return table.concat(events) .. M.chunk("{}", '"' .. finish .. '"') .. "data: [DONE]\n\n"
end

---An answer that calls tools, with the ids call00001 and so on.
---@param list { [1]: string, [2]: string }[] names and arguments (JSON)
---@return string
function M.calls(list)
  local calls = {}
  for i, call in ipairs(list) do
    calls[i] = ([[{"index":%d,"id":"call0000%d","type":"function","function":{"name":"%s","arguments":"%s"}}]])
      :format(i - 1, i, call[1], (call[2]:gsub('[\\"]', "\\%0")))
  end
  return M.deltas("tool_calls", '{"tool_calls":[' .. table.concat(calls, ",") .. "]}")
end

---An answer of words.
---@param text string as in JSON
---@return string
function M.text(text)
  return M.deltas("stop", '{"content":"' .. text .. '"}')
end

---A stream that begins with this text and then says nothing more.
---@param text string? as in JSON; without it not even the head comes
---@return table steps
function M.silence(text)
  return { text and { "send", M.STREAM .. M.chunk('{"content":"' .. text .. '"}') } or nil, "stall" }
end

---Gives these answers, one for each request.
---@param server table
---@param ... string|table bytes, or steps
---@return string path as of Server:script
function M.script(server, ...)
  local steps = {}
  local function add(step) steps[#steps + 1] = step end
  for i = 1, select("#", ...) do
    local answer = select(i, ...)
    if i > 1 then add "next" end
    for _, step in ipairs(type(answer) == "table" and answer or { { "send", answer }, "close" }) do add(step) end
  end
  return server:script(steps)
end

return M
