-- Reads the events that follow a position, as far as they are without a gap between them.
-- KEYS run, events
-- ARGV position, most events, bytes after which no more is added
-- Returns nothing when there is no run; else last sequence, 1 if closed, sequence of the first event
-- found, then type, time and data of each.
local run, events = KEYS[1], KEYS[2]
local function whole(text)
  local number = tonumber(text)
  return number and number >= 0 and number < 2 ^ 53 and number % 1 == 0 and number
end
local after, limit, bytes = whole(ARGV[1]), whole(ARGV[2]), whole(ARGV[3])
if #KEYS ~= 2 or #ARGV ~= 3 or not after or not limit or limit < 1 or not bytes then
  return redis.error_reply('ERR wrong arguments for read')
end
local held = redis.call('HMGET', run, 'last', 'closed')
local last = tonumber(held[1])
if not last then
  return false
end
local page = {held[1], held[2] and 1 or 0, 0}
local sequence, size, count = after, 0, 0
local chunk = 32
while count < limit and size < bytes and sequence < last do
  local found = redis.call(
    'XRANGE', events, string.format('%.0f-0', sequence + 1), '+', 'COUNT', math.min(chunk, limit - count))
  if #found == 0 then
    return page
  end
  for _, entry in ipairs(found) do
    local number = tonumber(string.match(entry[1], '^%d+'))
    if count == 0 then
      page[3] = string.format('%.0f', number)
    elseif number ~= sequence + 1 then
      return page
    end
    local fields = entry[2]
    local at = 3 + count * 3
    page[at + 1], page[at + 2], page[at + 3] = fields[2], fields[4], fields[6]
    sequence, count, size = number, count + 1, size + #fields[6]
    if size >= bytes then
      return page
    end
  end
  chunk = 256
end
return page
