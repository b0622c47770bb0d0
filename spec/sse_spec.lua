-- core.sse for Lua. The rules themselves are tested in spec/c/sse_test.c; here: what Lua sees of them.

local core = require "vllm.core"

local function read_all(pieces, options)
  local sse, list = core.sse(options), {}
  local function drain()
    while true do
      local data, kind, id = sse:next()
      if not data then return data, kind end
      list[#list + 1] = kind .. "|" .. data .. "|" .. id
    end
  end
  for _, piece in ipairs(pieces) do
    assert(sse:feed(piece))
    local got, why = drain()
    if got == nil then return list, why end
    assert.is_false(got)
  end
  assert.is_true(sse:finish())
  local got, why = drain()
  assert.is_nil(got)
  return list, why
end

describe("core.sse", function()
  it("gives data, type and id, and false until more bytes come", function()
    local sse = core.sse {}
    assert.is_false(sse:next())
    assert.is_true(sse:feed "id: 7\nevent: ping\ndata: a\ndata: b\n\ndata: c")
    assert.same({ "a\nb", "ping", "7" }, { sse:next() })
    assert.is_false(sse:next())
    assert.is_true(sse:feed "\r\n\r\n")
    assert.same({ "c", "message", "7" }, { sse:next() })
    assert.is_true(sse:finish())
    assert.equals(0, select("#", sse:next()) - 1)
    assert.is_nil((sse:next()))
  end)

  it("gives the same events however the bytes are cut", function()
    local bytes = "\239\187\191data: \226\130\172\r\n\r\n: ping\n\nid: x\rdata: a\rdata: b\r\rdata\n\n"
    local whole = read_all { bytes }
    assert.same({ "message|\226\130\172|", "message|a\nb|x", "message||x" }, whole)
    for cut = 1, #bytes - 1 do
      assert.same(whole, (read_all { bytes:sub(1, cut), bytes:sub(cut + 1) }))
    end
  end)

  it("keeps zero bytes and malformed UTF-8", function()
    assert.same({ "message|a\0\255b|" }, (read_all { "data: a\0\255b\n\n" }))
  end)

  it("drops an unterminated last block, unless the end is lenient", function()
    assert.same({}, (read_all { "data: a\n" }))
    assert.same({ "message|a|" }, (read_all({ "data: a\n" }, { lenient_end = true })))
    assert.same({ "message|a|" }, (read_all({ "data: a" }, { lenient_end = true })))
  end)

  it("an event larger than its bound ends the stream, after the events before it", function()
    local list, why = read_all({ "data: a\n\ndata: 123456789\n\ndata: b\n\n" }, { max_event_bytes = 8 })
    assert.same({ "message|a|" }, list)
    assert.matches("max_event_bytes", why)
  end)

  it("misuse throws and names what is wrong", function()
    assert.has_error(function() core.sse { max_event_bytes = 0 } end)
    assert.error_matches(function() core.sse { max_event_bytes = "8" } end, "max_event_bytes")
    assert.error_matches(function() core.sse { lenient_end = 1 } end, "lenient_end")
    assert.has_error(function() core.sse(3) end)
    local sse = core.sse()
    assert.has_error(function() sse:feed {} end)
    assert.has_error(function() sse.feed({}, "x") end)
    sse:finish()
    assert.error_matches(function() sse:feed "x" end, "finish")
  end)
end)
