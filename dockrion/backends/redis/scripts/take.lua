-- Makes a replica the owner of a run that waits. Repeating a call succeeds.
-- KEYS run
-- ARGV replica, index entry
-- Returns nil when there is no such run, or it does not wait any more; else record, whole record if that is
-- larger, incarnation, job, and the reason of a request to cancel, as JSON.
if #KEYS ~= 1 or #ARGV ~= 2 then
  return redis.error_reply('ERR wrong arguments for take')
end
local run = KEYS[1]
local stored = redis.call('HMGET', run, 'owner', 'entry', 'closed', 'job')
if stored[2] ~= ARGV[2] or stored[3] or not stored[4] or (stored[1] ~= 'queue' and stored[1] ~= ARGV[1]) then
  return false
end
redis.call('HSET', run, 'owner', ARGV[1])
return redis.call('HMGET', run, 'record', 'whole', 'incarnation', 'job', 'cancel')
