-- Begins every script: reads a key that may hold another type than it should, by an operator's mistake or another client.

-- Returns what a command returns for a key; nil if the key has another type.
local function read(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if not string.find(reply.err, 'WRONGTYPE', 1, true) then error(reply.err, 0) end
  return nil
end

-- Deletes a key that should hold a hash and does not: what is gone is found to be missing, and made again.
local function make_hash(key)
  if read('HGET', key, '') == nil then redis.call('PEXPIRE', key, 0) end
end

