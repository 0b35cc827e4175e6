-- Takes a turn and answers 0, or answers in how many microseconds there is one.
-- KEYS: when everything that was taken will be earned back, in microseconds. ARGV: microseconds in which one is earned back, and
-- in which all are.
--
-- Never more than all is owed: another server's clock may have been ahead of this one's.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local each, whole = tonumber(ARGV[1]), tonumber(ARGV[2])
local earned_back = math.min(math.max(tonumber(redis.call('GET', KEYS[1])) or 0, now), now + whole)
local wait = earned_back + each - whole - now
if wait > 0 then
  return math.ceil(wait)
end
redis.call('SET', KEYS[1], string.format('%.0f', earned_back + each), 'PX', math.ceil((earned_back + each - now) / 1000))
return 0
