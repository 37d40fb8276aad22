-- Keeps a secret, the first that is offered, for as long as it is asked for.
-- KEYS secret
-- ARGV a new secret, seconds to live
-- What is there but no secret is replaced.
-- Returns the secret.
local function seconds(text)
  local number = tonumber(text)
  return number and number >= 1 and number < 2 ^ 31 and number % 1 == 0 and number
end
local ttl = seconds(ARGV[2])
if #KEYS ~= 1 or #ARGV ~= 2 or ARGV[1] == '' or not ttl then
  return redis.error_reply('ERR wrong arguments for secret')
end
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'string' and #held == #ARGV[1] then
  redis.call('EXPIRE', KEYS[1], ttl)
  return held
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ttl)
return ARGV[1]
