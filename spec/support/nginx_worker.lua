-- What the nginx of the specs runs: programs that the driver sends.
local M = {}

local ngx = rawget(_G, "ngx")
local load_text = rawget(_G, "loadstring") or load

local function program()
  ngx.req.read_body()
  local code = ngx.req.get_body_data()
  local fn, why = load_text(code, "=program")
  if not fn then return function() error(why, 0) end end
  return fn
end

local function answer(ok, ...)
  local words = { ok and "true" or "false" }
  for i = 1, select("#", ...) do words[#words + 1] = tostring((select(i, ...))) end
  return ok and 200 or 500, table.concat(words, "\n", 2)
end

local function finish(status, text)
  ngx.status = status
  ngx.print(text)
  ngx.exit(status)
end

function M.run()
  finish(answer(xpcall(program(), debug.traceback)))
end

-- In a timer, which has no client; this one waits for it.
function M.run_in_timer()
  local fn, done = program(), require("ngx.semaphore").new(0)
  local status, text
  assert(ngx.timer.at(0, function()
    status, text = answer(xpcall(fn, debug.traceback))
    done:post(1)
  end))
  done:wait(60)
  finish(status or 504, text)
end

-- Ports that do not answer --------------------------------------------------------------------------------------------

local STREAM, DATAGRAM, INET, NONBLOCK = 1, 2, 2, 2048 -- Linux

local function library()
  local ffi = require "ffi"
  if not M.is_declared then
    ffi.cdef [[
      struct port { uint16_t family, port; uint8_t address[4], zero[8]; };
      int socket(int, int, int); int bind(int, const struct port *, unsigned); int listen(int, int);
      int connect(int, const struct port *, unsigned); int getsockname(int, struct port *, unsigned *);]]
    M.is_declared = true
  end
  return ffi, ffi.C
end

local function bound(kind, number)
  local ffi, C = library()
  local name = ffi.new("struct port", { INET, 0, { 127, 0, 0, 1 } })
  name.port = (number % 256) * 256 + math.floor(number / 256)
  local fd, size = C.socket(INET, kind, 0), ffi.new("unsigned[1]", ffi.sizeof(name))
  assert(fd >= 0 and C.bind(fd, name, ffi.sizeof(name)) == 0, "no port " .. number)
  C.getsockname(fd, name, size)
  return fd, name, (name.port % 256) * 256 + math.floor(name.port / 256)
end

--- A name server that keeps silent.
function M.open_silent_resolver(number) bound(DATAGRAM, number) end

--- A port of 127.0.0.1 where connections come about, and nobody reads from them.
function M.silent_port()
  local fd, _, number = bound(STREAM, 0)
  assert(library().C.listen(fd, 64) == 0)
  return number
end

--- A port of 127.0.0.1 that lets connections wait for ever: its queue is full.
function M.full_port()
  local fd, name, number = bound(STREAM, 0)
  local ffi, C = library()
  assert(C.listen(fd, 0) == 0)
  for _ = 1, 3 do C.connect(C.socket(INET, STREAM + NONBLOCK, 0), name, ffi.sizeof(name)) end
  return number
end

return M
