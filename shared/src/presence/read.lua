-- Answers for each person what they are, when they were last seen, the version, and which gateways wrote them. KEYS: what is known of each. Of whom nothing is
-- known any more it is known now: whoever was told more of them before must not go by that.
local known, seconds = {}, redis.call('TIME')
local now = string.format('%.0f', seconds[1] * 1000000 + seconds[2])
for i, person in ipairs(KEYS) do
  local state, _, holders = merge(person, 0)
  local said = redis.call('HMGET', person, 'last_seen', 'version')
  known[4 * i - 3] = state
  known[4 * i - 2] = state == 'offline' and said[1] or ''
  known[4 * i - 1] = said[2] or now
  known[4 * i] = table.concat(holders, ' ')
end
return known
