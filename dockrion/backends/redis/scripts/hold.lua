-- Holds a name, holds it longer, or releases it, unless another holds it.
-- KEYS holder of the name
-- ARGV the holder, seconds to hold it or 0
-- A value that is not text is replaced.
-- Returns 1, or 0 if another holds the name.
local ttl = whole(ARGV[2])
if #KEYS ~= 1 or #ARGV ~= 2 or ARGV[1] == '' or not ttl or ttl >= 2 ^ 31 then
  return redis.error_reply('ERR wrong arguments for hold')
end
local current = redis.pcall('GET', KEYS[1])
if type(current) == 'string' and current ~= ARGV[1] then
  return 0
end
if ttl == 0 then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ttl)
end
return 1
