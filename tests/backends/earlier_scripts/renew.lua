-- Renews the time to live of an unfinished run's keys, and tells its owner what has happened to the run.
-- KEYS run, events, watchers
-- ARGV owner, incarnation, time to live
-- Returns 'mine', the last sequence and, if there is one, the reason of a request to cancel; or 'missing',
-- 'foreign' or 'closed', and 0.
local ttl = seconds(ARGV[3])
if #KEYS ~= 3 or #ARGV ~= 3 or not ttl then
  return redis.error_reply('ERR wrong arguments for renew')
end
local stored = redis.call('HMGET', KEYS[1], 'owner', 'closed', 'cancel', 'incarnation', 'last')
if not stored[1] then
  return {'missing', 0}
elseif is_other(stored[4], ARGV[2]) then
  return {'foreign', 0}
elseif stored[2] then
  return {'closed', 0}
elseif stored[1] ~= ARGV[1] then
  return {'foreign', 0}
end
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, ttl)
end
return {'mine', whole(stored[5]) or 0, stored[3] or nil}
