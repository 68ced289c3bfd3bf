-- Raises the history epoch of one shard, after a loss.
--
-- KEYS[1]  the shard's history epoch.
-- ARGV[1]  the epoch under which records were lost.
-- ARGV[2]  the new epoch.
--
-- Reply: the previous epoch, as text, or "" if there was none (what is no number counts as none); if it is above ARGV[1]
-- it was not changed. Second delivery, or a second worker that detects the same loss: the raised epoch, not changed.

local before = read('GET', KEYS[1]) or ''
local epoch = #before <= 15 and tonumber(string.match(before, '^%d+$')) or 0
if epoch <= tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[2]) end
return before
