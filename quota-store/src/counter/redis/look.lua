-- Reads the epochs of partitions.
--
-- KEYS: epochs.
-- Result, per key: 1: the epoch as text, empty where there is none.
-- Atomicity: one step, and it writes nothing.

local function look(item)
  return packed_text(1, {}, 0, call('GET', KEYS[item]) or '')
end

return answer(#KEYS, look)
