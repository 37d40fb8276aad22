-- Stores a secret unless there is one, and renews its time to live.
-- KEYS secret
-- ARGV a new secret, time to live
-- A value that is not a secret of the same length is replaced.
-- Returns the stored secret.
local ttl = seconds(ARGV[2])
if #KEYS ~= 1 or #ARGV ~= 2 or ARGV[1] == '' or not ttl then
  return redis.error_reply('ERR wrong arguments for secret')
end
local stored = redis.pcall('GET', KEYS[1])
if type(stored) == 'string' and #stored == #ARGV[1] then
  redis.call('EXPIRE', KEYS[1], ttl)
  return stored
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ttl)
return ARGV[1]
