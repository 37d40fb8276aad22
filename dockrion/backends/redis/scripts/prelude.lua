-- Helpers that keys.py puts in front of each script. A script checks its arguments before its first write,
-- because Redis does not undo the writes of a script that fails.

-- Returns a time to live in seconds, as EXPIRE accepts it, or a false value.
local function seconds(text)
  local number = tonumber(text)
  return number and number >= 1 and number < 2 ^ 31 and number % 1 == 0 and number
end

-- Returns an integer from 0 on that a Lua number holds exactly, or a false value.
local function whole(text)
  local number = tonumber(text)
  return number and number >= 0 and number < 2 ^ 53 and number % 1 == 0 and number
end

-- Returns a number that can be the score of a sorted set, which NaN cannot, or a false value.
local function score(text)
  local number = tonumber(text)
  return number and number == number and number
end

-- Returns whether a stored run has another incarnation than the caller means, who passes '*' for any.
local function is_other(stored, incarnation)
  return incarnation ~= '*' and (stored or '') ~= incarnation
end

-- Returns the time in microseconds.
local function microseconds()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Returns whether an event in the outbox is for a target, whose name is one of those in a text.
local function is_for(names, target)
  return string.find(' ' .. names .. ' ', ' ' .. target .. ' ', 1, true) ~= nil
end

-- Returns whether the events that a target has, up to a position or false, include one.
local function has_reached(position, id)
  local time, number = string.match(position or '0-0', '^(%d+)%-(%d+)$')
  local own_time, own_number = string.match(id, '^(%d+)%-(%d+)$')
  time, own_time = tonumber(time) or 0, tonumber(own_time)
  return time > own_time or (time == own_time and tonumber(number) >= tonumber(own_number))
end

-- Returns the time in milliseconds.
local function now()
  return math.floor(microseconds() / 1000)
end

-- What is added to the scores of runs that wait again, to tell them from new ones.
local again = 10 ^ 14

-- Returns the index entries of runs that may be taken now: those that wait again, then new ones, the oldest first.
local function due(queue, most)
  local entries = redis.call('ZRANGEBYSCORE', queue, again, again + now(), 'LIMIT', 0, most)
  if #entries < most then
    for _, entry in ipairs(redis.call('ZRANGEBYSCORE', queue, '-inf', now(), 'LIMIT', 0, most - #entries)) do
      entries[#entries + 1] = entry
    end
  end
  return entries
end

-- Notes the size of a waiting run's job; the field with an empty name has the total.
local function add_size(sizes, entry, size)
  local before = whole(redis.call('HGET', sizes, entry)) or 0
  redis.call('HSET', sizes, entry, size)
  redis.call('HINCRBY', sizes, '', size - before)
end

-- Forgets the size of a job.
local function remove_size(sizes, entry)
  local size = whole(redis.call('HGET', sizes, entry))
  if size then
    redis.call('HDEL', sizes, entry)
    redis.call('HINCRBY', sizes, '', -size)
  end
end

-- Removes a live replica from the set of those that are idle, and returns it, or false.
local function pop_idle(idle, replicas)
  local replica = redis.call('SPOP', idle)
  while replica and redis.call('HEXISTS', replicas, replica) == 0 do
    replica = redis.call('SPOP', idle)
  end
  return replica
end

