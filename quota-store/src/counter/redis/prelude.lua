-- Shared by every script that writes.
--
-- A subject's hash: `g` generation, `n` reservations in flight, `p` when to prune next, and one
-- field per counter, `QUOTA:WINDOW`, whose value is `USED` or `USED RESERVED`.
-- A partition's index (sorted set): one member per live reservation, by its expiry. The member is
-- the record: 16 bytes of id, then `r|cTENANT:USER [u|tFIELD=AMOUNT]...`.
-- A partition's epoch: 16 hexadecimal digits. The generation of its plans: a number.
-- A marker: `e` expired, `l` late, `s` settled, `a` aborted, and `c` behind it for corrected.

local memory = ARGV[1] + 0

-- The value of a counter. `%d` keeps all 53 bits; concatenation would keep 14 digits.
local function render(used, reserved)
  if reserved == 0 then
    return format('%d', used)
  end
  return format('%d %d', used, reserved)
end

local function plus(used, amount)
  if amount > MAX - used then
    return MAX
  end
  return used + amount
end

-- Makes the functions that few calls need.
local function make_rare()
  local FAR = 4503599627370496
  local max, min = math.max, math.min
  local rare = {}

  -- Decimal numbers of any length; Lua's own keep 53 bits.
  function rare.later(one, other)
    return #one > #other or (#one == #other and one > other)
  end

  function rare.new_epoch(key)
    call('SET', key, ARGV[2], 'NX')
    return call('GET', key)
  end

  -- The key of the marker of a reservation, in the partition of this index.
  function rare.marker_of(index, member)
    local id = string.gsub(sub(member, 1, 16), '.', function(byte)
      return format('%02x', string.byte(byte))
    end)
    return sub(index, 1, -2) .. 'm:' .. id
  end

  -- When the window of a field ends; nil for a lifetime.
  local function window_end(field)
    local unit, digits = match(field, '^[^:]*:%a[0-9a-z]*([+/!]?)([0-9a-z]*)')
    if not unit or unit == '' then
      return nil
    end
    local count = tonumber(digits, 36)
    if unit == '+' then
      count = count * 60000
    elseif unit == '/' then
      count = count * 1000
    end
    if count > FAR then
      return FAR
    end
    return count
  end

  -- Drops the counters of windows that the store need not remember. A hash of many fields is
  -- looked through only now and then.
  local function prune(key)
    local size = call('HLEN', key)
    if size == 0 then
      return
    end
    if size > 16 then
      local next_prune = call('HGET', key, 'p')
      if next_prune and tonumber(next_prune) > now then
        return
      end
    end
    local fields = call('HGETALL', key)
    local gone = {}
    for i = 1, #fields, 2 do
      local field = fields[i]
      if string.find(field, ':', 1, true) and not string.find(fields[i + 1], ' ', 1, true) then
        local ended = window_end(field)
        if ended and ended + memory < now then
          gone[#gone + 1] = field
        end
      end
    end
    for i = 1, #gone, 500 do
      call('HDEL', key, unpack(gone, i, min(i + 499, #gone)))
    end
    if size - #gone > 16 then
      call('HSET', key, 'p', now + math.floor(memory / 4))
    end
  end

  -- How long a hash with these fields is kept; nil for ever.
  function rare.keep_until(fields, from, to, hold_until)
    local latest = hold_until
    for i = from, to do
      local ended = window_end(fields[i])
      if not ended then
        return nil
      end
      if ended > latest then
        latest = ended
      end
    end
    return latest + memory
  end

  -- Writes fields to a hash of which at least one is new, and keeps it for as long as `until_ms`
  -- says; nil keeps it for ever.
  function rare.write_new(key, writes, length, until_ms)
    prune(key)
    local left = call('PTTL', key)
    call('HSET', key, unpack(writes, 1, length))
    if not until_ms then
      if left >= 0 then
        call('PERSIST', key)
      end
    elseif left == -2 then
      call('PEXPIREAT', key, until_ms)
    elseif left >= 0 then
      call('PEXPIREAT', key, until_ms, 'GT')
    end
  end

  -- Adds what gives back, or charges, what one expired reservation held on one subject. It only
  -- reads. A counter that can't be read is left as it is, or what the others hold would stay held.
  local function plan_reap(key, writes, fields, amounts, charge)
    if #fields > 0 then
      local values = call('HMGET', key, unpack(fields))
      for i = 1, #fields do
        local ok, used, reserved = pcall(parse, values[i])
        if ok then
          if charge then
            used = plus(used, amounts[i])
          end
          writes[#writes + 1] = fields[i]
          writes[#writes + 1] = render(used, max(reserved - amounts[i], 0))
        end
      end
    end
    return writes
  end

  local function write_reap(key, writes, fields)
    if #writes > 0 then
      if call('EXISTS', key) == 0 then
        rare.write_new(key, writes, #writes, rare.keep_until(fields, 1, #fields, now))
      else
        call('HSET', key, unpack(writes))
      end
    end
  end

  local function reap_one(index, member)
    local base = sub(index, 1, -2)
    local orphans, tenant, user, rest = match(sub(member, 17), '^(%a)([^: ]*):(%S+)(.*)$')
    local user_fields, user_amounts, tenant_fields, tenant_amounts = {}, {}, {}, {}
    for scope, field, amount in string.gmatch(rest, ' ([ut])([^ =]+)=(%d+)') do
      if scope == 'u' then
        user_fields[#user_fields + 1] = field
        user_amounts[#user_amounts + 1] = tonumber(amount)
      else
        tenant_fields[#tenant_fields + 1] = field
        tenant_amounts[#tenant_amounts + 1] = tonumber(amount)
      end
    end
    local user_key = base .. 'u:' .. tenant .. ':' .. user
    local in_flight = tonumber(call('HGET', user_key, 'n') or 0)
    local charge = orphans == 'c'
    local tenant_key = base .. 't:' .. tenant
    local writes = in_flight > 0 and { 'n', in_flight - 1 } or {}
    plan_reap(user_key, writes, user_fields, user_amounts, charge)
    local tenant_writes = plan_reap(tenant_key, {}, tenant_fields, tenant_amounts, charge)
    if HAS_LEDGER then
      append_event(index, charge and 'o' or 'r', member)
    end
    write_reap(user_key, writes, user_fields)
    write_reap(tenant_key, tenant_writes, tenant_fields)
    call('SET', rare.marker_of(index, member), charge and 'l' or 'e', 'PX', memory)
  end

  -- Ends up to `limit` expired reservations of a partition, and says how many.
  function rare.reap(index, limit)
    local dead = call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, limit)
    for i = 1, #dead do
      local ok = pcall(reap_one, index, dead[i])
      if not ok then
        -- Without the record, which says whose it is.
        local marker = rare.marker_of(index, dead[i])
        redis.log(redis.LOG_WARNING, 'quota: an expired reservation is unreadable: ' .. marker)
      end
      call('ZREM', index, dead[i])
    end
    return #dead
  end

  -- The earliest expiry of a partition's live reservations, or nil.
  function rare.earliest(index)
    local first = call('ZRANGE', index, 0, 0, 'WITHSCORES')[2]
    return first and tonumber(first)
  end

  return rare
end

local rare_functions
local function rare()
  rare_functions = rare_functions or make_rare()
  return rare_functions
end

local function epoch_of(key)
  return call('GET', key) or rare().new_epoch(key)
end

-- Writes the first `length` of `writes`. A hash with a field that is new is kept for as long as
-- the fields from one place of ARGV to another say.
local function write_counters(key, writes, length, is_new, from, to, hold_until)
  if is_new then
    local until_ms = rare().keep_until(ARGV, from, to, hold_until)
    rare().write_new(key, writes, length, until_ms)
  elseif length > 0 then
    call('HSET', key, unpack(writes, 1, length))
  end
end
