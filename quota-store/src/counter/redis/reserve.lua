-- Holds all units of each request, or none of them.
--
-- KEYS, 4 or 5 per item: epoch, partition index, marker, user hash, and the tenant hash where it
--   has fields or a generation.
-- ARGV: memory of the store in ms, candidate epoch, number of items; then per item: numbers,
--   member, the fields, each generation that is known, and with a ledger the expected epoch. The
--   numbers are 8 bytes each: not_after, ttl in ms, most in flight, latest window start, earliest
--   window end, number of user fields, number of tenant fields, how the user's, the tenant's and
--   the plans' generation are known (0 untracked, 1 cached, 2 fresh), and per field: hard (-1
--   unlimited), amount.
-- Result, per item: 1 allowed: reserved_at, used, reserved, ..., then the epoch as text; 2 denied:
--   n, n places that did not fit, used, reserved, ...; n = 0 for too many in flight; 3 void;
--   4 stale window; 5 stale plan: 0 user | 1 tenant | 2 plans, then the generation as text; 6
--   expired reservations are left, call again; 254 not serving: the epoch as text.
-- Atomicity: the whole call is one step; an item reads and validates everything before it writes.

local ALLOWED, DENIED, VOID, STALE_WINDOW, STALE_PLAN, REAP_MORE = 1, 2, 3, 4, 5, 6
local FRESH = 2

local key_cursor, cursor = 0, 3
local reap_budget = 128
-- Partitions that were seen to have no expired reservation.
local is_reaped = {}
-- Used again for each item.
local used, reserved, amounts, writes = {}, {}, {}, {}

-- Reads a hash, its field `own`, the generation where it is known, and the counters; these go to
-- `used` and `reserved` from `place` on. Answers all values, and how many are no counters.
local function read(key, own, known, from, count, place)
  local values, others
  if known > 0 then
    values, others = call('HMGET', key, own, 'g', unpack(ARGV, from, from + count - 1)), 2
  else
    values, others = call('HMGET', key, own, unpack(ARGV, from, from + count - 1)), 1
  end
  for i = 1, count do
    used[place + i - 1], reserved[place + i - 1] = parse(values[others + i])
  end
  return values, others
end

-- Says what the caller must look up again, and what generation is to be stored.
local function check_generation(known, generation, stored, scope)
  if known == 0 or stored == generation then
    return nil, nil
  end
  if known == FRESH and (not stored or rare().later(generation, stored)) then
    return nil, generation
  end
  return packed_text(STALE_PLAN, { scope }, 1, stored or ''), nil
end

local function allowed(at, epoch, count)
  -- One counter is usual, and needs no table.
  if count == 1 then
    return pack('<I2Bi8i8i8c16', 41, ALLOWED, at, used[1], reserved[1], epoch)
  end
  local numbers = { at }
  for i = 1, count do
    numbers[2 * i], numbers[2 * i + 1] = used[i], reserved[i]
  end
  return packed_text(ALLOWED, numbers, 1 + 2 * count, epoch)
end

-- The answer to a copy of an earlier send, or nil. The counters have been parsed.
local function copy(index, member, ttl, epoch, count)
  local expiry = call('ZSCORE', index, member)
  if expiry then
    return allowed(math.min(now, expiry - ttl), epoch, count)
  end
end

