-- Reads counters of one user and its tenant.
--
-- KEYS: partition index, user hash, tenant hash.
-- ARGV: number of user fields, number of tenant fields, the fields.
-- Result: now, then {1, value or '', ...}, or {6} where expired reservations are to be reaped first.
-- Atomicity: one step, and it writes nothing.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if first[2] and tonumber(first[2]) <= now then
  return { now, { 6 } }
end
local user_count, tenant_count = tonumber(ARGV[1]), tonumber(ARGV[2])
local reply = { 1 }
local function append(key, from, to)
  for at = from, to, 500 do
    local values = redis.call('HMGET', key, unpack(ARGV, at, math.min(at + 499, to)))
    for i = 1, #values do
      reply[#reply + 1] = values[i] or ''
    end
  end
end
append(KEYS[2], 3, 2 + user_count)
append(KEYS[3], 3 + user_count, 2 + user_count + tenant_count)
return { now, reply }
