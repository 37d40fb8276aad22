-- Stores the record of a new run, and removes what is left of an earlier one with its id. Repeating a call
-- succeeds, also when a run that waits was taken meanwhile.
-- KEYS run, events, watchers
-- ARGV owner, incarnation, record, index entry, time to live, the input or nothing and, if the run has a job or is
--      unlisted, the job or nothing and 1 if it is unlisted
-- Returns 1, or 0 when another run has the id.
local ttl = seconds(ARGV[5])
if #KEYS ~= 3 or (#ARGV ~= 6 and #ARGV ~= 8) or not ttl then
  return redis.error_reply('ERR wrong arguments for create')
end
local run = KEYS[1]
if redis.call('EXISTS', run) == 1 then
  local stored = redis.call('HMGET', run, 'owner', 'incarnation', 'record')
  local same = stored[1] == ARGV[1] and stored[3] == ARGV[3]
  return stored[2] == ARGV[2] and (same or ARGV[1] == 'queue') and 1 or 0
end
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('HSET', run, 'owner', ARGV[1], 'incarnation', ARGV[2], 'record', ARGV[3], 'entry', ARGV[4], 'last', 0)
if ARGV[6] ~= '' then
  redis.call('HSET', run, 'input', ARGV[6])
end
if ARGV[8] == '1' then
  redis.call('HSET', run, 'unlisted', 1)
end
if (ARGV[7] or '') ~= '' then
  redis.call('HSET', run, 'job', ARGV[7])
end
redis.call('EXPIRE', run, ttl)
return 1
