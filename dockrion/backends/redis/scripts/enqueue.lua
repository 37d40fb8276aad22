-- Lists a new run that waits for a slot, and reserves its place in the queue, before it is created. If its
-- creator dies meanwhile, a replica takes the entry when the reservation is over, and finds a run or none.
-- KEYS queue, sizes of jobs, expiry, runs unless the run is unlisted and, if it has an owner, the runs of that owner
-- ARGV index entry, size of its job, maximum length of the queue, milliseconds of the reservation, when to check
--      whether the run has expired, time to live
-- Fails on keys of another type before it writes.
-- Returns 1, or 0 when the queue is full. Repeating a call succeeds.
local size, most, reserved = whole(ARGV[2]), whole(ARGV[3]), whole(ARGV[4])
local check_at, ttl = score(ARGV[5]), seconds(ARGV[6])
if #KEYS < 3 or #KEYS > 5 or #ARGV ~= 6 or not size or not most or not reserved or not check_at or not ttl then
  return redis.error_reply('ERR wrong arguments for enqueue')
end
local queue, sizes = KEYS[1], KEYS[2]
local entry = ARGV[1]
redis.call('HLEN', sizes)
redis.call('ZCARD', KEYS[3])
if not redis.call('ZSCORE', queue, entry) and redis.call('ZCARD', queue) >= most then
  return 0
end
redis.call('ZADD', KEYS[3], check_at, entry)
if KEYS[4] then
  redis.call('ZADD', KEYS[4], 0, entry)
end
if KEYS[5] then
  redis.call('ZADD', KEYS[5], 0, entry)
  local oldest = redis.call('ZRANGE', KEYS[4], 0, 0)[1]  -- runs older than this have expired
  redis.call('ZREMRANGEBYLEX', KEYS[5], '-', '(' .. oldest)
end
redis.call('ZADD', queue, now() + reserved, entry)
add_size(sizes, entry, size)
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, ttl)
end
return 1
