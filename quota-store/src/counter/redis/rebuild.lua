-- Compares counters of one partition with the ledger, and raises those that are too low.
--
-- KEYS: epoch, lock, stream, then the hash of a subject per item.
-- ARGV: memory of the store in ms, token of the lock, how long the lock is held in ms (0: none is
--   needed), the epoch that was seen (empty for none), the epoch that is to be written (empty for
--   none), the last id of the stream that was seen (empty: it does not matter), `r` to raise or `c`
--   to compare, number of items; then per item: field, what it should say.
-- Result: 0 another one holds the lock; 1: what each counter said; 2: another epoch, as text; 3 the
--   stream has entries, or had some since.
-- Atomicity: one step. Raising twice is raising once.

local function is_held(lock, token, hold_ms)
  local holder = call('GET', lock)
  if holder and holder ~= token then
    return false
  end
  call('SET', lock, token, 'PX', hold_ms)
  return true
end

local function raise(key, field, value, used, reserved)
  local rendered = render(used, reserved)
  if value then
    call('HSET', key, field, rendered)
  else
    local until_ms = rare().keep_until({ field }, 1, 1, now)
    rare().write_new(key, { field, rendered }, 2, until_ms)
  end
end

local function rebuild()
  local token, hold_ms, seen, new, last = ARGV[2], ARGV[3] + 0, ARGV[4], ARGV[5], ARGV[6]
  local is_repair, count = ARGV[7] == 'r', ARGV[8] + 0
  local epoch = call('GET', KEYS[1]) or ''
  if epoch ~= seen then
    return packed_text(2, {}, 0, epoch)
  end
  if hold_ms > 0 and not is_held(KEYS[2], token, hold_ms) then
    return packed(0, {}, 0)
  end
  if last ~= '' and (call('XLEN', KEYS[3]) > 0 or last_id(KEYS[3]) ~= last) then
    return packed(3, {}, 0)
  end
  local numbers = {}
  for i = 1, count do
    local key, field, used = KEYS[3 + i], ARGV[7 + 2 * i], ARGV[8 + 2 * i] + 0
    local value = call('HGET', key, field)
    local ok, before, reserved = pcall(parse, value)
    if not ok then
      -- What can't be read is written anew.
      before, reserved = 0, 0
    end
    if is_repair and (used > before or not ok) then
      raise(key, field, value, used, reserved)
    end
    numbers[i] = before
  end
  if new ~= '' then
    call('SET', KEYS[1], new)
    call('DEL', KEYS[2])
  end
  return packed(1, numbers, count)
end

return answer(1, rebuild)
