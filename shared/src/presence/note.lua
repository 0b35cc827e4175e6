-- Notes whom the holder of a lease is about to write, so that they are found when it is dead; 0 if the lease has ended.
-- KEYS: the lease, and whom its holder has. ARGV: for how many milliseconds they are held, and the people.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('SADD', KEYS[2], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return 1
