"""The counts of limits in Redis or Valkey, for several control planes that are to count together.

One script asks of all limits of a request, and counts if none of them refuses: nothing comes between. The clock is the database's own.
Numbers are those of Lua, good to a quarter of a microsecond.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta

import redis.asyncio
from redis.exceptions import RedisError

from tulle.model.gcra import Taken
from tulle.model.rate_limits import RateLimit
from tulle.server.counts import CountsGoneError, count_name
from tulle.store.port import StoreError

PREFIX = "tulle:rate-limits:"
PATIENCE = 10.0
"""Seconds for an answer, unless told otherwise."""
_CONNECTIONS = 32
_UNUSABLE = (
    "TULLE_RATE_LIMIT_STORE cannot be used: its port must be a number and its options those of redis-py, "
    "and / ? # @ : and % of a password are written as %2F %3F %23 %40 %3A and %25"
)

_SCRIPT = """
local time = redis.call('TIME')
local now, hits, allowed, wanted, answer = time[1] * 1000000 + time[2], tonumber(ARGV[1]), true, {}, {}
for i, key in ipairs(KEYS) do
  local interval, most = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i]) * tonumber(ARGV[2 * i + 1])
  local used = math.min(math.max(tonumber(redis.call('GET', key) or 0) - now, 0), most)
  wanted[i] = used + hits * interval
  local fits = wanted[i] <= most + 1
  allowed = allowed and fits
  local left = math.max(most + 1 - (fits and wanted[i] or used), 0)
  answer[i] = {fits and 1 or 0, math.floor(left / interval), math.ceil(fits and wanted[i] or wanted[i] - most)}
end
if allowed then
  for i, key in ipairs(KEYS) do
    redis.call('SET', key, string.format('%.2f', now + wanted[i]), 'PX', math.ceil(wanted[i] / 1000) + 1)
  end
end
return answer
"""


class RedisCounts:
    """`url`: redis://, rediss:// or unix://."""

    def __init__(self, url: str) -> None:
        """Raises StoreError for a URL that cannot be used, without a word of what stands in it."""
        try:
            # Nothing but `within` ends a call: some may wait for longer than others.
            pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=_CONNECTIONS, timeout=None)
            pool.connection_class(**pool.connection_kwargs)  # opens nothing, and knows which options there are
        except (ValueError, TypeError):
            raise StoreError(_UNUSABLE) from None
        self._client = redis.asyncio.Redis.from_pool(pool)
        self._script = self._client.register_script(_SCRIPT)

    async def take(self, asked: Sequence[tuple[RateLimit, Iterable[str]]], hits: int = 1, within: float = PATIENCE) -> tuple[Taken, ...]:
        """As `Counts.take`, with no state to keep; an answer may take `within` seconds. Raises CountsGoneError."""
        if not asked:
            return ()
        keys = [f"{PREFIX}{count_name(limit, values)}:{_rate(limit)}" for limit, values in asked]
        numbers = [n for limit, _ in asked for n in (repr(limit.per / timedelta(microseconds=1) / limit.requests), str(limit.burst))]
        try:
            async with asyncio.timeout(within):
                answer = await self._script(keys=keys, args=[hits, *numbers])
        except (RedisError, OSError) as error:
            raise CountsGoneError(f"the counts cannot be asked for: {type(error).__name__}") from None
        return tuple(Taken(allowed=fits == 1, full=0, remaining=left, wait=wait * 1000) for fits, left, wait in answer)

    async def close(self) -> None:
        await self._client.aclose()


def _rate(limit: RateLimit) -> str:
    """A limit that became another one counts anew."""
    return f"{limit.requests}-{limit.per // timedelta(seconds=1)}-{limit.burst}"
