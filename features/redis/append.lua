-- Appends the records of one batch to their histories, each once; or appends nothing and names those that differ.
--
-- KEYS[1]    the history epoch of the shard.
-- KEYS[2..]  the histories, kind by kind: cards first; each key once.
-- ARGV[1]    the expected history epoch, as text.
-- ARGV[2]    for each history 20 bytes, little-endian:
--              u32  the byte at which the last record that the caller knows begins (for a history expected to be
--                   absent: the byte at which one would begin);
--              8 bytes that are expected 16 bytes after it: that record's id;
--              u32  the number of records to append; none of them is among those that the caller knows;
--              u32  flags: 1 the history is expected to be absent, 2 its expiry is renewed.
-- ARGV[3]    these records, history by history.
-- ARGV[4]    headers for the histories expected to be absent, 80 bytes each, in their order.
-- ARGV[5..]  for each kind, four: number of its keys; bytes of a record; milliseconds until expiry; 1 if other workers
--            may append to it (shared), else 0.
--
-- Reply: {0, index, tail, index, tail, ...}  everything is appended; an index (from 1, among the histories) names a
--          shared history to which others had appended `tail` first: the caller's records follow, without those
--          that the tail contains.
--        {1, index, index, ...}              nothing is appended; these histories differ: one that is not shared has
--          grown, or the last known record is another or gone.
--        {2, epoch}                          nothing is appended; the epoch is another, or missing ("").
--        {3, index, index, ...}              nothing is appended; these keys hold no string, and so no history.
--
-- Second delivery: {1, ...} for cards, whose histories have grown; the caller reloads them and finds its records there.
-- A record that is already in the tail is not appended again.

local HEADER = 80

local function holds(tail, id, width)
  local from = 1
  while true do
    local at = string.find(tail, id, from, true)
    if not at then return false end
    if (at - 17) % width == 0 then return true end
    from = at + 1
  end
end

local epoch = read('GET', KEYS[1]) or ''
if epoch ~= ARGV[1] then return {2, epoch} end

local asks, kinds = ARGV[2], {}
for k = 5, #ARGV, 4 do
  kinds[#kinds + 1] = {tonumber(ARGV[k]), tonumber(ARGV[k + 1]), ARGV[k + 2], ARGV[k + 3] == '1'}
end

local found, counts, flags, wrong, damaged, i = {}, {}, {}, {1}, {3}, 0
for _, kind in ipairs(kinds) do
  local width, shared = kind[2], kind[4]
  for _ = 1, kind[1] do
    i = i + 1
    local start, id, count, flag = struct.unpack('<I4c8I4I4', asks, i * 20 - 19)
    local blob = read('GETRANGE', KEYS[i + 1], start, -1)
    if blob == nil then
      damaged[#damaged + 1] = i
      blob = ''
    end
    if flag % 2 == 1 then
      if #blob > 0 then wrong[#wrong + 1] = i end
    elseif string.sub(blob, 17, 24) ~= id or (not shared and #blob > width) then
      wrong[#wrong + 1] = i
    end
    found[i], counts[i], flags[i] = blob, count, flag
  end
end
if #damaged > 1 then return damaged end
if #wrong > 1 then return wrong end

local reply, at, header = {0}, 1, 1
i = 0
for _, kind in ipairs(kinds) do
  local width, kept = kind[2], kind[3]
  for _ = 1, kind[1] do
    i = i + 1
    local key, blob, count, flag = KEYS[i + 1], found[i], counts[i], flags[i]
    local mine = string.sub(ARGV[3], at, at + count * width - 1)
    at = at + count * width
    if flag % 2 == 1 then
      if count > 0 then redis.call('APPEND', key, string.sub(ARGV[4], header, header + HEADER - 1) .. mine) end
      header = header + HEADER
    elseif #blob > width then
      local tail, absent = string.sub(blob, width + 1), {}
      for from = 1, #mine, width do
        if not holds(tail, string.sub(mine, from + 16, from + 23), width) then
          absent[#absent + 1] = string.sub(mine, from, from + width - 1)
        end
      end
      if #absent > 0 then redis.call('APPEND', key, table.concat(absent)) end
      reply[#reply + 1] = i
      reply[#reply + 1] = tail
    elseif count > 0 then
      redis.call('APPEND', key, mine)
    end
    if flag >= 2 then redis.call('PEXPIRE', key, kept) end
  end
end
return reply
