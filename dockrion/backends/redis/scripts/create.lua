-- Stores the record of a new run. A repeated call is no conflict with itself.
-- KEYS run, events
-- ARGV owner, record, index entry, seconds to live
-- Returns 1, or 0 when the id is taken.
local function seconds(text)
  local number = tonumber(text)
  return number and number >= 1 and number < 2 ^ 31 and number % 1 == 0 and number
end
local ttl = seconds(ARGV[4])
if #KEYS ~= 2 or #ARGV ~= 4 or not ttl then
  return redis.error_reply('ERR wrong arguments for create')
end
local run = KEYS[1]
if redis.call('EXISTS', run) == 1 then
  local held = redis.call('HMGET', run, 'owner', 'record')
  return (held[1] == ARGV[1] and held[2] == ARGV[2]) and 1 or 0
end
redis.call('DEL', KEYS[2])
redis.call('HSET', run, 'owner', ARGV[1], 'record', ARGV[2], 'entry', ARGV[3], 'last', 0)
redis.call('EXPIRE', run, ttl)
return 1
