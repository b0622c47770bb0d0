-- What vllm.new, client:with and vllm.from_env make of their options. Wrong values: bad_options_spec.lua.
local config = require "vllm.request.config"
local core = require "vllm.core"

local function with_environment(variables, fn)
  local real = os.getenv
  os.getenv = function(name) return variables[name] end -- luacheck: ignore
  local results = { pcall(fn) }
  os.getenv = real -- luacheck: ignore
  assert(results[1], results[2])
  return results[2], results[3]
end

-- Everything that a dump of a table could reach without calling anything.
local function dump(value, seen, out)
  if type(value) ~= "table" then
    out[#out + 1] = tostring(value)
  elseif not seen[value] then
    seen[value] = true
    for key, member in pairs(value) do
      dump(key, seen, out)
      dump(member, seen, out)
    end
    dump(getmetatable(value), seen, out)
  end
  return table.concat(out, "\n")
end

describe("config.check", function()
  it("needs only a model and fills in the rest", function()
    local built = config.check { model = "m" }
    assert.equal("m", built.model)
    assert.equal("http://localhost:8000/v1/chat/completions", built.url)
    assert.is_true(built.streaming)
    assert.is_true(built.include_usage)
    assert.is_false(built.strict_alternating_roles)
    assert.same({ connect_s = 10, queue_s = 600, first_event_s = 600, idle_s = 300, finish_s = 2 }, built.timeout)
    assert.equal(16 * 1024 * 1024, built.limits.max_event_bytes)
    assert.equal(128, built.limits.max_tool_calls)
    assert.is_nil(built.api_key)
    assert.is_nil(built.tls)
    assert.same({ model = "m" }, built.fields)
  end)

  it("keeps the defaults beside what a group sets, and takes a clock away by false", function()
    local built = config.check { model = "m", timeout = { idle_s = false, total_s = 5 }, limits = { max_choices = 2 } }
    assert.same({ connect_s = 10, queue_s = 600, first_event_s = 600, finish_s = 2, total_s = 5 }, built.timeout)
    assert.equal(2, built.limits.max_choices)
    assert.equal(128, built.limits.max_depth)
  end)

  it("takes every wire field as a default", function()
    local built = config.check { model = "m", temperature = 0, top_k = 20, stop = { "a" }, user = "u",
      chat_template_kwargs = { a = 1 } }
    assert.same({ model = "m", temperature = 0, top_k = 20, stop = { "a" }, user = "u",
      chat_template_kwargs = { a = 1 } }, built.fields)
  end)

  it("takes an empty key for none and null for unset", function()
    local built = config.check { model = "m", api_key = "", temperature = core.null, tls = { ca_file = core.null } }
    assert.is_nil(built.api_key)
    assert.is_nil(built.authorization)
    assert.is_nil(built.fields.temperature)
    assert.same({}, built.tls)
  end)

  it("knows streaming and stream as one option", function()
    assert.is_false(config.check({ model = "m", stream = false }).streaming)
    assert.is_false(config.check({ model = "m", streaming = false }).streaming)
    assert.is_false(config.check({ model = "m", stream = false, streaming = false }).streaming)
    assert.is_true(config.check({ model = "m", stream = true }).streaming)
  end)

  it("does not change with the caller's tables afterwards, nor change them", function()
    local options = { model = "m", stop = { "a" }, timeout = { idle_s = 1 }, headers = { ["X-A"] = "1" },
      extra_body = { x = { 1 } } }
    local built = config.check(options)
    options.stop[1], options.timeout.idle_s, options.headers["X-A"], options.extra_body.x[1] = "b", 2, "2", 2
    assert.same({ "a" }, built.fields.stop)
    assert.equal(1, built.timeout.idle_s)
    assert.same({ { "X-A", "1" } }, built.headers)
    assert.same({ 1 }, built.extra_body.x)
    assert.is_nil(getmetatable(options))
  end)

  it("survives options that hold themselves", function()
    local loop = {}
    loop.loop = loop
    assert.equal("m", config.check({ model = "m", extra_body = { x = loop } }).model)
  end)

  it("keeps objects of others as they are", function()
    local transport = { open = function() end }
    local object = setmetatable({}, {})
    local built = config.check { model = "m", transport = transport, extra_body = { x = object } }
    assert.equal(transport, built.transport)
    assert.equal(object, built.extra_body.x)
  end)

  it("blames the caller's line for a misuse", function()
    local _, message = pcall(function() config.check { tempurature = 1 } end)
    assert.equal("spec/config_spec.lua", message:match("^%.?/?(.-):%d+: vllm%.new: unknown key `tempurature`"))
  end)
end)

describe("secrets", function()
  local options = {
    model = "m", api_key = "sk-secret", headers = { ["X-Token"] = "secret-token" },
      proxy = "http://me:secret-proxy@p:1",
    base_url = "http://me:secret-pass@h/v1?code=secret-query",
  }

  it("are in no description", function()
    local text = config.describe(config.check(options))
    assert.equal("m at http://h/v1/chat/completions?… by proxy http://p:1 with a key", text)
  end)

  it("can be read but are in no dump", function()
    local built = config.check(options)
    assert.equal("sk-secret", built.api_key)
    assert.equal("http://me:secret-proxy@p:1", built.proxy)
    assert.equal("http://h/v1/chat/completions?code=secret-query", built.url)
    for _, secret in ipairs { "sk-secret", "secret-token", "secret-proxy", "secret-pass" } do
      assert.is_nil(dump(built, {}, {}):find(secret, 1, true), secret)
    end
  end)
end)

describe("base_url", function()
  local cases = {
    { nil, "http://localhost:8000/v1/chat/completions", "http://localhost:8000" },
    { "http://h", "http://h/v1/chat/completions", "http://h" },
    { "http://h/", "http://h/v1/chat/completions", "http://h" },
    { "https://h:8443/v1", "https://h:8443/v1/chat/completions", "https://h:8443" },
    { "HTTP://h/v1/", "http://h/v1/chat/completions", "http://h" },
    { "http://h/proxy/v1", "http://h/proxy/v1/chat/completions", "http://h/proxy" },
    { "http://h/v1/chat/completions", "http://h/v1/chat/completions", "http://h" },
    { "http://h/v1/chat/completions/", "http://h/v1/chat/completions/", "http://h" },
    { "http://h/a/v1/b/v1/chat/completions", "http://h/a/v1/b/v1/chat/completions", "http://h/a/v1/b" },
    { "http://h/proxy/chat/completions", "http://h/proxy/chat/completions", "http://h/proxy" },
    { "http://h/api/v3/chat/completions/", "http://h/api/v3/chat/completions/", "http://h/api/v3" },
    { "http://h/custom/path", "http://h/custom/path", "http://h" },
    { "http://h/xv1", "http://h/xv1", "http://h" },
    { "http://h/v1?a=b&c=/v1", "http://h/v1/chat/completions?a=b&c=/v1", "http://h" },
    { "http://h?a=b", "http://h/v1/chat/completions?a=b", "http://h" },
    { "http://h/path?a=b%20c", "http://h/path?a=b%20c", "http://h" },
    { "http://[::1]:8000", "http://[::1]:8000/v1/chat/completions", "http://[::1]:8000" },
    { "http://[::1]/v1", "http://[::1]/v1/chat/completions", "http://[::1]" },
    { "http://u:p@h:1/v1", "http://h:1/v1/chat/completions", "http://h:1" },
    { "http://u:p@x@h:1/v1", "http://h:1/v1/chat/completions", "http://h:1" },
  }
  for _, case in ipairs(cases) do
    it("completes " .. tostring(case[1]), function()
      local built = config.check { model = "m", base_url = case[1] }
      assert.equal(case[2], built.url)
      assert.equal(case[3] .. "/v1/models" .. (case[2]:match "%?.*" or ""), (built.root_url "/v1/models"))
    end)
  end

  it("knows where the list of models is", function()
    local function models(base_url) return config.check({ model = "m", base_url = base_url }).models_url end
    assert.equal("http://h/v1/models", models "http://h")
    assert.equal("http://h/proxy/v1/models?a=b", models "http://h/proxy/v1?a=b")
    assert.equal("http://h/api/v3/models", models "http://h/api/v3/chat/completions")
    assert.equal("http://h/v1/models", models "http://h/generate")
  end)

  it("gives its query to the other addresses, too, behind their own", function()
    local built = config.check { model = "m", base_url = "http://h/v1?code=secret-query" }
    assert.equal("http://h/tokenize?code=secret-query", (built.root_url "/tokenize"))
    assert.equal("http://h/tokenize?a=b&code=secret-query", (built.root_url "/tokenize?a=b"))
    assert.is_nil(dump(built, {}, {}):find("secret-query", 1, true))
  end)

  it("default is not lost to a query or a nil", function()
    assert.equal("http://localhost:8000/v1/chat/completions", config.check({ model = "m", base_url = core.null }).url)
  end)

  it("refuses a path that could end the request line", function()
    local built = config.check { model = "m" }
    for _, path in ipairs { "/a b", "/a\r\nX: 1", "/a\0b" } do
      local got, why = built.root_url(path)
      assert.is_nil(got)
      assert.equal("path holds a space or a control character", why)
    end
  end)

  it("takes user and password into a header, the key before them", function()
    local function authorization(options)
      options.model = "m"
      return config.check(options).authorization
    end
    assert.equal("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", authorization { base_url = "http://Aladdin:open%20sesame@h" })
    assert.equal("Basic dXNlcjo=", authorization { base_url = "http://user@h" })
    assert.equal("Basic dXNlcjpwYQ==", authorization { base_url = "http://user:pa@h" })
    assert.equal("Bearer k", authorization { base_url = "http://user:pa@h", api_key = "k" })
  end)
end)

describe("config.merge", function()
  local function merged(base, options)
    return config.merge(config.check(base), options)
  end

  it("puts options over options and leaves the base alone", function()
    local base = config.check { model = "m", temperature = 1, api_key = "k" }
    local built = config.merge(base, { temperature = 0, top_p = 0.5, model = "n" })
    assert.same({ model = "n", temperature = 0, top_p = 0.5 }, built.fields)
    assert.equal("k", built.api_key)
    assert.same({ model = "m", temperature = 1 }, base.fields)
  end)

  it("joins groups by their keys and unsets by null", function()
    local base = { model = "m", timeout = { idle_s = 1, total_s = 2 }, headers = { ["X-A"] = "1", ["X-B"] = "2" },
      temperature = 1, user = "u" }
    local built = merged(base, { timeout = { total_s = 3, idle_s = core.null }, headers = { ["x-a"] = "3" },
      temperature = core.null })
    assert.same({ connect_s = 10, queue_s = 600, first_event_s = 600, idle_s = 300, finish_s = 2, total_s = 3 },
      built.timeout)
    assert.same({ { "X-B", "2" }, { "x-a", "3" } }, built.headers)
    assert.same({ model = "m", user = "u" }, built.fields)
  end)

  it("lets stream replace streaming", function()
    assert.is_false(merged({ model = "m", streaming = true }, { stream = false }).streaming)
    assert.is_true(merged({ model = "m", stream = false }, { streaming = true }).streaming)
  end)

  it("gives a certificate from one side the key of the other", function()
    assert.same({ cert = "/c", key = "/k" },
      merged({ model = "m", tls = { cert = "/c" } }, { tls = { key = "/k" } }).tls)
  end)

  it("names itself in a misuse", function()
    assert.has_error(function() merged({ model = "m" }, { tempurature = 1 }) end,
      "client:with: unknown key `tempurature` (did you mean `temperature`?); extra_body = { … } sends any name")
    assert.has_error(function() merged({ model = "m" }, { timeout = 30 }) end,
      "client:with: timeout: expected a table such as { total_s = 30 } (of connect_s, queue_s, first_event_s, idle_s, "
        .. "finish_s, total_s), got 30")
    assert.has_error(function() merged({ model = "m" }, { model = core.null }) end,
      "client:with: `model` is missing: the name that the server knows the model by")
  end)
end)

describe("config.from_env", function()
  it("reads model, address and key", function()
    local built = with_environment({ VLLM_MODEL = "m", VLLM_BASE_URL = "http://h/v1", VLLM_API_KEY = "k" },
      config.from_env)
    assert.equal("m", built.model)
    assert.equal("http://h/v1/chat/completions", built.url)
    assert.equal("k", built.api_key)
  end)

  it("takes empty variables for unset ones", function()
    local built = with_environment({ VLLM_MODEL = "m", VLLM_BASE_URL = "", VLLM_API_KEY = "" }, config.from_env)
    assert.equal("http://localhost:8000/v1/chat/completions", built.url)
    assert.is_nil(built.authorization)
  end)

  it("lets overrides win, so that a bad or missing variable does not matter", function()
    local built = with_environment({ VLLM_BASE_URL = "nonsense", VLLM_API_KEY = "a\nb" }, function()
      return config.from_env { model = "n", base_url = "http://x", api_key = "z", temperature = 0 }
    end)
    assert.equal("n", built.model)
    assert.equal("http://x/v1/chat/completions", built.url)
    assert.equal("z", built.api_key)
    assert.equal(0, built.fields.temperature)
  end)

  it("lets an empty key override the one of the environment", function()
    local built = with_environment({ VLLM_MODEL = "m", VLLM_API_KEY = "k" },
      function() return config.from_env { api_key = "" } end)
    assert.is_nil(built.authorization)
  end)
end)
