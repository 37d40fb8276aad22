-- Takes back a run whose creation was not confirmed, before anything happened to it.
-- KEYS run
-- ARGV owner, record
if #KEYS ~= 1 or #ARGV ~= 2 then
  return redis.error_reply('ERR wrong arguments for discard')
end
local held = redis.call('HMGET', KEYS[1], 'owner', 'record')
if held[1] == ARGV[1] and held[2] == ARGV[2] then
  return redis.call('DEL', KEYS[1])
end
return 0
