"""Keeps what is fetched from the URIs that documents name: again after a while, and again soon while that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from tulle.logs import Log
from tulle.server.fetching import UnusableError

REFRESH = 20 * 60.0
"""Seconds after which it is fetched again (as in Istio)."""
RETRY = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds until the next try while it fails. What was fetched before stays in force meanwhile."""
AT_ONCE = 32
"""So many requests are under way at most."""

T = TypeVar("T")
Fetch = Callable[[str, float], Awaitable[T]]
"""What stands at a URI, within so many seconds. Raises UnusableError."""


@dataclass(slots=True)
class _Source:
    """What is known of one URI."""

    timeout: float
    error: str = ""
    following: asyncio.Task[None] | None = None


class Kept(Generic[T]):
    """What was `found` at the URIs that are `wanted`, a new mapping whenever it changes. Of that, and of errors, `changed` is told."""

    def __init__(
        self,
        what: str,
        fetch: Fetch[T],
        changed: Callable[[], None],
        *,
        refresh: float = REFRESH,
        retry: tuple[float, ...] = RETRY,
    ) -> None:
        """`what` is fetched, for the log."""
        self.found: Mapping[str, T] = {}
        self._fetch, self._changed = fetch, changed
        self._refresh, self._retry = refresh, retry
        self._sources: dict[str, _Source] = {}
        self._stirred = asyncio.Event()
        self._room = asyncio.Semaphore(AT_ONCE)
        self._log = Log(what)

    def want(self, uris: Mapping[str, float]) -> None:
        """The URIs that documents name from now on, each with its timeout in seconds."""
        for uri, source in self._sources.items():
            source.timeout = uris.get(uri, source.timeout)
        if uris.keys() == self._sources.keys():
            return
        for uri in self._sources.keys() - uris.keys():
            if following := self._sources.pop(uri).following:
                following.cancel()
        self._sources |= {uri: _Source(timeout=timeout) for uri, timeout in uris.items() if uri not in self._sources}
        if gone := self.found.keys() - uris.keys():
            self.found = {uri: found for uri, found in self.found.items() if uri not in gone}
            self._changed()
        self._stirred.set()

    def errors(self) -> Mapping[str, str]:
        """By URI, why the last try failed."""
        return {uri: source.error for uri, source in self._sources.items() if source.error}

    async def run(self) -> None:
        """Fetches what is due, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._stirred.clear()
                for uri, source in self._sources.items():
                    source.following = source.following or group.create_task(self._follow(uri, source))
                await self._stirred.wait()

    async def _follow(self, uri: str, source: _Source) -> None:
        """Ends when it is cancelled, as nobody wants it any more."""
        failures = 0
        while True:
            if await self._renew(uri, source):
                failures, rest = 0, self._refresh
            else:
                failures, rest = failures + 1, self._retry[min(failures, len(self._retry) - 1)]
            await asyncio.sleep(rest)

    async def _renew(self, uri: str, source: _Source) -> bool:
        try:
            async with self._room:
                found = await self._fetch(uri, source.timeout)
        except UnusableError as error:
            self._log.warning("could not be fetched; what needs it is refused, unless it was fetched before", uri=uri, error=str(error))
            self._take(source, self.found, str(error))
            return False
        self._take(source, self.found if self.found.get(uri) == found else {**self.found, uri: found}, "")
        return True

    def _take(self, source: _Source, found: Mapping[str, T], error: str) -> None:
        same = found is self.found and error == source.error
        self.found, source.error = found, error
        if not same:
            self._changed()
