-- Compacts one history: removes records from the beginning of its log, and replaces what lies before the log.
--
-- KEYS[1]  the history epoch.
-- KEYS[2]  the history.
-- KEYS[3]  the checkpoints of that epoch (see checkpoint.lua); void from now on if the history gets panes.
-- KEYS[4]  the retention of its shard (see add_needs.lua).
-- ARGV[1]  the expected history epoch, as text.
-- ARGV[2]  the expected beginning of the history: its header, and its first note if it is compacted.
-- ARGV[3]  the byte at which the first remaining record of the log begins.
-- ARGV[4]  8 bytes: the id of that record.
-- ARGV[5]  the new beginning: a header, and rows.
-- ARGV[6]  milliseconds until the checkpoints expire.
-- ARGV[7]  the expected value of KEYS[4]; "" if panes are only removed, which drops no record of the log.
--
-- Reply: 1 if done; 0 if the epoch, the retention or the history is not the expected one, and nothing was changed.
-- Second delivery: 0, since the beginning has changed. The expiry is kept; SET also frees what APPEND
-- had allocated in advance.

local HEADER = 80

if read('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[7] ~= '' and read('GET', KEYS[4]) ~= ARGV[7] then return 0 end
if read('GETRANGE', KEYS[2], 0, #ARGV[2] - 1) ~= ARGV[2] then return 0 end
local kept = redis.call('GETRANGE', KEYS[2], ARGV[3], -1)
if string.sub(kept, 17, 24) ~= ARGV[4] then return 0 end
redis.call('SET', KEYS[2], ARGV[5] .. kept, 'KEEPTTL')
if #ARGV[5] > HEADER then
  make_hash(KEYS[3])
  redis.call('HSET', KEYS[3], 'void', '1')
  redis.call('PEXPIRE', KEYS[3], ARGV[6])
end
return 1
