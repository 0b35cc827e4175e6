-- Numbers, keeps and publishes one envelope of a room, and answers its position.
-- KEYS: the room's stream, its channel, and where this call's answer is noted, which share a slot.
-- ARGV: an epoch in case one begins, entries to keep, milliseconds to keep, the envelope's head up to the position, its body, milliseconds
-- to keep the answer.
--
-- A call whose connection broke before it was answered comes again: it is answered then, and not done twice. Where the note was evicted
-- it is.
--
-- All else there is to know stands in the last entry, so that nothing can be evicted separately. Numbers may be given twice by a
-- server that took over without having heard the last of them: another server begins another epoch.
local stream, channel, answer = KEYS[1], KEYS[2], KEYS[3]
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
local epoch, offset = ARGV[1], 1
local goes_on = last and last[2][2] == server
if goes_on then
  epoch, offset = last[2][4], tonumber(string.match(last[1], '^%d+')) + 1
end
local position = epoch .. '-' .. string.format('%.0f', offset)
local answered = redis.call('SET', answer, position, 'NX', 'GET', 'PX', ARGV[6])
if answered then
  return answered
end
if last and not goes_on then
  redis.call('DEL', stream)
end
local envelope = ARGV[4] .. position .. '\n' .. ARGV[5]
redis.call('XADD', stream, 'MAXLEN', ARGV[2], string.format('%.0f-0', offset), 'server', server, 'epoch', epoch, 'envelope', envelope)
redis.call('PEXPIRE', stream, ARGV[3])
redis.call('SPUBLISH', channel, envelope)
return position
