-- Notes that a replica is about to own a run, so that the run is found if the replica dies.
-- KEYS replicas, owned, runs, expiry
-- ARGV replica, run id, index entry, when to look whether the run is gone, seconds to live
local function seconds(text)
  local number = tonumber(text)
  return number and number >= 1 and number < 2 ^ 31 and number % 1 == 0 and number
end
local look_at, ttl = tonumber(ARGV[4]), seconds(ARGV[5])
if #KEYS ~= 4 or #ARGV ~= 5 or not look_at or look_at ~= look_at or not ttl then
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
