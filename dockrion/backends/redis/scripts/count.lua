-- Counts a use, in a window of time that begins with the first one.
-- KEYS uses
-- ARGV seconds of a window
-- What is there but no count is replaced.
-- Returns the uses so far and the milliseconds that are left.
local function seconds(text)
  local number = tonumber(text)
  return number and number >= 1 and number < 2 ^ 31 and number % 1 == 0 and number
end
local window = seconds(ARGV[1])
if #KEYS ~= 1 or #ARGV ~= 1 or not window then
  return redis.error_reply('ERR wrong arguments for count')
end
local used = redis.pcall('INCR', KEYS[1])
if type(used) ~= 'number' or used < 1 then
  redis.call('SET', KEYS[1], 1)
  used = 1
end
local left = redis.call('PTTL', KEYS[1])
if left < 0 or left > window * 1000 then
  redis.call('EXPIRE', KEYS[1], window)
  left = window * 1000
end
return {used, left}
