-- Stops listing a replica as idle, and returns another one for the run that it was told of, or nil.
-- KEYS queue, idle, replicas
-- ARGV replica
if #KEYS ~= 3 or #ARGV ~= 1 then
  return redis.error_reply('ERR wrong arguments for pass')
end
redis.call('SREM', KEYS[2], ARGV[1])
if #due(KEYS[1], 1) == 0 then
  return false
end
return pop_idle(KEYS[2], KEYS[3])
