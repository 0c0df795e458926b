-- Holds reservations for another time to live.
--
-- KEYS, 1 per item: owner index.
-- ARGV: memory of the store in ms, number of items; then per item: member, ttl in ms.
-- Result: now, then per item: {1} held; {0} gone; {-1, text} unreadable.
-- Atomicity: the whole call is one step. The partition's index may then name an owner too early,
--   which the next sweep puts right.

local function renew(index)
  local owner_index, member = KEYS[index], ARGV[2 * index + 1]
  if not call('ZSCORE', owner_index, member) then
    return { 0 }
  end
  call('ZADD', owner_index, 'XX', now + tonumber(ARGV[2 * index + 2]), member)
  return { 1 }
end

return answer(tonumber(ARGV[2]), renew)
