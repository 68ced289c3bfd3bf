-- Returns all fields of a hash.
--
-- KEYS[1]  the hash.
--
-- Reply: {field, value, field, value, ...}. Second delivery: reads again.

return redis.call('HGETALL', KEYS[1])
