-- Replaces the rows of one history by as many others: erased records by what is kept of them.
--
-- KEYS[1]  the history epoch of the shard.
-- KEYS[2]  the history.
-- ARGV[1]  the expected history epoch, as text.
-- ARGV[2]  the expected base position: u64, little-endian.
-- ARGV[3]  the new rows; the last one has the id of the last one that is expected.
-- ARGV[4]  the bytes of a row.
--
-- Reply: 1 if done; 0 if the epoch or the history is not the expected one, and nothing was changed.
-- Second delivery: 1, and the rows are the same. The expiry is kept.

local HEADER = 80

if read('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local value, rows = read('GET', KEYS[2]) or '', ARGV[3]
if #value ~= HEADER + #rows or string.sub(value, 1, 8) ~= ARGV[2] then return 0 end
local id = #rows - ARGV[4] + 17
if string.sub(value, HEADER + id, HEADER + id + 7) ~= string.sub(rows, id, id + 7) then return 0 end
redis.call('SET', KEYS[2], string.sub(value, 1, HEADER) .. rows, 'KEEPTTL')
return 1
