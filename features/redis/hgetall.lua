-- Returns a hash.
--
-- KEYS[1]  the hash.
--
-- Reply: {field, value, field, value, ...}. Second delivery: the same question.

return redis.call('HGETALL', KEYS[1])
