-- Leases deliveries that begin, and marks those that are under way as changed.
-- KEYS due, since
-- ARGV duration of a lease in microseconds, time to live, then the deliveries
-- Returns for each delivery 1 if it is leased now, else 0, and until when it is leased.
local lease, ttl = whole(ARGV[1]), seconds(ARGV[2])
if #KEYS ~= 2 or #ARGV < 3 or not lease or not ttl then
  return redis.error_reply('ERR wrong arguments for outbox_add')
end
local due, since = KEYS[1], KEYS[2]
redis.call('ZCARD', due)
redis.call('ZCARD', since)
local now = microseconds()
local reply = {}
for n = 3, #ARGV do
  local leased, till = 0, redis.call('ZSCORE', due, ARGV[n])
  if till then
    till = redis.call('ZINCRBY', due, 1, ARGV[n])
  else
    leased, till = 1, string.format('%.0f', now + lease)
    redis.call('ZADD', due, till, ARGV[n])
    redis.call('ZADD', since, string.format('%.0f', now), ARGV[n])
  end
  reply[#reply + 1], reply[#reply + 2] = leased, string.format('%.0f', tonumber(till))
end
redis.call('EXPIRE', due, ttl)
redis.call('EXPIRE', since, ttl)
return reply
