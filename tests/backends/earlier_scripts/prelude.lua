-- Helpers that keys.py puts in front of each script. A script checks its arguments before its first write,
-- because Redis does not undo the writes of a script that fails.

-- Returns a time to live in seconds, as EXPIRE accepts it, or a false value.
local function seconds(text)
  local number = tonumber(text)
  return number and number >= 1 and number < 2 ^ 31 and number % 1 == 0 and number
end

-- Returns an integer from 0 on that a Lua number holds exactly, or a false value.
local function whole(text)
  local number = tonumber(text)
  return number and number >= 0 and number < 2 ^ 53 and number % 1 == 0 and number
end

-- Returns a number that can be the score of a sorted set, which NaN cannot, or a false value.
local function score(text)
  local number = tonumber(text)
  return number and number == number and number
end

-- Returns whether a stored run has another incarnation than the caller means, who passes '*' for any.
local function is_other(stored, incarnation)
  return incarnation ~= '*' and (stored or '') ~= incarnation
end

