-- What somebody is over all gateways: the highest of what each has written, which is a state and when it was written, in
-- milliseconds. Answers besides which gateways wrote before `since`, and which wrote at all. Every other script of this folder that needs it begins with
-- this one.
local RANKS = { offline = 0, idle = 1, online = 2, dnd = 3 }
local function merge(person, since)
  local highest, old, holders, fields = 'offline', {}, {}, redis.call('HGETALL', person)
  for i = 1, #fields, 2 do
    local state, written_at = string.match(fields[i + 1], '^(%a+) (%d+)$')
    if state and RANKS[state] > RANKS[highest] then
      highest = state
    end
    if state then
      holders[#holders + 1] = fields[i]
      if tonumber(written_at) < since then
        old[#old + 1] = fields[i]
      end
    end
  end
  return highest, old, holders
end
