-- core.http1 for Lua: what its methods return, and every recorded response through it into the decoder. The rules of
-- HTTP are tested in spec/c/http1_test.c.
require "spec.support.env"
local core = require "vllm.core"
local events = require "spec.support.events"
local fixtures = require "spec.support.fixtures"

local CHUNKED = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n7\r\n, "
  .. "world\r\n0\r\n\r\n"

local function plain(body, more)
  return "HTTP/1.1 200 OK\r\n" .. (more or "") .. "Content-Length: " .. #body .. "\r\n\r\n" .. body
end

-- Feeds the pieces and reads after each. The parts of the body, then how it ended: nil, and perhaps a failure.
local function read_all(reader, pieces)
  local parts = {}
  local function drain()
    while true do
      local bytes, failure = reader:read()
      if not bytes then return bytes, failure end
      assert(#bytes > 0)
      parts[#parts + 1] = bytes
    end
  end
  for _, piece in ipairs(pieces) do
    reader:feed(piece)
    local got, failure = drain()
    if got == nil then return parts, failure end
  end
  reader:finish()
  local got, failure = drain()
  assert.is_nil(got)
  return parts, failure
end

local function failure_of(bytes, options)
  local reader = core.http1(options)
  local parts, failure = read_all(reader, { bytes })
  return failure, table.concat(parts), reader
end

describe("core.http1", function()
  it("gives the head, the body as it comes, and the end", function()
    local reader = core.http1()
    assert.is_false(reader:head())
    assert.is_false(reader:read())
    assert.is_true(reader:feed "HTTP/1.1 200 OK\r\nContent-Le")
    assert.is_false(reader:head())
    assert.is_true(reader:feed "ngth: 8\r\n\r\nabc")
    local status, headers = reader:head()
    assert.equals(200, status)
    assert.same({ ["content-length"] = "8" }, headers)
    assert.equals("abc", reader:read())
    assert.is_false(reader:read())
    assert.is_false(reader:reusable())
    assert.is_true(reader:feed "defgh")
    assert.is_true(reader:reusable())
    assert.equals("defgh", reader:read())
    local got, failure = reader:read()
    assert.is_nil(got)
    assert.is_nil(failure)
    assert.equals(200, (reader:head()))
    assert.is_true(reader:finish())
    assert.is_false(reader:reusable())
  end)

  it("gives lower-case names, trimmed values, and joins what comes again", function()
    local reader = core.http1 {}
    assert(reader:feed(plain("",
      "X-A:one\r\nSet-Cookie: \t a=1 \t\r\nx-a: two\r\nX-Empty:\r\nX-A:  three, four\r\nX-High: \228\r\n")))
    local _, headers = reader:head()
    assert.same({ ["x-a"] = "one, two, three, four", ["set-cookie"] = "a=1", ["x-empty"] = "", ["x-high"] = "\228",
      ["content-length"] = "0" }, headers)
    local _, again = reader:head()
    assert.same(headers, again)
  end)

  it("takes a chunked body apart, all that is there at once", function()
    local reader = core.http1()
    assert.is_true(reader:feed(CHUNKED))
    assert.equals("Hello, world", reader:read())
    assert.is_nil((reader:read()))
    assert.is_true(reader:reusable())
    for cut = 1, #CHUNKED - 1 do
      local parts, failure = read_all(core.http1(), { CHUNKED:sub(1, cut), CHUNKED:sub(cut + 1) })
      assert.is_nil(failure)
      assert.equals("Hello, world", table.concat(parts))
    end
  end)

  it("keeps a body without a length until the connection ends", function()
    local reader = core.http1()
    assert(reader:feed "HTTP/1.1 200 OK\r\n\r\na\0b\255")
    assert.equals("a\0b\255", reader:read())
    assert.is_false(reader:read())
    assert.is_false(reader:reusable())
    assert.is_true(reader:finish())
    assert.is_nil((reader:read()))
    assert.is_false(reader:reusable())
  end)

  it("knows that HEAD gets no body", function()
    local reader = core.http1 { head_only = true }
    assert(reader:feed "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
    assert.is_nil((reader:read()))
    assert.is_true(reader:reusable())
  end)

  it("does not reuse a connection with bytes behind the end", function()
    local reader = core.http1()
    assert.is_true(reader:feed(plain "abc" .. "HTTP/1.1 200 OK\r\n"))
    assert.equals("abc", reader:read())
    assert.is_nil((reader:read()))
    assert.is_false(reader:reusable())
    assert.is_true(reader:feed "more")
    assert.is_nil((reader:read()))
  end)

  it("tells a connection that brought nothing from an answer that broke off", function()
    local reader = core.http1()
    local ok, failure = reader:finish()
    assert.is_nil(ok)
    assert.same({ kind = "closed", detail = "the connection was closed without an answer", body_bytes = 0,
      fresh = true }, failure)
    assert.same({ nil, failure }, { reader:head() })
    assert.same({ nil, failure }, { reader:read() })
    assert.same({ kind = "closed", detail = "the connection was closed in the middle of the answer's head",
      body_bytes = 0, fresh = false },
      (failure_of "H"))
    local broken, body = failure_of(CHUNKED:sub(1, -3))
    assert.same({ kind = "closed", detail = "the connection was closed in the middle of the body", body_bytes = 12,
      fresh = false }, broken)
    assert.equals("Hello, world", body)
  end)

  it("gives what came before a fault, and the failure behind it", function()
    local bytes = CHUNKED:gsub("\r\n7\r\n", "\r\n-7\r\n")
    local reader = core.http1()
    local ok, failure = reader:feed(bytes)
    assert.is_nil(ok)
    assert.same({ kind = "protocol", detail = "a chunk size is not a hexadecimal number", body_bytes = 5,
      fresh = false }, failure)
    assert.equals(200, (reader:head()))
    assert.equals("Hello", reader:read())
    assert.same({ nil, failure }, { reader:read() })
    assert.same({ nil, failure }, { reader:feed "x" })
    assert.same({ nil, failure }, { reader:finish() })
    assert.is_false(reader:reusable())
  end)

  it("names what is wrong, without what could steer a terminal", function()
    local failure = failure_of "HTTP/1.1 200 OK\r\nContent-Length: 1\0272\r\n\r\n"
    assert.equals("Content-Length is not one decimal number: `1?2`", failure.detail)
    assert.equals("the answer is not HTTP", failure_of "SSH-2.0-x\r\n".detail)
    assert.equals("the answer has both Transfer-Encoding and Content-Length",
      failure_of "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".detail)
  end)

  it("holds no more than its bounds", function()
    local failure = failure_of(plain("", "X: " .. ("x"):rep(200) .. "\r\n"), { max_header_bytes = 200 })
    assert.equals("limit", failure.kind)
    assert.matches("max_header_bytes", failure.detail)
    local reader = core.http1 { max_buffer_bytes = 10 }
    assert.is_true(reader:feed "HTTP/1.1 200 OK\r\n\r\n0123456789abcdef")
    assert.equals("0123456789abcdef", reader:read())
    assert.is_true(reader:feed "01234")
    assert.is_true(reader:feed "56789")
    local ok, why = reader:feed "x"
    assert.is_nil(ok)
    assert.equals("limit", why.kind)
    assert.matches("max_buffer_bytes", why.detail)
    assert.equals("0123456789", reader:read())
    assert.same({ nil, why }, { reader:read() })
  end)

  it("misuse throws and names what is wrong", function()
    assert.error_matches(function() core.http1 { max_header_bytes = 0 } end, "max_header_bytes")
    assert.error_matches(function() core.http1 { max_buffer_bytes = "8" } end, "max_buffer_bytes")
    assert.error_matches(function() core.http1 { head_only = 1 } end, "head_only")
    assert.has_error(function() core.http1(3) end)
    local reader = core.http1()
    assert.has_error(function() reader:feed {} end)
    assert.has_error(function() reader.feed({}, "x") end)
    assert.has_error(function() reader.feed(core.sse(), "x") end)
    assert.has_error(function() reader.feed() end)
    assert(reader:feed(plain ""))
    assert.is_true(reader:finish())
    assert.error_matches(function() reader:feed "x" end, "finish")
  end)
end)

-- Pieces of `size` bytes, the first one of `first`.
local function pieces_of(bytes, first, size)
  local pieces, at = { bytes:sub(1, first) }, first + 1
  while at <= #bytes do
    pieces[#pieces + 1] = bytes:sub(at, at + size - 1)
    at = at + size
  end
  return pieces
end

local function network_pieces(response)
  local pieces, at = {}, 1
  for _, size in ipairs(response.about.reads or { #response.raw }) do
    pieces[#pieces + 1] = response.raw:sub(at, at + size - 1)
    at = at + size
  end
  if at <= #response.raw then pieces[#pieces + 1] = response.raw:sub(at) end
  return pieces
end

local CUT_OFF = { ["vllm/server-terminated"] = true } -- by hand: no last chunk

local function replay(response, pieces, where)
  local reader = core.http1()
  local parts, failure = read_all(reader, pieces)
  local status, headers = reader:head()
  assert(status == response.status, where)
  assert.same(response.headers, headers)
  assert(table.concat(parts) == response.body, where)
  assert((failure and failure.kind) == (CUT_OFF[response.name] and "closed" or nil), where)
  assert(reader:reusable() == false, where)
  return parts
end

describe("a recorded response", function()
  for _, set in ipairs { "vllm", "llama-server" } do
    for _, name in ipairs(fixtures.names(set)) do
      local response = fixtures.load(name)

      it(name .. " is read as it was sent, in the network's reads and in others", function()
        replay(response, network_pieces(response), "network")
        replay(response, { response.raw }, "whole")
        replay(response, pieces_of(response.raw, 1, 1), "bytes")
        for first = 1, 7 do replay(response, pieces_of(response.raw, first, 7), "cut from " .. first) end
      end)

      if response.expect and response.status == 200 then
        it(name .. " becomes the expected events in the decoder", function()
          local parts = replay(response, network_pieces(response), "network")
          local list, failure, decoder = events.run(parts, { body = not response.stream })
          assert.equals((response.expect.failure or {}).kind, failure and failure.kind)
          assert.is_nil(events.difference(events.plain(list), response.expect.events, "events"))
          assert.is_nil(events.difference(events.plain_result(decoder:result()), response.expect.result, "result"))
        end)
      end
    end
  end
end)
