-- Shared by every script; it comes first in each of them.
--
-- An answer is one string, since nested arrays cost more than what they tell: the store's time,
-- then per item its length, its code and its numbers. A number has 8 bytes, lowest byte first; a
-- length has 2, a code 1. The code 255 stands for something unreadable, and text follows.
--
-- The scripts run twice per request. What they cost was counted in instructions: a command takes
-- 3 000 to 10 000, an argument 1 000, and every function or table that is made 500 to 1 000, for
-- each call anew. So functions that few calls need are made when they are needed.

local KEYS, ARGV, call = KEYS, ARGV, redis.call
local sub, match, format = string.sub, string.match, string.format
local pack, unpack_numbers = struct.pack, struct.unpack

local MAX = 9007199254740991
local UNREADABLE = 255

local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Splits a counter's value, `USED` or `USED RESERVED`.
local function parse(value)
  if not value then
    return 0, 0
  end
  local used, reserved = match(value, '^(%d+) ?(%d*)$')
  if not used then
    error('a counter is unreadable')
  end
  -- Arithmetic reads a number at half the cost of `tonumber`.
  used = used + 0
  reserved = reserved == '' and 0 or reserved + 0
  if used > MAX or reserved > MAX then
    error('a counter is too large')
  end
  return used, reserved
end

-- An item of the answer: a code, the first `count` of `numbers`, and a text.
local function packed_text(code, numbers, count, text)
  local layout = '<I2B' .. string.rep('i8', count)
  return pack(layout, 1 + 8 * count + #text, code, unpack(numbers, 1, count)) .. text
end

local function packed(code, numbers, count)
  return packed_text(code, numbers, count, '')
end

-- Answers every item by itself: one that can't be read does not hurt the others.
local function answer(count, item)
  local replies = { pack('<i8', now) }
  local at = 1
  local function answer_rest()
    while at <= count do
      replies[at + 1] = item(at)
      at = at + 1
    end
  end
  while at <= count do
    local ok, failure = pcall(answer_rest)
    if not ok then
      if type(failure) == 'table' then
        failure = failure.err or 'unknown failure'
      end
      replies[at + 1] = packed_text(UNREADABLE, {}, 0, sub(tostring(failure), 1, 1000))
      at = at + 1
    end
  end
  return table.concat(replies)
end
