-- Shared by the scripts that look whether a stream is at rest.

-- The id of the last entry that a stream ever had.
local function last_id(stream)
  local facts = redis.pcall('XINFO', 'STREAM', stream)
  for i = 1, #facts, 2 do
    if facts[i] == 'last-generated-id' then
      return facts[i + 1]
    end
  end
  return '0-0'
end
