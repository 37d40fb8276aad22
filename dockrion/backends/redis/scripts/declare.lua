-- Stores what a replica declares of itself, and removes what those have declared that are gone.
-- KEYS declarations, replicas
-- ARGV replica, declaration, time to live
-- Declarations of another type are replaced.
local ttl = seconds(ARGV[3])
if #KEYS ~= 2 or #ARGV ~= 3 or not ttl then
  return redis.error_reply('ERR wrong arguments for declare')
end
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  redis.call('DEL', KEYS[1])
end
for _, replica in ipairs(redis.call('HKEYS', KEYS[1])) do
  if not redis.call('HGET', KEYS[2], replica) then
    redis.call('HDEL', KEYS[1], replica)
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ttl)
return 1
