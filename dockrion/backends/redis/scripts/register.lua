-- Notes that a replica is about to own a run, so that the run is found if the replica dies.
-- KEYS replicas, owned, runs, expiry
-- ARGV replica, run id, index entry, when to look whether the run is gone, seconds to live
local look_at, ttl = tonumber(ARGV[4]), tonumber(ARGV[5])
if #KEYS ~= 4 or #ARGV ~= 5 or not look_at or not ttl or ttl < 1 then
  return redis.error_reply('ERR wrong arguments for register')
end
redis.call('HSETNX', KEYS[1], ARGV[1], 0)
redis.call('SADD', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[3], 0, ARGV[3])
redis.call('ZADD', KEYS[4], look_at, ARGV[3])
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, ttl)
end
return 1
