-- Reads counters of one user and its tenant.
--
-- KEYS: partition index, user hash, tenant hash.
-- ARGV: number of user fields, number of tenant fields, the fields, and with a ledger
--   the expected epoch.
-- Result: 1: used, reserved, ...; or 6 where expired reservations are to be reaped first; or 254
--   not serving: the epoch as text.
-- Atomicity: one step, and it writes nothing.

local function append(numbers, key, from, to)
  for at = from, to, 500 do
    local values = call('HMGET', key, unpack(ARGV, at, math.min(at + 499, to)))
    for i = 1, #values do
      local n = #numbers
      numbers[n + 1], numbers[n + 2] = parse(values[i])
    end
  end
end

local function read()
  if HAS_LEDGER then
    local epoch, reply = expect_epoch(sub(KEYS[1], 1, -2) .. 'e', ARGV[#ARGV])
    if not epoch then
      return reply
    end
  end
  local first = call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  if first[2] and tonumber(first[2]) <= now then
    return packed(6, {}, 0)
  end
  local user_count, tenant_count = tonumber(ARGV[1]), tonumber(ARGV[2])
  local numbers = {}
  append(numbers, KEYS[2], 3, 2 + user_count)
  append(numbers, KEYS[3], 3 + user_count, 2 + user_count + tenant_count)
  return packed(1, numbers, #numbers)
end

return answer(1, read)
