"""Real requests, and what came of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count

from tulle.demo.apps.client import Answer, Client, UnavailableError
from tulle.demo.apps.http import Headers

TIMEOUT = 15.0
CONCURRENCY = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request: its answer, status 0 where none came, and how many seconds it took."""

    answer: Answer
    seconds: float

    @property
    def text(self) -> str:
        return self.answer.body.decode("utf-8", "replace")


class Traffic:
    """Sends requests to one address: a gateway, or by way of a sidecar's forward proxy."""

    def __init__(self, base: str, *, proxy: str = "") -> None:
        self._base = base
        self._client = Client(proxy)

    async def one(self, path: str, headers: Headers = (), *, method: str = "GET", body: bytes = b"") -> Sample:
        """One request, timed."""
        started = time.monotonic()
        try:
            answer = await self._client.request(method, self._base + path, headers, body, timeout=TIMEOUT)
        except UnavailableError as error:
            answer = Answer(status=0, body=str(error).encode())
        return Sample(answer=answer, seconds=time.monotonic() - started)

    async def many(self, number: int, path: str, headers: Headers = (), *, concurrency: int = CONCURRENCY) -> Sequence[Sample]:
        """The same request `number` times, `concurrency` at once."""
        return await gather(number, lambda _: self.one(path, headers), concurrency=concurrency)

    def close(self) -> None:
        self._client.close()


async def gather(number: int, call: Callable[[int], Awaitable[Sample]], *, concurrency: int = CONCURRENCY) -> Sequence[Sample]:
    """Makes `number` calls, numbered from 0, `concurrency` at once."""
    samples: list[Sample] = []
    turn = count()

    async def worker() -> None:
        while (index := next(turn)) < number:
            samples.append(await call(index))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, number)):
            group.create_task(worker())
    return samples


def statuses(samples: Sequence[Sample]) -> Counter[int]:
    """How often each status came; 0 stands for no answer at all."""
    return Counter(sample.answer.status for sample in samples)
