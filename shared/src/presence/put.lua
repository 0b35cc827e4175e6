-- Writes what people are at one gateway, and tells what that changes.
-- KEYS: for each person what is known of them, and their channel; all in one slot.
-- ARGV: the holder of the lease; the one it had before, or nothing; when it has to stop writing, in milliseconds, or 0; for how
-- many milliseconds those are held who are here, and those who are not; the time, as it is told; then for each person what they
-- are, and of the event the envelope's head, the text up to the version, and from there up to the state.
local holder, former, ends_at = ARGV[1], ARGV[2], tonumber(ARGV[3])
local seconds = redis.call('TIME')
local micros = seconds[1] * 1000000 + seconds[2]
-- A holder that was frozen may have been taken for dead meanwhile, and what it writes now would stay for ever.
if ends_at > 0 and micros / 1000 >= ends_at then
  return 0
end
local millis = string.format('%.0f', math.floor(micros / 1000))
for i = 1, #KEYS / 2 do
  local person, channel = KEYS[2 * i - 1], KEYS[2 * i]
  local state, head, opening, naming = ARGV[4 * i + 3], ARGV[4 * i + 4], ARGV[4 * i + 5], ARGV[4 * i + 6]
  -- Whoever was written by a gateway that has not written them anew for so long was forgotten by a server that lost its lease.
  local before, old = merge(person, tonumber(millis) - tonumber(ARGV[4]))
  if #old > 0 then
    redis.call('HDEL', person, unpack(old))
  end
  if former ~= '' then
    redis.call('HDEL', person, former)
  end
  if state == 'offline' then
    redis.call('HDEL', person, holder)
  else
    redis.call('HSET', person, holder, state .. ' ' .. millis)
  end
  local after = merge(person, 0)
  if before ~= after then
    local version = math.max(micros, (tonumber(redis.call('HGET', person, 'version')) or 0) + 1)
    version = string.format('%.0f', version)
    local last_seen = 'null'
    if after == 'offline' then
      redis.call('HSET', person, 'version', version, 'last_seen', ARGV[6])
      last_seen = '"' .. ARGV[6] .. '"'
    else
      redis.call('HSET', person, 'version', version)
    end
    redis.call('SPUBLISH', channel, head .. opening .. version .. naming .. after .. '","last_seen":' .. last_seen .. '}')
  end
  if after ~= 'offline' then
    redis.call('PEXPIRE', person, ARGV[4])
  elseif before ~= after then
    redis.call('PEXPIRE', person, ARGV[5])
  end
end
return 1
