-- Runs in Neovim: how late is a timer of 10 ms while turns stream? Prints one line of "name value" pairs.
-- Environment: BASE_URL, CA; STREAMS (0: the idle editor), SECONDS for that; MODE: thread, inline, or block, which
-- holds up the editor; EDIT=1: every event is written into the buffer; STUCK: so many connects that nobody answers;
-- SLOW: so many names that are never found; TOTAL: all events that are to come.
local uv = vim.uv or vim.loop

local function number(name) return tonumber(os.getenv(name) or "") or 0 end

-- The heart: a timer whose callback is scheduled, as keys and all else in the editor are.
local BEAT_MS = 10
local lateness, last = {}, nil
local function start_heart()
  local timer = uv.new_timer()
  last = uv.hrtime()
  timer:start(BEAT_MS, BEAT_MS, vim.schedule_wrap(function()
    local now = uv.hrtime()
    lateness[#lateness + 1] = (now - last) / 1e6 - BEAT_MS
    last = now
  end))
end

local function report(events, began, cpu)
  lateness[#lateness + 1] = (uv.hrtime() - last) / 1e6 - BEAT_MS -- the beat that the end may have held up
  table.sort(lateness)
  local usage = uv.getrusage()
  local used = (usage.utime.sec + usage.stime.sec) * 1e6 + usage.utime.usec + usage.stime.usec - cpu
  io.stdout:write(("worst_ms %.1f p99_ms %.1f beats %d events %d seconds %.2f cpu_us_per_event %.1f\n")
    :format(lateness[#lateness],
    lateness[math.ceil(#lateness * 0.99)], #lateness, events, (uv.hrtime() - began) / 1e9,
      events > 0 and used / events or 0))
  vim.cmd "qa!"
end

local function write(text)
  local last_line = vim.api.nvim_buf_line_count(0) - 1
  local line = vim.api.nvim_buf_get_lines(0, last_line, last_line + 1, true)[1]
  local column = #line
  if column > 200 then
    vim.api.nvim_buf_set_lines(0, -1, -1, true, { "" })
    last_line, column = last_line + 1, 0
  end
  vim.api.nvim_buf_set_text(0, last_line, column, last_line, column, { text })
end

-- A port that takes no more connections: what is in its queue was never accepted, and further ones get no answer.
local function full_port()
  local listener = uv.new_tcp()
  listener:bind("127.0.0.1", 0)
  listener:listen(1, function() end)
  local port = listener:getsockname().port
  for _ = 1, 8 do uv.new_tcp():connect("127.0.0.1", port, function() end) end
  return port
end

local function begin()
  local usage = uv.getrusage()
  local cpu = (usage.utime.sec + usage.stime.sec) * 1e6 + usage.utime.usec + usage.stime.usec
  local began, events, open = uv.hrtime(), 0, number "STREAMS"
  local mode = os.getenv "MODE"
  start_heart()
  if open == 0 then
    vim.defer_fn(function() report(0, began, cpu) end, number "SECONDS" * 1000)
    return
  end
  local options = { model = "test-model", base_url = os.getenv "BASE_URL", tls = { ca_file = os.getenv "CA" },
    retry = false }
  if mode == "block" then options.host = "block" else require("vllm.transports.curl").default_mode = mode end
  local client = require("vllm").new(options)
  local edit = os.getenv "EDIT" == "1"
  if mode == "block" then
    vim.schedule(function()
      client:turn("x"):each(function() events = events + 1 end)
      vim.defer_fn(function() report(events, began, cpu) end, 50)
    end)
    return
  end
  local function on_event(event)
    events = events + 1
    if edit and event.type == "text_delta" then write(event.text) end
  end
  local others = {}
  local function start_others(count, address)
    for _ = 1, count do
      local turn = client:with { base_url = address }:turn "x"
      others[#others + 1] = turn
      turn:start(nil, function() end)
    end
  end
  vim.defer_fn(function() -- libcurl is in memory by now
    if number "STUCK" > 0 then start_others(number "STUCK", "http://127.0.0.1:" .. full_port() .. "/v1") end
    for i = 1, number "SLOW" do start_others(1, ("http://host%d.slow/v1"):format(i)) end
    for _ = 1, open do
      client:turn("x"):start(on_event, function(result, message)
        if not result then io.stdout:write(message, "\n") end
        open = open - 1
        if open > 0 then return end
        for _, turn in ipairs(others) do turn:cancel() end
        report(events, began, cpu)
      end)
    end
  end, 300)
end

vim.defer_fn(begin, 100)
vim.defer_fn(function() io.stdout:write "too late\n" os.exit(99) end, 60000)
