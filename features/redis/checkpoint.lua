-- Notes up to where parts of the log are applied, so that a repair after the loss of a server need not begin before.
--
-- KEYS[1]  the history epoch.
-- KEYS[2]  the epoch whose histories are known to be all there.
-- KEYS[3]  the marks of that epoch: a hash with a field for each part, an offset below which all is applied; and
--          "void" where these mean nothing.
-- ARGV[1]  the epoch that the caller believes in.
-- ARGV[2]  the process of the server that it believes to speak to; ARGV[3] the replication that this one leads.
-- ARGV[4]  milliseconds that the marks are kept from now on.
-- ARGV[5..] pairs of a field and an offset. None: the marks are void from now on.
--
-- Reply: 1 where that was noted (or where there were marks that became void), 0 where not. Nothing is noted under
-- another epoch, under one that is not whole, by who does not know yet that the server is another: what he applied may
-- be lost with the one before, or where the marks are void. Second delivery: changes nothing; a mark only rises.

if #ARGV == 4 then
  local had = redis.call('EXISTS', KEYS[3]) == 1 and not redis.call('HGET', KEYS[3], 'void')
  redis.call('HSET', KEYS[3], 'void', '1')
  redis.call('PEXPIRE', KEYS[3], ARGV[4])
  return had and 1 or 0
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if string.match(redis.call('GET', KEYS[2]) or '', '^%S+') ~= ARGV[1] then return 0 end
local server, replication = redis.call('INFO', 'server'), redis.call('INFO', 'replication')
if not string.find(server, 'run_id:' .. ARGV[2], 1, true) then return 0 end
if not string.find(replication, 'master_replid:' .. ARGV[3], 1, true) then return 0 end
redis.call('PEXPIRE', KEYS[3], ARGV[4])
if redis.call('HGET', KEYS[3], 'void') then return 0 end
for i = 5, #ARGV, 2 do
  local before = redis.call('HGET', KEYS[3], ARGV[i])
  if not before or tonumber(before) < tonumber(ARGV[i + 1]) then redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
end
return 1
