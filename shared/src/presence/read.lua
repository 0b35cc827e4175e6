-- Answers for each person what they are, when they were last seen, and the version. KEYS: what is known of each. Of whom nothing is
-- known any more it is known now: whoever was told more of them before must not go by that.
local known, seconds = {}, redis.call('TIME')
local now = string.format('%.0f', seconds[1] * 1000000 + seconds[2])
for i, person in ipairs(KEYS) do
  local state, said = merge(person, 0), redis.call('HMGET', person, 'last_seen', 'version')
  known[3 * i - 2] = state
  known[3 * i - 1] = state == 'offline' and said[1] or ''
  known[3 * i] = said[2] or now
end
return known
