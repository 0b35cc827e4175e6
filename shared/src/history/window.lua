-- Reads a feed's window. KEYS: the window. ARGV: the number after which to read.
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf')
