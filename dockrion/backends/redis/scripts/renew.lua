-- Renews the time to live of an unfinished run's keys, and tells its owner what has happened to the run.
-- KEYS run, events, watchers
-- ARGV owner, incarnation, time to live
-- Returns 'mine' and, if there is one, the reason of a request to cancel; or 'missing', 'foreign' or 'closed'.
local ttl = seconds(ARGV[3])
if #KEYS ~= 3 or #ARGV ~= 3 or not ttl then
  return redis.error_reply('ERR wrong arguments for renew')
end
local stored = redis.call('HMGET', KEYS[1], 'owner', 'closed', 'cancel', 'incarnation')
if not stored[1] then
  return {'missing'}
elseif is_other(stored[4], ARGV[2]) then
  return {'foreign'}
elseif stored[2] then
  return {'closed'}
elseif stored[1] ~= ARGV[1] then
  return {'foreign'}
end
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, ttl)
end
return {'mine', stored[3] or nil}
