-- Removes a run from the queue that does not wait any more.
-- KEYS queue, sizes of jobs
-- ARGV index entry
if #KEYS ~= 2 or #ARGV ~= 1 then
  return redis.error_reply('ERR wrong arguments for dequeue')
end
remove_size(KEYS[2], ARGV[1])
return redis.call('ZREM', KEYS[1], ARGV[1])
