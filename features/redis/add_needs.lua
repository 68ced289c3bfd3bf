-- Has one shard's histories kept as long and as fine as the caller asks, beside what others have asked.
--
-- KEYS[1]    what is asked: a line with the epoch under which it was, and one for each need, sorted.
-- ARGV[1]    the epoch under which the caller asks.
-- ARGV[2..]  the caller's needs, texts without line breaks.
--
-- Reply: what KEYS[1] says from now on. What was asked under an earlier epoch is forgotten; what was asked under a later
-- one is left alone. Second delivery: changes nothing.

local before = redis.call('GET', KEYS[1]) or ''
local epoch = tonumber(string.match(before, '^%d+') or '0')
if epoch > tonumber(ARGV[1]) then return before end

local known, needs = {}, {}
local function ask(need)
  if not known[need] then needs[#needs + 1] = need end
  known[need] = true
end
if epoch == tonumber(ARGV[1]) then
  for need in string.gmatch(before, '\n([^\n]+)') do ask(need) end
end
for i = 2, #ARGV do ask(ARGV[i]) end
table.sort(needs)
table.insert(needs, 1, ARGV[1])
local now = table.concat(needs, '\n')
if now ~= before then redis.call('SET', KEYS[1], now) end
return now
