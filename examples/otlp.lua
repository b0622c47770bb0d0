-- An observer that sends what an agent did to an OpenTelemetry collector, as OTLP/JSON over HTTP. Names follow the
-- GenAI conventions: a span for the run, one for each call of the model, one for each tool.
-- VLLM_MODEL=… OTLP_URL=http://localhost:4318 lua examples/otlp.lua [question]
-- Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/ and .../otlp/ (spans over HTTP, JSON).
local vllm = require "vllm"

local question = arg[1] or "What is the weather in Paris? Use the tool."
local collector = vllm.new { model = "none", base_url = os.getenv "OTLP_URL" or "http://localhost:4318", retry = false }

local function hex(bytes)
  local digits = {}
  for i = 1, bytes do digits[i] = ("%02x"):format(math.random(0, 255)) end
  return table.concat(digits)
end

local function now_ns()
  return ("%d000000000"):format(os.time())
end

local function attribute(key, value)
  if type(value) ~= "number" then return { key = key, value = { stringValue = tostring(value) } } end
  if value % 1 == 0 then return { key = key, value = { intValue = ("%d"):format(value) } } end
  return { key = key, value = { doubleValue = value } }
end

local function attributes(map)
  local list = vllm.array {}
  for key, value in pairs(map) do list[#list + 1] = attribute(key, value) end
  return list
end

-- One for each run: what it has begun and not ended.
local function new_tracer()
  local trace, spans, open = hex(16), vllm.array {}, {}

  local function begin(id, name, parent, map)
    open[id] = {
      traceId = trace, spanId = hex(8), parentSpanId = parent and open[parent] and open[parent].spanId, name = name,
      kind = 3, startTimeUnixNano = now_ns(), attributes = attributes(map),
    }
  end

  local function finish(id, map, failure)
    local span = open[id]
    if not span then return end
    open[id], spans[#spans + 1] = nil, span
    span.endTimeUnixNano = now_ns()
    for key, value in pairs(map or {}) do span.attributes[#span.attributes + 1] = attribute(key, value) end
    if failure then span.status = { code = 2, message = failure } end
  end

  local handlers = {}

  function handlers.step_start(event)
    if not open.run then begin("run", "invoke_agent", nil, { ["gen_ai.operation.name"] = "invoke_agent" }) end
    begin("step", "chat", "run", {
      ["gen_ai.operation.name"] = "chat", ["gen_ai.provider.name"] = "vllm", ["vllm.step"] = event.step,
    })
  end

  function handlers.turn_end(event)
    local usage = event.result.usage or {}
    finish("step", {
      ["gen_ai.response.model"] = event.result.model, ["gen_ai.response.id"] = event.result.id,
      ["gen_ai.response.finish_reasons"] = event.result.finish_reason,
      ["gen_ai.usage.input_tokens"] = usage.prompt_tokens, ["gen_ai.usage.output_tokens"] = usage.completion_tokens,
    })
  end

  function handlers.tool_start(event)
    begin(event.id, "execute_tool " .. event.name, "run", {
      ["gen_ai.operation.name"] = "execute_tool", ["gen_ai.tool.name"] = event.name, ["gen_ai.tool.call.id"] = event.id,
    })
  end

  function handlers.tool_result(event)
    finish(event.id, { ["vllm.tool.took_s"] = event.took_s }, event.failure)
  end

  function handlers.run_end(event)
    finish("step", nil, "the call of the model failed")
    finish("run", { ["vllm.stop"] = event.result and event.result.stop }, event.error and event.error.kind)
  end

  return function(event)
    if handlers[event.type] then handlers[event.type](event) end
  end, spans
end

local function send(spans)
  return collector:request("POST", "/v1/traces", { resourceSpans = { {
    resource = { attributes = attributes { ["service.name"] = "lua-agent" } },
    scopeSpans = { { scope = { name = "vllm" }, spans = spans } },
  } } })
end

local observe, spans = new_tracer()
local agent = vllm.agent {
  on_event = observe,
  tools = { {
    name = "get_weather", description = "Current weather of a city",
    parameters = { type = "object", properties = { city = { type = "string" } }, required = { "city" } },
    run = function(input) return { city = input.city, celsius = 18 } end,
  } },
}
print(vllm.printable(assert(agent:ask(question))))

-- Observers must not wait, so the spans go out afterwards; a failing collector is no failure of the run.
local ok, message = send(spans)
print(ok and ("(%d spans sent)"):format(#spans) or "(no spans sent: " .. message .. ")")
