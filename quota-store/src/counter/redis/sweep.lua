-- Reaps the expired reservations of partitions.
--
-- KEYS: lock, then partition indexes.
-- ARGV: memory of the store in ms, how long others leave the work alone in ms (0: no lock is
--   taken).
-- Result: 0 somebody else sweeps; 1 nothing is left; 2 expired reservations may be left.
-- Atomicity: one step, of at most 64 reservations.

local LIMIT = 64

local function sweep()
  local lock_ms = tonumber(ARGV[2])
  if lock_ms > 0 and not call('SET', KEYS[1], '', 'NX', 'PX', lock_ms) then
    return packed(0, {}, 0)
  end
  local left = LIMIT
  for i = 2, #KEYS do
    left = left - rare().reap(KEYS[i], left)
    if left == 0 then
      return packed(2, {}, 0)
    end
  end
  return packed(1, {}, 0)
end

return answer(1, sweep)
