-- Claims a name with a value, unless it is claimed already.
-- KEYS claim
-- ARGV the value, time to live, the value that is replaced or nothing
-- A value that is not text is replaced.
-- Returns the value that is stored.
local ttl = seconds(ARGV[2])
if #KEYS ~= 1 or #ARGV ~= 3 or ARGV[1] == '' or not ttl then
  return redis.error_reply('ERR wrong arguments for claim')
end
local current = redis.pcall('GET', KEYS[1])
if type(current) == 'string' and current ~= ARGV[3] then
  return current
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ttl)
return ARGV[1]
