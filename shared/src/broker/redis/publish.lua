-- Publishes up to 64 envelopes. KEYS: for each its channel and its feed's window, all in one slot.
-- ARGV: how many a window keeps and for how long; then for each envelope its head, the place in ARGV of its body (so that a
-- body shared by many travels once), and its number in the feed, or 0 for what no window keeps; negative where the window must
-- forget what it holds first.
for i = 1, #KEYS / 2 do
  local channel, window = KEYS[2 * i - 1], KEYS[2 * i]
  local seq = ARGV[3 * i + 2]
  local envelope = ARGV[3 * i] .. ARGV[tonumber(ARGV[3 * i + 1])]
  local listeners, forget = redis.call('SPUBLISH', channel, envelope), false
  if seq:sub(1, 1) == '-' then
    seq = seq:sub(2)
    forget = true
  end
  -- Whom nobody listens for costs no memory, unless they were here a moment ago and may come back.
  if seq ~= '0' and (listeners > 0 or redis.call('EXISTS', window) == 1) then
    if redis.call('ZCOUNT', window, seq, seq) == 0 then
      redis.call('ZADD', window, seq, envelope)
      redis.call('ZREMRANGEBYRANK', window, 0, -(ARGV[1] + 1))
    end
    -- Once this one is in it: an empty window would be gone, and with it the sign that somebody may come back.
    if forget then
      redis.call('ZREMRANGEBYSCORE', window, '-inf', '(' .. seq)
    end
    redis.call('PEXPIRE', window, ARGV[2])
  end
end
