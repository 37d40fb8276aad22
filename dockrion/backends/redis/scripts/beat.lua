-- Counts a heartbeat of a replica, and removes its runs that have ended from the set of those it owns.
-- KEYS replicas, owned, expiry, format, queue, sizes of jobs
-- ARGV replica, time to live of its runs, when to check whether the ended runs have expired, the format of what
--      the replica stores, then id and index entry of each of the ended runs
-- Fails on keys of another type before it writes: no run could be stored with them. Only a format of another
-- type is replaced.
-- Returns how many runs the replica owns; how many wait; then each replica and its number of heartbeats. Or
-- 'newer' and the format of what is stored, without a write, if that is newer than the replica's.
local ttl, check_at, format = seconds(ARGV[2]), score(ARGV[3]), whole(ARGV[4])
if #KEYS ~= 6 or #ARGV < 4 or #ARGV % 2 ~= 0 or not ttl or not check_at or not format then
  return redis.error_reply('ERR wrong arguments for beat')
end
local replicas, owned, expiry = KEYS[1], KEYS[2], KEYS[3]
redis.call('SCARD', owned)
redis.call('ZCARD', expiry)
local waiting = redis.call('ZCARD', KEYS[5])
local stored = redis.call('TYPE', KEYS[4]).ok == 'string' and whole(redis.call('GET', KEYS[4])) or 0
if stored > format then
  return {'newer', stored}
end
redis.call('SET', KEYS[4], ARGV[4], 'EX', ttl)
redis.call('HINCRBY', replicas, ARGV[1], 1)
for n = 5, #ARGV, 2 do
  redis.call('SREM', owned, ARGV[n])
  redis.call('ZADD', expiry, check_at, ARGV[n + 1])
end
redis.call('EXPIRE', replicas, ttl)
redis.call('EXPIRE', owned, ttl)
redis.call('EXPIRE', expiry, ttl)
redis.call('EXPIRE', KEYS[5], ttl)
redis.call('EXPIRE', KEYS[6], ttl)
return {redis.call('SCARD', owned), waiting, unpack(redis.call('HGETALL', replicas))}
