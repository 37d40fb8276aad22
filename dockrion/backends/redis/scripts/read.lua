-- Reads the events after a position, up to the first gap between them.
-- KEYS run, events
-- ARGV incarnation, position, maximum number of events, maximum number of bytes of their data
-- Returns nil when there is no such run; the size of the first event if it is over that maximum; else last
-- sequence, 1 if closed, sequence of the first event read, then type, time and data of each.
local run, events = KEYS[1], KEYS[2]
local after, limit, bytes = whole(ARGV[2]), whole(ARGV[3]), whole(ARGV[4])
if #KEYS ~= 2 or #ARGV ~= 4 or not after or not limit or limit < 1 or not bytes then
  return redis.error_reply('ERR wrong arguments for read')
end
local stored = redis.call('HMGET', run, 'last', 'closed', 'incarnation')
local last = tonumber(stored[1])
if not last or is_other(stored[3], ARGV[1]) then
  return false
end
local page = {stored[1], stored[2] and 1 or 0, 0}
local sequence, size, count = after, 0, 0
local chunk = 1  -- grows, so that events that do not fit into the page are not read in numbers
while count < limit and sequence < last do
  local entries = redis.call(
    'XRANGE', events, string.format('%.0f-0', sequence + 1), '+', 'COUNT', math.min(chunk, limit - count))
  if #entries == 0 then
    return page
  end
  for _, entry in ipairs(entries) do
    local number = tonumber(string.match(entry[1], '^%d+'))
    local data = entry[2][6]
    size = size + #data
    if count == 0 then
      if size > bytes then
        return size
      end
      page[3] = string.format('%.0f', number)
    elseif size > bytes or number ~= sequence + 1 then
      return page
    end
    local fields = entry[2]
    local at = 3 + count * 3
    page[at + 1], page[at + 2], page[at + 3] = fields[2], fields[4], data
    sequence, count = number, count + 1
  end
  chunk = math.min(chunk * 4, 256)
end
return page
