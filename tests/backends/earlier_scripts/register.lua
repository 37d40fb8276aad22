-- Lists a run and adds it to those that a replica owns, before it is created: if the replica dies at any
-- later moment, the others find the run.
-- KEYS replicas, owned, expiry, runs and, if the run has an owner, the runs of that owner
-- ARGV replica, run id, index entry, when to check whether the run has expired, time to live
local check_at, ttl = score(ARGV[4]), seconds(ARGV[5])
if #KEYS < 4 or #KEYS > 5 or #ARGV ~= 5 or not check_at or not ttl then
  return redis.error_reply('ERR wrong arguments for register')
end
redis.call('HSETNX', KEYS[1], ARGV[1], 0)
redis.call('SADD', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[3], check_at, ARGV[3])
redis.call('ZADD', KEYS[4], 0, ARGV[3])
if KEYS[5] then
  redis.call('ZADD', KEYS[5], 0, ARGV[3])
  local oldest = redis.call('ZRANGE', KEYS[4], 0, 0)[1]  -- runs older than this have expired
  redis.call('ZREMRANGEBYLEX', KEYS[5], '-', '(' .. oldest)
end
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, ttl)
end
return 1
