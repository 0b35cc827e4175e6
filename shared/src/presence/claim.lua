-- Claims whom the holder of a lease had that has ended, and answers some of them; nothing while it lasts or another one has them.
-- KEYS: the lease, whom its holder has, the claim, and who is claimed; all in one slot.
-- ARGV: the sweeper, for how many milliseconds it has the claim, how many people it wants, and for how long they are held.
--
-- A claim is a lease too: when a sweeper dies, those whom it has not taken back are there for the next.
local lease, people, claim, claimed = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
if redis.call('EXISTS', lease) == 1 then
  return false
end
local sweeper = redis.call('GET', claim)
if sweeper and sweeper ~= ARGV[1] then
  return false
end
redis.call('SET', claim, ARGV[1], 'PX', ARGV[2])
if redis.call('EXISTS', people) == 1 then
  redis.call('SUNIONSTORE', claimed, claimed, people)
  redis.call('DEL', people)
end
redis.call('PEXPIRE', claimed, ARGV[4])
return redis.call('SRANDMEMBER', claimed, ARGV[3])
