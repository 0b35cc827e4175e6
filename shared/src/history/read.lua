-- Answers the envelopes of a room from an entry on, oldest first. KEYS: the room's stream. ARGV: the first entry's id.
local envelopes = {}
for i, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], '+')) do
  envelopes[i] = entry[2][6]
end
return envelopes
