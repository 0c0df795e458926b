-- Does one act of administration, once.
--
-- KEYS: epoch, marker of the operation, hash of the subject.
-- ARGV: memory of the store in ms, candidate epoch, act (`s` set used, `a` add to used,
--   `m` make it as much at least, `g` advance the generation), field (empty for `g`), amount,
--   difference or generation; and with a ledger the expected epoch and the event.
-- Result: 1: used before, used after, reserved; 2: the generation as text; 3 already: used
--   before, used after; 254 not serving: the epoch as text.
-- Atomicity: one step; it reads and validates everything before it writes.

local DAY_MS = 86400000

local function administer()
  local marker, key = KEYS[2], KEYS[3]
  local act, field, operand = ARGV[3], ARGV[4], ARGV[5]
  if HAS_LEDGER then
    local epoch, unserved = expect_epoch(KEYS[1], ARGV[6])
    if not epoch then
      return unserved
    end
  end
  -- A generation never goes back, so it may be advanced twice.
  local known = act ~= 'g' and call('GET', marker)
  if known then
    local before, after = match(known, '^(%d+) (%d+)$')
    return packed(3, { before + 0, after + 0 }, 2)
  end
  local reply
  local done = ''
  if act == 'g' then
    local stored = call('HGET', key, 'g')
    local generation = operand
    if stored and not rare().later(operand, stored) then
      generation = stored
    end
    epoch_of(KEYS[1])
    rare().write_new(key, { 'g', generation }, 2, now + memory)
    reply = packed_text(2, {}, 0, generation)
  else
    local value = call('HGET', key, field)
    local before, reserved = parse(value)
    local after = tonumber(operand)
    if act == 'a' then
      if after > 0 then
        after = plus(before, after)
      else
        after = math.max(before + after, 0)
      end
    elseif act == 'm' then
      after = math.max(before, after)
    end
    if HAS_LEDGER and act ~= 'm' and after ~= before then
      append_event(KEYS[1], 'a', ARGV[7], 'd', format('%d', after - before))
    end
    epoch_of(KEYS[1])
    if value then
      call('HSET', key, field, render(after, reserved))
    elseif after > 0 then
      local until_ms = rare().keep_until({ field }, 1, 1, now)
      rare().write_new(key, { field, render(after, reserved) }, 2, until_ms)
    end
    reply = packed(1, { before, after, reserved }, 3)
    done = format('%d %d', before, after)
  end
  call('SET', marker, done, 'PX', DAY_MS)
  return reply
end

return answer(1, administer)
