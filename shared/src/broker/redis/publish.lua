-- Publishes up to 64 envelopes. KEYS: their channels, which share a slot.
-- ARGV: for KEYS[i] its head, and the place in ARGV of its body, so that a body shared by many travels once.
for i, channel in ipairs(KEYS) do
  redis.call('SPUBLISH', channel, ARGV[2 * i - 1] .. ARGV[tonumber(ARGV[2 * i])])
end
