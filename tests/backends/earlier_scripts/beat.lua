-- Counts a heartbeat of a replica, and removes its runs that have ended from the set of those it owns.
-- KEYS replicas, owned, control, expiry
-- ARGV replica, time to live of its runs, time to live of its inbox, when to check whether the ended runs
--      have expired, then id and index entry of each of them
-- Fails on keys of another type before it writes: no run could be stored with them.
-- Returns 1 if the inbox had to be created; how many runs the replica owns; then each replica and its number
-- of heartbeats.
local ttl, control_ttl, check_at = seconds(ARGV[2]), seconds(ARGV[3]), score(ARGV[4])
if #KEYS ~= 4 or #ARGV < 4 or #ARGV % 2 ~= 0 or not ttl or not control_ttl or not check_at then
  return redis.error_reply('ERR wrong arguments for beat')
end
local replicas, owned, control, expiry = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
redis.call('SCARD', owned)
redis.call('ZCARD', expiry)
redis.call('HINCRBY', replicas, ARGV[1], 1)
local created = 0
if redis.call('EXISTS', control) == 0 then
  redis.call('XDEL', control, redis.call('XADD', control, '*', 'run', ''))
  created = 1
end
for n = 5, #ARGV, 2 do
  redis.call('SREM', owned, ARGV[n])
  redis.call('ZADD', expiry, check_at, ARGV[n + 1])
end
redis.call('EXPIRE', replicas, ttl)
redis.call('EXPIRE', owned, ttl)
redis.call('EXPIRE', expiry, ttl)
redis.call('EXPIRE', control, control_ttl)
return {created, redis.call('SCARD', owned), unpack(redis.call('HGETALL', replicas))}
