-- Keeps a live run's keys from expiring, and tells its owner what happened to it meanwhile.
-- KEYS run, events, watchers
-- ARGV owner, seconds to live
-- Returns 'mine' and, if there is one, the reason of a request to cancel; or 'missing', 'foreign' or 'closed'.
local function seconds(text)
  local number = tonumber(text)
  return number and number >= 1 and number < 2 ^ 31 and number % 1 == 0 and number
end
local ttl = seconds(ARGV[2])
if #KEYS ~= 3 or #ARGV ~= 2 or not ttl then
  return redis.error_reply('ERR wrong arguments for renew')
end
local held = redis.call('HMGET', KEYS[1], 'owner', 'closed', 'cancel')
if not held[1] then
  return {'missing'}
elseif held[2] then
  return {'closed'}
elseif held[1] ~= ARGV[1] then
  return {'foreign'}
end
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, ttl)
end
return {'mine', held[3] or nil}
