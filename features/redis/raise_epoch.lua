-- Raises the history epoch of one shard, after a loss.
--
-- KEYS[1]  the shard's history epoch.
-- ARGV[1]  the epoch under which records were lost.
-- ARGV[2]  the new epoch.
--
-- Reply: the previous epoch, as text, or "" if there was none; if it is above ARGV[1] it was not changed.
-- Second delivery, or a second worker that detects the same loss: the raised epoch, not changed.

local before = redis.call('GET', KEYS[1]) or ''
if before == '' or tonumber(before) <= tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[2]) end
return before
