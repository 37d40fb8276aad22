-- Creates the inbox of a replica unless it exists, and renews its time to live.
-- KEYS inbox
-- ARGV time to live
-- Returns 1 if it had to be created.
local ttl = seconds(ARGV[1])
if #KEYS ~= 1 or #ARGV ~= 1 or not ttl then
  return redis.error_reply('ERR wrong arguments for open_inbox')
end
local created = 0
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('XDEL', KEYS[1], redis.call('XADD', KEYS[1], '*', 'run', ''))
  created = 1
end
redis.call('EXPIRE', KEYS[1], ttl)
return created
