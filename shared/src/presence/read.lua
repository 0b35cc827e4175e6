-- Answers for each person what they are, when they were last seen, and the version. KEYS: what is known of each.
local known = {}
for i, person in ipairs(KEYS) do
  local state, said = merge(person), redis.call('HMGET', person, 'last_seen', 'version')
  known[3 * i - 2] = state
  known[3 * i - 1] = state == 'offline' and said[1] or ''
  known[3 * i] = said[2] or '0'
end
return known
