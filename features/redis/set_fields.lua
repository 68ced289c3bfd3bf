-- Sets fields of a hash.
--
-- KEYS[1]  the hash.
-- ARGV[1]  milliseconds until it expires.
-- ARGV[2..] pairs of a field and a value.
--
-- Reply: the number of pairs. Second delivery: sets the same again, also over what another caller has set since.

make_hash(KEYS[1])
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return (#ARGV - 1) / 2
