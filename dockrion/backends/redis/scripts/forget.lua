-- Removes the registration of a dead replica, unless it owns a run: it may have been paused only, and have
-- taken one since.
-- KEYS replicas, owned
-- ARGV replica
-- Returns whether it is removed.
if #KEYS ~= 2 or #ARGV ~= 1 then
  return redis.error_reply('ERR wrong arguments for forget')
end
local owned = redis.pcall('SCARD', KEYS[2])  -- a key of another type holds no runs
if type(owned) == 'number' and owned > 0 then
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
