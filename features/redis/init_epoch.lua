-- Sets a deployment's first history epoch in the home shard, marked as unfinished.
--
-- KEYS[1]  the history epoch of the home shard.
-- KEYS[2]  the epoch under which histories are complete.
-- ARGV[1]  the first epoch.
--
-- Reply: 1 if it was set, 0 if there was an epoch already. KEYS[2] is the negative epoch until the other shards have
-- the epoch too. Second delivery: 0.

if read('GET', KEYS[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], '-' .. ARGV[1])
return 1
