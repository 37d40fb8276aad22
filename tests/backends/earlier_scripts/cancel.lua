-- Stores a request to cancel in the run, where its owner sees it even if the message to it is lost.
-- KEYS run
-- ARGV incarnation, reason as JSON
-- Returns the owner and the run's incarnation, or nil when there is no such run.
if #KEYS ~= 1 or #ARGV ~= 2 then
  return redis.error_reply('ERR wrong arguments for cancel')
end
local stored = redis.call('HMGET', KEYS[1], 'owner', 'incarnation')
if not stored[1] or is_other(stored[2], ARGV[1]) then
  return false
end
redis.call('HSETNX', KEYS[1], 'cancel', ARGV[2])
return {stored[1], stored[2] or ''}
