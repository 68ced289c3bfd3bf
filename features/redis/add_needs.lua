-- Adds the caller's needs to the retention of one shard.
--
-- KEYS[1]    the retention: a line with its epoch, and one for each need, sorted.
-- ARGV[1]    the caller's epoch.
-- ARGV[2..]  the caller's needs, texts without line breaks.
--
-- Reply: the value of KEYS[1] from now on. Needs of an earlier epoch are dropped; a later epoch's value is unchanged.
-- Second delivery: changes nothing.

local before = read('GET', KEYS[1]) or ''
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
