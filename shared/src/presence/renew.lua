-- Makes a lease last, and answers the time in milliseconds; 0 for one that has ended.
-- KEYS: the lease, and whom its holder has. ARGV: for how long, and for how long the people are held; `begin` for a first one.
if ARGV[3] == 'begin' then
  redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
elseif redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then
  return '0'
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
local seconds = redis.call('TIME')
return string.format('%.0f', seconds[1] * 1000 + math.floor(seconds[2] / 1000))
