-- Reads the events that wait for one target of a run.
-- KEYS outbox, deliveries
-- ARGV target, maximum number of events, maximum number of bytes of their data
-- Returns the size of the first event if it is over that maximum; else the time, the failures or '', how many
-- events were dropped, then position, sequence, type, time, data, URL or '' and request or '' of each
-- event.
local limit, bytes = whole(ARGV[2]), whole(ARGV[3])
if #KEYS ~= 2 or #ARGV ~= 3 or not limit or limit < 1 or not bytes then
  return redis.error_reply('ERR wrong arguments for outbox_read')
end
local outbox, deliveries = KEYS[1], KEYS[2]
local target = ARGV[1]
local state = redis.call('HMGET', deliveries, 'at:' .. target, 'failures:' .. target, 'dropped:' .. target)
local reply = {string.format('%.0f', microseconds()), state[2] or '', state[3] or '0'}
local from, size, count = state[1] and '(' .. state[1] or '-', 0, 0
repeat
  local entries = redis.call('XRANGE', outbox, from, '+', 'COUNT', 16)
  for _, entry in ipairs(entries) do
    local fields = entry[2]
    from = '(' .. entry[1]
    if is_for(fields[10], target) then
      size, count = size + #fields[8], count + 1
      if size > bytes or count > limit then
        return count == 1 and size or reply
      end
      for _, part in ipairs({entry[1], fields[2], fields[4], fields[6], fields[8], fields[12] or '', fields[14] or ''}) do
        reply[#reply + 1] = part
      end
    end
  end
until #entries < 16
return reply
