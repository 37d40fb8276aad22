-- Appends a batch to a run's log and replaces the run's record, both or neither.
-- Repeating the last batch succeeds without a write, so that a writer may retry after a lost reply.
-- KEYS run, events, watchers and, if events are copied into it, the outbox and its deliveries
-- ARGV owner, incarnation, index entry, first sequence, maximum number of events kept, time to live, record,
--      output, three digits that are 1 if the batch closes the log, if it may follow a gap and if the job is not
--      needed any more, the whole record if it is larger, the input if it replaces the stored one, maximum
--      number of bytes kept of the events' data, which the newest event may exceed alone, and the events: type, time and data of
--      each, flat in one MessagePack array, since redis-py packs thousands of arguments slowly; without events,
--      only the record of an open log is replaced; with an outbox, its time to live, the run's URL or '', the
--      run's request or '', and the copies: place in the batch and names of targets of each, flat
-- Returns 'ok' and the replicas that watch the run; or 'missing', 'foreign', 'closed' or 'conflict'.
local run, events, watchers = KEYS[1], KEYS[2], KEYS[3]
local first, window, ttl = whole(ARGV[4]), whole(ARGV[5]), seconds(ARGV[6])
local closes, may_gap, drops_job = string.match(ARGV[9] or '', '^([01])([01])([01])$')
local max_bytes = whole(ARGV[12])
local outbox, deliveries = KEYS[4], KEYS[5]
local wrong = not ((#KEYS == 3 and #ARGV == 13) or (#KEYS == 5 and #ARGV == 17))
wrong = wrong or not closes or not first or not window or window < 1 or not ttl or not max_bytes
local unpacked, parts = pcall(cmsgpack.unpack, ARGV[13] or '')
local texts = 0
wrong = wrong or not unpacked or type(parts) ~= 'table'
for _, part in pairs(wrong and {} or parts) do
  wrong = wrong or type(part) ~= 'string'
  texts = texts + 1
end
closes, may_gap = closes == '1', may_gap == '1'
if wrong or (texts == 0 and closes) or texts % 3 ~= 0 or texts ~= #parts then
  return redis.error_reply('ERR wrong arguments for append')
end
local count = texts / 3
local copies, copies_ttl
if outbox then
  copies_ttl = seconds(ARGV[14])
  unpacked, copies = pcall(cmsgpack.unpack, ARGV[17])
  wrong = not unpacked or type(copies) ~= 'table' or #copies % 2 ~= 0 or not copies_ttl
  for n = 1, wrong and 0 or #copies, 2 do
    local place = type(copies[n]) == 'number' and whole(copies[n]) or 0
    wrong = wrong or place < 1 or place > count or type(copies[n + 1]) ~= 'string'
  end
  if wrong then
    return redis.error_reply('ERR wrong arguments for append')
  end
end

if may_gap then
  for n, kind in ipairs({'hash', 'stream', 'hash'}) do
    if redis.call('TYPE', KEYS[n]).ok ~= kind then
      redis.call('DEL', KEYS[n])
    end
  end
end

local stored = redis.call('HMGET', run, 'owner', 'last', 'closed', 'incarnation', 'bytes')
local owner, last, closed = stored[1], tonumber(stored[2]), stored[3]
local bytes = whole(stored[5]) or 0
local watching = redis.pcall('HKEYS', watchers)
if watching.err then
  redis.call('DEL', watchers)
  watching = {}
end
if not owner or not last then
  if not may_gap then
    return {'missing'}
  end
  last, bytes = 0, 0
  redis.call('DEL', events)  -- without their record, these may be another run's
elseif is_other(stored[4], ARGV[2]) then
  return {'foreign'}
elseif owner ~= ARGV[1] then
  return {closed and 'closed' or 'foreign'}
end

local final = first + count - 1
if final == last and count > 0 then
  local newest = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
  if newest and newest[2][2] == parts[#parts - 2] and newest[2][4] == parts[#parts - 1]
      and newest[2][6] == parts[#parts] then
    return {'ok', unpack(watching)}
  end
end
if closed then
  return {'closed'}
end
if first ~= last + 1 and not (may_gap and first > last) then
  return {'conflict'}
end

for n = 0, count - 1 do
  local at = n * 3
  redis.call('XADD', events, string.format('%.0f-0', first + n), 't', parts[at + 1], 'a', parts[at + 2], 'd', parts[at + 3])
  bytes = bytes + #parts[at + 3]
end
redis.call('XTRIM', events, 'MAXLEN', window)
if bytes > max_bytes then
  -- The number does not fall when events are trimmed, so it is only the most that may be stored. Now it is
  -- counted, from the newest event back to where the oldest are cut off: well below the maximum, because
  -- counting reads all that is kept.
  local kept, upper, full = 0, '+', false
  bytes = 0
  repeat
    local newer = redis.call('XREVRANGE', events, upper, '-', 'COUNT', 64)
    for _, entry in ipairs(newer) do
      local size = #entry[2][6]
      full = full or (kept > 0 and bytes + size > max_bytes * 0.75)
      if not full then
        kept, bytes, upper = kept + 1, bytes + size, '(' .. entry[1]
      end
    end
  until full or #newer < 64
  redis.call('XTRIM', events, 'MAXLEN', kept)
end
redis.call('HSET', run, 'owner', ARGV[1], 'entry', ARGV[3], 'record', ARGV[7], 'last', string.format('%.0f', final),
  'bytes', string.format('%.0f', bytes))
if not owner then
  redis.call('HSET', run, 'incarnation', ARGV[2])
end
if ARGV[8] ~= '' then
  redis.call('HSET', run, 'output', ARGV[8])
end
if ARGV[10] ~= '' then
  redis.call('HSET', run, 'whole', ARGV[10])
else
  redis.call('HDEL', run, 'whole')
end
if ARGV[11] ~= '' then
  redis.call('HSET', run, 'input', ARGV[11])
end
if closes then
  redis.call('HSET', run, 'closed', 1)
end
if drops_job == '1' then
  redis.call('HDEL', run, 'job')
end
redis.call('EXPIRE', run, ttl)
redis.call('EXPIRE', events, ttl)
if outbox then
  for n, kind in pairs({[4] = 'stream', [5] = 'hash'}) do
    if redis.call('TYPE', KEYS[n]).ok ~= kind then
      redis.call('DEL', KEYS[n])
    end
  end
  local waiting = whole(redis.call('HGET', deliveries, 'bytes')) or 0
  for n = 1, #copies, 2 do
    local place = copies[n]
    local at = (place - 1) * 3
    redis.call('XADD', outbox, '*', 's', string.format('%.0f', first + place - 1), 't', parts[at + 1],
      'a', parts[at + 2], 'd', parts[at + 3], 'n', copies[n + 1], 'u', ARGV[15], 'r', ARGV[16])
    waiting = waiting + #parts[at + 3]
  end
  local left = redis.call('XLEN', outbox)
  while left > 1 and (left > window or waiting > max_bytes) do
    local oldest = redis.call('XRANGE', outbox, '-', '+', 'COUNT', 1)[1]
    redis.call('XDEL', outbox, oldest[1])
    left, waiting = left - 1, waiting - #oldest[2][8]
    for name in string.gmatch(oldest[2][10], '%S+') do
      if not has_reached(redis.call('HGET', deliveries, 'at:' .. name), oldest[1]) then
        redis.call('HINCRBY', deliveries, 'dropped:' .. name, 1)
      end
    end
  end
  redis.call('HSET', deliveries, 'bytes', string.format('%.0f', waiting))
  redis.call('EXPIRE', outbox, copies_ttl)
  redis.call('EXPIRE', deliveries, copies_ttl)
end
return {'ok', unpack(watching)}
