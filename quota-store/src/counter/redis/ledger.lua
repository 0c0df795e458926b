-- Shared by the scripts of a store that brings what it charged to a ledger; it comes behind
-- `common.lua`.
--
-- Such a store knows which epoch each partition should have, and such a script serves no other:
-- its data would be that of another time, or none.
-- A partition's stream: one entry per event, which `event.rs` and `members.rs` read. Its first
-- field says what happened: `c` committed, `l` committed late, `k` corrected, `a` administered,
-- `r` expired and given back, `o` expired and charged. `d` are the differences that a correction or
-- an act made. It is never trimmed, or charges were lost.

local HAS_LEDGER = true
local NOT_SERVING = 254
-- Stands for an epoch that the caller could not learn.
local ANY_EPOCH = '0000000000000000'

-- The partition's epoch; or nil, and the answer where it is not the expected one.
local function expect_epoch(key, expected)
  local epoch = call('GET', key)
  if not epoch or (expected ~= ANY_EPOCH and epoch ~= expected) then
    return nil, packed_text(NOT_SERVING, {}, 0, epoch or '')
  end
  return epoch
end

-- Appends an event to the stream of the partition that has this key, whose own name is a letter.
local function append_event(key, ...)
  call('XADD', sub(key, 1, -2) .. 's', '*', ...)
end
