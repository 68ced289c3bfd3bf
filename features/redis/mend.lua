-- Says of one history that it is whole again, after everything that it lacked was appended.
--
-- KEYS[1]  the history epoch of the shard.
-- KEYS[2]  the history.
-- KEYS[3]  the shard's damaged histories (see damage.lua).
-- ARGV[1]  the expected history epoch, as text.
-- ARGV[2]  the expected time of the damage.
-- ARGV[3]  8 bytes: the format of an incomplete history; ARGV[4] 8 bytes: the one of a whole history.
--
-- Reply: 1 if it is whole now, or is gone; 0 if the epoch is another, or the history was damaged again meanwhile.
-- Second delivery: 0, and nothing is changed. The expiry is kept.

if read('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if read('HGET', KEYS[3], KEYS[2]) ~= ARGV[2] then return 0 end
local value = read('GET', KEYS[2])
if value and string.sub(value, 9, 16) == ARGV[3] then
  redis.call('SET', KEYS[2], string.sub(value, 1, 8) .. ARGV[4] .. string.sub(value, 17), 'KEEPTTL')
end
redis.call('HSET', KEYS[3], KEYS[2], '')
return 1
