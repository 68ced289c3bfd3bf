-- Drops records from the beginning of one history; the positions of the others stay.
--
-- KEYS[1]  the history.
-- KEYS[2]  how histories are kept in its shard (see keep.lua).
-- ARGV[1]  its base position as the caller knows it: u64, little-endian.
-- ARGV[2]  its base position afterwards, likewise.
-- ARGV[3]  how many bytes of records to drop.
-- ARGV[4]  8 bytes: the id of the first record that stays.
-- ARGV[5]  what the caller believes that KEYS[2] says.
--
-- Reply: 1 where that was done, 0 where the history is not as the caller knows it, or is to be kept for longer, and was
-- left alone. Second delivery: 0, for the base is another. The expiry stays as it is.

local HEADER = 80
if redis.call('GET', KEYS[2]) ~= ARGV[5] then return 0 end
local head = redis.call('GETRANGE', KEYS[1], 0, HEADER - 1)
if string.sub(head, 1, 8) ~= ARGV[1] then return 0 end
local kept = redis.call('GETRANGE', KEYS[1], HEADER + ARGV[3], -1)
if string.sub(kept, 17, 24) ~= ARGV[4] then return 0 end
redis.call('SET', KEYS[1], ARGV[2] .. string.sub(head, 9) .. kept, 'KEEPTTL')
return 1
