-- Stores the record of a new run. Repeating a call succeeds.
-- KEYS run, events
-- ARGV owner, record, index entry, time to live
-- Returns 1, or 0 when another run has the id.
local ttl = seconds(ARGV[4])
if #KEYS ~= 2 or #ARGV ~= 4 or not ttl then
  return redis.error_reply('ERR wrong arguments for create')
end
local run = KEYS[1]
if redis.call('EXISTS', run) == 1 then
  local stored = redis.call('HMGET', run, 'owner', 'record')
  return (stored[1] == ARGV[1] and stored[2] == ARGV[2]) and 1 or 0
end
redis.call('DEL', KEYS[2])
redis.call('HSET', run, 'owner', ARGV[1], 'record', ARGV[2], 'entry', ARGV[3], 'last', 0)
redis.call('EXPIRE', run, ttl)
return 1
