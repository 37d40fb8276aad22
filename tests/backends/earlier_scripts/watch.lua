-- Sets the number of readers that a replica has on a run. Replicas in this hash are notified of appends.
-- KEYS run, watchers
-- ARGV replica, incarnation, its readers or -1 to remove it, maximum number of readers over all replicas or -1,
--      time to live, then dead replicas, whose readers no longer count
-- Returns 'ok' and the run's incarnation; 'missing'; 'replaced' if another incarnation has the id; or 'full'
-- and the other replicas that have readers.
local run, watchers = KEYS[1], KEYS[2]
local readers, limit, ttl = tonumber(ARGV[3]), tonumber(ARGV[4]), seconds(ARGV[5])
if #KEYS ~= 2 or #ARGV < 5 or not readers or readers % 1 ~= 0 or not limit or limit % 1 ~= 0 or not ttl then
  return redis.error_reply('ERR wrong arguments for watch')
end
local stored = redis.call('HMGET', run, 'owner', 'incarnation')
local exists, incarnation = stored[1], stored[2] or ''
if exists and is_other(incarnation, ARGV[2]) then
  return {'replaced'}
end
if readers < 0 then
  redis.call('HDEL', watchers, ARGV[1])
  return {'ok', incarnation}
end
if not exists then
  return {'missing'}
end
for n = 6, #ARGV do
  redis.call('HDEL', watchers, ARGV[n])
end
if limit >= 0 then
  local all, others = readers, {}
  local counts = redis.call('HGETALL', watchers)
  for n = 1, #counts, 2 do
    if counts[n] ~= ARGV[1] then
      all = all + (tonumber(counts[n + 1]) or 0)
      others[#others + 1] = counts[n]
    end
  end
  if all > limit then
    return {'full', unpack(others)}
  end
end
redis.call('HSET', watchers, ARGV[1], readers)
redis.call('EXPIRE', watchers, ttl)
return {'ok', incarnation}
