-- Holds reservations for another time to live.
--
-- KEYS, 1 per item: partition index.
-- ARGV: memory of the store in ms, number of items; then per item: member, ttl in ms.
-- Result, per item: 1 held; 0 gone.
-- Atomicity: the whole call is one step.

local function renew(item)
  local index, member = KEYS[item], ARGV[2 * item + 1]
  if not call('ZSCORE', index, member) then
    return packed(0, {}, 0)
  end
  call('ZADD', index, 'XX', now + tonumber(ARGV[2 * item + 2]), member)
  return packed(1, {}, 0)
end

return answer(tonumber(ARGV[2]), renew)
