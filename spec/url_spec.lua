-- Addresses: taken apart, refused, shown, and what is secret in them. What becomes of a base_url: config_spec.lua.
local url = require "vllm.request.url"

describe("url.shown", function()
  it("hides users, passwords and queries in any text", function()
    assert.equal("http://h/v1", url.shown "http://u:p@h/v1")
    assert.equal("http://h/v1", url.shown "http://u:p/w@h/v1")
    assert.equal("http://h/v1", url.shown "http://u:p@w@h/v1")
    assert.equal("…/v1?…", url.shown "u:p@h/v1?key=1")
    assert.equal("http://h??", url.shown "http://h\r\n")
    assert.equal(200 + #"…", #url.shown("http://h/" .. ("x"):rep(1000)))
  end)
end)

describe("url.parse", function()
  local WEB = { http = true, https = true }

  it("takes an address apart", function()
    assert.same({ scheme = "https", place = "h:8443", userinfo = "u:p", path = "/v1", query = "?a=b" },
      url.parse("HTTPS://u:p@h:8443/v1?a=b", WEB))
    assert.same({ scheme = "http", place = "[::1]", path = "", query = "" }, url.parse("http://[::1]", WEB))
  end)

  for text, why in pairs {
    ["http://h/\n"] = "holds a line break or another control character", ["http://h/a b"] = "holds a space",
    ["h:8000/v1"] = "has no scheme (http:// or https://)", ["ftp://h"] = "has the scheme ftp, which is not supported",
    ["http://"] = "has no host", ["http://u@"] = "has no host", ["http://:80"] = "has no host",
    ["http://h/#x"] = "has a fragment (#), which no server sees", ["http://h:"] = "has an empty port",
    ["http://h:0"] = "has a port outside 1..65535", ["http://h:65536"] = "has a port outside 1..65535",
    ["http://h:x"] = "has a host or port that cannot be read",
      ["http://%68"] = "has a host or port that cannot be read",
    ["http://h\\@evil/"] = "has a backslash before its path, where programs differ in what the host is",
  } do
    it("refuses one that " .. why .. ": " .. text:gsub("%c", "?"), function()
      assert.same({ nil, why }, { url.parse(text, WEB) })
    end)
  end
end)

describe("url.secrets", function()
  it("are the password, as written, decoded and in Basic credentials, and long values of the query", function()
    local found = {}
    for _, secret in ipairs(url.secrets "http://me:p%40ss@h/v1?token=abcdefgh&debug=true") do found[secret] = true end
    assert.same({ ["p%40ss"] = true, ["p@ss"] = true, ["bWU6cEBzcw=="] = true, abcdefgh = true }, found)
  end)

  it("are none in a plain address", function()
    assert.same({}, url.secrets "http://h:8000/v1")
  end)
end)
