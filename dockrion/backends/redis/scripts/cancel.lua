-- Stores a request to cancel in the run, where its owner sees it even if the message to it is lost.
-- KEYS run
-- ARGV reason, as JSON
-- Returns the owner, or nil when there is no such run.
if #KEYS ~= 1 or #ARGV ~= 1 then
  return redis.error_reply('ERR wrong arguments for cancel')
end
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner then
  redis.call('HSETNX', KEYS[1], 'cancel', ARGV[1])
end
return owner
