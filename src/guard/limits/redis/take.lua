-- KEYS: the limits of one request. ARGV: amount and window in milliseconds of each.
-- Gives hits and milliseconds left of each window, as they were before.
local admitted, before = true, {}
for i, key in ipairs(KEYS) do
  local hits = tonumber(string.match(redis.call('GET', key) or '', '^%d+$'))
  local left = redis.call('PTTL', key)
  if not hits or left <= 0 then
    hits, left = 0, tonumber(ARGV[2 * i])
  end
  admitted = admitted and hits < tonumber(ARGV[2 * i - 1])
  before[2 * i - 1], before[2 * i] = hits, left
end
if admitted then
  for i, key in ipairs(KEYS) do
    if before[2 * i - 1] > 0 then
      redis.call('INCR', key)
    else
      redis.call('SET', key, 1, 'PX', ARGV[2 * i])
    end
  end
end
return before
