-- Holds all units of each request, or none of them.
--
-- KEYS, 5 per item: epoch, partition index, marker, user hash, tenant hash.
-- ARGV: memory of the store in ms, candidate epoch, number of items; then per item: member,
--   user generation, tenant generation (`-` untracked, `cN` cached, `fN` fresh), numbers, fields.
--   The numbers are 8 bytes each: not_after, ttl in ms, most in flight, latest window start,
--   earliest window end, number of user fields, number of tenant fields, and per field:
--   hard (-1 unlimited), amount.
-- Result: now, then per item: {1, epoch, reserved_at, used, reserved, ...} allowed;
--   {2, n, n places that did not fit, used, reserved, ...} denied, n = 0 for too many in flight;
--   {3} void; {4} stale window; {5, 0 user | 1 tenant, generation or ''} stale plan;
--   {6} expired reservations are left, call again; {-1, text} unreadable.
-- Atomicity: the whole call is one step; an item reads and validates everything before it writes.

local cursor = 3
local reap_budget = 128
-- Whether a partition was seen to have no expired reservation. None expires during the step.
local is_reaped = {}
-- Used again for each item.
local used, reserved, user_writes, tenant_writes, amounts = {}, {}, {}, {}, {}
local unpack_numbers = struct.unpack

-- Says what the caller must look up again, and what generation is to be stored.
local function check_generation(known, stored, scope)
  if known == '-' then
    return nil, nil
  end
  local number = sub(known, 2)
  if stored == number then
    return nil, nil
  end
  if sub(known, 1, 1) == 'f' and (not stored or later(number, stored)) then
    return nil, number
  end
  return { 5, scope, stored or '' }, nil
end

local function read_user(key, from, count)
  if count == 1 then
    return call('HMGET', key, 'g', 'n', ARGV[from])
  end
  return call('HMGET', key, 'g', 'n', unpack(ARGV, from, from + count - 1))
end

local function read_tenant(key, from, count, known)
  if count > 0 or known ~= '-' then
    return call('HMGET', key, 'g', unpack(ARGV, from, from + count - 1))
  end
end

local function parse_all(user, tenant, user_count, count)
  for i = 1, user_count do
    used[i], reserved[i] = parse(user[i + 2])
  end
  for i = user_count + 1, count do
    used[i], reserved[i] = parse(tenant[i - user_count + 1])
  end
end

local function with_counters(reply, count)
  local n = #reply
  for i = 1, count do
    reply[n + 1], reply[n + 2] = used[i], reserved[i]
    n = n + 2
  end
  return reply
end

-- The answer to a copy of an earlier send, or nil. The counters have been parsed.
local function copy(index, member, ttl, epoch, count)
  local expiry = call('ZSCORE', index, member)
  if expiry then
    return with_counters({ 1, epoch, min(now, tonumber(expiry) - ttl) }, count)
  end
end

-- The places of the holds that do not fit, or nil.
local function misfits(numbers, count)
  local places
  for i = 1, count do
    local hard, amount = unpack_numbers('<i8i8', numbers, 41 + 16 * i)
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

-- How many reservations the user has, and what does not fit: an empty list if that are too many.
local function decide(user, numbers, count, most)
  local in_flight = tonumber(user[2] or 0)
  if in_flight >= most then
    return in_flight, {}
  end
  return in_flight, misfits(numbers, count)
end

-- Whether a partition has reservations that have expired.
local function has_expired(index)
  if is_reaped[index] then
    return false
  end
  local first = earliest(index)
  local is_expired = first and first <= now
  is_reaped[index] = not is_expired
  return is_expired
end

-- Adds the holds from one place to another to `reserved`.
local function hold(key, writes, length, is_new, from, to, values, offset, fields, expiry)
  for i = from, to do
    local amount = amounts[i]
    if not values[i + offset] then
      is_new = true
    end
    if amount > 0 then
      reserved[i] = reserved[i] + amount
      writes[length + 1], writes[length + 2] = ARGV[fields + i - 1], render(used[i], reserved[i])
      length = length + 2
    end
  end
  write_counters(key, writes, length, is_new, fields + from - 1, fields + to - 1, expiry)
end

local function reserve(item)
  local k = (item - 1) * 5
  local epoch_key, index, user_key, tenant_key = KEYS[k + 1], KEYS[k + 2], KEYS[k + 4], KEYS[k + 5]
  local a = cursor
  local member, tenant_known, numbers = ARGV[a + 1], ARGV[a + 3], ARGV[a + 4]
  local not_after, ttl, most, from, till, user_count, tenant_count =
    unpack_numbers('<i8i8i8i8i8i8i8', numbers)
  local count = user_count + tenant_count
  local fields = a + 5
  cursor = a + 4 + count

  -- 1. Too late, or ended before.
  if now >= not_after then
    return { 3 }
  end
  local seen = call('MGET', KEYS[k + 3], epoch_key)
  if seen[1] then
    return { 3 }
  end
  local epoch = seen[2] or epoch_of(epoch_key, ARGV[2])
  local user = read_user(user_key, fields, user_count)
  local tenant = read_tenant(tenant_key, fields + user_count, count - user_count, tenant_known)
  parse_all(user, tenant, user_count, count)

  -- 3. The caller's plan.
  local stale, user_generation = check_generation(ARGV[a + 2], user[1], 0)
  local tenant_generation
  if not stale and tenant then
    stale, tenant_generation = check_generation(tenant_known, tenant[1], 1)
  end
  -- 4. The caller's windows.
  if not stale and (now < from or now >= till) then
    stale = { 4 }
  end
  if stale or user_generation or tenant_generation then
    -- 2. A copy of an earlier send goes first. Elsewhere the index itself tells.
    local live = copy(index, member, ttl, epoch, count)
    if live then
      return live
    end
    if user_generation then
      write_new(user_key, { 'g', user_generation }, now + memory)
    end
    if tenant_generation then
      write_new(tenant_key, { 'g', tenant_generation }, now + memory)
    end
    if stale then
      return stale
    end
  end

  -- 6. Does it fit?
  local in_flight, places = decide(user, numbers, count, most)
  if places then
    local live = copy(index, member, ttl, epoch, count)
    if live then
      return live
    end
    -- 5. What has expired denies nobody. Where everything fits the sweep is soon enough.
    if has_expired(index) then
      if reap_budget == 0 then
        return { 6 }
      end
      reap_budget = reap_budget - reap(index, min(64, reap_budget))
      user = read_user(user_key, fields, user_count)
      tenant = read_tenant(tenant_key, fields + user_count, count - user_count, tenant_known)
      parse_all(user, tenant, user_count, count)
      in_flight, places = decide(user, numbers, count, most)
      if places and has_expired(index) then
        return { 6 }
      end
    end
    if places then
      return with_counters({ 2, #places, unpack(places) }, count)
    end
  end

  -- 7. It does. Adding the member tells a copy of an earlier send, too.
  local expiry = now + ttl
  if call('ZADD', index, 'NX', format('%d', expiry), member) == 0 then
    return copy(index, member, ttl, epoch, count)
  end
  user_writes[1], user_writes[2] = 'n', format('%d', in_flight + 1)
  -- Without counters of its own the hash lives by its reservations.
  local is_new = not user[2] or user_count == 0
  hold(user_key, user_writes, 2, is_new, 1, user_count, user, 2, fields, expiry)
  if tenant then
    local offset = 1 - user_count
    hold(tenant_key, tenant_writes, 0, false, user_count + 1, count, tenant, offset, fields, expiry)
  end
  return with_counters({ 1, epoch, now }, count)
end

return answer(tonumber(ARGV[3]), reserve)
