--- What a run gives at its end.

local outcome = {}

--- The result of a run.
---@class vllm.agent.Result
---@field stop string|nil "completed", "awaiting_approval", "awaiting_result", "max_steps", "token_budget",
---  "time_budget", "loop_detected", "stop_when", "length", "refused", "cancelled"; of session:step also
---  "stepped"; nil in an error's `partial`
---@field text string? of the last answer
---@field message table? the last answer
---@field finish_reason string? of the last answer
---@field messages table[] those that joined the transcript in this run, in order
---@field steps table[] of each model call: text, finish_reason, usage, timing, tool_calls, id, model
---@field usage table tokens of all steps together
---@field pending table[] calls that wait: id, name, arguments, input, reason, wants ("approval" or "answer")
---@field hints string[]

local WANTS = { asking = "approval", external = "answer" }

--- The open calls of a transcript that wait for somebody.
---@param transcript vllm.agent.Transcript
---@return table[]
function outcome.pending(transcript)
  local list = {}
  for _, record in ipairs(transcript.open or {}) do
    if WANTS[record.status] then
      list[#list + 1] = {
        id = record.id, name = record.name, arguments = record.arguments, input = record.input,
        reason = record.reason, wants = WANTS[record.status],
      }
    end
  end
  return list
end

--- The result of a run, whole or so far.
---@param course table of the loop
---@param stop string?
---@param last table? the last answer
---@return vllm.agent.Result
function outcome.of(course, stop, last)
  last = last or {}
  return {
    stop = stop, text = last.text, message = last.message, finish_reason = last.finish_reason,
    messages = course.appended, steps = course.steps, usage = course.usage,
    pending = outcome.pending(course.transcript), hints = course.hints,
  }
end

local NO_TEXT = {
  awaiting_approval = "the run waits for approval of `%s`", awaiting_result = "the run waits for the result of `%s`",
  max_steps = "the run was stopped at max_steps", token_budget = "the token budget is used up",
  time_budget = "the time budget is used up", loop_detected = "the model made the same call again and again",
  stop_when = "stop_when ended the run",
  cancelled = "the run was cancelled", stepped = "the run was stopped after one step",
}

--- Why a result has no text.
---@param result vllm.agent.Result
---@return string
function outcome.why_no_text(result)
  local first = result.pending[1]
  local why = NO_TEXT[result.stop] or result.hints[1] or "the model returned no text"
  return first and why:format(first.name) or why
end

return outcome
