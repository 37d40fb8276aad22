-- Removes the first runs of the queue for a replica, or lists it as idle when there are fewer than it has slots.
-- KEYS queue, sizes of jobs, idle, owned, replicas
-- ARGV replica, its free slots, time to live
-- Fails on keys of another type before it writes.
-- Returns the index entry of each run and the size of its job. The runs are in the set of those that the
-- replica owns from now on, where others find them if it dies before it has taken them.
local free, ttl = whole(ARGV[2]), seconds(ARGV[3])
if #KEYS ~= 5 or #ARGV ~= 3 or not free or free < 1 or not ttl then
  return redis.error_reply('ERR wrong arguments for pop')
end
redis.call('HLEN', KEYS[2])
redis.call('SCARD', KEYS[3])
redis.call('SCARD', KEYS[4])
redis.call('HLEN', KEYS[5])
local entries = due(KEYS[1], free)
local popped = {}
for n, entry in ipairs(entries) do
  popped[2 * n - 1], popped[2 * n] = entry, whole(redis.call('HGET', KEYS[2], entry)) or 0
  redis.call('ZREM', KEYS[1], entry)
  remove_size(KEYS[2], entry)
  redis.call('SADD', KEYS[4], string.match(entry, ':(.*)$'))
end
if #entries < free then
  redis.call('SADD', KEYS[3], ARGV[1])
  redis.call('EXPIRE', KEYS[3], ttl)
else
  redis.call('SREM', KEYS[3], ARGV[1])
end
if #entries > 0 then
  redis.call('HSETNX', KEYS[5], ARGV[1], 0)  -- else others that took it for dead would not look for them
  redis.call('EXPIRE', KEYS[5], ttl)
  redis.call('EXPIRE', KEYS[4], ttl)
end
return popped
