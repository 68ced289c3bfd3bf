-- Puts other rows before the log of one history, and takes records out of the log's beginning: what was folded.
--
-- KEYS[1]  the history epoch.
-- KEYS[2]  the history.
-- KEYS[3]  the marks of that epoch (see mark.lua), which mean nothing from now on where something is folded.
-- KEYS[4]  how histories are kept in its shard (see keep.lua).
-- ARGV[1]  the history epoch that the caller believes in, as text.
-- ARGV[2]  the beginning of the history as the caller knows it: its header, and its first note if it was folded.
-- ARGV[3]  the byte at which the first record begins that stays in the log.
-- ARGV[4]  8 bytes: the id of that record.
-- ARGV[5]  what comes before it from now on: a header, and rows.
-- ARGV[6]  milliseconds that the marks are kept from now on.
-- ARGV[7]  what the caller believes that KEYS[4] says; "" where panes are only taken out, which drops nothing.
--
-- Reply: 1 where that was done, 0 where the epoch is another, histories are to be kept longer or finer, or this one is
-- not as the caller knows it; then it was left alone. Second delivery: 0, for the beginning is another. The expiry stays
-- as it is, and the value has its size.

local HEADER = 80

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[7] ~= '' and redis.call('GET', KEYS[4]) ~= ARGV[7] then return 0 end
if redis.call('GETRANGE', KEYS[2], 0, #ARGV[2] - 1) ~= ARGV[2] then return 0 end
local kept = redis.call('GETRANGE', KEYS[2], ARGV[3], -1)
if string.sub(kept, 17, 24) ~= ARGV[4] then return 0 end
redis.call('SET', KEYS[2], ARGV[5] .. kept, 'KEEPTTL')
if #ARGV[5] > HEADER then
  redis.call('HSET', KEYS[3], 'void', '1')
  redis.call('PEXPIRE', KEYS[3], ARGV[6])
end
return 1
