-- Tries every command that the service needs, on a key with a text. Most fail because of its type.
-- KEYS a key that may be overwritten and deleted
-- ARGV its time to live, if it cannot be deleted
-- Returns those that the user may not use. Fails when the key cannot be written for another reason.
local key = KEYS[1]
local ttl = seconds(ARGV[1])
if #KEYS ~= 1 or #ARGV ~= 1 or not ttl then
  return redis.error_reply('ERR wrong arguments for permitted')
end
local refused = {}

local function try(...)
  local reply = redis.pcall(...)
  local failure = type(reply) == 'table' and reply.err or ''
  if string.find(failure, 'permissions to run') or string.find(failure, "can't run this command") then
    refused[#refused + 1] = string.lower((...))
  end
  return reply
end

try('DEL', key)
local stored = try('SET', key, 'text', 'EX', ttl)
if #refused == 0 then  -- else commands could create the key, and leave it
  if stored.err then
    return stored
  end
  for _, command in ipairs({'EXISTS', 'TYPE', 'PTTL', 'GET', 'INCR', 'HGETALL', 'HKEYS', 'HLEN', 'SCARD', 'SMEMBERS',
      'SPOP', 'ZCARD', 'XLEN'}) do
    try(command, key)
  end
  for _, command in ipairs({'HEXISTS', 'HGET', 'HMGET', 'HDEL', 'HSTRLEN', 'SADD', 'SREM', 'ZREM', 'ZSCORE', 'XDEL'}) do
    try(command, key, '1-0')
  end
  for _, command in ipairs({'HSET', 'HSETNX', 'HINCRBY', 'ZRANGE', 'ZRANGEBYSCORE', 'XRANGE', 'XREVRANGE'}) do
    try(command, key, '1', '1')
  end
  try('TIME')
  try('EXPIRE', key, ttl)
  try('ZADD', key, 1, 'member')
  try('ZINCRBY', key, 1, 'member')
  try('ZREVRANGEBYLEX', key, '+', '-')
  try('ZREMRANGEBYLEX', key, '-', '+')
  try('XADD', key, '*', 'field', 'value')
  try('XREAD', 'STREAMS', key, '0-0')
  try('XTRIM', key, 'MAXLEN', 1)
  try('GETDEL', key)
end
redis.pcall('DEL', key)
return refused
