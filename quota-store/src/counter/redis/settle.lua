-- Commits, releases, aborts and corrects.
--
-- KEYS, 5 per item: epoch, partition index, marker, user hash, tenant hash.
-- ARGV: memory of the store in ms, candidate epoch, number of items; then per item: what
--   (`c` commit, `r` release, `a` abort, `k` correct), member, epoch of the reservation,
--   numbers, fields. The numbers are 8 bytes each: reserved_at, not_after + 1 s, 1 if a copy of
--   the reserve may be on its way, number of user fields, number of tenant fields, and per field:
--   held, charged or corrected by.
-- Result: now, then per item: {1, used, reserved, ...} done; {2, used, reserved, ...} late;
--   {3} already; {4} too old; {-1, text} unreadable.
-- Atomicity: the whole call is one step; an item reads and validates everything before it writes.

local cursor = 3
-- Used again for each item.
local used, reserved, user_writes, tenant_writes = {}, {}, {}, {}
local is_changed = {}
local unpack_numbers = struct.unpack

-- Works out the counters afterwards. `is_live` gives back what was held.
local function change(user, tenant, user_count, count, numbers, is_live)
  for i = 1, count do
    local value
    if i <= user_count then
      value = user[i + 1]
    else
      value = tenant[i - user_count]
    end
    local was_used, was_reserved = parse(value)
    local held, charged = unpack_numbers('<i8i8', numbers, 25 + 16 * i)
    is_changed[i] = charged ~= 0 or (is_live and held ~= 0)
    if is_live then
      was_reserved = max(was_reserved - held, 0)
    end
    if charged > 0 then
      was_used = plus(was_used, charged)
    elseif charged < 0 then
      was_used = max(was_used + charged, 0)
    end
    used[i], reserved[i] = was_used, was_reserved
  end
end

-- Writes the counters from one place to another, behind what `writes` has.
local function write(key, writes, length, is_new, from, to, values, offset, fields)
  for i = from, to do
    if is_changed[i] then
      if not values[i + offset] then
        is_new = true
      end
      writes[length + 1], writes[length + 2] = ARGV[fields + i - 1], render(used[i], reserved[i])
      length = length + 2
    end
  end
  write_counters(key, writes, length, is_new, fields + from - 1, fields + to - 1, now)
end

local function with_counters(code, count)
  local reply = { code }
  for i = 1, count do
    reply[2 * i], reply[2 * i + 1] = used[i], reserved[i]
  end
  return reply
end

-- Keeps a late copy of the reserve from taking effect.
local function mark_ending(marker, what, until_ms, is_repeated)
  if (what == 'a' or is_repeated == 1) and until_ms > now then
    call('SET', marker, what == 'a' and 'a' or 's', 'NX', 'PXAT', until_ms)
  end
end

-- What becomes of a commit or correction of what is not live: an answer, or the code and the
-- marker of a charge.
local function judge(what, marker, epoch_key, epoch, reserved_at)
  local seen = call('GET', marker) or ''
  local is_corrected, is_late = find(seen, 'c', 1, true), find(seen, 'l', 1, true)
  if what == 'k' then
    if is_corrected then
      return { 3 }
    end
    if now >= reserved_at + memory then
      return { 4 }
    end
    -- What it would correct was lost.
    if not is_late and epoch_of(epoch_key, ARGV[2]) ~= epoch then
      return { 3 }
    end
    return nil, 1, seen .. 'c'
  end
  if seen == '' then
    -- It may have been settled before. A marker of a late commit does not live for ever.
    if now >= reserved_at + memory then
      return { 4 }
    end
    if epoch_of(epoch_key, ARGV[2]) == epoch then
      return { 3 }
    end
  elseif is_late or not find(seen, 'e', 1, true) then
    return { 3 }
  end
  return nil, 2, is_corrected and 'lc' or 'l'
end

local function settle(item)
  local k = (item - 1) * 5
  local marker, user_key, tenant_key = KEYS[k + 3], KEYS[k + 4], KEYS[k + 5]
  local a = cursor
  local what = ARGV[a + 1]
  local numbers = ARGV[a + 4]
  local reserved_at, until_ms, is_repeated, user_count, tenant_count =
    unpack_numbers('<i8i8i8i8i8', numbers)
  local count = user_count + tenant_count
  local fields = a + 5
  cursor = a + 4 + count

  local user
  if user_count == 1 then
    user = call('HMGET', user_key, 'n', ARGV[fields])
  else
    user = call('HMGET', user_key, 'n', unpack(ARGV, fields, fields + user_count - 1))
  end
  local tenant
  if count > user_count then
    tenant = call('HMGET', tenant_key, unpack(ARGV, fields + user_count, cursor))
  end
  local is_live = what ~= 'k'
  change(user, tenant, user_count, count, numbers, is_live)
  local code = 1
  if is_live and call('ZREM', KEYS[k + 2], ARGV[a + 2]) == 0 then
    is_live = false
  end
  if is_live and what == 'c' and epoch_of(KEYS[k + 1], ARGV[2]) ~= ARGV[a + 3] then
    -- A copy of the reserve came after the loss; a second commit is not charged as lost.
    call('SET', marker, 'l', 'PX', memory)
  elseif is_live then
    mark_ending(marker, what, until_ms, is_repeated)
  elseif what == 'r' or what == 'a' then
    epoch_of(KEYS[k + 1], ARGV[2])
    mark_ending(marker, what, until_ms, is_repeated)
    return { 3 }
  else
    local reply, mark
    reply, code, mark = judge(what, marker, KEYS[k + 1], ARGV[a + 3], reserved_at)
    if reply then
      return reply
    end
    change(user, tenant, user_count, count, numbers, false)
    call('SET', marker, mark, 'PX', memory)
  end

  local length, is_new = 0, false
  if is_live then
    user_writes[1], user_writes[2] = 'n', format('%d', max(tonumber(user[1] or 0) - 1, 0))
    length, is_new = 2, not user[1]
  end
  write(user_key, user_writes, length, is_new, 1, user_count, user, 1, fields)
  if tenant then
    write(tenant_key, tenant_writes, 0, false, user_count + 1, count, tenant, -user_count, fields)
  end
  return with_counters(code, count)
end

return answer(tonumber(ARGV[3]), settle)
