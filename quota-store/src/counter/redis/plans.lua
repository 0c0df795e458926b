-- Says that the plans which a database keeps changed.
--
-- KEYS: the generation of the plans in each partition.
-- ARGV: memory of the store in ms, nothing, the generation.
-- Result: 1.
-- Atomicity: one step. A generation never goes back.

local function advance()
  local generation = ARGV[3]
  for i = 1, #KEYS do
    local stored = call('GET', KEYS[i])
    if not stored or rare().later(generation, stored) then
      call('SET', KEYS[i], generation)
    end
  end
  return packed(1, {}, 0)
end

return answer(1, advance)
