-- Counts one request in all of its limits, or in none when one of them has less left than its cost.
-- KEYS: the limits of the request. ARGV: for each limit, its amount and its window in milliseconds;
-- last the cost of the request in hits.
-- Returns for each limit the hits and the milliseconds left of its window, both before this request.
local cost = tonumber(ARGV[#ARGV])
local admitted, before = true, {}
for i, key in ipairs(KEYS) do
  local hits = tonumber(string.match(redis.call('GET', key) or '', '^%d+$'))
  local left = redis.call('PTTL', key)
  if not hits or left <= 0 then
    hits, left = 0, tonumber(ARGV[2 * i])
  end
  admitted = admitted and hits + cost <= tonumber(ARGV[2 * i - 1])
  before[2 * i - 1], before[2 * i] = hits, left
end
if admitted then
  for i, key in ipairs(KEYS) do
    if before[2 * i - 1] > 0 then
      -- A user of Redis who may only do what single hits need has no right to INCRBY.
      if cost == 1 then
        redis.call('INCR', key)
      else
        redis.call('INCRBY', key, cost)
      end
    else
      redis.call('SET', key, cost, 'PX', ARGV[2 * i])
    end
  end
end
return before
