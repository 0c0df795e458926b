-- Commits, releases, aborts and corrects.
--
-- KEYS, 6 per item: epoch, partition index, owner index, marker, user hash, tenant hash.
-- ARGV: memory of the store in ms, candidate epoch, number of items; then per item: what
--   (`c` commit, `r` release, `a` abort, `k` correct), member, owner, epoch of the reservation,
--   reserved_at, not_after + 1 s, `1` if a copy of the reserve may be on its way, number of user
--   fields, number of tenant fields, the fields, and per field: held, charged or corrected by.
-- Result: now, then per item: {1, used, reserved, ...} done; {2, used, reserved, ...} late;
--   {3} already; {4} too old; {-1, text} unreadable.
-- Atomicity: the whole call is one step; an item reads and validates everything before it writes.

local cursor = 3

-- Works out the counters afterwards. `free` gives back what was held.
local function change(user, tenant, user_count, count, numbers, free)
  local used, reserved = {}, {}
  for i = 1, count do
    local value
    if i <= user_count then
      value = user[i + 1]
    else
      value = tenant[i - user_count]
    end
    used[i], reserved[i] = parse(value)
    local held, charged = tonumber(ARGV[numbers + 2 * i - 2]), tonumber(ARGV[numbers + 2 * i - 1])
    if free then
      reserved[i] = math.max(reserved[i] - held, 0)
    end
    if charged > 0 then
      used[i] = plus(used[i], charged)
    elseif charged < 0 then
      used[i] = math.max(used[i] + charged, 0)
    end
  end
  return used, reserved
end

local function settle(index)
  local k = (index - 1) * 6
  local epoch_key, partition_index, owner_index = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local marker, user_key, tenant_key = KEYS[k + 4], KEYS[k + 5], KEYS[k + 6]
  local a = cursor
  local what, member = ARGV[a + 1], ARGV[a + 2]
  local user_count, tenant_count = tonumber(ARGV[a + 8]), tonumber(ARGV[a + 9])
  local count = user_count + tenant_count
  local fields = a + 10
  local numbers = fields + count
  cursor = numbers + count * 2 - 1

  local user = call('HMGET', user_key, 'n', unpack(ARGV, fields, fields + user_count - 1))
  local tenant = {}
  if tenant_count > 0 then
    tenant = call('HMGET', tenant_key, unpack(ARGV, fields + user_count, numbers - 1))
  end

  local function write(used, reserved, free)
    local user_writes, tenant_writes, user_new, tenant_new = {}, {}, false, false
    if free then
      user_new = not user[1]
      user_writes = { 'n', math.max(tonumber(user[1] or 0) - 1, 0) }
    end
    for i = 1, count do
      local held, charged = ARGV[numbers + 2 * i - 2], ARGV[numbers + 2 * i - 1]
      if charged ~= '0' or (free and held ~= '0') then
        local writes = user_writes
        if i <= user_count then
          user_new = user_new or not user[i + 1]
        else
          tenant_new = tenant_new or not tenant[i - user_count]
          writes = tenant_writes
        end
        writes[#writes + 1] = ARGV[fields + i - 1]
        writes[#writes + 1] = render(used[i], reserved[i])
      end
    end
    if user_new then
      write_new(user_key, user_writes, keep_until(ARGV, fields, fields + user_count - 1, now))
    elseif #user_writes > 0 then
      call('HSET', user_key, unpack(user_writes))
    end
    if tenant_new then
      write_new(tenant_key, tenant_writes, keep_until(ARGV, fields + user_count, numbers - 1, now))
    elseif #tenant_writes > 0 then
      call('HSET', tenant_key, unpack(tenant_writes))
    end
  end
  local function with_counters(code, used, reserved)
    local reply = { code }
    for i = 1, count do
      reply[2 * i], reply[2 * i + 1] = used[i], reserved[i]
    end
    return reply
  end
  -- Keeps a late copy of the reserve from taking effect.
  local function mark(letter)
    local until_ms = tonumber(ARGV[a + 6])
    if until_ms > now then
      call('SET', marker, letter, 'NX', 'PXAT', until_ms)
    end
  end
  local function mark_ending()
    if what == 'a' then
      mark('a')
    elseif ARGV[a + 7] == '1' then
      mark('s')
    end
  end

  if what ~= 'k' then
    local used, reserved = change(user, tenant, user_count, count, numbers, true)
    if call('ZREM', owner_index, member) == 1 then
      if call('EXISTS', owner_index) == 0 then
        call('ZREM', partition_index, ARGV[a + 3])
      end
      write(used, reserved, true)
      mark_ending()
      return with_counters(1, used, reserved)
    end
    if what ~= 'c' then
      epoch_of(epoch_key, ARGV[2])
      mark_ending()
      return { 3 }
    end
  end

  local seen = call('GET', marker)
  local too_old = now > tonumber(ARGV[a + 5]) + memory
  local code, mark_after
  if what == 'k' then
    if seen and find(seen, 'c', 1, true) then
      return { 3 }
    end
    if too_old then
      return { 4 }
    end
    code, mark_after = 1, (seen or '') .. 'c'
  else
    if seen and find(seen, 'l', 1, true) then
      return { 3 }
    end
    local expired = seen and find(seen, 'e', 1, true)
    if not expired and epoch_of(epoch_key, ARGV[2]) == ARGV[a + 4] then
      if too_old and not seen then
        return { 4 }
      end
      return { 3 }
    end
    code, mark_after = 2, 'l'
    if seen and find(seen, 'c', 1, true) then
      mark_after = 'lc'
    end
  end
  local used, reserved = change(user, tenant, user_count, count, numbers, false)
  call('SET', marker, mark_after, 'PX', memory)
  write(used, reserved, false)
  return with_counters(code, used, reserved)
end

return answer(tonumber(ARGV[3]), settle)
