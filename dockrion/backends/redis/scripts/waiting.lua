-- Describes the queue.
-- KEYS queue, sizes of jobs
-- Returns its length, the milliseconds since its first run may be taken, and the total size of the jobs.
if #KEYS ~= 2 or #ARGV ~= 0 then
  return redis.error_reply('ERR wrong arguments for waiting')
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local since = tonumber(first[2] or 0) % again
local age = first[2] and math.max(now() - since, 0) or 0
return {redis.call('ZCARD', KEYS[1]), age, whole(redis.call('HGET', KEYS[2], '')) or 0}
