-- Begins one history anew, incomplete, if its value is still the damaged one; or only notes that it is incomplete.
--
-- KEYS[1]  the history epoch of the shard.
-- KEYS[2]  the history.
-- KEYS[3]  the shard's damaged histories: a hash with the time of the damage for each key, "" once it is whole again.
-- ARGV[1]  the expected history epoch, as text.
-- ARGV[2]  SHA-1 of the damaged value in hexadecimal digits; "" if the key holds no string; "known" to note only.
-- ARGV[3]  the new value: a header that says that the history is incomplete.
-- ARGV[4]  milliseconds until the history expires; ARGV[5] until the hash does.
-- ARGV[6]  the time of the damage, for the hash.
--
-- Reply: 1 if it was begun anew or noted; 0 if the epoch or the value is another, and nothing was changed.
-- Second delivery: 0 for a damaged value, since the value has changed; a note that is there stays as it is.

if read('GET', KEYS[1]) ~= ARGV[1] then return 0 end
make_hash(KEYS[3])
if ARGV[2] ~= 'known' then
  local value = read('GET', KEYS[2])
  local found = value and redis.sha1hex(value) or ''
  if value == false or found ~= ARGV[2] then return 0 end
  redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
elseif (redis.call('HGET', KEYS[3], KEYS[2]) or '') ~= '' then
  return 1
end
redis.call('HSET', KEYS[3], KEYS[2], ARGV[6])
redis.call('PEXPIRE', KEYS[3], ARGV[5])
return 1
