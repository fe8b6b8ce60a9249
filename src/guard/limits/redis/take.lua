-- Counts one request in all of its limits, or in none when one of them is used up.
-- KEYS: the limits of the request. ARGV: for each limit, its amount and its window in milliseconds.
-- Returns for each limit the hits and the milliseconds left of its window, both before this request.
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
