-- Returns all fields of a hash.
--
-- KEYS[1]  the hash.
--
-- Reply: {field, value, field, value, ...}; {} if the key holds no hash. Second delivery: reads again.

return read('HGETALL', KEYS[1]) or {}
