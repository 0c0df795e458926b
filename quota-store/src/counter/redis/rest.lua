-- Says whether a partition's stream is empty.
--
-- KEYS: stream.
-- Result: 1: the id of its last entry, as text; 2 it has entries.
-- Atomicity: one step, and it writes nothing.

local function rest()
  if call('XLEN', KEYS[1]) > 0 then
    return packed(2, {}, 0)
  end
  return packed_text(1, {}, 0, last_id(KEYS[1]))
end

return answer(1, rest)
