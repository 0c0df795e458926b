-- Holds all units of each request, or none of them.
--
-- KEYS, 6 per item: epoch, partition index, owner index, marker, user hash, tenant hash.
-- ARGV: memory of the store in ms, candidate epoch, number of items; then per item: member,
--   owner, not_after, ttl in ms, most in flight, user generation, tenant generation (`-`
--   untracked, `cN` cached, `fN` fresh), latest window start, earliest window end, number of
--   user fields, number of tenant fields, the fields, and per field: hard (-1 unlimited), amount.
-- Result: now, then per item: {1, epoch, reserved_at, used, reserved, ...} allowed;
--   {2, n, n places that did not fit, used, reserved, ...} denied, n = 0 for too many in flight;
--   {3} void; {4} stale window; {5, 0 user | 1 tenant, generation or ''} stale plan;
--   {6} expired reservations are left, call again; {-1, text} unreadable.
-- Atomicity: the whole call is one step; an item reads and validates everything before it writes.

local cursor = 3
local reap_budget = 128

-- Says what the caller must look up again, and what generation is to be stored.
local function check_generation(known, stored, scope)
  if known == '-' then
    return nil, nil
  end
  local number = sub(known, 2)
  if stored == number then
    return nil, nil
  end
  if not stored and sub(known, 1, 1) == 'f' then
    return nil, number
  end
  return { 5, scope, stored or '' }, nil
end

local function read_subjects(user_key, tenant_key, at, user_count, tenant_count, tenant_known)
  local user = call('HMGET', user_key, 'g', 'n', unpack(ARGV, at, at + user_count - 1))
  local tenant
  if tenant_count > 0 or tenant_known ~= '-' then
    local first = at + user_count
    tenant = call('HMGET', tenant_key, 'g', unpack(ARGV, first, first + tenant_count - 1))
  end
  return user, tenant
end

local function write_subject(key, writes, is_new, fields_from, fields_to, expiry)
  if is_new then
    write_new(key, writes, keep_until(ARGV, fields_from, fields_to, expiry))
  else
    call('HSET', key, unpack(writes))
  end
end

local function reserve(index)
  local k = (index - 1) * 6
  local epoch_key, partition_index, owner_index = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local user_key, tenant_key = KEYS[k + 5], KEYS[k + 6]
  local a = cursor
  local member, owner, max_in_flight = ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 5])
  local user_known, tenant_known = ARGV[a + 6], ARGV[a + 7]
  local user_count, tenant_count = tonumber(ARGV[a + 10]), tonumber(ARGV[a + 11])
  local count = user_count + tenant_count
  local fields = a + 12
  local numbers = fields + count
  cursor = numbers + count * 2 - 1

  -- 1. Too late, or ended before.
  if now >= tonumber(ARGV[a + 3]) then
    return { 3 }
  end
  local seen = call('MGET', KEYS[k + 4], epoch_key)
  if seen[1] then
    return { 3 }
  end
  local epoch = seen[2] or epoch_of(epoch_key, ARGV[2])
  local ttl = tonumber(ARGV[a + 4])

  local user, tenant =
    read_subjects(user_key, tenant_key, fields, user_count, tenant_count, tenant_known)
  local used, reserved = {}, {}
  local function read_counters()
    for i = 1, count do
      local value
      if i <= user_count then
        value = user[i + 2]
      else
        value = tenant[i - user_count + 1]
      end
      used[i], reserved[i] = parse(value)
    end
  end
  local function with_counters(reply)
    local n = #reply
    for i = 1, count do
      reply[n + 1], reply[n + 2] = used[i], reserved[i]
      n = n + 2
    end
    return reply
  end

  -- 2. A copy of an earlier send.
  local function copy()
    local expiry = call('ZSCORE', owner_index, member)
    if expiry then
      read_counters()
      return with_counters({ 1, epoch, math.min(now, tonumber(expiry) - ttl) })
    end
  end

  -- 3. The caller's plan.
  local stale, user_generation = check_generation(user_known, user[1], 0)
  local tenant_generation
  if not stale and tenant then
    stale, tenant_generation = check_generation(tenant_known, tenant[1], 1)
  end
  -- 4. The caller's windows.
  if not stale and (now < tonumber(ARGV[a + 8]) or now >= tonumber(ARGV[a + 9])) then
    stale = { 4 }
  end
  local first = earliest(owner_index)
  local expired = first and first <= now
  if stale or expired or user_generation or tenant_generation then
    local live = copy()
    if live then
      return live
    end
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

  -- 5. What has expired does not count.
  if expired then
    local limit = math.min(64, reap_budget)
    local reaped = limit > 0 and reap(owner_index, partition_index, owner, limit) or 0
    reap_budget = reap_budget - reaped
    first = earliest(owner_index)
    user, tenant =
      read_subjects(user_key, tenant_key, fields, user_count, tenant_count, tenant_known)
  end
  read_counters()

  -- 6. Does it fit?
  local in_flight = tonumber(user[2] or 0)
  local places = {}
  if in_flight < max_in_flight then
    for i = 1, count do
      local hard, amount = tonumber(ARGV[numbers + 2 * i - 2]), tonumber(ARGV[numbers + 2 * i - 1])
      if amount > 0 then
        local room
        if hard < 0 then
          room = MAX - reserved[i]
        else
          room = (hard - used[i]) - reserved[i]
        end
        if amount > room then
          places[#places + 1] = i - 1
        end
      end
    end
  end
  if in_flight >= max_in_flight or #places > 0 then
    local live = copy()
    if live then
      return live
    end
    if first and first <= now then
      return { 6 }
    end
    return with_counters({ 2, #places, unpack(places) })
  end

  -- 7. It does. Adding the member tells a copy of an earlier send, too.
  local expiry = now + ttl
  if call('ZADD', owner_index, 'NX', expiry, member) == 0 then
    return with_counters({ 1, epoch, math.min(now, tonumber(call('ZSCORE', owner_index, member)) - ttl) })
  end
  if not first or first > expiry then
    call('ZADD', partition_index, 'LT', expiry, owner)
  end
  local user_writes, tenant_writes = { 'n', in_flight + 1 }, {}
  -- Without counters of its own the hash lives by its reservations.
  local user_new, tenant_new = not user[2] or user_count == 0, false
  for i = 1, count do
    local amount = tonumber(ARGV[numbers + 2 * i - 1])
    local writes = user_writes
    if i <= user_count then
      user_new = user_new or not user[i + 2]
    else
      tenant_new = tenant_new or not tenant[i - user_count + 1]
      writes = tenant_writes
    end
    if amount > 0 then
      reserved[i] = reserved[i] + amount
      writes[#writes + 1] = ARGV[fields + i - 1]
      writes[#writes + 1] = render(used[i], reserved[i])
    end
  end
  write_subject(user_key, user_writes, user_new, fields, fields + user_count - 1, expiry)
  if #tenant_writes > 0 then
    write_subject(tenant_key, tenant_writes, tenant_new, fields + user_count, fields + count - 1, expiry)
  end
  return with_counters({ 1, epoch, now })
end

return answer(tonumber(ARGV[3]), reserve)
