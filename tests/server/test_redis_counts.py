"""Counts in Redis: those of several control planes together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from support.certificates import Ca
from support.redis_server import redis
from support.running import free_port
from tulle.model.rate_limits import RateLimit
from tulle.protos import pb
from tulle.server.counts import CountsGoneError
from tulle.server.rate_limits import SERVICE, RateLimitService, opened
from tulle.server.redis_counts import RedisCounts
from tulle.settings import SettingsError, read_settings
from tulle.store.port import StoreError
from tulle.store.sqlite import open_sqlite

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own, on a Unix socket."""
    path = tmp_path_factory.mktemp("redis") / "sock"
    with redis(path):
        yield f"unix://{path}"


async def taken(url: str, name: str, times: int = 1) -> list[bool]:
    """What one control plane is told of a limit of two a day. Raises CountsGoneError."""
    counts = RedisCounts(url)
    try:
        return [(await counts.take([(limit(name=name), ())]))[0].allowed for _ in range(times)]
    finally:
        await counts.close()


def limit(requests: int = 2, burst: int = 0, name: str = "default/limit/0") -> RateLimit:
    return RateLimit(name=name, requests=requests, per=DAY, burst=burst or requests, shared=True)


def test_two_control_planes_count_together(redis_url: str) -> None:
    async def scene() -> list[tuple[bool, int]]:
        one, other = RedisCounts(redis_url), RedisCounts(redis_url)
        try:
            found = [(await counts.take([(limit(3, name="default/a/0"), ("ann",))]))[0] for counts in (one, other, one, other)]
            found += await other.take([(limit(3, name="default/a/0"), ("ben",))], hits=2)
            found += await other.take([(limit(4, name="default/a/0"), ("ann",))])
            assert 0 < found[3].wait <= DAY.total_seconds() / 3 * 1e9 + 1e9
            return [(taken.allowed, taken.remaining) for taken in found]
        finally:
            await one.close()
            await other.close()

    assert asyncio.run(scene()) == [(True, 2), (True, 1), (True, 0), (False, 0), (True, 1), (True, 3)]


def test_what_one_limit_refuses_counts_against_none(redis_url: str) -> None:
    async def scene() -> list[list[bool]]:
        counts = RedisCounts(redis_url)
        each, every = limit(1, name="default/b/0"), limit(3, name="default/c/0")
        try:
            return [
                [taken.allowed for taken in await counts.take([(each, (who,)), (every, ())])] for who in ("ann", "ann", "ben", "cat", "dan")
            ]
        finally:
            await counts.close()

    assert asyncio.run(scene()) == [[True, True], [False, True], [True, True], [True, True], [True, False]]


def test_as_many_pass_as_should_under_load(redis_url: str) -> None:
    async def scene() -> int:
        planes = [RedisCounts(redis_url) for _ in range(3)]
        try:

            async def caller(number: int) -> int:
                found = [await planes[(number + n) % 3].take([(limit(200, name="default/d/0"), ())]) for n in range(25)]
                return sum(taken.allowed for (taken,) in found)

            return sum(await asyncio.gather(*map(caller, range(16))))
        finally:
            for counts in planes:
                await counts.close()

    assert asyncio.run(scene()) == 200


def test_the_setting_says_where(redis_url: str, tmp_path: Path) -> None:
    request: Any = pb.RateLimitRequest(descriptors=[{"entries": [{"key": "limit", "value": "default/e/0"}]}])

    async def scene(url: str) -> int:
        limits = {"default/e/0": limit(1, name="default/e/0")}
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(open_sqlite(str(tmp_path / "store.db"), time.monotonic))
            service = await opened(stack, url, lambda: limits, store)
            server = grpc.aio.server()
            server.add_generic_rpc_handlers((service.handler(),))
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                answer = await channel.unary_unary(f"/{SERVICE}/ShouldRateLimit")(request.SerializeToString())
            await server.stop(0)
            return int(pb.RateLimitResponse.FromString(answer).overall_code)

    chosen = read_settings({"TULLE_RATE_LIMIT_STORE": redis_url})
    assert redis_url not in repr(chosen), "it may hold a password"
    assert [asyncio.run(scene(url)) for url in (chosen.rate_limit_store, chosen.rate_limit_store, "")] == [1, 2, 1]
    with pytest.raises(SettingsError, match="write redis://HOST:PORT") as caught:
        read_settings({"TULLE_RATE_LIMIT_STORE": "http://user:secret@host"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://:hunter/2@host:6379", "redis://:hunter2@host:6379?sesame=hunter2", "redis://host?db=hunter2"])
def test_a_store_that_cannot_be_used_is_told_without_its_password(url: str) -> None:
    with pytest.raises(StoreError, match="TULLE_RATE_LIMIT_STORE cannot be used") as caught:
        RedisCounts(url)
    assert "hunter" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_without_a_database_the_proxy_is_told_so(tmp_path: Path) -> None:
    async def scene() -> tuple[grpc.StatusCode, str]:
        counts = RedisCounts(f"unix://user:secret@{tmp_path}/none")
        with pytest.raises(CountsGoneError):
            await counts.take([(limit(), ())])
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((RateLimitService(lambda: {limit().name: limit()}, elsewhere=counts).handler(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        request: Any = pb.RateLimitRequest(descriptors=[{"entries": [{"key": "limit", "value": limit().name}]}])
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await channel.unary_unary(f"/{SERVICE}/ShouldRateLimit")(request.SerializeToString())
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        finally:
            await server.stop(0)
            await counts.close()
        raise AssertionError("it answered")

    code, why = asyncio.run(scene())
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "secret" not in why


def test_a_database_that_comes_back_is_asked_again(tmp_path: Path) -> None:
    """By the same client, with connections of before."""
    path = tmp_path / "sock"

    async def scene() -> list[str]:
        counts = RedisCounts(f"unix://{path}")
        said = []
        try:
            for _ in range(2):
                with redis(path):
                    (first,) = await counts.take([(limit(), ())])
                    said.append("counted" if first.allowed else "refused")
                with pytest.raises(CountsGoneError):
                    await counts.take([(limit(), ())])
                said.append("gone")
        finally:
            await counts.close()
        return said

    assert asyncio.run(scene()) == ["counted", "gone"] * 2


def test_a_database_with_a_password(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with redis(path, "--requirepass", "the-secret"):
        assert asyncio.run(taken(f"unix://:the-secret@{path}", "default/f/0", 3)) == [True, True, False]
        for url in (f"unix://{path}", f"unix://:wrong-secret@{path}"):
            with pytest.raises(CountsGoneError) as caught:
                asyncio.run(taken(url, "default/f/0"))
            assert "secret" not in str(caught.value)


def test_a_database_over_tls(tmp_path: Path) -> None:
    ca, port = Ca(), free_port()
    certificate, key = ca.issue("localhost", "127.0.0.1").write(tmp_path, "redis")
    listens = ("--tls-port", str(port), "--bind", "127.0.0.1", "--tls-auth-clients", "no")
    with redis(
        tmp_path / "sock", *listens, "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", ca.write(tmp_path)
    ):
        trusted = f"rediss://localhost:{port}/0?ssl_ca_certs={tmp_path}/ca.pem"
        assert asyncio.run(taken(trusted, "default/g/0", 3)) == [True, True, False]
        for url in (f"rediss://localhost:{port}", f"redis://localhost:{port}"):
            with pytest.raises(CountsGoneError):
                asyncio.run(taken(url, "default/g/0"))
