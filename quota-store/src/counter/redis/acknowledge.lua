-- Removes entries that are in the ledger, and keeps aside those that can't be read.
--
-- KEYS, 2 per item: stream, stream of what is kept aside.
-- ARGV: the group; then per item: number of ids, the ids, number of ids of what is kept aside,
--   these ids.
-- Result, per item: 1.
-- Atomicity: the whole call is one step, so that nothing is acknowledged and stays.

local MOST_KEPT_ASIDE = 1000

local cursor = 1

local function acknowledge(item)
  local stream, aside = KEYS[2 * item - 1], KEYS[2 * item]
  local function remove(from, to)
    if to >= from then
      call('XACK', stream, ARGV[1], unpack(ARGV, from, to))
      call('XDEL', stream, unpack(ARGV, from, to))
    end
  end
  local good = ARGV[cursor + 1] + 0
  local first_good = cursor + 2
  local bad = ARGV[first_good + good] + 0
  local first_bad = first_good + good + 1
  cursor = first_bad + bad - 1
  for i = first_bad, cursor do
    local entries = call('XRANGE', stream, ARGV[i], ARGV[i])
    if entries[1] then
      call('XADD', aside, 'MAXLEN', '~', MOST_KEPT_ASIDE, '*', unpack(entries[1][2]))
    end
  end
  remove(first_good, first_good + good - 1)
  remove(first_bad, cursor)
  return packed(1, {}, 0)
end

return answer(#KEYS / 2, acknowledge)
