-- Notes that a replica is about to own a run, so that the run is found if the replica dies.
-- KEYS replicas, owned, expiry, runs and, if it is somebody's, their runs
-- ARGV replica, run id, index entry, when to look whether the run is gone, seconds to live
local function seconds(text)
  local number = tonumber(text)
  return number and number >= 1 and number < 2 ^ 31 and number % 1 == 0 and number
end
local look_at, ttl = tonumber(ARGV[4]), seconds(ARGV[5])
if #KEYS < 4 or #KEYS > 5 or #ARGV ~= 5 or not look_at or look_at ~= look_at or not ttl then
  return redis.error_reply('ERR wrong arguments for register')
end
redis.call('HSETNX', KEYS[1], ARGV[1], 0)
redis.call('SADD', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[3], look_at, ARGV[3])
redis.call('ZADD', KEYS[4], 0, ARGV[3])
if KEYS[5] then
  redis.call('ZADD', KEYS[5], 0, ARGV[3])
  local oldest = redis.call('ZRANGE', KEYS[4], 0, 0)[1]  -- what is older is gone
  redis.call('ZREMRANGEBYLEX', KEYS[5], '-', '(' .. oldest)
end
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, ttl)
end
return 1
