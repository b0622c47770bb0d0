--- The clocks of a turn: which of them has run out. They are members of the turn, in absolute seconds of core.now() or in seconds left;
-- the silence is only counted down while the turn's consumer waits.

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
  local _, events, _, _, started = turn._attempt.decoder:state()
  if started and not turn._first_delta_at then
    turn._first_delta_at = core.now()
    turn._silence_left_s = turn._idle_s
  elseif started and events > turn._events_seen then
    turn._silence_left_s = turn._idle_s
  end
  turn._events_seen = events
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