local function denied(places, count)
  local numbers = { #places, unpack(places) }
  for i = 1, count do
    local n = #numbers
    numbers[n + 1], numbers[n + 2] = used[i], reserved[i]
  end
  return packed(DENIED, numbers, #numbers)
end

-- The places of the holds that do not fit, an empty list if too many are in flight, or nil.
local function misfits(in_flight, most, numbers, count)
  if in_flight >= most then
    return {}
  end
  local places
  local at = 81
  for i = 1, count do
    local hard, amount
    hard, amount, at = unpack_numbers('<i8i8', numbers, at)
    amounts[i] = amount
    local room
    if hard < 0 then
      room = MAX - reserved[i]
    else
      room = (hard - used[i]) - reserved[i]
    end
    if amount > 0 and amount > room then
      places = places or {}
      places[#places + 1] = i - 1
    end
  end
  return places
end

-- Whether a partition has reservations that have expired. None expires during the step.
local function has_expired(index)
  if is_reaped[index] then
    return false
  end
  local earliest = rare().earliest(index)
  local is_expired = earliest and earliest <= now
  is_reaped[index] = not is_expired
  return is_expired
end

-- Adds the holds from one place to another to `reserved`, behind what `writes` has.
local function hold(key, length, is_new, from, to, values, offset, fields, expiry)
  for i = from, to do
    if not values[i + offset] then
      is_new = true
    end
    if amounts[i] > 0 then
      reserved[i] = reserved[i] + amounts[i]
      writes[length + 1], writes[length + 2] = ARGV[fields + i], render(used[i], reserved[i])
      length = length + 2
    end
  end
  write_counters(key, writes, length, is_new, fields + from, fields + to, expiry)
end

local function reserve()
  local a, k = cursor, key_cursor
  local numbers, member = ARGV[a + 1], ARGV[a + 2]
  local not_after, ttl, most, from, till, user_count, tenant_count, user_known, tenant_known, plans_known =
    unpack_numbers('<i8i8i8i8i8i8i8i8i8i8', numbers)
  local count = user_count + tenant_count
  -- The field of a counter is at `fields` + its place.
  local fields = a + 2
  local has_tenant = tenant_count > 0 or tenant_known > 0
  local tenant_at = fields + count + math.min(user_known, 1) + math.min(tenant_known, 1)
  cursor = tenant_at + math.min(plans_known, 1)
  key_cursor = k + (has_tenant and 5 or 4)
  local epoch_key, index, user_key, tenant_key = KEYS[k + 1], KEYS[k + 2], KEYS[k + 4], KEYS[k + 5]

  local epoch
  if HAS_LEDGER then
    cursor = cursor + 1
    local reply
    epoch, reply = expect_epoch(epoch_key, ARGV[cursor])
    if reply then
      return reply
    end
  end
  -- 1. Too late, or ended before.
  if now >= not_after or call('GET', KEYS[k + 3]) then
    return packed(VOID, {}, 0)
  end
  epoch = epoch or epoch_of(epoch_key)
  local tenant_from = fields + user_count + 1
  local user, user_others = read(user_key, 'n', user_known, fields + 1, user_count, 1)
  local tenant, tenant_others
  if has_tenant then
    tenant, tenant_others =
      read(tenant_key, 'g', tenant_known, tenant_from, tenant_count, user_count + 1)
  end
  local in_flight = (user[1] or 0) + 0

  -- 3. The caller's plan.
  local stale, user_generation, tenant_generation, plans_key, plans_generation
  if user_known > 0 then
    stale, user_generation = check_generation(user_known, ARGV[fields + count + 1], user[2], 0)
  end
  if tenant_known > 0 and not stale then
    stale, tenant_generation = check_generation(tenant_known, ARGV[tenant_at], tenant[1], 1)
  end
  if plans_known > 0 and not stale then
    plans_key = sub(index, 1, -2) .. 'g'
    stale, plans_generation =
      check_generation(plans_known, ARGV[tenant_at + 1], call('GET', plans_key), 2)
  end
  -- 4. The caller's windows.
  if not stale and (now < from or now >= till) then
    stale = packed(STALE_WINDOW, {}, 0)
  end
  if stale or user_generation or tenant_generation or plans_generation then
    -- 2. A copy of an earlier send goes first. Elsewhere the index itself tells.
    local live = copy(index, member, ttl, epoch, count)
    if live then
      return live
    end
    if user_generation then
      rare().write_new(user_key, { 'g', user_generation }, 2, now + memory)
    end
    if tenant_generation then
      rare().write_new(tenant_key, { 'g', tenant_generation }, 2, now + memory)
    end
    if plans_generation then
      call('SET', plans_key, plans_generation)
    end
    if stale then
      return stale
    end
  end

  -- 6. Does it fit?
  local places = misfits(in_flight, most, numbers, count)
  if places then
    local live = copy(index, member, ttl, epoch, count)
    if live then
      return live
    end
    -- 5. What has expired denies nobody. Where everything fits the sweep is soon enough.
    if has_expired(index) then
      reap_budget = reap_budget - rare().reap(index, math.min(64, reap_budget))
      user = read(user_key, 'n', user_known, fields + 1, user_count, 1)
      if has_tenant then
        tenant = read(tenant_key, 'g', tenant_known, tenant_from, tenant_count, user_count + 1)
      end
      in_flight = (user[1] or 0) + 0
      places = misfits(in_flight, most, numbers, count)
    end
    if places and has_expired(index) then
      return packed(REAP_MORE, {}, 0)
    end
    if places then
      return denied(places, count)
    end
  end

  -- 7. It does. Adding the member tells a copy of an earlier send, too.
  local expiry = now + ttl
  if call('ZADD', index, 'NX', format('%d', expiry), member) == 0 then
    return copy(index, member, ttl, epoch, count)
  end
  writes[1], writes[2] = 'n', format('%d', in_flight + 1)
  -- Without counters of its own the hash lives by its reservations.
  local is_new = not user[1] or user_count == 0
  hold(user_key, 2, is_new, 1, user_count, user, user_others, fields, expiry)
  if tenant_count > 0 then
    local offset = tenant_others - user_count
    hold(tenant_key, 0, false, user_count + 1, count, tenant, offset, fields, expiry)
  end
  return allowed(now, epoch, count)
end

return answer(ARGV[3] + 0, reserve)
