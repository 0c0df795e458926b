-- Reaps the expired reservations of many owners, or of one.
--
-- KEYS: lock, then partition indexes; or partition index, owner index.
-- ARGV: memory of the store in ms, `p` partitions | `o` one owner; then for partitions: how long
--   others leave the work alone, in ms (0: no lock is taken); for an owner: its name.
-- Result: now, then {1 | 0 somebody else sweeps, 1 if expired reservations are left, reaped}.
-- Atomicity: one step, of at most 64 reservations.

local LIMIT = 64

local function sweep_owner()
  local reaped = reap(KEYS[2], KEYS[1], ARGV[3], LIMIT)
  return { now, { 1, reaped == LIMIT and 1 or 0, reaped } }
end

local function sweep_partitions()
  local lock_ms = tonumber(ARGV[3])
  if lock_ms > 0 and not call('SET', KEYS[1], '', 'NX', 'PX', lock_ms) then
    return { now, { 0, 0, 0 } }
  end
  local reaped = 0
  for i = 2, #KEYS do
    local base = sub(KEYS[i], 1, -2)
    local owners = call('ZRANGEBYSCORE', KEYS[i], '-inf', now, 'LIMIT', 0, LIMIT)
    for o = 1, #owners do
      if reaped >= LIMIT then
        return { now, { 1, 1, reaped } }
      end
      reaped = reaped + reap(base .. 'x:' .. owners[o], KEYS[i], owners[o], LIMIT - reaped)
    end
    if #owners == LIMIT then
      return { now, { 1, 1, reaped } }
    end
  end
  return { now, { 1, 0, reaped } }
end

if ARGV[2] == 'o' then
  return sweep_owner()
end
return sweep_partitions()
