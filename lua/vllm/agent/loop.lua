--- The loop: ask the model, run the tools that it calls, append their results, ask again.
--
-- It is a coroutine that yields what it waits for (drive.lua does the waiting). It never waits itself and calls nothing
-- of the program's own but in tasks, so after each `await` the run may have been cancelled, and nowhere else.

local bounds = require "vllm.agent.bounds"
local courses = require "vllm.agent.course"
local errors = require "vllm.base.errors"
local executors = require "vllm.agent.executor"
local outcome = require "vllm.agent.outcome"
local outputs = require "vllm.agent.outputs"
local prepare = require "vllm.agent.prepare"
local toolbox = require "vllm.agent.toolbox"
local transcripts = require "vllm.agent.transcript"
local values = require "vllm.base.values"

local loop = {}

local NO_MORE = "the call was not run: the run had to end"

-- Ends after which the next run does what was left: input waits for it.
local GOES_ON = { awaiting_approval = true, awaiting_result = true, stepped = true }

-- The end of a run that has a result.
local function finish(course, stop, last)
  if not GOES_ON[stop] then course.inbox:drop(stop) end
  local result = outcome.of(course, stop, last)
  course.drive:emit("run_end", { result = result })
  return result
end

-- A failure takes nothing back: the next run goes on from here.
local function fail(course, err, last)
  course.inbox:drop(err.kind)
  course.drive:emit("run_end", { error = err })
  err.partial, err.resumable = outcome.of(course, nil, err.partial or last), nil -- a run goes on by itself
  return nil, err
end

-- Steps ------------------------------------------------------------------------------------------------------------

-- A set of tools that is not the last one moves what the server has cached of the prompt.
local function take_box(course, box)
  course.box = box
  local names = toolbox.names(box)
  if course.names and names ~= course.names then course.drive:emit("tools_changed", { tools = box.offered }) end
  course.names = names
end

-- What is asked of the model; or nil and the error. A transcript that does not fit is shortened, and prepared again.
local function prepare_request(course, options)
  local prepared, is_ready
  repeat
    local ok
    ok, prepared = course:call(prepare.step, course, options)
    if ok and not course.drive.cancelled then is_ready = course.context:fit(prepared.fields) end
    if course.drive.cancelled then return nil, errors.new("cancelled", course.drive.cancelled) end
    if not ok then return nil, errors.new("config", prepared) end
  until is_ready
  return prepared
end

-- The model's answer; or nil and the error. A context that is too long is shortened and tried again.
local function ask_model(course, options)
  course.shortener:begin_step()
  course.context:begin_step()
  course.shortener:before_request()
  while true do
    local prepared, why_not = prepare_request(course, options)
    if not prepared then return nil, why_not end
    take_box(course, prepared.box)
    for _, warning in ipairs(prepared.box.warnings) do course.drive:warn(warning) end
    course.context:watch()
    local result, err = course.await_turn(course.agent.client:turn(prepared.fields))
    if err and err.kind == "cancelled" then course.drive.cancelled = course.drive.cancelled or err.message end
    if err then course.context:refused(err, prepared.fields) end
    if result or course.drive.cancelled or not course.shortener:recover(err) then return result, err end
  end
end

-- What the answer means for the transcript and the sums.
local function take_answer(course, result)
  local message = result.message
  message.id, message.model, message.usage = result.id, result.model, result.usage
  message.finish_reason = result.finish_reason
  course:append(message)
  if #result.tool_calls > 0 then course.transcript:open_calls(result.tool_calls) end
  transcripts.add_usage(course.usage, result.usage)
  transcripts.add_usage(course.transcript.usage, result.usage)
  course.transcript.last_usage = result.usage
  course.context:answered(result.usage)
  for _, hint in ipairs(result.hints) do course.drive:add_hint(hint) end
  course.steps[#course.steps + 1] = {
    text = result.text, finish_reason = result.finish_reason, usage = result.usage, timing = result.timing,
    tool_calls = result.tool_calls, id = result.id, model = result.model,
  }
end

-- Runs the open calls. A stop, if some of them wait for somebody.
local function run_calls(course)
  local executor = executors.new(course.drive, course.transcript, course.box, course.seen)
  executor:advance()
  course.await { is_done = function() return executor:is_done() end, cancel = function() executor:cancel() end }
  course:await_reader()
  course:tell_decisions()
  if course.drive.cancelled then return "cancelled" end
  if course.transcript:is_settled() then return course:close_calls() end
  if course.transcript:waiting("approved")[1] then return run_calls(course) end
  return #course.transcript:waiting "asking" > 0 and "awaiting_approval" or "awaiting_result"
end

-- Calls that an earlier run left open.
local function settle_open_calls(course)
  if not course.transcript.open then return nil end
  course:tell_decisions()
  local ok, box = course:call(prepare.tools, course)
  if course.drive.cancelled then return "cancelled" end
  if not ok then return nil, errors.new("config", box) end
  course.box = box
  return run_calls(course)
end

local function stop_of(result)
  if result.refusal then return "refused" end
  return result.finish_reason == "length" and "length" or "completed"
