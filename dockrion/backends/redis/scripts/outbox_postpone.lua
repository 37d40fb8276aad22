-- Lets a lease expire at another time, or ends its delivery.
-- A lease that another replica has taken over is later by at least its duration; one that is marked as changed
-- is later by less.
-- KEYS due, since
-- ARGV delivery, until when it is leased, duration of a lease in microseconds, time to live, microseconds from
--      now on or -1 to end an unchanged delivery, since when its oldest event waits or -1
-- Returns until when it is leased now; 0 if it is ended, -1 if it was taken over or is gone.
local expected, lease, ttl = whole(ARGV[2]), whole(ARGV[3]), seconds(ARGV[4])
local delay, waits = tonumber(ARGV[5]), tonumber(ARGV[6])
if #KEYS ~= 2 or #ARGV ~= 6 or not expected or not lease or not ttl or not delay or delay ~= delay
    or not waits or waits ~= waits then
  return redis.error_reply('ERR wrong arguments for outbox_postpone')
end
local due, since = KEYS[1], KEYS[2]
local current = tonumber(redis.call('ZSCORE', due, ARGV[1]) or nil)
redis.call('ZCARD', since)
if not current or current < expected or current >= expected + lease then
  return '-1'
end
if delay < 0 then
  if current ~= expected then
    return string.format('%.0f', current)
  end
  redis.call('ZREM', due, ARGV[1])
  redis.call('ZREM', since, ARGV[1])
  return '0'
end
local till = string.format('%.0f', microseconds() + delay)
redis.call('ZADD', due, till, ARGV[1])
if waits >= 0 then
  redis.call('ZADD', since, string.format('%.0f', waits), ARGV[1])
end
redis.call('EXPIRE', due, ttl)
redis.call('EXPIRE', since, ttl)
return till
