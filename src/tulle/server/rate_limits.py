"""Envoy's rate limit service (envoy.service.ratelimit.v3): proxies ask here for limits that hold over all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc

from tulle.logs import Log
from tulle.model.gcra import Taken
from tulle.model.rate_limits import RateLimit
from tulle.protos import pb
from tulle.server.counts import Counts, CountsGoneError
from tulle.store.port import Delete, Put, Store, StoreError

if TYPE_CHECKING:
    from tulle.server.redis_counts import RedisCounts

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
PREFIX = "rate-limits/"
"""Of the store's keys with counts that outlive the process."""
SAVED_EVERY = 1.0
"""Seconds: what a process may lose of its counts when it is killed."""

_OK, _OVER = 1, 2
_UNITS = {1: 1, 60: 2, 3600: 3, 86_400: 4, 30 * 86_400: 5}
_SECOND = 1_000_000_000
_BATCH = 256
_SHARE = 0.8
_LONGEST = 5.0
"""Seconds for who asks without saying how long it waits."""

Meant = tuple[RateLimit, list[str]]
"""A limit, and the values that tell a request apart."""

_log = Log("rate limits")


class RateLimitService:
    """`limits` are those in force, by name. What asks about others is let through: its proxy is ahead of this process, or behind it."""

    def __init__(
        self, limits: Callable[[], Mapping[str, RateLimit]], clock: Callable[[], int] = time.time_ns, elsewhere: RedisCounts | None = None
    ) -> None:
        """`elsewhere`: where to count instead of in memory."""
        self.counts = Counts()
        self._elsewhere = elsewhere
        self._gone = False
        self._limits = limits
        self._clock = clock

    def handler(self) -> Any:
        """For a gRPC server."""
        method = grpc.unary_unary_rpc_method_handler(
            self._serve, request_deserializer=pb.RateLimitRequest.FromString, response_serializer=pb.RateLimitResponse.SerializeToString
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"ShouldRateLimit": method})

    async def _serve(self, request: Any, context: Any) -> Any:
        if self._elsewhere is None:
            return self.decide(request)
        known = self._known(request)
        try:
            taken = await self._elsewhere.take([found for found in known if found], request.hits_addend or 1, _within(context))
        except CountsGoneError as error:
            self._tell(gone=True, why=str(error))
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
            raise
        self._tell(gone=False)
        return _answer(known, taken)

    def decide(self, request: Any) -> Any:
        """The answer out of memory, with a status for each descriptor, in their order."""
        known = self._known(request)
        return _answer(known, self.counts.take([found for found in known if found], self._clock(), request.hits_addend or 1))

    def _known(self, request: Any) -> list[Meant | None]:
        limits = self._limits()
        return [_meant(limits, descriptor) for descriptor in request.descriptors]

    def _tell(self, *, gone: bool, why: str = "") -> None:
        """Once each time that it changes."""
        if gone and not self._gone:
            _log.warning("global rate limits are not counted: each document's failureMode decides", why=why)
        elif self._gone and not gone:
            _log.info("global rate limits are counted again")
        self._gone = gone

    async def load(self, store: Store) -> None:
        """Counts that an earlier process saved. Raises StoreError."""
        listing = await store.range(PREFIX)
        self.counts.restore({entry.key.removeprefix(PREFIX): entry.value for entry in listing.entries})

    async def keep(self, store: Store) -> None:
        """Saves counts until it is cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(SAVED_EVERY)
                self.counts.sweep(self._clock())
                await self._save(store)
        finally:
            await self._save(store)

    async def _save(self, store: Store) -> None:
        ops = [
            Delete(key=PREFIX + name) if value is None else Put(key=PREFIX + name, value=value)
            for name, value in self.counts.unsaved().items()
        ]
        try:
            for first in range(0, len(ops), _BATCH):
                await store.commit(ops[first : first + _BATCH])
        except StoreError as error:
            _log.warning("counts of rate limits could not be saved: after a restart they are lower than they should be", why=str(error))


async def opened(stack: AsyncExitStack, url: str, limits: Callable[[], Mapping[str, RateLimit]], store: Store) -> RateLimitService:
    """The service that counts where `url` says, or in memory, with what an earlier process saved. Raises StoreError."""
    if not url:
        service = RateLimitService(limits)
        await service.load(store)
        return service
    from tulle.server.redis_counts import RedisCounts  # noqa: PLC0415 - not everybody has use for it

    counts = RedisCounts(url)
    stack.push_async_callback(counts.close)
    return RateLimitService(limits, elsewhere=counts)


def _within(context: Any) -> float:
    """Seconds for the database: a little less than the proxy waits for its answer."""
    return _SHARE * (context.time_remaining() or _LONGEST)


def _answer(known: Sequence[Meant | None], taken: Sequence[Taken]) -> Any:
    each = iter(taken)
    statuses = [_status(found[0], next(each)) if found else {"code": _OK} for found in known]
    over = any(status["code"] == _OVER for status in statuses)
    return pb.RateLimitResponse(overall_code=_OVER if over else _OK, statuses=statuses)


def _meant(limits: Mapping[str, RateLimit], descriptor: Any) -> Meant | None:
    """The limit that a descriptor names, and the values that tell the request apart."""
    entries = [(entry.key, entry.value) for entry in descriptor.entries]
    limit = limits.get(entries[0][1]) if entries and entries[0][0] == "limit" else None
    wanted = {str(key) for key in limit.by} if limit else set()
    return (limit, [value for key, value in entries[1:] if key in wanted]) if limit else None


def _status(limit: RateLimit, taken: Taken) -> dict[str, Any]:
    seconds = -(-taken.wait // _SECOND)
    unit = _UNITS[int(limit.per.total_seconds())]
    return {
        "code": _OK if taken.allowed else _OVER,
        "current_limit": {"requests_per_unit": limit.requests, "unit": unit},
        "limit_remaining": taken.remaining,
        "duration_until_reset": {"seconds": seconds},
    }
