-- Leases the deliveries that are overdue.
-- KEYS due, since
-- ARGV duration of a lease in microseconds, time to live, maximum number of deliveries
-- Returns the time, how many deliveries there are, since when the oldest waits or 0, then each leased delivery
-- and until when it is leased.
local lease, ttl, limit = whole(ARGV[1]), seconds(ARGV[2]), whole(ARGV[3])
if #KEYS ~= 2 or #ARGV ~= 3 or not lease or not ttl or not limit then
  return redis.error_reply('ERR wrong arguments for outbox_claim')
end
local due, since = KEYS[1], KEYS[2]
local now = microseconds()
local oldest = redis.call('ZRANGE', since, 0, 0, 'WITHSCORES')[2]
local reply = {string.format('%.0f', now), redis.call('ZCARD', due), string.format('%.0f', oldest or 0)}
local overdue = redis.call('ZRANGEBYSCORE', due, '-inf', string.format('%.0f', now), 'LIMIT', 0, limit)
for _, delivery in ipairs(overdue) do
  local till = string.format('%.0f', now + lease)
  redis.call('ZADD', due, till, delivery)
  reply[#reply + 1], reply[#reply + 2] = delivery, till
end
if #overdue > 0 then
  redis.call('EXPIRE', due, ttl)
  redis.call('EXPIRE', since, ttl)
end
return reply
