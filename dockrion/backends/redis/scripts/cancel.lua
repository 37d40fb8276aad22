-- Leaves a request to cancel where the run's owner finds it, even if it is never told.
-- KEYS run
-- ARGV reason, as JSON
-- Returns the owner, or nothing when there is no run.
if #KEYS ~= 1 or #ARGV ~= 1 then
  return redis.error_reply('ERR wrong arguments for cancel')
end
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner then
  redis.call('HSETNX', KEYS[1], 'cancel', ARGV[1])
end
return owner
