-- lua-cjson beside ours: one mark of arrays for both libraries, so that either writes what the other read.
-- Debian's lua-cjson is older than these marks: a stand-in has the newer one's rules (lua_cjson.c of OpenResty:
-- array_mt, empty_array_mt, empty_array, null). Neovim's vim.json is the newer one itself: hosts/neovim_json_spec.lua.
local core = require "vllm.core"
local json = require "vllm.json"

local stand_in = require "spec.support.new_cjson"

local real, own_mark = package.loaded.cjson, core.array_mt

-- The module of a program that finds `cjson`; nil: it finds none.
local function json_beside(cjson)
  local path, cpath, preload = package.path, package.cpath, package.preload.cjson
  package.loaded.cjson, package.loaded["vllm.json"], package.preload.cjson = cjson, nil, nil
  package.path, package.cpath = "lua/?.lua", ""
  local ok, loaded = pcall(require, "vllm.json")
  package.path, package.cpath, package.preload.cjson = path, cpath, preload
  return assert(ok and loaded, loaded)
end

after_each(function()
  core.use_array_mt(own_mark)
  package.loaded.cjson, package.loaded["vllm.json"] = real, json
end)

local TEXTS = {
  "[]", "{}", "[1,2]", '{"a":[]}', "[[],{},[[]]]", '{"a":{"b":[{"c":[]}]}}', '[null,{"n":null}]', '{"deep":[[[[]]]]}',
    '["",0.5,true,false]',
}

describe("beside a lua-cjson that has array_mt", function()
  it("its mark is ours: it writes [] for the [] that we read", function()
    local cjson = stand_in.new(core.null)
    local here = json_beside(cjson)
    for _, text in ipairs(TEXTS) do assert.equal(text, cjson.encode(here.decode(text))) end
    assert.equal(cjson.array_mt, getmetatable(here.decode "[]"))
    assert.equal("[]", cjson.encode(here.array()))
    assert.equal("[[]]", cjson.encode { require("vllm").array {} })
  end)

  it("and we write [] for the [] that it read", function()
    local cjson = stand_in.new(core.null)
    cjson.decode_array_with_array_mt(true)
    local here = json_beside(cjson)
    for _, text in ipairs(TEXTS) do assert.equal(text, here.encode(cjson.decode(text))) end
    assert.is_true(here.is_array(cjson.decode "[]"))
  end)

  it("its other marks are understood, nested too", function()
    local cjson = stand_in.new(core.null)
    local here = json_beside(cjson)
    local value = { a = cjson.empty_array, b = setmetatable({}, cjson.empty_array_mt), c = cjson.null,
      d = { { setmetatable({ {} }, cjson.array_mt) } }, e = setmetatable({ x = 1 }, cjson.empty_array_mt) }
    local text = '{"a":[],"b":[],"c":null,"d":[[[{}]]],"e":{"x":1}}'
    assert.equal(text, here.encode(value))
    assert.equal(text, cjson.encode(value))
  end)

  it("its [] is a result of a tool, and its null is none", function()
    local cjson = stand_in.new(core.null)
    json_beside(cjson)
    local client, call = require("vllm.testing").client {}, { id = "call00001", name = "f", arguments = "{}" }
    for value, text in pairs { [cjson.empty_array] = "[]", [cjson.null] = "" } do
      for _, message in ipairs { { role = "tool", call = call, result = value },
        { role = "tool", content = { { type = "tool_result", call = call, result = value } } } } do
        local body = assert(client:body { messages = { "x", { role = "assistant", calls = { call } }, message } })
        assert.equal(text, core.json_decode(body).messages[3].content)
      end
    end
  end)

  it("the lists of an answer have it as well", function()
    local cjson = stand_in.new(core.null)
    json_beside(cjson)
    local result = assert(require("vllm.testing").client({ "Hello" }):turn("x"):result())
    assert.equal("[]", cjson.encode(result.tool_calls))
    assert.equal("[]", cjson.encode(result.hints))
  end)

  it("one that is loaded later keeps its own: we write both", function()
    local here = json_beside(nil)
    local before, cjson = here.decode "[]", stand_in.new(core.null)
    package.loaded.cjson = cjson
    assert.equal("[[],[]]", here.encode { before, setmetatable({}, cjson.array_mt) })
    assert.is_true(here.is_array(setmetatable({}, cjson.array_mt)))
  end)
end)

describe("without such a lua-cjson", function()
  local function check(cjson)
    local here = json_beside(cjson)
    for _, text in ipairs(TEXTS) do assert.equal(text, here.encode(here.decode(text))) end
    assert.equal(own_mark, getmetatable(here.decode "[]"))
  end

  it("none at all", function() check(nil) end)
  it("Debian's, which has no marks", function() check(real) end)
  it("something else under its name", function()
    for _, other in ipairs { true, "cjson", { array_mt = true },
      { array_mt = setmetatable({}, { __index = error }) } } do
      json_beside(other)
      core.use_array_mt(own_mark)
    end
    package.loaded.cjson = nil
    package.preload.cjson = function() error "broken" end
    package.loaded["vllm.json"] = nil
    assert.equal("[]", require("vllm.json").encode(require("vllm.json").decode "[]"))
    package.preload.cjson = nil
  end)
end)