end

-- A function of the program's own that failed: what it was to decide is not decided.
local function failed_hook(name, why)
  return errors.new("config", ("%s: %s"):format(name, why))
end

-- Why the program does not take this answer, or nil; or nil and an error.
local function complaint(course, result)
  local check = course.agent.final_check
  if not check or course.is_last or course.complaints >= course.agent.retries + 1 then return nil end
  local ok, why = course:call(check, outcome.of(course, "completed", result))
  if not ok then return nil, failed_hook("final_check", why) end
  if why ~= nil and type(why) ~= "string" then
    return nil, failed_hook("final_check", "expected nil or a text that says why not, got " .. values.shown(why))
  end
  course.complaints = course.complaints + 1
  return why
end

-- An answer without calls ends the task, unless there is more to do. A stop; nil: the loop goes on; or nil, err.
local function after_answer(course, result)
  if course:take_steered() then return nil end
  local why_not, err = complaint(course, result)
  if err or course.drive.cancelled then return nil, err end
  if why_not then return course:append { role = "user", content = why_not } end
  local queued = course.inbox:take("queued", course.drive.step + 1)
  if queued then return course:append(queued) end
  return course.is_last or stop_of(result)
end

-- A program's own reasons to stop. A stop, or nil; or nil and an error.
local function own_stop(course, result)
  for _, fn in ipairs(course.agent.stop_when) do
    local ok, answer = course:call(fn, course.steps, result)
    if not ok then return nil, failed_hook("stop_when", answer) end
    if answer then return "stop_when" end
  end
  return #course.steps >= course.drive.steps and "stepped" or nil
end

-- The calls of an answer. A stop, if some of them wait for somebody.
local function take_calls(course)
  if course.is_last then return course:refuse_calls("limit", NO_MORE) end
  if course.transcript.open then return run_calls(course) end
end

-- A run that goes on with results of calls is past its first step.
local function is_first(course)
  local messages = course.transcript.messages
  local last = messages[#messages]
  return #course.steps == 0 and not (type(last) == "table" and last.role == "tool")
end

-- One model call and its tools. A stop and what the model said; nil: the loop goes on, or there is an error, too.
local function take_step(course)
  course:take_steered()
  course.drive.step = course.drive.step + 1
  course.drive:emit "step_start"
  local result, err = ask_model(course, { is_first = is_first(course), without_tools = course.is_last })
  if not result then
    if not course.drive.cancelled then return nil, nil, err end
    course:keep_partial(err and err.partial)
    return "cancelled", err and err.partial
  end
  take_answer(course, result)
  local stop = course.drive.cancelled and "cancelled" or take_calls(course)
  course.drive:emit("step_end", { usage = result.usage, finish_reason = result.finish_reason })
  if not stop and #result.tool_calls == 0 then stop, err = after_answer(course, result) end
  stop = stop or course.is_last
  if not stop and not err then stop, err = own_stop(course, result) end
  if course.drive.cancelled then return "cancelled", result end
  return stop, result, err
end

-- A bound was reached, or the model turns in circles: it may answer once more, without tools.
local function why_last(course)
  if course.seen.has_refused then return "loop_detected" end
  local stop, hint = bounds.reached(course.agent, #course.steps, course.usage, course.began_at)
  if hint then course.drive:add_hint(hint) end
  return stop
end

local function gives_last_answer(agent, stop)
  return stop == "loop_detected" or (stop == "max_steps" and agent.last_answer)
end

-- Is there something to ask at all? An answer without calls is the end of what came before it; what was queued is next.
local function has_task(course)
  local messages = course.transcript.messages
  local last = messages[#messages]
  local role = last and (last.role or last.kind)
  if last and role ~= "assistant" and role ~= "system" or course.inbox.steered[1] then return true end
  local queued = course.inbox:take("queued", course.drive.step + 1)
  if queued then course:append(queued) end
  return queued ~= nil
end

-- It was cancelled: no call stays open.
local function give_up(course, why, last)
  course:refuse_calls("cancelled", why)
  return finish(course, "cancelled", last)
end

local function go(course)
  local stop, err = settle_open_calls(course)
  local last
  if not stop and not err and not has_task(course) then
    stop = "completed"
    course.drive:add_hint "there was nothing to ask: the run has no input, and no task was open"
  end
  while not stop and not err do
    local bound = why_last(course)
    course.is_last = bound
    if bound and not gives_last_answer(course.agent, bound) then return finish(course, bound, last) end
    stop, last, err = take_step(course)
  end
  if err then return fail(course, err, last) end
  if stop == "cancelled" then return give_up(course, outputs.INTERRUPTED, last) end
  return finish(course, stop, last)
end

--- The coroutine of a run.
---@param drive vllm.agent.Drive
---@return table? result
---@return vllm.Error? err
function loop.run(drive)
  local course = courses.new(drive)
  for _, message in ipairs(course.appended) do drive:emit("message", { message = message }) end -- the input
  if drive.cancelled then return give_up(course, "the call was cancelled") end
  return go(course)
end

return loop
