-- Counts one occurrence in a window of time that starts with the first one.
-- KEYS counter
-- ARGV length of the window in seconds
-- A value that is not a count is replaced.
-- Returns the count and the milliseconds until the window ends.
local window = seconds(ARGV[1])
if #KEYS ~= 1 or #ARGV ~= 1 or not window then
  return redis.error_reply('ERR wrong arguments for count')
end
local counted = redis.pcall('INCR', KEYS[1])
if type(counted) ~= 'number' or counted < 1 then
  redis.call('SET', KEYS[1], 1)
  counted = 1
end
local left = redis.call('PTTL', KEYS[1])
if left < 0 or left > window * 1000 then
  redis.call('EXPIRE', KEYS[1], window)
  left = window * 1000
end
return {counted, left}
