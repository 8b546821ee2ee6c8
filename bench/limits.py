"""Rate limit decisions a second of one control plane: the counting alone, and asked over gRPC as proxies ask; and how exact they are.

The counting is timed in this process. The service runs in a process of its own; what asks it keeps so many questions under way at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
from bench.report import cpu_seconds, free_port, median, publish, running, version_of, wait_for_port

from tulle.model.rate_limits import Counted, CountKey, RateLimit
from tulle.protos import pb
from tulle.server.counts import Counts
from tulle.server.rate_limits import SERVICE, RateLimitService
from tulle.server.redis_counts import RedisCounts

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "2"))
UNDER_WAY = 64
KEYS = 10_000
SMALL = 500
"""Requests a second of the limit whose exactness is looked at."""
BURST = SMALL
"""Given back while the other questions are asked."""
_KEY = (CountKey(counted=Counted.HEADER, name=("x-key",)),)
WIDE = RateLimit(name="default/wide/0", requests=10**9, per=timedelta(seconds=1), burst=10**9, by=_KEY, shared=True)
TIGHT = RateLimit(name="default/tight/0", requests=SMALL, per=timedelta(seconds=1), burst=BURST, shared=True)


def counting() -> float:
    """Decisions a second of CPU time, over many keys."""
    counts, number, begin = Counts(), 0, time.process_time()
    while time.process_time() - begin < SECONDS:
        for _ in range(1000):
            number += 1
            counts.take([(WIDE, (str(number % KEYS),))], time.time_ns())
    return number / (time.process_time() - begin)


def question(limit: RateLimit, key: str) -> bytes:
    entries = [{"key": "limit", "value": limit.name}, {"key": str(_KEY[0]), "value": key}]
    return bytes(pb.RateLimitRequest(domain="tulle", descriptors=[{"entries": entries}]).SerializeToString())


async def asked(port: int, limit: RateLimit, callers: int = 2) -> tuple[float, int, float]:
    """Answers a second, how many of them let a request through, and the seconds from the first question to the last answer."""
    answers, passed = 0, 0
    end = time.monotonic() + SECONDS

    async def caller(ask: Any, number: int) -> None:
        nonlocal answers, passed
        while time.monotonic() < end:
            answer = await ask(question(limit, str((number + answers) % KEYS)))
            answers += 1
            passed += pb.RateLimitResponse.FromString(answer).overall_code == 1

    begin = time.monotonic()
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(callers)]
    async with asyncio.TaskGroup() as tasks:
        for number in range(UNDER_WAY):
            ask = channels[number % callers].unary_unary(f"/{SERVICE}/ShouldRateLimit")
            tasks.create_task(caller(ask, number))
    for channel in channels:
        await channel.close()
    seconds = time.monotonic() - begin
    return answers / seconds, passed, seconds


async def serve(port: int, url: str) -> None:
    server, counts = grpc.aio.server(), RedisCounts(url) if url else None
    service = RateLimitService(lambda: {WIDE.name: WIDE, TIGHT.name: TIGHT}, elsewhere=counts)
    server.add_generic_rpc_handlers((service.handler(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def over_grpc(process: subprocess.Popen[bytes], port: int) -> tuple[float, float, float]:
    """Decisions a second, the service's CPU time for one in microseconds, and how many too many passed a limit, in percent."""
    before = cpu_seconds(process.pid)
    rate, _, seconds = asyncio.run(asked(port, WIDE))
    spent = (cpu_seconds(process.pid) - before) * 1e6 / (rate * seconds)
    _, passed, seconds = asyncio.run(asked(port, TIGHT))
    return rate, spent, 100 * (passed / (BURST + SMALL * seconds) - 1)


@contextlib.contextmanager
def service(url: str = "") -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    with running([sys.executable, "-m", "bench.limits", str(port), url]) as process:
        wait_for_port(port)
        yield process, port


def main() -> None:
    with contextlib.ExitStack() as stack:
        places = {"memory": stack.enter_context(service())}
        if shutil.which("redis-server"):
            port = free_port()
            stack.enter_context(running(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]))
            wait_for_port(port)
            places["Redis"] = stack.enter_context(service(f"redis://127.0.0.1:{port}"))
        rounds = [(counting(), {name: over_grpc(*place) for name, place in places.items()}) for _ in range(ROUNDS)]
    alone = median([r for r, _ in rounds])
    rows: list[list[object]] = [["counting alone, in memory", round(alone), f"{1e6 / alone:.1f}", ""]]
    for name in places:
        rate, spent = (median([found[name][i] for _, found in rounds]) for i in range(2))
        worst = max((found[name][2] for _, found in rounds), key=abs)
        rows.append([f"asked over gRPC, counted in {name}", round(rate), f"{spent:.0f}", f"{worst:+.2f} %"])
    header = ["decisions", "a second", "CPU us each, of the service", f"too many passed, of {SMALL} a second"]
    versions = {"grpc": grpc.__version__, "redis": version_of("redis-server", "--version")}
    notes = [f"{UNDER_WAY} questions under way on two connections; the worst of {ROUNDS} rounds of {SECONDS:g} s is told of what passed"]
    publish("limits", versions, header, rows, notes)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
