-- poll never waits, and cancel ends every request: in real hosts, against the real server, in every phase and at every
-- error status. What waits and for how long, with clocks: spec/poll_spec.lua.
require "spec.support.env"
local child = require "spec.support.child"
local neovims = require "spec.support.neovim"
local nginxes = require "spec.support.nginx"
local servers = require "spec.support.server"

local RETRIED = 503
local MISSING = '{"error":{"message":"The model `m` does not exist.","code":404}}'
local TEXT = 'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
local FINISH = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'

local function head(status, kind, length)
  return ("HTTP/1.1 %d Status\r\ncontent-type: %s\r\ncontent-length: %d\r\nretry-after: 900\r\n\r\n")
    :format(status, kind, length or 1000)
end

-- Each ends in silence. `more`: to the second request, for the list of models.
local function script(server, bytes, more)
  local steps = {}
  if bytes ~= "" then steps[1] = { "send", bytes } end
  if more then
    steps[#steps + 1] = "next"
    if more ~= "" then steps[#steps + 1] = { "send", more } end
  end
  steps[#steps + 1] = "stall"
  return server:script(steps)
end

-- Scripts that turns are to meet; how many requests they make, and how many of those are to be cancelled.
local function scripts(server)
  local paths, requests = {}, 0
  local function add(bytes, more)
    paths[#paths + 1] = script(server, bytes, more)
    requests = requests + (more and 2 or 1)
  end
  add ""
  add "HTTP/1.1 200 OK\r\ncontent-ty"
  for _, body in ipairs { "", 'data: {"cho', ": ping\n\n", TEXT, TEXT .. FINISH } do
    add(head(200, "text/event-stream") .. body)
  end
  add(head(200, "text/plain") .. '{"c')
  add(head(200, "application/json") .. '{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi, how')
  for _, status in ipairs { 400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504 } do
    add(head(status, "application/json") .. '{"error":{"mess')
  end
  local missing = head(404, "application/json", #MISSING) .. MISSING
  for _, list in ipairs { "", head(200, "application/json") .. '{"data":[', head(500, "application/json") .. "{" } do
    add(missing, list)
  end
  local asking = #paths
  paths[asking + 1] = server:script { { "send", head(RETRIED, "application/json", 2) .. "{}" } }
  requests = requests + 1
  return paths, requests, asking
end

local function settings_of(server)
  local paths, requests, asking = scripts(server)
  local text = ("{ url = %q, paths = { '%s' }, requests = %d, closes = %d, retried = %d }")
    :format(server.url, table.concat(paths, "', '"), requests, asking, RETRIED)
  return text, ("asking %d queued 1 waiting 1"):format(asking)
end

describe("poll and cancel in every phase,", function()
  local server
  before_each(function() server = servers.start() end)
  after_each(function() server:stop() end)
  teardown(neovims.remove_runtime)

  for _, editor in ipairs(neovims.editors()) do
    for _, where in ipairs { "a fast event", "a scheduled callback" } do
      it(("%s Neovim, %s"):format(editor.name, where), function()
        local settings, expected = settings_of(server)
        local output = neovims.run(assert(editor.path, editor.why), ([[
          package.path = "./?.lua;" .. package.path
          local is_fast, loops, check = %s, 0, uv.new_check()
          check:start(function() loops = loops + 1 end)
          local driver = { turns = function() return loops end }
          function driver.polling(fn)
            local timer, is_over, problem = uv.new_timer(), false, nil
            local function once()
              if is_over then return end
              local ok, value = pcall(function()
                assert(vim.in_fast_event() == is_fast)
                return fn()
              end)
              is_over, problem = not ok or value == true, not ok and value or nil
            end
            timer:start(0, 5, is_fast and once or vim.schedule_wrap(once))
            while not is_over do vllm.sleep(0.01) end
            timer:close()
            assert(not problem, problem)
          end
          local task = vllm.spawn(function() return require "spec.hosts.polls"(driver, %s) end)
          vllm.spawn(function()
            print(select(2, task:join()) or task:join())
            quit()
          end)
        ]]):format(tostring(where == "a fast event"), settings), { BASE_URL = server.url .. "/v1" })
        assert.equal(expected .. "\n", output)
      end)
    end
  end

  it("plain Lua, vllm.run", function()
    local settings, expected = settings_of(server)
    local output = child.lua(([[
      local vllm, loops, is_over = require "vllm", 0, false
      local driver = { turns = function() return loops end }
      function driver.polling(fn)
        while not fn() do vllm.sleep(0.005) end
      end
      vllm.run(function()
        vllm.spawn(function()
          while not is_over do
            vllm.sleep(0)
            loops = loops + 1
          end
        end)
        print(require "spec.hosts.polls"(driver, %s))
        is_over = true
      end)]]):format(settings))
    assert.equal(expected .. "\n", output)
  end)

  it("nginx", function()
    local nginx = nginxes.start()
    local settings, expected = settings_of(server)
    local ok, output = pcall(nginx.run, nginx, ([[
      local loops, is_over = 0, false
      local counter = ngx.thread.spawn(function()
        while not is_over do
          ngx.sleep(0.001)
          loops = loops + 1
        end
      end)
      local driver = { turns = function() return loops end }
      function driver.polling(fn)
        while not fn() do ngx.sleep(0.005) end
      end
      local figures = require "spec.hosts.polls"(driver, %s)
      is_over = true
      ngx.thread.wait(counter)
      return figures]]):format(settings))
    local log = nginx:log()
    nginx:stop()
    assert.equal(expected, ok and output or tostring(output) .. log)
    assert.equal("", log)
  end)
end)
