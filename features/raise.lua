-- Raises the history epoch above one under which something was lost, once, whoever notices it first.
--
-- KEYS[1]  the deployment's history epoch.
-- ARGV[1]  the epoch that the caller believed in.
--
-- Reply: the epoch from now on, as text. Second delivery, or a second worker that notices the same loss: what the
-- first one raised it to.

local now = redis.call('GET', KEYS[1])
if now and tonumber(now) > tonumber(ARGV[1]) then return now end
local raised = string.format('%.0f', tonumber(ARGV[1]) + 1)
redis.call('SET', KEYS[1], raised)
return raised
