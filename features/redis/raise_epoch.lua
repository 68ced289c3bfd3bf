-- Raises the history epoch of one shard above one that is no longer to be believed in.
--
-- KEYS[1]  the shard's history epoch.
-- ARGV[1]  the epoch that the caller believed in.
-- ARGV[2]  the epoch from now on.
--
-- Reply: the epoch before, as text, or "" where there was none; where that is above ARGV[1] it was left alone.
-- Second delivery, or a second worker that notices the same loss: what the first one raised it to, left alone.

local before = redis.call('GET', KEYS[1]) or ''
if before == '' or tonumber(before) <= tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[2]) end
return before
