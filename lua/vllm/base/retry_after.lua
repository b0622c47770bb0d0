--- How long a server asks a client to wait: `retry-after-ms`, and `retry-after` in seconds or as an HTTP date
-- (RFC 9110 sections 10.2.3 and 5.6.7).

local retry_after = {}

local MAX_NUMBER_BYTES = 32

local MONTHS = {
  Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10, Nov = 11, Dec = 12,
}

-- The preferred form, RFC 850's and asctime's. A year of two digits that seems more than 50 years ahead is in the past.
local function parts_of_http_date(text, now_unix)
  local day, month, year, time = text:match "^%a%a%a, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d:%d%d:%d%d) GMT$"
  if day then return day, month, tonumber(year), time end
  day, month, year, time = text:match "^%a+, (%d%d)%-(%a%a%a)%-(%d%d) (%d%d:%d%d:%d%d) GMT$"
  if day then
    local this_year = 1970 + math.floor(now_unix / 31556952)
    local ahead = (tonumber(year) - this_year) % 100
    return day, month, this_year + (ahead > 50 and ahead - 100 or ahead), time
  end
  month, day, time, year = text:match "^%a%a%a (%a%a%a) ([ %d]%d) (%d%d:%d%d:%d%d) (%d%d%d%d)$"
  return day, month, tonumber(year), time
end

-- os.time would apply the local time zone. A year begins in March here, so that a leap day is its last.
local function days_since_epoch(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  local leap_days = math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
  return 365 * year + leap_days + math.floor((153 * (month - 3) + 2) / 5) + day - 719469
end

local function seconds_of_http_date(text, now_unix)
  local day, month, year, time = parts_of_http_date(text, now_unix)
  month, day = month and MONTHS[month], tonumber(day)
  if not month or day < 1 or day > 31 then return nil end
  local hour, minute, second = time:match "(%d%d):(%d%d):(%d%d)"
  hour, minute, second = tonumber(hour), tonumber(minute), tonumber(second)
  if hour > 23 or minute > 59 or second > 60 then return nil end
  return ((days_since_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second
end

-- In two parts, since Lua 5.1 expects the locale's decimal point.
local function decimal(text)
  if not text or #text > MAX_NUMBER_BYTES then return nil end
  local whole, fraction = text:match("^%s*(%d+)%.?(%d*)%s*$")
  if not whole then return nil end
  return tonumber(whole) + (fraction ~= "" and tonumber(fraction) / 10 ^ #fraction or 0)
end

--- How long the server asked a client to wait.
---@param headers table lower-case name → value
---@param now_unix integer seconds since the epoch
---@return number? seconds, never negative
function retry_after.seconds(headers, now_unix)
  local ms = decimal(headers["retry-after-ms"])
  if ms then return ms / 1000 end
  local text = headers["retry-after"] or ""
  local seconds = decimal(text)
  if seconds then return seconds end
  local date = seconds_of_http_date(text, now_unix)
  return date and math.max(0, date - now_unix) or nil
end

return retry_after
