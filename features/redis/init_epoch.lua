-- Begins a deployment's history epochs where there are none: the first step of several, marked as such.
--
-- KEYS[1]  the history epoch of the shard in which all is kept that is kept once.
-- KEYS[2]  the epoch whose histories are known to be all there.
-- ARGV[1]  the epoch to begin with.
--
-- Reply: 1 where it was begun, 0 where there was one already. What KEYS[2] holds then is the negative of it, until
-- the other shards have the epoch too. Second delivery: 0.

if redis.call('GET', KEYS[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], '-' .. ARGV[1])
return 1
