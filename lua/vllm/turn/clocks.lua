--- The clocks of a turn: which of them has run out. They are members of the turn, in absolute seconds of core.now() or in seconds left;
-- the silence is only counted down while the turn's consumer waits. Behind an answer that seems to be whole another clock runs, from the
-- first time that the consumer asks for more: usage and [DONE] follow at once where they come at all, and a server that sends neither and
-- keeps the connection (proxies do) has nothing to add. When it has run out, or any other clock has, the answer is taken as whole.

local core = require "vllm.core"

local clocks = {}

--- The earlier of two times, either of which may be absent.
---@param a number?
---@param b number?
---@return number?
function clocks.earlier(a, b)
  if a and b then return a < b and a or b end
  return a or b
end

--- What came resets the silence: before the answer's start only that start does; afterwards any event, but no comment.
---@param turn vllm.Turn
function clocks.heard(turn)
  local current = turn._attempt
  local _, events, _, _, started, finished = current.decoder:state()
  local seen = events + current._body_bytes
  if started and not turn._first_delta_at then
    turn._first_delta_at = core.now()
    turn._silence_left_s = turn._idle_s
  elseif started and seen > turn._seen then
    turn._silence_left_s = turn._idle_s
  end
  turn._seen, turn._finished_choices = seen, finished
end

--- Until when the turn listens for more, where its answer seems to be whole. For when the decoder has nothing more to give.
---@param turn vllm.Turn
---@param now number
---@return number? deadline
function clocks.finish_deadline(turn, now)
  if turn._weighed ~= turn._seen then
    turn._weighed, turn._quiet_from = turn._seen, now
    turn._seems_whole = turn._finish_s and turn._attempt:seems_whole(turn._finished_choices)
  end
  return turn._seems_whole and turn._quiet_from + turn._finish_s or nil
end

--- Has the turn listened long enough behind an answer that seems to be whole?
---@param turn vllm.Turn
---@param now number
---@return boolean
function clocks.is_finished(turn, now)
  if not turn._seems_whole then return false end
  return now >= turn._quiet_from + turn._finish_s or clocks.fired(turn, now) ~= nil
end

--- A queue is as slow as the turns before one: its clock begins again whenever one of them goes on.
---@param turn vllm.Turn
---@param gate vllm.Gate
---@param now number
function clocks.look_at_queue(turn, gate, now)
  if not turn._queue_s or turn._queue_deadline and now < turn._queue_deadline then return end
  local progress = gate:progress()
  if progress == turn._queue_progress then return end
  turn._queue_progress, turn._queue_deadline = progress, now + turn._queue_s
end

--- The clock that has run out.
---@param turn vllm.Turn
---@param now number
---@return string? name nil: none has
---@return number? limit_s
function clocks.fired(turn, now)
  if turn._total_deadline and now >= turn._total_deadline then return "total_s", turn._total_s end
  if turn._phase == "queued" then
    if turn._queue_deadline and now >= turn._queue_deadline then return "queue_s", turn._queue_s end
    return nil
  end
  if not turn._silence_left_s or turn._silence_left_s > 0 then return nil end
  if turn._first_delta_at then return "idle_s", turn._idle_s end
  return "first_event_s", turn._first_event_s
end

return clocks
