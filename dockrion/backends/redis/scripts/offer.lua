-- Offers a run that is stored as waiting to the replicas, now or after a delay.
-- KEYS queue, sizes of jobs, idle, replicas
-- ARGV index entry, size of its job, 1 if it waits again, delay in milliseconds, time to live
-- Fails on keys of another type before it writes.
-- Returns a live replica that has a slot for it, which is no longer listed as idle, or nil.
local size, delay, ttl = whole(ARGV[2]), whole(ARGV[4]), seconds(ARGV[5])
if #KEYS ~= 4 or #ARGV ~= 5 or not size or not delay or not ttl then
  return redis.error_reply('ERR wrong arguments for offer')
end
redis.call('HLEN', KEYS[2])
redis.call('SCARD', KEYS[3])
redis.call('ZADD', KEYS[1], now() + delay + (ARGV[3] == '1' and again or 0), ARGV[1])
add_size(KEYS[2], ARGV[1], size)
redis.call('EXPIRE', KEYS[1], ttl)
redis.call('EXPIRE', KEYS[2], ttl)
return delay == 0 and pop_idle(KEYS[3], KEYS[4])
