-- Notes what a worker needs of histories, for a while, and says what all workers need.
--
-- KEYS[1]    the needs: lines of "MS NEED", the milliseconds since 1970 up to which a need holds, and what is needed.
-- ARGV[1]    milliseconds since 1970, now.
-- ARGV[2]    up to when the caller's needs hold.
-- ARGV[3..]  the caller's needs, texts without line breaks.
--
-- Reply: all needs that hold now, the caller's among them. Second delivery: the same again.

local until_ms, order = {}, {}
local function hold(ms, need)
  if not until_ms[need] then order[#order + 1] = need end
  until_ms[need] = math.max(until_ms[need] or 0, ms)
end

for ms, need in string.gmatch(redis.call('GET', KEYS[1]) or '', '(%d+) ([^\n]+)') do
  if tonumber(ms) > tonumber(ARGV[1]) then hold(tonumber(ms), need) end
end
for i = 3, #ARGV do hold(tonumber(ARGV[2]), ARGV[i]) end

local lines = {}
for i, need in ipairs(order) do lines[i] = string.format('%.0f', until_ms[need]) .. ' ' .. need end
redis.call('SET', KEYS[1], table.concat(lines, '\n'))
return order
