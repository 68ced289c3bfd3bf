-- Drops records from the beginning of one history; the other records keep their positions.
--
-- KEYS[1]  the history.
-- KEYS[2]  the retention of its shard (see add_needs.lua).
-- ARGV[1]  its expected base position: u64, little-endian.
-- ARGV[2]  its new base position, likewise.
-- ARGV[3]  the number of bytes of records to drop.
-- ARGV[4]  8 bytes: the id of the first remaining record.
-- ARGV[5]  the expected value of KEYS[2].
--
-- Reply: 1 if done; 0 if the history or the retention is not the expected one, and nothing was changed.
-- Second delivery: 0, since the base has changed. The expiry is kept.

local HEADER = 80
if read('GET', KEYS[2]) ~= ARGV[5] then return 0 end
local head = read('GETRANGE', KEYS[1], 0, HEADER - 1) or ''
if string.sub(head, 1, 8) ~= ARGV[1] then return 0 end
local kept = redis.call('GETRANGE', KEYS[1], HEADER + ARGV[3], -1)
if string.sub(kept, 17, 24) ~= ARGV[4] then return 0 end
redis.call('SET', KEYS[1], ARGV[2] .. string.sub(head, 9) .. kept, 'KEEPTTL')
return 1
