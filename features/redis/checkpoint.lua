-- Stores checkpoints: offsets below which parts of the log are applied, so that a repair after the loss of a server can
-- start there.
--
-- KEYS[1]  the history epoch.
-- KEYS[2]  the epoch under which histories are complete.
-- KEYS[3]  the checkpoints of that epoch: a hash with an offset for each part, and "void" if they are void.
-- ARGV[1]  the expected epoch.
-- ARGV[2]  the run id of the expected server; ARGV[3] the id of the replication that it leads.
-- ARGV[4]  milliseconds until the checkpoints expire.
-- ARGV[5..] pairs of a field and an offset. None: the checkpoints are void from now on.
--
-- Reply: 1 if they were stored (or if there were valid ones that became void), else 0. Nothing is stored under another
-- epoch, under one whose histories are not complete, where the checkpoints are void, or if the server is not the
-- expected one: what the caller applied may be lost with the previous server. Second delivery: changes nothing; an
-- offset only rises.

make_hash(KEYS[3])
if #ARGV == 4 then
  local had = redis.call('EXISTS', KEYS[3]) == 1 and not redis.call('HGET', KEYS[3], 'void')
  redis.call('HSET', KEYS[3], 'void', '1')
  redis.call('PEXPIRE', KEYS[3], ARGV[4])
  return had and 1 or 0
end
if read('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if string.match(read('GET', KEYS[2]) or '', '^%S+') ~= ARGV[1] then return 0 end
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
