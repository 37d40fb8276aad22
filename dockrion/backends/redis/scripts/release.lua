-- Gives up a run in its owner's name, so that it waits for another replica, if it can be begun again.
-- KEYS run, events, watchers
-- ARGV owner, incarnation, last sequence, record, whole record if that is larger, time to live, its job
--      unless that is stored
-- Returns the size of its job, also when the call is repeated; or nil.
local last, ttl = whole(ARGV[3]), seconds(ARGV[6])
if #KEYS ~= 3 or #ARGV ~= 7 or not last or not ttl then
  return redis.error_reply('ERR wrong arguments for release')
end
local run = KEYS[1]
local stored = redis.call('HMGET', run, 'owner', 'incarnation', 'closed', 'last', 'record')
local released = stored[1] == 'queue' and stored[5] == ARGV[4]
if (stored[1] ~= ARGV[1] and not released) or is_other(stored[2], ARGV[2]) or stored[3]
    or whole(stored[4]) ~= last then
  return false
end
local size = released and 0 or #ARGV[7]
if size > 0 then
  redis.call('HSET', run, 'job', ARGV[7])
else
  size = redis.call('HSTRLEN', run, 'job')
end
if size == 0 then
  return false
end
redis.call('HSET', run, 'owner', 'queue', 'record', ARGV[4])
if ARGV[5] ~= '' then
  redis.call('HSET', run, 'whole', ARGV[5])
else
  redis.call('HDEL', run, 'whole')
end
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, ttl)
end
return size
