-- Reads a run's record, and what is stored beside it.
-- KEYS run
-- ARGV maximum number of bytes
-- Returns nil when there is no such run; else record, output, incarnation and, if it is larger, the whole
-- record; or their size if it is over the maximum.
local bytes = whole(ARGV[1])
if #KEYS ~= 1 or #ARGV ~= 1 or not bytes then
  return redis.error_reply('ERR wrong arguments for get')
end
local size = redis.call('HSTRLEN', KEYS[1], 'record')
if size == 0 then
  return false
end
size = size + redis.call('HSTRLEN', KEYS[1], 'output') + redis.call('HSTRLEN', KEYS[1], 'whole')
if size > bytes then
  return size
end
return redis.call('HMGET', KEYS[1], 'record', 'output', 'incarnation', 'whole')
