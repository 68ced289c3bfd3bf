-- Stores how far parts of the log are applied again under an epoch; once all are, its histories are complete.
--
-- KEYS[1]  the history epoch of the home shard.
-- KEYS[2]  the epoch under which histories are complete, and how far back: "epoch name=ms,name=ms".
-- KEYS[3]  the hash of this repair: a field for each part, "first reached end done", offsets; done is 1 or 0.
-- KEYS[4]  the hash of records that this epoch displaced: for each source, the offset below which they may be.
-- ARGV[1]  the epoch that is repaired.
-- ARGV[2]  the number of parts of the log.
-- ARGV[3]  how far back KEYS[2] reaches once all parts are done.
-- ARGV[4]  milliseconds until both hashes expire.
-- ARGV[5]  how many pairs for KEYS[3] follow, each a field and its value; the rest are pairs for KEYS[4].
--
-- Reply: -1 if the epoch is another, and nothing was stored; 1 if the histories are complete now, else 0.
-- Second delivery: changes nothing. A part that is done stays done, and displaced offsets only rise.

if read('GET', KEYS[1]) ~= ARGV[1] then return -1 end
make_hash(KEYS[3])
make_hash(KEYS[4])
local pairs_end = 5 + 2 * tonumber(ARGV[5])
for i = 6, pairs_end, 2 do
  local before = redis.call('HGET', KEYS[3], ARGV[i])
  if not before or string.sub(before, -2) ~= ' 1' then redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
end
for i = pairs_end + 1, #ARGV, 2 do
  local before = redis.call('HGET', KEYS[4], ARGV[i])
  if not before or tonumber(before) < tonumber(ARGV[i + 1]) then redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 1]) end
end
redis.call('PEXPIRE', KEYS[3], ARGV[4])
redis.call('PEXPIRE', KEYS[4], ARGV[4])

local done = 0
for i, value in ipairs(redis.call('HGETALL', KEYS[3])) do
  if i % 2 == 0 and string.sub(value, -2) == ' 1' then done = done + 1 end
end
if done < math.max(1, tonumber(ARGV[2])) then return 0 end

local covered, names, text = {}, {}, {}
local before = read('GET', KEYS[2]) or ''
if string.match(before, '^%S+') ~= ARGV[1] then before = '' end
for name, ms in string.gmatch(before .. ' ' .. ARGV[3], '(%w+)=(%d+)') do
  if not covered[name] then names[#names + 1] = name end
  if not covered[name] or tonumber(ms) > tonumber(covered[name]) then covered[name] = ms end
end
table.sort(names)
for i, name in ipairs(names) do text[i] = name .. '=' .. covered[name] end
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. table.concat(text, ','))
return 1
