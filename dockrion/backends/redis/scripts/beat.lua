-- Shows that a replica is alive, and notes which of its runs are over.
-- KEYS replicas, owned, control, expiry
-- ARGV replica, seconds its runs live, seconds its control stream lives, when to look whether the runs
--      that are over are gone, then id and index entry of each of them
-- Fails on keys of another type, which no run could be stored with.
-- Returns 1 if the control stream had to be made anew, then each replica and its beats.
local function seconds(text)
  local number = tonumber(text)
  return number and number >= 1 and number < 2 ^ 31 and number % 1 == 0 and number
end
local ttl, control_ttl, look_at = seconds(ARGV[2]), seconds(ARGV[3]), tonumber(ARGV[4])
if #KEYS ~= 4 or #ARGV < 4 or #ARGV % 2 ~= 0 or not ttl or not control_ttl
    or not look_at or look_at ~= look_at then
  return redis.error_reply('ERR wrong arguments for beat')
end
local replicas, owned, control, expiry = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
redis.call('SCARD', owned)
redis.call('ZCARD', expiry)
redis.call('HINCRBY', replicas, ARGV[1], 1)
local anew = 0
if redis.call('EXISTS', control) == 0 then
  redis.call('XDEL', control, redis.call('XADD', control, '*', 'run', ''))
  anew = 1
end
for n = 5, #ARGV, 2 do
  redis.call('SREM', owned, ARGV[n])
  redis.call('ZADD', expiry, look_at, ARGV[n + 1])
end
redis.call('EXPIRE', replicas, ttl)
redis.call('EXPIRE', owned, ttl)
redis.call('EXPIRE', expiry, ttl)
redis.call('EXPIRE', control, control_ttl)
return {anew, unpack(redis.call('HGETALL', replicas))}
