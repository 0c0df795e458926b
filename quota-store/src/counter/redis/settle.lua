-- Commits, releases, aborts and corrects.
--
-- KEYS, 3 or 4 per item: epoch, partition index, user hash, and the tenant hash where it has
--   fields.
-- ARGV: memory of the store in ms, candidate epoch, number of items; then per item: numbers,
--   member, the fields, and with a ledger the expected epoch and the event. The numbers are the epoch of the reservation (16 bytes), then 8 bytes
--   each: what (1 commit, 2 release, 3 abort, 4 correct), reserved_at, not_after + 1 s, 1 if a copy
--   of the reserve may be on its way, number of user fields, number of tenant fields, and per
--   field: held, charged or corrected by.
-- Result, per item: 1 done: used, reserved, ...; 2 late: used, reserved, ...; 3 already; 4 too old; 254 not serving: the epoch as text.
-- Atomicity: the whole call is one step; an item reads and validates everything before it writes.

local COMMIT, RELEASE, ABORT, CORRECT = 1, 2, 3, 4
local DONE, LATE, ALREADY, TOO_OLD = 1, 2, 3, 4

local key_cursor, cursor = 0, 3
-- Used again for each item.
local used, reserved, is_changed, writes = {}, {}, {}, {}

-- Works out the counters afterwards. `is_live` gives back what was held.
local function change(user, tenant, user_count, count, numbers, is_live)
  local at = 65
  for i = 1, count do
    local value
    if i <= user_count then
      value = user[i + 1]
    else
      value = tenant[i - user_count]
    end
    local held, charged
    held, charged, at = unpack_numbers('<i8i8', numbers, at)
    local was_used, was_reserved = parse(value)
    if is_live then
      was_reserved = math.max(was_reserved - held, 0)
    end
    if charged > 0 then
      was_used = plus(was_used, charged)
    elseif charged < 0 then
      was_used = math.max(was_used + charged, 0)
    end
    used[i], reserved[i] = was_used, was_reserved
    is_changed[i] = charged ~= 0 or (is_live and held ~= 0)
  end
end

-- Writes the counters from one place to another, behind what `writes` has.
local function write(key, length, is_new, from, to, values, offset, fields)
  for i = from, to do
    if is_changed[i] then
      if not values[i + offset] then
        is_new = true
      end
      writes[length + 1], writes[length + 2] = ARGV[fields + i], render(used[i], reserved[i])
      length = length + 2
    end
  end
  if length > 0 then
    write_counters(key, writes, length, is_new, fields + from, fields + to, now)
  end
end

local function with_counters(code, count)
  -- One counter is usual, and needs no table.
  if count == 1 then
    return pack('<I2Bi8i8', 17, code, used[1], reserved[1])
  end
  local numbers = {}
  for i = 1, count do
    numbers[2 * i - 1], numbers[2 * i] = used[i], reserved[i]
  end
  return packed(code, numbers, 2 * count)
end

-- Keeps a late copy of the reserve from taking effect.
local function mark_ending(index, member, what, until_ms, is_repeated)
  if (what == ABORT or is_repeated == 1) and until_ms > now then
    local mark = what == ABORT and 'a' or 's'
    call('SET', rare().marker_of(index, member), mark, 'NX', 'PXAT', until_ms)
  end
end

-- What becomes of a commit or correction of what is not live: an answer, or the code and the
-- marker of a charge.
local function judge(what, marker, epoch_key, epoch, reserved_at)
  local seen = call('GET', marker) or ''
  local is_corrected, is_late = match(seen, 'c'), match(seen, 'l')
  if what == CORRECT then
    if is_corrected then
      return packed(ALREADY, {}, 0)
    end
    if now >= reserved_at + memory then
      return packed(TOO_OLD, {}, 0)
    end
    -- What it would correct was lost.
    if not is_late and epoch_of(epoch_key) ~= epoch then
      return packed(ALREADY, {}, 0)
    end
    return nil, DONE, seen .. 'c'
  end
  if seen == '' then
    -- It may have been settled before. A marker of a late commit does not live for ever.
    if now >= reserved_at + memory then
      return packed(TOO_OLD, {}, 0)
    end
    if epoch_of(epoch_key) == epoch then
      return packed(ALREADY, {}, 0)
    end
  elseif is_late or not match(seen, 'e') then
    return packed(ALREADY, {}, 0)
  end
  return nil, LATE, is_corrected and 'lc' or 'l'
