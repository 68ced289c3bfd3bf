-- Returns the beginning of histories.
--
-- KEYS[1..]  the histories.
-- ARGV[1]    how many bytes of each.
--
-- Reply: for each the bytes, fewer if it is shorter; nothing if the key is missing; 0 if it holds no string.
-- Second delivery: reads again.

local found = {}
for i, key in ipairs(KEYS) do
  local head = read('GETRANGE', key, 0, ARGV[1] - 1)
  if head == '' then head = read('GET', key) end
  if head == nil then head = 0 end
  found[i] = head
end
return found
