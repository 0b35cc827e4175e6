-- Goes on holding seats, those among them that were forgotten too.
-- KEYS: a person's seats. ARGV: how long they are held, in milliseconds, and the seats.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for seat = 2, #ARGV do
  redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[seat])
end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
