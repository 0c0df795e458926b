-- Shared by every script that writes; it comes first in each of them.
--
-- A subject's hash: `g` generation, `n` reservations in flight, `p` when to prune next, and one
-- field per counter, `QUOTA:WINDOW`, whose value is `USED` or `USED RESERVED`.
-- A partition's index (sorted set): one member per live reservation, by its expiry. The member is
-- the record: `ID r|c TENANT:USER [u|tFIELD=AMOUNT]...`.
-- A marker: `e` expired, `l` late, `s` settled, `a` aborted, and `c` behind it for corrected.

local MAX = 9007199254740991
local FAR = 4503599627370496

local call, sub, find, match = redis.call, string.sub, string.find, string.match
local max, min, format = math.max, math.min, string.format

local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local memory = tonumber(ARGV[1])

-- Splits a counter's value into what is used and what is reserved.
local function parse(value)
  if not value then
    return 0, 0
  end
  local used, reserved = tonumber(value), 0
  if not used then
    local space = find(value, ' ', 1, true)
    used, reserved = tonumber(sub(value, 1, space - 1)), tonumber(sub(value, space + 1))
  end
  if not (used and reserved and used >= 0 and used <= MAX and reserved >= 0 and reserved <= MAX) then
    error('a counter is unreadable')
  end
  return used, reserved
end

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

-- Decimal numbers of any length; Lua's own keep 53 bits.
local function later(one, other)
  return #one > #other or (#one == #other and one > other)
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
    if find(field, ':', 1, true) and not find(fields[i + 1], ' ', 1, true) then
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

-- Writes fields to a hash of which at least one is new, and keeps it for as long as `until_ms`
-- says; nil keeps it for ever.
local function write_new(key, writes, until_ms)
  prune(key)
  local left = call('PTTL', key)
  call('HSET', key, unpack(writes))
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

-- How long a hash with these fields is kept.
local function keep_until(fields, from, to, hold_until)
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

-- Writes the first `length` of `writes`, which is used again for each item. A hash with a field
-- that is new is kept for as long as the fields from one place of ARGV to another say.
local function write_counters(key, writes, length, is_new, from, to, hold_until)
  if length == 0 then
    return
  end
  for i = #writes, length + 1, -1 do
    writes[i] = nil
  end
  if is_new then
    write_new(key, writes, keep_until(ARGV, from, to, hold_until))
  else
    call('HSET', key, unpack(writes))
  end
end

local function epoch_of(key, candidate)
  local epoch = call('GET', key)
  if not epoch then
    epoch = candidate
    call('SET', key, epoch)
  end
  return epoch
end

-- Gives back, or charges, what one expired reservation held on one subject.
local function reap_subject(key, writes, fields, amounts, charge)
  if #fields > 0 then
    local values = call('HMGET', key, unpack(fields))
    for i = 1, #fields do
      local used, reserved = parse(values[i])
      if charge then
        used = plus(used, amounts[i])
      end
      writes[#writes + 1] = fields[i]
      writes[#writes + 1] = render(used, max(reserved - amounts[i], 0))
    end
  end
  if #writes > 0 then
    local until_ms = now + memory
    if call('EXISTS', key) == 0 then
      until_ms = keep_until(fields, 1, #fields, now)
      write_new(key, writes, until_ms)
    else
      call('HSET', key, unpack(writes))
    end
  end
end

local function reap_one(base, member)
  local id, orphans, tenant, user, rest = match(member, '^(%S+) (%a) ([^: ]*):(%S+)(.*)$')
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
  local writes = {}
  if in_flight > 0 then
    writes = { 'n', in_flight - 1 }
  end
  reap_subject(user_key, writes, user_fields, user_amounts, charge)
  if #tenant_fields > 0 then
    reap_subject(base .. 't:' .. tenant, {}, tenant_fields, tenant_amounts, charge)
  end
  call('SET', base .. 'm:' .. id, charge and 'l' or 'e', 'PX', memory)
end

-- Ends up to `limit` expired reservations of a partition, and says how many.
local function reap(index, limit)
  local dead = call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, limit)
  local base = sub(index, 1, -2)
  for i = 1, #dead do
    local ok = pcall(reap_one, base, dead[i])
    if not ok then
      redis.log(redis.LOG_WARNING, 'quota: an expired reservation is unreadable: ' .. dead[i])
    end
    call('ZREM', index, dead[i])
  end
  return #dead
end

-- The earliest expiry of a partition's live reservations, or nil.
local function earliest(index)
  local first = call('ZRANGE', index, 0, 0, 'WITHSCORES')[2]
  return first and tonumber(first)
end

-- Answers every item by itself: one that can't be read does not hurt the others.
local function answer(count, item)
  local replies = { now }
  for i = 1, count do
    local ok, reply = pcall(item, i)
    if ok then
      replies[i + 1] = reply
    else
      if type(reply) == 'table' then
        reply = reply.err or 'unknown failure'
      end
      replies[i + 1] = { -1, tostring(reply) }
    end
  end
  return replies
end
