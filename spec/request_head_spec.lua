-- Heads of requests that we write ourselves.
local request_head = require "vllm.transports.request_head"

local function write(request, url)
  local address = assert(request_head.address(url or "http://host:8000/v1"))
  request.method = request.method or "POST"
  return request_head.write(address, request)
end

describe("the address of a URL", function()
  for text, expected in pairs {
    ["http://host"] = { "http", "host", 80, "host", "/" },
    ["https://Host.Example./v1?a=b"] = { "https", "Host.Example.", 443, "host.example", "/v1?a=b" },
    ["http://host:8000?x"] = { "http", "host", 8000, "host", "/?x" },
    ["http://[::1]:8000/v1"] = { "http", "[::1]", 8000, "::1", "/v1" },
    ["http://user:pass@host/"] = { "http", "host", 80, "host", "/" },
  } do
    it("is taken apart: " .. text, function()
      local address = assert(request_head.address(text))
      assert.same(expected, { address.scheme, address.host, address.port, address.name, address.path })
    end)
  end

  it("is refused where it could end the line", function()
    for _, text in ipairs { "http://host/a b", "http://host/\r\nx: y", "http://host/#x", "ftp://host/", "host",
      "http://" } do
      local address, failure = request_head.address(text)
      assert.is_nil(address)
      assert.equal("config", failure.kind)
      assert.is_nil(failure.detail:find "[\r\n]")
    end
  end)
end)

describe("the head of a request", function()
  it("has the host, the headers in their order, and the length", function()
    assert.equal("POST /v1 HTTP/1.1\r\nHost: host:8000\r\nAccept: */*\r\nX-B: 2\r\nContent-Length: 3\r\n\r\n",
      write { headers = { { "Accept", "*/*" }, { "X-B", "2" } }, body = "abc" })
  end)

  it("has no length without a body, but for POST", function()
    assert.equal("GET /v1 HTTP/1.1\r\nHost: host:8000\r\n\r\n", write { method = "GET" })
    assert.matches("Content%-Length: 0\r\n", (write {}))
  end)

  it("has one host, the caller's own if there is one", function()
    assert.equal("GET /v1 HTTP/1.1\r\nHOST: other\r\n\r\n", write { method = "GET", headers = { { "HOST", "other" } } })
  end)

  it("keeps the user and password of a URL to itself", function()
    assert.is_nil((write({}, "http://user:pass@host/")):find("pass", 1, true))
  end)

  it("is refused with anything that could become another header or request", function()
    for _, header in ipairs { { "X\r\nY", "1" }, { "X:", "1" }, { "", "1" }, { "X Y", "1" }, { "X", "1\r\nY: 2" },
      { "X", "1\n" }, { "X", "a\0b" },
      { "Content-Length", "5" }, { "transfer-encoding", "chunked" }, { 5, "x" }, { "X", 5 } } do
      local head, failure = write { headers = { header } }
      assert.is_nil(head)
      assert.equal("config", failure.kind)
      assert.is_nil(failure.detail:find "[\r\n%z]")
    end
    for _, method in ipairs { "GET /x HTTP/1.1\r\nHost: y\r\n\r\nGET", "", "G ET" } do
      assert.equal("config", select(2, write { method = method }).kind)
    end
  end)
end)