end

local function settle()
  local a, k = cursor, key_cursor
  local numbers, member = ARGV[a + 1], ARGV[a + 2]
  local epoch, what, reserved_at, until_ms, is_repeated, user_count, tenant_count =
    unpack_numbers('<c16i8i8i8i8i8i8', numbers)
  local count = user_count + tenant_count
  -- The field of a counter is at `fields` + its place.
  local fields = a + 2
  local last = fields + count
  cursor = HAS_LEDGER and last + 2 or last
  key_cursor = k + (tenant_count > 0 and 4 or 3)
  local epoch_key, index, user_key, tenant_key = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3], KEYS[k + 4]

  local current
  if HAS_LEDGER then
    local reply
    current, reply = expect_epoch(epoch_key, ARGV[last + 1])
    if reply then
      return reply
    end
  end
  local user = call('HMGET', user_key, 'n', unpack(ARGV, fields + 1, fields + user_count))
  local tenant
  if tenant_count > 0 then
    tenant = call('HMGET', tenant_key, unpack(ARGV, fields + user_count + 1, last))
  end
  local is_live = what ~= CORRECT
  change(user, tenant, user_count, count, numbers, is_live)
  local code = DONE
  if HAS_LEDGER and is_live then
    -- A charge is in the stream before anything else is written.
    is_live = call('ZSCORE', index, member) and true
    if is_live and what == COMMIT then
      append_event(index, 'c', ARGV[last + 2])
    end
  end
  if is_live and call('ZREM', index, member) == 0 then
    is_live = false
  end
  if is_live and what == COMMIT and (current or epoch_of(epoch_key)) ~= epoch then
    -- A copy of the reserve came after the loss; a second commit is not charged as lost.
    call('SET', rare().marker_of(index, member), 'l', 'PX', memory)
  elseif is_live then
    mark_ending(index, member, what, until_ms, is_repeated)
  elseif what == RELEASE or what == ABORT then
    epoch_of(epoch_key)
    mark_ending(index, member, what, until_ms, is_repeated)
    return packed(ALREADY, {}, 0)
  else
    local marker = rare().marker_of(index, member)
    local reply, mark
    reply, code, mark = judge(what, marker, epoch_key, epoch, reserved_at)
    if reply then
      return reply
    end
    change(user, tenant, user_count, count, numbers, false)
    if HAS_LEDGER and what == CORRECT then
      -- What it really changes, in the order of the fields: a counter stops at zero.
      local differences = {}
      for i = 1, count do
        local value
        if i <= user_count then
          value = user[i + 1]
        else
          value = tenant[i - user_count]
        end
        differences[i] = format('%d', used[i] - parse(value))
      end
      append_event(index, 'k', ARGV[last + 2], 'd', table.concat(differences, ' '))
    elseif HAS_LEDGER then
      append_event(index, 'l', ARGV[last + 2])
    end
    call('SET', marker, mark, 'PX', memory)
  end

  local length = 0
  if is_live then
    writes[1], writes[2] = 'n', format('%d', math.max((user[1] or 0) - 1, 0))
    length = 2
  end
  local is_new = is_live and not user[1]
  write(user_key, length, is_new, 1, user_count, user, 1, fields)
  if tenant then
    write(tenant_key, 0, false, user_count + 1, count, tenant, -user_count, fields)
  end
  return with_counters(code, count)
end

return answer(ARGV[3] + 0, settle)
