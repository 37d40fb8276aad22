-- Records up to where a target has the events of a run, or that attempts to deliver the next one have failed.
-- Deletes the events that no target waits for any more.
-- KEYS outbox, deliveries
-- ARGV target, position or '', failures or '', time to live
-- Returns how many events are left for any target.
local ttl = seconds(ARGV[4])
if #KEYS ~= 2 or #ARGV ~= 4 or not ttl or (ARGV[2] ~= '' and not string.match(ARGV[2], '^%d+%-%d+$')) then
  return redis.error_reply('ERR wrong arguments for outbox_progress')
end
local outbox, deliveries = KEYS[1], KEYS[2]
local target, position = ARGV[1], ARGV[2]
local left = redis.call('XLEN', outbox)
redis.call('HLEN', deliveries)
if position ~= '' then
  -- A replica that was paused may be behind the one that has taken over.
  if not has_reached(redis.call('HGET', deliveries, 'at:' .. target), position) then
    redis.call('HSET', deliveries, 'at:' .. target, position)
  end
  redis.call('HDEL', deliveries, 'failures:' .. target, 'dropped:' .. target)
  local oldest = redis.call('XRANGE', outbox, '-', '+', 'COUNT', 1)[1]
  while oldest do
    for name in string.gmatch(oldest[2][10], '%S+') do
      if oldest and not has_reached(redis.call('HGET', deliveries, 'at:' .. name), oldest[1]) then
        oldest = nil
      end
    end
    if oldest then
      redis.call('XDEL', outbox, oldest[1])
      redis.call('HINCRBY', deliveries, 'bytes', -#oldest[2][8])
      left = left - 1
      oldest = redis.call('XRANGE', outbox, '-', '+', 'COUNT', 1)[1]
    end
  end
elseif left > 0 then
  redis.call('HSET', deliveries, 'failures:' .. target, ARGV[3])
end
if left == 0 then
  redis.call('DEL', outbox, deliveries)
else
  redis.call('EXPIRE', outbox, ttl)
  redis.call('EXPIRE', deliveries, ttl)
end
return left
