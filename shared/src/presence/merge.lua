-- What somebody is over all gateways: the highest of what each has written. Every other script of this folder that needs it
-- begins with this one.
local RANKS = { offline = 0, idle = 1, online = 2, dnd = 3 }
local function merge(person)
  local highest, fields = 'offline', redis.call('HGETALL', person)
  for i = 1, #fields, 2 do
    local rank = fields[i] ~= 'version' and fields[i] ~= 'last_seen' and RANKS[fields[i + 1]]
    if rank and rank > RANKS[highest] then
      highest = fields[i + 1]
    end
  end
  return highest
end
